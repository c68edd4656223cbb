//! Index of the sessions that were used recently, by user. Its size is bounded, and each user has a
//! share: a user with many sessions replaces their own.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::listed::ListedSession;
use crate::limits::within_share;
use crate::lock::lock;
use crate::session::last_user::SubjectHash;
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// The most sessions of one user.
pub(super) const MAX_PER_USER: usize = 50;

/// How many entries are read under one lock.
const READ_AT_ONCE: usize = 500;

/// The most entries that one call reads.
const MAX_READ: usize = 10_000;

/// The key of an entry: the sessions of a user follow each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryKey {
    pub(super) user: SubjectHash,
    pub(super) sid: SessionId,
}

/// Whether every session of the user is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// Yes.
    Listed,
    /// Yes, and the other replicas are to know it.
    ToPublish,
    /// The session, or the least active one of the same user, is not listed.
    Dropped,
}

/// The index of one process.
#[derive(Debug, Default)]
pub(in crate::auth) struct SessionIndex {
    entries: Mutex<BTreeMap<EntryKey, ListedSession>>,
    max: AtomicUsize,
    /// Where the last sweep stopped.
    swept: Mutex<Option<EntryKey>>,
}

impl SessionIndex {
    /// Sets the limit. What is listed stays until it ends, unless the limit is 0.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
        if max == 0 {
            lock(&self.entries).clear();
        }
    }

    /// Whether sessions are listed at all.
    pub(super) fn is_on(&self) -> bool {
        self.max.load(Ordering::Relaxed) > 0
    }

    pub(in crate::auth) fn len(&self) -> usize {
        lock(&self.entries).len()
    }

    /// Adds a session, or updates what is known of it. Activity is published if it was published so
    /// long ago.
    pub(super) fn record(
        &self,
        key: EntryKey,
        session: ListedSession,
        interval: Duration,
    ) -> Recorded {
        let max = self.max.load(Ordering::Relaxed);
        let mut entries = lock(&self.entries);
        if let Some(known) = entries.get_mut(&key) {
            known.update(session);
            return recorded(known, interval);
        }
        let held = of_user(&entries, key.user).count();
        let free = max.saturating_sub(entries.len());
        if held < MAX_PER_USER && free > 0 && within_share(held, free) {
            let recorded = recorded(&session, interval);
            entries.insert(key, session);
            return recorded;
        }
        let oldest = of_user(&entries, key.user).min_by_key(|(_, known)| known.last_activity);
        let oldest = oldest.filter(|(_, known)| known.last_activity <= session.last_activity);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            entries.remove(&oldest);
            entries.insert(key, session);
        }
        Recorded::Dropped
    }

    /// The sessions of one user.
    pub(super) fn of_user(&self, user: SubjectHash) -> Vec<ListedSession> {
        let entries = lock(&self.entries);
        of_user(&entries, user)
            .map(|(_, session)| session.clone())
            .collect()
    }

    /// These entries, as far as they are there.
    pub(super) fn of_keys(&self, keys: &[EntryKey]) -> Vec<ListedSession> {
        let entries = lock(&self.entries);
        keys.iter()
            .filter_map(|key| entries.get(key).cloned())
            .collect()
    }

    /// Notes that these entries were published.
    pub(super) fn mark_published(&self, keys: &[EntryKey], now: Timestamp) {
        let mut entries = lock(&self.entries);
        for key in keys {
            if let Some(session) = entries.get_mut(key) {
                session.published = now;
            }
        }
    }

    /// Calls `visit` for a bounded number of entries after `after`, in order, until it returns
    /// `false`. Returns the last one, unless there are no others. The lock is held for a part of them
    /// at a time.
    pub(super) fn visit(
        &self,
        mut after: Option<EntryKey>,
        mut visit: impl FnMut(&EntryKey, &ListedSession) -> bool,
    ) -> Option<EntryKey> {
        for _ in 0..MAX_READ / READ_AT_ONCE {
            let entries = lock(&self.entries);
            let start = after.take().map_or(Bound::Unbounded, Bound::Excluded);
            for (key, session) in entries.range((start, Bound::Unbounded)).take(READ_AT_ONCE) {
                after = Some(key.clone());
                if !visit(key, session) {
                    return after;
                }
            }
            after.as_ref()?;
        }
        after
    }

    /// Removes the next entries that are over. Repeated calls reach all of them.
    pub(super) fn sweep(&self, is_over: impl Fn(&ListedSession) -> bool) {
        let mut over = Vec::new();
        let mut swept = lock(&self.swept);
        *swept = self.visit(swept.take(), |key, session| {
            if is_over(session) {
                over.push(key.clone());
            }
            true
        });
        let mut entries = lock(&self.entries);
        for key in over {
            entries.remove(&key);
        }
    }

    /// Forgets the names of users and clients. They are recorded again.
    pub(super) fn forget_names(&self) {
        for session in lock(&self.entries).values_mut() {
            session.forget_names();
        }
    }
}

/// Whether a listed session is to be published.
fn recorded(session: &ListedSession, interval: Duration) -> Recorded {
    let unpublished = session.last_activity.since(session.published);
    if session.is_of_replica || unpublished < interval {
        Recorded::Listed
    } else {
        Recorded::ToPublish
    }
}

