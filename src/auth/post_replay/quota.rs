//! Quota of preserved POSTs, reserved before a body is read. It limits bytes, number and concurrent
//! uploads, so that form submissions exhaust neither memory nor the store entries of logins.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use crate::limits::{ClientKey, within_share};
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
    /// The client that sends it, of whom there is a share if it is anonymous.
    pub(super) client: Option<ClientKey>,
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
pub(in crate::auth) struct PostQuota {
    limit: Amount,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    posts: HashMap<String, Reserved>,
    ends: BTreeSet<(Timestamp, String)>,
    all: Amount,
    anonymous: Amount,
    users: HashMap<Sender, Amount>,
    /// The clients of the anonymous POSTs.
    clients: HashMap<ClientKey, Amount>,
}

#[derive(Debug)]
struct Reserved {
    bytes: usize,
    sender: Option<Sender>,
    client: Option<ClientKey>,
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
    pub(in crate::auth) fn new(max_entries: usize) -> Self {
        let limit = Amount {
            posts: max_entries / 4,
            bytes: MAX_BYTES,
            uploads: MAX_UPLOADS,
        };
        Self {
            limit,
            held: Mutex::default(),
        }
    }

    /// Reserves quota for the POST `key`. Anonymous POSTs use at most half of it, and each client
    /// has a share of that.
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
            && (sender.is_some() || held.admits_anonymous(size.client, bytes, self.limit.half()))
            && !held.posts.contains_key(key);
        if fits {
            let reserved = Reserved {
                bytes,
                sender,
                client: size.client,
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
}

/// The charge of a POST: its sealed size, or the minimum.
fn charge(bytes: usize) -> usize {
    (bytes.saturating_add(SEAL_OVERHEAD).saturating_mul(4) / 3).max(MIN_CHARGE)
}

impl Held {
    /// Whether one more anonymous upload of `bytes` is within `limit` and the client's share of it.
    fn admits_anonymous(&self, client: Option<ClientKey>, bytes: usize, limit: Amount) -> bool {
        let held = client.and_then(|client| self.clients.get(&client)).copied();
        let held = held.unwrap_or_default();
        let free = |used: usize, limit: usize| limit.saturating_sub(used);
        self.anonymous.leaves(bytes, limit)
            && within_share(held.posts, free(self.anonymous.posts, limit.posts))
            && within_share(held.bytes, free(self.anonymous.bytes, limit.bytes))
            && within_share(held.uploads, free(self.anonymous.uploads, limit.uploads))
    }

    fn add(&mut self, key: &str, reserved: Reserved) {
        self.all.add(&reserved);
        match (reserved.sender, reserved.client) {
            (Some(sender), _) => self.users.entry(sender).or_default().add(&reserved),
            (None, client) => {
                self.anonymous.add(&reserved);
                if let Some(client) = client {
                    self.clients.entry(client).or_default().add(&reserved);
                }
            }
        }
        self.ends.insert((reserved.ends_at, key.to_owned()));
        self.posts.insert(key.to_owned(), reserved);
    }

    fn remove(&mut self, key: &str) -> Option<Reserved> {
        let (key, reserved) = self.posts.remove_entry(key)?;
        self.all.remove(&reserved);
        match (reserved.sender, reserved.client) {
            (Some(sender), _) => remove_share(self.users.entry(sender), &reserved),
            (None, client) => {
                self.anonymous.remove(&reserved);
                if let Some(client) = client {
                    remove_share(self.clients.entry(client), &reserved);
                }
            }
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

fn remove_share<K>(share: Entry<'_, K, Amount>, reserved: &Reserved) {
    if let Entry::Occupied(mut share) = share {
        share.get_mut().remove(reserved);
        if share.get().posts == 0 {
            share.remove();
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

    const fn size(sender: Option<Sender>, bytes: usize) -> PostSize {
        PostSize {
            sender,
            client: None,
            bytes,
        }
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
            let fits = quota.reserve(&key, size(sender, bytes), END, NOW);
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
        let take = |sender, id: usize| quota.reserve(&id.to_string(), size(sender, 0), END, NOW);
        assert_eq!(
            (0..1000).filter(|id| take(None, *id)).count(),
            MAX_UPLOADS / 2
        );
        assert!(take(user(1), 1000), "anonymous uploads leave half");
        quota.uploaded("0");
        quota.free("1");
        assert_eq!((2000..3000).filter(|id| take(None, *id)).count(), 2);
    }

    #[test]
    fn anonymous_client_leaves_uploads_and_bytes_to_others() {
        let quota = PostQuota::new(100_000);
        let take = |client, ids: Range<usize>, bytes, finish: bool| {
            let fits = |id: &usize| {
                let size = PostSize {
                    client: Some(ClientKey::of_test(client)),
                    ..size(None, bytes)
                };
                let fits = quota.reserve(&id.to_string(), size, END, NOW);
                if finish {
                    quota.uploaded(&id.to_string());
                }
                fits
            };
            ids.filter(fits).count()
        };
        assert_eq!(take("a", 0..1000, 0, false), MAX_UPLOADS / 4 + 1);
        assert_eq!(
            take("b", 1000..1010, 0, false),
            10,
            "another one's stalls do not hold it"
        );
        quota.sweep(END);
        let part = MAX_BYTES / 32 * 3 / 4 - SEAL_OVERHEAD;
        assert_eq!(take("a", 0..100, part, true), 9, "of 16");
        assert_eq!(take("b", 100..200, part, true), 4);
        quota.sweep(END);
        assert!(lock(&quota.held).clients.is_empty());
    }
}
