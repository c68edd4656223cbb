//! Uploads that hold a slot of a concurrency limit: how fast each arrives, and which of them stall.
//! A stalled upload gives its slot to a request that waits.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::client_key::ClientKey;
use crate::lock::lock;

/// How far an upload may fall behind the least rate before it counts as stalled.
const MAX_CREDIT: Duration = Duration::from_secs(1);

/// The progress of one request body, as its reader reports it.
#[derive(Debug)]
pub struct UploadProgress {
    start: Instant,
    /// Bytes per second below which the upload stalls.
    min_rate: u64,
    bytes: AtomicU64,
    /// Microseconds after `start`, like the following ones: until when the client may be silent.
    deadline: AtomicU64,
    /// One more than the time since which the reader waits for the client; zero while it does not.
    awaited_since: AtomicU64,
    /// When the reader last got data.
    last_read: AtomicU64,
    ended: AtomicBool,
    is_preempted: AtomicBool,
    notify: Notify,
}

impl UploadProgress {
    /// An upload that begins now, and stalls below `min_rate` bytes per second. With a rate of zero
    /// it never stalls.
    pub fn new(min_rate: u32) -> Self {
        Self::starting_at(Instant::now(), min_rate)
    }

    pub(super) fn starting_at(start: Instant, min_rate: u32) -> Self {
        Self {
            start,
            min_rate: min_rate.into(),
            bytes: AtomicU64::new(0),
            deadline: AtomicU64::new(micros(MAX_CREDIT)),
            awaited_since: AtomicU64::new(0),
            last_read: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            is_preempted: AtomicBool::new(false),
            notify: Notify::new(),
        }
    }

    /// The bytes that arrived so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The reader polls for data. Time in which it did not poll does not count against the client.
    pub fn on_poll(&self) {
        if self.awaited_since.load(Ordering::Relaxed) == 0 {
            self.poll_at(Instant::now());
        }
    }

    fn poll_at(&self, now: Instant) {
        if self.awaited_since.load(Ordering::Relaxed) == 0 {
            let now = self.micros_at(now);
            let unread_for = now.saturating_sub(self.last_read.load(Ordering::Relaxed));
            self.deadline.fetch_add(unread_for, Ordering::Relaxed);
            self.awaited_since.store(now + 1, Ordering::Relaxed);
        }
    }

    /// The reader got data.
    pub fn on_data(&self, bytes: usize) {
        self.data_at(Instant::now(), bytes as u64);
    }

    fn data_at(&self, now: Instant, bytes: u64) {
        let now = self.micros_at(now);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let earned = bytes.saturating_mul(1_000_000) / self.min_rate.max(1);
        let deadline = self.deadline.load(Ordering::Relaxed).max(now);
        let deadline = deadline
            .saturating_add(earned)
            .min(now + micros(MAX_CREDIT));
        self.deadline.store(deadline, Ordering::Relaxed);
        self.last_read.store(now, Ordering::Relaxed);
        self.awaited_since.store(0, Ordering::Relaxed);
    }

    /// Nothing more is read.
    pub fn on_end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether nothing more is read.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Completes once the upload has to give its slots to others.
    pub async fn preempted(&self) {
        while !self.is_preempted.load(Ordering::Relaxed) {
            self.notify.notified().await;
        }
    }

    /// Since when the client is slower than the least rate, if it is at `now`.
    fn stalled_since(&self, now: Instant) -> Option<Instant> {
        let deadline = self.deadline.load(Ordering::Relaxed);
        let is_awaited = self.awaited_since.load(Ordering::Relaxed) != 0;
        let stalls = self.min_rate > 0 && is_awaited && !self.has_ended();
        let since = self.start + Duration::from_micros(deadline);
        (stalls && now > since).then_some(since)
    }

    fn preempt(&self) {
        self.is_preempted.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    fn micros_at(&self, now: Instant) -> u64 {
        micros(now.duration_since(self.start))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The uploads that hold slots of one limiter.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    uploads: HashMap<u64, Upload>,
}

#[derive(Debug)]
struct Upload {
    client: Option<ClientKey>,
    progress: Arc<UploadProgress>,
}

/// An upload that may have to give its slot to others, until it is dropped.
#[derive(Debug)]
pub struct UploadWatch<'l> {
    uploads: &'l Uploads,
    id: u64,
}

impl Uploads {
    pub(super) fn watch(
        &self,
        client: Option<ClientKey>,
        progress: Arc<UploadProgress>,
    ) -> UploadWatch<'_> {
        let mut registry = lock(&self.0);
        let id = registry.next;
        registry.next += 1;
        registry.uploads.insert(id, Upload { client, progress });
        drop(registry);
        UploadWatch { uploads: self, id }
    }

