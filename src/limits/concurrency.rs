//! Concurrency limit: a bounded queue that is fair among clients, then rejection.
//!
//! Below the limit and without a queue, a request costs some atomic operations and takes no lock.
//! The queue serves the clients in turn, and passes over those that have reached their share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::client_key::ClientKey;
use super::shares::{ClientCounts, within_share};
use super::uploads::{UploadProgress, UploadWatch, Uploads};
use crate::lock::lock;

/// How often a queue looks for stalled uploads.
const STALL_CHECK_INTERVAL: Duration = Duration::from_millis(100);

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

/// A concurrency limiter with a share per client.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    settings: LimiterSettings,
    free: AtomicUsize,
    clients: ClientCounts,
    queued: AtomicUsize,
    queue: Mutex<Queue>,
    uploads: Uploads,
}

/// Counts as one request in flight until it is dropped.
#[derive(Debug)]
pub struct InFlightGuard<'l> {
    limiter: &'l ConcurrencyLimiter,
    client: Option<ClientKey>,
}

/// The queue was full, or the request waited too long in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the concurrency limit is reached")]
pub struct LimitExceeded;

#[derive(Debug, Default)]
struct Queue {
    /// The clients that wait, in turn.
    clients: VecDeque<ClientQueue>,
    stalls_checked: Option<Instant>,
}

#[derive(Debug)]
struct ClientQueue {
    client: Option<ClientKey>,
    waiters: VecDeque<Arc<Waiter>>,
}

#[derive(Debug, Default)]
struct Waiter {
    admitted: AtomicBool,
    woken: Notify,
}

impl ConcurrencyLimiter {
    /// A limiter without requests in flight.
    pub fn new(settings: LimiterSettings) -> Self {
        Self {
            settings,
            free: AtomicUsize::new(settings.max_in_flight),
            clients: ClientCounts::new(),
            queued: AtomicUsize::new(0),
            queue: Mutex::default(),
            uploads: Uploads::default(),
        }
    }

    /// Its settings.
    pub const fn settings(&self) -> LimiterSettings {
        self.settings
    }

    /// Waits until another request of `client` may be in flight. Requests of no known client have
    /// no share.
    ///
    /// # Errors
    /// `LimitExceeded`.
    pub async fn acquire(
        &self,
        client: Option<ClientKey>,
    ) -> Result<InFlightGuard<'_>, LimitExceeded> {
        if self.queued() == 0 && self.try_take(client) {
            return Ok(self.guard(client));
        }
        // Boxed, so that the future of a request that need not wait is small.
        Box::pin(self.wait(client)).await
    }

    /// Lets an upload that is in flight give its slot to others when it stalls.
    pub fn watch_upload(
        &self,
        client: Option<ClientKey>,
        progress: Arc<UploadProgress>,
    ) -> UploadWatch<'_> {
        self.uploads.watch(client, progress)
    }

    /// Number of requests in flight.
    pub fn in_flight(&self) -> usize {
        let free = self.free.load(Ordering::SeqCst);
        self.settings.max_in_flight.saturating_sub(free)
    }

    /// Number of requests in the queue.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }

    const fn guard(&self, client: Option<ClientKey>) -> InFlightGuard<'_> {
        InFlightGuard {
            limiter: self,
            client,
        }
    }

    fn try_take(&self, client: Option<ClientKey>) -> bool {
        let held = client.map_or(0, |client| self.clients.add(client, 1));
        let take = |free: usize| (free > 0 && within_share(held, free)).then(|| free - 1);
        let taken = self
            .free
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .is_ok();
        if let (false, Some(client)) = (taken, client) {
            self.clients.remove(client, 1);
        }
        taken
    }

    fn release(&self, client: Option<ClientKey>) {
        if let Some(client) = client {
            self.clients.remove(client, 1);
        }
        self.free.fetch_add(1, Ordering::SeqCst);
        // After the slot is free: a request that finds none afterwards is in the queue by then.
        if self.queued() > 0 {
            self.admit(&mut lock(&self.queue));
        }
    }

    async fn wait(&self, client: Option<ClientKey>) -> Result<InFlightGuard<'_>, LimitExceeded> {
        let Some(mut waiting) = self.enqueue(client)? else {
            return Ok(self.guard(client));
        };
        timeout(self.settings.queue_timeout, waiting.admitted())
            .await
            .map_err(|_| LimitExceeded)
    }

    /// `None`: a slot was free.
    fn enqueue(&self, client: Option<ClientKey>) -> Result<Option<Waiting<'_>>, LimitExceeded> {
        let mut queue = lock(&self.queue);
        if self.try_take(client) {
            return Ok(None);
        }
        let free = self.settings.max_queued.saturating_sub(self.queued());
        let own = queue
            .clients
            .iter()
            .find(|queue| queue.client == client)
            .map_or(0, |queue| queue.waiters.len());
        if free == 0 || (client.is_some() && !within_share(own, free)) {
            return Err(LimitExceeded);
        }
        let waiter = Arc::new(Waiter::default());
        queue.push(client, Arc::clone(&waiter));
        self.queued.fetch_add(1, Ordering::SeqCst);
        // Again, now that releases see the queue.
        self.admit(&mut queue);
        drop(queue);
        Ok(Some(Waiting {
            limiter: self,
            client,
            waiter,
            is_consumed: false,
        }))
    }

    /// Gives free slots to waiters.
    fn admit(&self, queue: &mut Queue) {
        let mut passed_over = 0;
        while passed_over < queue.clients.len() && self.free.load(Ordering::SeqCst) > 0 {
            let Some(mut next) = queue.clients.pop_front() else {
                return;
            };
            if self.try_take(next.client) {
                if let Some(waiter) = next.waiters.pop_front() {
                    self.queued.fetch_sub(1, Ordering::SeqCst);
                    waiter.admitted.store(true, Ordering::SeqCst);
                    waiter.woken.notify_one();
                }
                passed_over = 0;
            } else {
                passed_over += 1;
            }
            if !next.waiters.is_empty() {
                queue.clients.push_back(next);
            }
        }
    }

    /// Lets stalled uploads give way to the queue.
    fn check_stalls(&self) {
        let mut queue = lock(&self.queue);
        let is_due = queue
            .stalls_checked
            .is_none_or(|checked| checked.elapsed() >= STALL_CHECK_INTERVAL);
        if !is_due {
            return;
        }
        queue.stalls_checked = Some(Instant::now());
        self.admit(&mut queue);
        drop(queue);
        if self.free.load(Ordering::SeqCst) == 0 {
            let held = |client| self.clients.held(client);
            self.uploads
                .preempt_stalled(Instant::now(), self.queued(), held);
        }
    }
}

