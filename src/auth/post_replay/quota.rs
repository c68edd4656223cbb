//! Quota of preserved POSTs, reserved before a body is read. It limits bytes, number and concurrent
//! uploads, so that form submissions exhaust neither memory nor the store entries of logins.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use tokio::sync::Semaphore;

use crate::lock::lock;
use crate::session::last_user::SubjectHash;
use crate::types::time::Timestamp;

/// The maximum size of all preserved POSTs of this process, sealed, in bytes.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The minimum charge of a POST, in bytes: even an empty one takes a store entry.
const MIN_CHARGE: usize = 4096;

/// The overhead of sealing, in bytes, before base64.
const SEAL_OVERHEAD: usize = 256;

/// The maximum number of concurrent uploads.
const MAX_UPLOADS: usize = 128;

/// The maximum number of requests that are checked for a replay at once.
const MAX_REPLAY_CHECKS: usize = 1024;

/// The share of one user. An expired cookie suffices to be counted as a user, so a share must not
/// open the whole quota. Anything beyond it counts as anonymous.
const USER_SHARE: Amount = Amount {
    posts: 32,
    bytes: MAX_BYTES / 16,
    uploads: 8,
};

/// The user of a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sender {
    /// The index of the app.
    pub(super) app: usize,
    pub(super) user: SubjectHash,
}

/// The charge of a POST.
#[derive(Clone, Copy, Debug)]
pub(super) struct PostSize {
    /// `None`: anonymous.
    pub(super) sender: Option<Sender>,
    /// Its size before sealing.
    pub(super) bytes: usize,
}

/// How much of the quota is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUsage {
    /// The number of POSTs.
    pub posts: usize,
    /// Their charged bytes.
    pub bytes: usize,
}

/// The POSTs that this process stored or is reading.
#[derive(Debug)]
pub(super) struct PostQuota {
    limit: Amount,
    held: Mutex<Held>,
    replay_checks: Semaphore,
}

#[derive(Debug, Default)]
struct Held {
    posts: HashMap<String, Reserved>,
    ends: BTreeSet<(Timestamp, String)>,
    all: Amount,
    anonymous: Amount,
    users: HashMap<Sender, Amount>,
}

#[derive(Debug)]
struct Reserved {
    bytes: usize,
    sender: Option<Sender>,
    ends_at: Timestamp,
    is_uploading: bool,
}

/// An amount of POSTs: in use, or a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    posts: usize,
    bytes: usize,
    uploads: usize,
}

impl PostQuota {
    /// Creates a quota for a store of `max_entries`, of which POSTs use at most a quarter.
    pub(super) fn new(max_entries: usize) -> Self {
        let limit = Amount {
            posts: max_entries / 4,
            bytes: MAX_BYTES,
            uploads: MAX_UPLOADS,
        };
        Self {
            limit,
            held: Mutex::default(),
            replay_checks: Semaphore::new(MAX_REPLAY_CHECKS),
        }
    }

    /// Reserves quota for the POST `key`. Anonymous POSTs use at most half of it.
    pub(super) fn reserve(
        &self,
        key: &str,
        size: PostSize,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> bool {
        let bytes = charge(size.bytes);
        let mut held = lock(&self.held);
        held.sweep(now);
        let sender = size.sender.filter(|sender| {
            let share = held.users.get(sender).copied().unwrap_or_default();
            share.leaves(bytes, USER_SHARE)
        });
        let fits = held.all.leaves(bytes, self.limit)
            && (sender.is_some() || held.anonymous.leaves(bytes, self.limit.half()))
            && !held.posts.contains_key(key);
        if fits {
            let reserved = Reserved {
                bytes,
                sender,
                ends_at,
                is_uploading: true,
            };
            held.add(key, reserved);
        }
        fits
    }

    /// The upload of the POST `key` has ended.
    pub(super) fn uploaded(&self, key: &str) {
        let mut held = lock(&self.held);
        if let Some(mut reserved) = held.remove(key) {
            reserved.is_uploading = false;
            held.add(key, reserved);
        }
    }

    pub(super) fn free(&self, key: &str) {
        lock(&self.held).remove(key);
    }

    pub(super) fn usage(&self) -> QuotaUsage {
        let all = lock(&self.held).all;
        QuotaUsage {
            posts: all.posts,
            bytes: all.bytes,
        }
    }

    pub(super) fn sweep(&self, now: Timestamp) {
        lock(&self.held).sweep(now);
    }

    pub(super) const fn replay_checks(&self) -> &Semaphore {
        &self.replay_checks
    }
}

/// The charge of a POST: its sealed size, or the minimum.
fn charge(bytes: usize) -> usize {
    (bytes.saturating_add(SEAL_OVERHEAD).saturating_mul(4) / 3).max(MIN_CHARGE)
}

impl Held {
    fn add(&mut self, key: &str, reserved: Reserved) {
        self.all.add(&reserved);
        match reserved.sender {
            Some(sender) => self.users.entry(sender).or_default().add(&reserved),
            None => self.anonymous.add(&reserved),
        }
        self.ends.insert((reserved.ends_at, key.to_owned()));
        self.posts.insert(key.to_owned(), reserved);
    }