fn of_user(
    entries: &BTreeMap<EntryKey, ListedSession>,
    user: SubjectHash,
) -> impl Iterator<Item = (&EntryKey, &ListedSession)> {
    let first = EntryKey {
        user,
        sid: SessionId::new(""),
    };
    entries
        .range(first..)
        .take_while(move |(key, _)| key.user == user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::oauth::{Issuer, Subject};

    fn index(max: usize) -> SessionIndex {
        let index = SessionIndex::default();
        index.set_max(max);
        index
    }

    fn user(name: &str) -> SubjectHash {
        SubjectHash::of_user(&Issuer::new("issuer"), &Subject::new(name))
    }

    fn key(name: &str) -> EntryKey {
        EntryKey {
            user: user(name),
            sid: SessionId::new("sid"),
        }
    }

    /// Records a session with this activity.
    fn record(index: &SessionIndex, name: &str, sid: &str, at: u64) -> Recorded {
        let session = ListedSession {
            sid: SessionId::new(sid),
            last_activity: Timestamp::from_secs(at),
            ..ListedSession::of_test(name)
        };
        let key = EntryKey {
            user: user(name),
            sid: session.sid.clone(),
        };
        index.record(key, session, Duration::MAX)
    }

    fn sids(index: &SessionIndex, name: &str) -> Vec<String> {
        let entries = lock(&index.entries);
        let sessions = of_user(&entries, user(name));
        sessions.map(|(key, _)| key.sid.to_string()).collect()
    }

    #[test]
    fn user_beyond_the_share_replaces_their_own_least_active_session() {
        let index = index(1000);
        assert_eq!(record(&index, "bob", "b", 1), Recorded::Listed);
        for number in 0..MAX_PER_USER as u64 {
            let sid = format!("{number:03}");
            assert_eq!(record(&index, "alice", &sid, number), Recorded::Listed);
        }
        assert_eq!(record(&index, "alice", "new", 1000), Recorded::Dropped);
        let kept = sids(&index, "alice");
        assert_eq!(kept.len(), MAX_PER_USER);
        assert!(kept.contains(&"new".to_owned()) && !kept.contains(&"000".to_owned()));
        assert_eq!(sids(&index, "bob"), ["b"]);
        assert_eq!(record(&index, "alice", "late", 0), Recorded::Dropped);
        assert!(!sids(&index, "alice").contains(&"late".to_owned()));
    }

    #[test]
    fn one_user_leaves_entries_to_others_and_a_full_index_evicts_nobody() {
        let index = index(10);
        for number in 0..20 {
            record(&index, "alice", &number.to_string(), number);
        }
        assert_eq!(sids(&index, "alice").len(), 6);
        for name in ["b", "c", "d", "e"] {
            assert_eq!(record(&index, name, "s", 1), Recorded::Listed);
        }
        assert_eq!(record(&index, "f", "s", 100), Recorded::Dropped);
        assert_eq!((index.len(), sids(&index, "f").len()), (10, 0));
        assert_eq!(sids(&index, "b"), ["s"]);
        assert_eq!(record(&index, "b", "s", 5), Recorded::Listed);
    }

    #[test]
    fn visit_and_sweep_reach_every_entry_in_bounded_steps() {
        let number = MAX_READ + READ_AT_ONCE + 7;
        let index = index(10 * number);
        for name in 0..number {
            record(&index, &name.to_string(), "s", 1);
        }
        let (mut seen, mut steps, mut after) = (0, 0, None);
        loop {
            after = index.visit(after, |_, _| {
                seen += 1;
                true
            });
            steps += 1;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((seen, steps), (number, 2));
        index.sweep(|_| true);
        assert_eq!(index.len(), number - MAX_READ);
        index.sweep(|_| true);
        assert_eq!(index.len(), 0);
        assert_eq!(index.visit(None, |_, _| true), None);
    }

    #[test]
    fn activity_is_published_once_in_an_interval() {
        let index = index(5);
        let (key, interval) = (key("alice"), Duration::from_secs(100));
        let use_at = |at, is_of_replica| {
            let session = ListedSession {
                last_activity: Timestamp::from_secs(at),
                is_of_replica,
                ..ListedSession::of_test("alice")
            };
            index.record(key.clone(), session, interval)
        };
        assert_eq!(use_at(1000, false), Recorded::ToPublish);
        assert_eq!(
            use_at(1001, false),
            Recorded::ToPublish,
            "not published yet"
        );
        index.mark_published(std::slice::from_ref(&key), Timestamp::from_secs(1001));
        assert_eq!(use_at(1100, false), Recorded::Listed);
        assert_eq!(use_at(1101, false), Recorded::ToPublish);
        assert_eq!(
            use_at(1500, true),
            Recorded::Listed,
            "another replica published it"
        );
        assert_eq!(use_at(1500, false), Recorded::ToPublish);
    }

    #[test]
    fn index_that_is_off_is_empty() {
        let index = index(5);
        record(&index, "alice", "a", 1);
        assert!(index.is_on());
        index.set_max(0);
        assert!(!index.is_on() && index.len() == 0);
    }
}