    /// Ends at most `count` stalled uploads: first those of the clients that hold most slots, of
    /// these the ones that stall longest.
    pub(super) fn preempt_stalled(
        &self,
        now: Instant,
        count: usize,
        held: impl Fn(ClientKey) -> usize,
    ) {
        let registry = lock(&self.0);
        let mut stalled: Vec<_> = registry
            .uploads
            .values()
            .filter_map(|upload| {
                let since = upload.progress.stalled_since(now)?;
                let held = upload.client.map_or(0, &held);
                Some((Reverse(held), since, &upload.progress))
            })
            .collect();
        stalled.sort_unstable_by_key(|(held, since, _)| (*held, *since));
        for (_, _, progress) in stalled.into_iter().take(count) {
            progress.preempt();
        }
    }
}

impl Drop for UploadWatch<'_> {
    fn drop(&mut self) {
        lock(&self.uploads.0).uploads.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// An upload, and a clock that the test advances.
    struct Timed {
        upload: UploadProgress,
        now: Instant,
    }

    impl Timed {
        fn new(min_rate: u32) -> Self {
            let now = Instant::now();
            let upload = UploadProgress::starting_at(now, min_rate);
            Self { upload, now }
        }

        /// The reader waits for this long, then gets these bytes.
        fn receive(&mut self, after: Duration, bytes: u64) {
            self.upload.poll_at(self.now);
            self.now += after;
            self.upload.data_at(self.now, bytes);
        }

        fn stalls_after(&self, wait: Duration) -> bool {
            self.upload.poll_at(self.now);
            self.upload.stalled_since(self.now + wait).is_some()
        }
    }

    #[test]
    fn upload_stalls_below_least_rate_only_while_it_is_awaited() {
        let mut slow = Timed::new(1000);
        slow.now += 10 * SECOND;
        assert_eq!(slow.upload.stalled_since(slow.now), None, "nobody reads it");
        slow.receive(SECOND / 2, 100);
        for _ in 0..20 {
            slow.receive(SECOND / 10, 200);
        }
        assert!(!slow.stalls_after(SECOND / 10), "twice the least rate");
        for _ in 0..30 {
            slow.receive(SECOND / 10, 50);
        }
        assert!(slow.stalls_after(SECOND / 10), "half of it");
        slow.receive(SECOND, 1);
        assert!(slow.stalls_after(SECOND / 100), "a byte now and then");
        slow.receive(SECOND, 5000);
        assert!(!slow.stalls_after(SECOND * 9 / 10));
        assert!(
            slow.stalls_after(SECOND * 11 / 10),
            "a burst earns a second"
        );
        slow.upload.on_end();
        assert!(!slow.stalls_after(SECOND * 2));
    }

    #[test]
    fn rate_of_zero_never_stalls() {
        let upload = Timed::new(0);
        assert!(!upload.stalls_after(1000 * SECOND));
        let upload = Timed::new(1);
        assert!(upload.stalls_after(1000 * SECOND));
    }

    #[tokio::test]
    async fn stalled_upload_of_the_client_with_most_slots_is_preempted_first() {
        let uploads = Uploads::default();
        let (small, large) = (ClientKey::of_test("a"), ClientKey::of_test("b"));
        let held = |client| if client == large { 10 } else { 1 };
        let begin = Instant::now();
        let start = |client, after| {
            let progress = Arc::new(UploadProgress::starting_at(begin + after, 1000));
            progress.poll_at(begin + after);
            (uploads.watch(Some(client), Arc::clone(&progress)), progress)
        };
        let is_preempted =
            |progress: &UploadProgress| progress.is_preempted.load(Ordering::Relaxed);
        let (_first_watch, first) = start(small, Duration::ZERO);
        let (_second_watch, second) = start(large, SECOND / 10);
        let (third_watch, third) = start(large, SECOND / 5);
        uploads.preempt_stalled(begin + SECOND, 9, held);
        let all = [&first, &second, &third];
        assert!(
            !all.into_iter().any(|one| is_preempted(one)),
            "none stalls yet"
        );
        uploads.preempt_stalled(begin + 2 * SECOND, 1, held);
        assert!(is_preempted(&second) && !is_preempted(&first) && !is_preempted(&third));
        second.preempted().await;
        drop(third_watch);
        uploads.preempt_stalled(begin + 2 * SECOND, 9, held);
        assert!(
            is_preempted(&first) && !is_preempted(&third),
            "no longer watched"
        );
    }
}
