//! Concurrency limits, for the server and for each app: a bounded FIFO queue, then `503`.
//!
//! A request counts until its response head is known. Streams such as WebSockets, server-sent
//! events and long downloads therefore do not occupy the limit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Settings of one limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimiterSettings {
    /// Maximum number of requests in flight.
    pub max_in_flight: usize,
    /// Maximum number of requests in the queue.
    pub max_queued: usize,
    /// Maximum time in the queue.
    pub queue_timeout: Duration,
}

/// A concurrency limiter. Below the limit, a request costs two atomic operations and takes no lock.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    settings: LimiterSettings,
    /// Fair: a released permit goes to the first request in the queue.
    permits: Semaphore,
    queued: AtomicUsize,
}

/// The limiters that all workers share.
#[derive(Debug)]
pub struct Limiters {
    /// Limits all requests.
    pub server: ConcurrencyLimiter,
    /// Limit the requests of one app each, by app index.
    pub apps: Vec<Option<ConcurrencyLimiter>>,
}

/// Counts as one request in flight until it is dropped.
#[derive(Debug)]
pub struct InFlightGuard<'r>(#[expect(dead_code, reason = "held, not used")] SemaphorePermit<'r>);

/// The queue was full, or the request waited too long in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the concurrency limit is reached")]
pub struct LimitExceeded;

impl Limiters {
    /// Waits until the app may get another request. `None` for an app without a limit.
    ///
    /// # Errors
    /// `LimitExceeded`.
    pub async fn acquire_app(
        &self,
        index: usize,
    ) -> Result<Option<InFlightGuard<'_>>, LimitExceeded> {
        match self.apps.get(index) {
            Some(Some(limiter)) => limiter.acquire().await.map(Some),
            Some(None) | None => Ok(None),
        }
    }
}

impl ConcurrencyLimiter {
    /// A limiter without requests in flight.
    pub fn new(settings: LimiterSettings) -> Self {
        let permits = settings.max_in_flight.min(Semaphore::MAX_PERMITS);
        Self {
            settings,
            permits: Semaphore::new(permits),
            queued: AtomicUsize::new(0),
        }
    }

    /// Waits until another request may be in flight.
    ///
    /// # Errors
    /// `LimitExceeded`.
    pub async fn acquire(&self) -> Result<InFlightGuard<'_>, LimitExceeded> {
        match self.permits.try_acquire() {
            Ok(permit) => Ok(InFlightGuard(permit)),
            // Boxed, so that the future of a request that need not wait is small.
            Err(_) => Box::pin(self.queue()).await,
        }
    }

    /// Number of requests in flight.
    pub fn in_flight(&self) -> usize {
        self.settings.max_in_flight.min(Semaphore::MAX_PERMITS) - self.permits.available_permits()
    }

    /// Number of requests in the queue.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }

    async fn queue(&self) -> Result<InFlightGuard<'_>, LimitExceeded> {
        let _queued = QueuedGuard(self);
        if self.queued.fetch_add(1, Ordering::SeqCst) >= self.settings.max_queued {
            return Err(LimitExceeded);
        }
        match timeout(self.settings.queue_timeout, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(InFlightGuard(permit)),
            Ok(Err(_)) | Err(_) => Err(LimitExceeded),
        }
    }
}

/// Counts as one request in the queue until it is dropped.
struct QueuedGuard<'r>(&'r ConcurrencyLimiter);

impl Drop for QueuedGuard<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::yield_now;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn limiter(
        max_in_flight: usize,
        max_queued: usize,
        queue_timeout: Duration,
    ) -> Arc<ConcurrencyLimiter> {
        Arc::new(ConcurrencyLimiter::new(LimiterSettings {
            max_in_flight,
            max_queued,
            queue_timeout,
        }))
    }

    #[tokio::test]
    async fn queue_is_bounded_and_fifo() {
        let limiter = limiter(1, 2, LONG);
        let guard = limiter.acquire().await.unwrap();
        let mut queue = Vec::new();
        for _ in 0..2 {
            let limiter = Arc::clone(&limiter);
            queue.push(tokio::spawn(
                async move { limiter.acquire().await.map(drop) },
            ));
            yield_now().await;
        }
        assert_eq!((limiter.in_flight(), limiter.queued()), (1, 2));
        assert!(limiter.acquire().await.is_err(), "the queue is full");
        drop(guard);
        for queued in queue {
            assert_eq!(queued.await.unwrap(), Ok(()));
        }
        assert_eq!((limiter.in_flight(), limiter.queued()), (0, 0));
    }

    #[tokio::test]
    async fn timed_out_or_cancelled_waiter_leaves_the_queue() {
        let limiter = limiter(1, 8, Duration::from_millis(20));
        let guard = limiter.acquire().await.unwrap();
        let cancelled = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire().await.map(drop) }
        });
        yield_now().await;
        assert!(limiter.acquire().await.is_err(), "after the timeout");
        cancelled.abort();
        let _aborted = cancelled.await;
        assert_eq!((limiter.in_flight(), limiter.queued()), (1, 0));
        drop(guard);
        assert!(limiter.acquire().await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn limit_holds_under_contention() {
        let limiter = limiter(3, 1000, LONG);
        let in_flight = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (limiter, in_flight) = (Arc::clone(&limiter), Arc::clone(&in_flight));
                tokio::spawn(async move {
                    for _ in 0..20 {
                        let guard = limiter.acquire().await.expect("the limit is not exceeded");
                        let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(now <= 3, "{now}");
                        yield_now().await;
                        in_flight.fetch_sub(1, Ordering::SeqCst);
                        drop(guard);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!((limiter.in_flight(), limiter.queued()), (0, 0));
    }
}