impl Queue {
    fn push(&mut self, client: Option<ClientKey>, waiter: Arc<Waiter>) {
        let known = self.clients.iter_mut().find(|queue| queue.client == client);
        match known {
            Some(queue) => queue.waiters.push_back(waiter),
            None => self.clients.push_back(ClientQueue {
                client,
                waiters: VecDeque::from([waiter]),
            }),
        }
    }

    /// Returns whether the waiter was in the queue.
    fn remove(&mut self, client: Option<ClientKey>, waiter: &Arc<Waiter>) -> bool {
        let known = self.clients.iter().position(|queue| queue.client == client);
        let Some((at, queue)) = known.and_then(|at| Some((at, self.clients.get_mut(at)?))) else {
            return false;
        };
        let before = queue.waiters.len();
        queue.waiters.retain(|other| !Arc::ptr_eq(other, waiter));
        let is_removed = queue.waiters.len() < before;
        if queue.waiters.is_empty() {
            self.clients.remove(at);
        }
        is_removed
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.limiter.release(self.client);
    }
}

/// One request in the queue, until it is dropped.
struct Waiting<'l> {
    limiter: &'l ConcurrencyLimiter,
    client: Option<ClientKey>,
    waiter: Arc<Waiter>,
    /// Whether the slot was passed on.
    is_consumed: bool,
}