    fn remove(&mut self, key: &str) -> Option<Reserved> {
        let (key, reserved) = self.posts.remove_entry(key)?;
        self.all.remove(&reserved);
        match reserved.sender.map(|sender| self.users.entry(sender)) {
            Some(Entry::Occupied(mut share)) => {
                share.get_mut().remove(&reserved);
                if share.get().posts == 0 {
                    share.remove();
                }
            }
            Some(Entry::Vacant(_)) => {}
            None => self.anonymous.remove(&reserved),
        }
        self.ends.remove(&(reserved.ends_at, key));
        Some(reserved)
    }

    fn sweep(&mut self, now: Timestamp) {
        while let Some((_, key)) = self
            .ends
            .first()
            .filter(|(ends_at, _)| *ends_at <= now)
            .cloned()
        {
            self.remove(&key);
        }
    }
}

impl Amount {
    /// Whether one more upload of `bytes` is within `limit`.
    const fn leaves(self, bytes: usize, limit: Self) -> bool {
        self.posts < limit.posts
            && self.bytes.saturating_add(bytes) <= limit.bytes
            && self.uploads < limit.uploads
    }

    const fn half(self) -> Self {
        Self {
            posts: self.posts / 2,
            bytes: self.bytes / 2,
            uploads: self.uploads / 2,
        }
    }

    const fn add(&mut self, reserved: &Reserved) {
        self.posts += 1;
        self.bytes += reserved.bytes;
        self.uploads += reserved.is_uploading as usize;
    }

    const fn remove(&mut self, reserved: &Reserved) {
        self.posts -= 1;
        self.bytes -= reserved.bytes;
        self.uploads -= reserved.is_uploading as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::oauth::Subject;
    use std::ops::Range;

    const NOW: Timestamp = Timestamp::from_secs(0);
    const END: Timestamp = Timestamp::from_secs(100);

    fn user(name: usize) -> Option<Sender> {
        Some(Sender {
            app: 0,
            user: SubjectHash::of(&Subject::new(name.to_string())),
        })
    }

    const fn usage(posts: usize, bytes: usize) -> QuotaUsage {
        QuotaUsage { posts, bytes }
    }

    /// How many POSTs with these IDs get quota.
    fn reserved(
        quota: &PostQuota,
        sender: Option<Sender>,
        bytes: usize,
        ids: Range<usize>,
    ) -> usize {
        let fits = |id: &usize| {
            let key = id.to_string();
            let fits = quota.reserve(&key, PostSize { sender, bytes }, END, NOW);
            quota.uploaded(&key);
            fits
        };
        ids.filter(fits).count()
    }

    #[test]
    fn quota_bounds_bytes_and_anonymous_posts_leave_half() {
        let (quota, part) = (
            PostQuota::new(100_000),
            MAX_BYTES / 32 * 3 / 4 - SEAL_OVERHEAD,
        );
        assert_eq!(reserved(&quota, None, part, 0..100), 16);
        let known: usize = (0..20)
            .map(|one| reserved(&quota, user(one), part, 100 * (one + 1)..100 * (one + 2)))
            .sum();
        assert_eq!((known, quota.usage()), (16, usage(32, MAX_BYTES)));
        quota.free("0");
        quota.free("0");
        assert_eq!(quota.usage(), usage(31, MAX_BYTES - MAX_BYTES / 32));
        assert_eq!(reserved(&quota, None, part, 5000..5100), 1);
        quota.sweep(Timestamp::from_secs(99));
        assert_eq!(quota.usage().posts, 32);
        quota.sweep(END);
        assert_eq!(quota.usage(), usage(0, 0));
        let held = lock(&quota.held);
        assert!(held.ends.is_empty() && held.users.is_empty());
        assert_eq!(
            (held.all, held.anonymous),
            (Amount::default(), Amount::default())
        );
    }

    #[test]
    fn empty_posts_leave_most_of_the_store_to_logins() {
        let large = PostQuota::new(100_000);
        assert_eq!(
            reserved(&large, None, 0, 0..20_000),
            MAX_BYTES / MIN_CHARGE / 2
        );
        let small = PostQuota::new(80);
        assert_eq!(
            (
                reserved(&small, None, 0, 0..100),
                reserved(&small, user(1), 0, 100..200)
            ),
            (10, 10)
        );
        assert_eq!(small.usage().posts, 20, "a quarter");
    }

    #[test]
    fn user_beyond_the_share_counts_as_anonymous() {
        let quota = PostQuota::new(100_000);
        assert_eq!(
            reserved(&quota, user(1), 0, 0..20_000),
            USER_SHARE.posts + MAX_BYTES / MIN_CHARGE / 2
        );
        assert_eq!(reserved(&quota, None, 0, 20_000..20_100), 0);
        assert_eq!(
            reserved(&quota, user(2), 0, 20_000..20_100),
            USER_SHARE.posts,
            "other users have their own share"
        );
    }

    #[test]
    fn concurrent_uploads_are_bounded() {
        let quota = PostQuota::new(100_000);
        let take = |sender, id: usize| {
            quota.reserve(&id.to_string(), PostSize { sender, bytes: 0 }, END, NOW)
        };
        assert_eq!(
            (0..1000).filter(|id| take(None, *id)).count(),
            MAX_UPLOADS / 2
        );
        assert!(take(user(1), 1000), "anonymous uploads leave half");
        quota.uploaded("0");
        quota.free("1");
        assert_eq!((2000..3000).filter(|id| take(None, *id)).count(), 2);
    }
}
