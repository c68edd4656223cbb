//! How many requests may be under way at once: in all, and at an app that can take only so many. Beyond that a few wait,
//! not for long, in the order they came, and the rest are told to come back.
//!
//! A request is under way until the head of its answer is known. That is when the work is done that the limit is for,
//! and so streams (WebSocket, server-sent events, long downloads) do not fill the room for hours.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How large a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterSettings {
    /// How many requests are in it at most.
    pub most: usize,
    /// How many more may wait for a place.
    pub most_waiting: usize,
    /// How long one waits at most.
    pub timeout: Duration,
}

/// A room. Below its limit, entering and leaving it are an atomic operation each, and no lock.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    settings: LimiterSettings,
    /// Whoever comes later does not overtake: a place that is free goes to the first in the queue.
    app_refs: Semaphore,
    queued: AtomicUsize,
}

/// The rooms that all workers share.
#[derive(Debug)]
pub struct Limiters {
    /// For all requests.
    pub all: ConcurrencyLimiter,
    /// For each app, in their order, if it has a limit of its own.
    pub apps: Vec<Option<ConcurrencyLimiter>>,
}

/// A place in a room, until this is dropped.
#[derive(Debug)]
pub struct InFlightGuard<'r>(#[expect(dead_code, reason = "held, not used")] SemaphorePermit<'r>);

impl Limiters {
    /// The room of the app in this place, if it has one.
    pub fn of_app(&self, index: usize) -> Option<&ConcurrencyLimiter> {
        self.apps.get(index)?.as_ref()
    }
}

impl ConcurrencyLimiter {
    /// An empty room.
    pub fn new(settings: LimiterSettings) -> Self {
        let app_refs = Semaphore::new(settings.most.min(Semaphore::MAX_PERMITS));
        Self {
            settings,
            app_refs,
            queued: AtomicUsize::new(0),
        }
    }

    /// A place, at once or after a while. `None`: there was none in time, or too many wait already.
    pub async fn acquire(&self) -> Option<InFlightGuard<'_>> {
        match self.app_refs.try_acquire() {
            Ok(app_ref) => Some(InFlightGuard(app_ref)),
            // On the heap, lest every request carry it.
            Err(_) => Box::pin(self.queue()).await,
        }
    }

    /// How many are in it.
    pub fn in_flight(&self) -> usize {
        self.settings.most.min(Semaphore::MAX_PERMITS) - self.app_refs.available_permits()
    }

    /// How many wait for it.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }

    async fn queue(&self) -> Option<InFlightGuard<'_>> {
        let _waiting = Queued(self);
        if self.queued.fetch_add(1, Ordering::SeqCst) >= self.settings.most_waiting {
            return None;
        }
        let app_ref = timeout(self.settings.timeout, self.app_refs.acquire()).await;
        app_ref.ok()?.ok().map(InFlightGuard)
    }
}

/// Somebody in the queue.
struct Queued<'r>(&'r ConcurrencyLimiter);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::yield_now;

    use super::*;

    fn concurrency(most: usize, most_waiting: usize, timeout: Duration) -> ConcurrencyLimiter {
        ConcurrencyLimiter::new(LimiterSettings {
            most,
            most_waiting,
            timeout,
        })
    }

    const FOR_EVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn the_first_who_waits_enters_first() {
        let concurrency = Arc::new(concurrency(1, 2, FOR_EVER));
        let stay = concurrency.acquire().await.unwrap();
        let mut queue = Vec::new();
        for _ in 0..2 {
            let concurrency = Arc::clone(&concurrency);
            queue.push(tokio::spawn(async move {
                concurrency.acquire().await.map(drop)
            }));
            yield_now().await;
        }
        assert_eq!((concurrency.in_flight(), concurrency.queued()), (1, 2));
        assert!(
            concurrency.acquire().await.is_none(),
            "the queue is full, so nobody waits"
        );
        drop(stay);
        for queued in queue {
            assert_eq!(queued.await.unwrap(), Some(()));
        }
        assert_eq!((concurrency.in_flight(), concurrency.queued()), (0, 0));
    }

    #[tokio::test]
    async fn who_waited_for_too_long_or_left_takes_no_place() {
        let concurrency = Arc::new(concurrency(1, 8, Duration::from_millis(20)));
        let stay = concurrency.acquire().await.unwrap();
        let gone = tokio::spawn({
            let concurrency = Arc::clone(&concurrency);
            async move { concurrency.acquire().await.map(drop) }
        });
        yield_now().await;
        assert!(concurrency.acquire().await.is_none(), "after its patience");
        gone.abort();
        let _aborted = gone.await;
        assert_eq!((concurrency.in_flight(), concurrency.queued()), (1, 0));
        drop(stay);
        assert!(concurrency.acquire().await.is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn never_more_than_the_limit_are_inside_and_everybody_gets_in() {
        let concurrency = Arc::new(concurrency(3, 1000, FOR_EVER));
        let seen = Arc::new(AtomicUsize::new(0));
        let crowd: Vec<_> = (0..200)
            .map(|_| {
                let (concurrency, seen) = (Arc::clone(&concurrency), Arc::clone(&seen));
                tokio::spawn(async move {
                    for _ in 0..20 {
                        let stay = concurrency.acquire().await.expect("a place");
                        let in_flight = seen.fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(in_flight <= 3, "{in_flight}");
                        yield_now().await;
                        seen.fetch_sub(1, Ordering::SeqCst);
                        drop(stay);
                    }
                })
            })
            .collect();
        for one in crowd {
            one.await.unwrap();
        }
        assert_eq!((concurrency.in_flight(), concurrency.queued()), (0, 0));
    }
}