impl<'l> Waiting<'l> {
    async fn admitted(&mut self) -> InFlightGuard<'l> {
        loop {
            if self.waiter.admitted.load(Ordering::SeqCst) {
                self.is_consumed = true;
                return self.limiter.guard(self.client);
            }
            self.limiter.check_stalls();
            tokio::select! {
                () = self.waiter.woken.notified() => {}
                () = sleep(STALL_CHECK_INTERVAL) => {}
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_consumed {
            return;
        }
        let mut queue = lock(&self.limiter.queue);
        if queue.remove(self.client, &self.waiter) {
            self.limiter.queued.fetch_sub(1, Ordering::SeqCst);
        }
        drop(queue);
        // It may have been admitted just before.
        if self.waiter.admitted.load(Ordering::SeqCst) {
            self.limiter.release(self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{JoinHandle, yield_now};

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

    fn client(name: &str) -> Option<ClientKey> {
        Some(ClientKey::of_test(name))
    }

    /// A task that takes a slot and gives it back at once.
    async fn queue_up(
        limiter: &Arc<ConcurrencyLimiter>,
        client: Option<ClientKey>,
    ) -> JoinHandle<Result<(), LimitExceeded>> {
        let limiter = Arc::clone(limiter);
        let task = tokio::spawn(async move { limiter.acquire(client).await.map(drop) });
        yield_now().await;
        task
    }

    #[tokio::test]
    async fn queue_is_bounded_and_fifo() {
        let limiter = limiter(1, 2, LONG);
        let guard = limiter.acquire(None).await.unwrap();
        let mut queue = Vec::new();
        for _ in 0..2 {
            queue.push(queue_up(&limiter, None).await);
        }
        assert_eq!((limiter.in_flight(), limiter.queued()), (1, 2));
        assert!(limiter.acquire(None).await.is_err(), "the queue is full");
        drop(guard);
        for queued in queue {
            assert_eq!(queued.await.unwrap(), Ok(()));
        }
        assert_eq!((limiter.in_flight(), limiter.queued()), (0, 0));
    }

    #[tokio::test]
    async fn timed_out_or_cancelled_waiter_leaves_the_queue() {
        let limiter = limiter(1, 8, Duration::from_millis(20));
        let guard = limiter.acquire(None).await.unwrap();
        let cancelled = queue_up(&limiter, None).await;
        assert!(limiter.acquire(None).await.is_err(), "after the timeout");
        cancelled.abort();
        let _aborted = cancelled.await;
        assert_eq!((limiter.in_flight(), limiter.queued()), (1, 0));
        drop(guard);
        assert!(limiter.acquire(None).await.is_ok());
    }

    #[tokio::test]
    async fn waiter_that_leaves_when_admitted_passes_its_slot_on() {
        let limiter = limiter(1, 8, LONG);
        let guard = limiter.acquire(None).await.unwrap();
        let (first, second) = (
            queue_up(&limiter, client("a")).await,
            queue_up(&limiter, client("b")).await,
        );
        drop(guard);
        first.abort();
        assert_eq!(second.await.unwrap(), Ok(()));
        let _aborted = first.await;
        assert_eq!((limiter.in_flight(), limiter.queued()), (0, 0));
    }

    #[tokio::test]
    async fn one_client_leaves_slots_and_queue_to_others() {
        let limiter = limiter(10, 10, LONG);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(limiter.acquire(client("a")).await.unwrap());
        }
        let mut queued = Vec::new();
        for _ in 0..6 {
            queued.push(queue_up(&limiter, client("a")).await);
        }
        assert_eq!((limiter.in_flight(), limiter.queued()), (6, 6));
        assert!(
            limiter.acquire(client("a")).await.is_err(),
            "its share of the queue"
        );
        for _ in 0..2 {
            held.push(limiter.acquire(client("b")).await.unwrap());
        }
        held.push(limiter.acquire(None).await.unwrap());
        assert_eq!((limiter.in_flight(), limiter.queued()), (9, 6));
        drop(held);
        for queued in queued {
            assert_eq!(queued.await.unwrap(), Ok(()));
        }
        assert_eq!((limiter.in_flight(), limiter.queued()), (0, 0));
    }

    #[tokio::test]
    async fn queue_serves_clients_in_turn() {
        let limiter = limiter(1, 100, LONG);
        let guard = limiter.acquire(None).await.unwrap();
        let (order, mut tasks) = (Arc::new(Mutex::new(String::new())), Vec::new());
        for name in ["a", "a", "a", "b", "c"] {
            let (limiter, order) = (Arc::clone(&limiter), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _guard = limiter.acquire(client(name)).await.unwrap();
                lock(&order).push_str(name);
            }));
            yield_now().await;
        }
        drop(guard);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*lock(&order), "abcaa");
    }

    #[tokio::test]
    async fn stalled_upload_is_preempted_only_for_the_queue() {
        let limiter = limiter(1, 8, LONG);
        let start = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let upload = Arc::new(UploadProgress::starting_at(start, 1));
        upload.on_data(0);
        upload.on_poll();
        let holder = tokio::spawn({
            let (limiter, upload) = (Arc::clone(&limiter), Arc::clone(&upload));
            async move {
                let _guard = limiter.acquire(client("a")).await.unwrap();
                let _watch = limiter.watch_upload(client("a"), Arc::clone(&upload));
                upload.preempted().await;
            }
        });
        sleep(3 * STALL_CHECK_INTERVAL).await;
        assert!(!holder.is_finished(), "nobody waits");
        assert!(limiter.acquire(client("b")).await.is_ok());
        holder.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn limit_holds_under_contention() {
        let limiter = limiter(3, 1000, LONG);
        let in_flight = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let (limiter, in_flight) = (Arc::clone(&limiter), Arc::clone(&in_flight));
                let client =
                    (number % 3 > 0).then(|| ClientKey::of_test(&(number % 3).to_string()));
                tokio::spawn(async move {
                    for _ in 0..20 {
                        let guard = limiter.acquire(client).await.expect("within the queue");
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
