//! Quota of preserved POSTs, reserved before a body is read. It limits bytes, number and concurrent
//! uploads, so that form submissions exhaust neither memory nor the store entries of logins.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::session::last_user::SubjectHash;
use crate::types::time::Timestamp;

/// The maximum size of all preserved POSTs of this process, sealed, in bytes.
const ROOM: usize = 32 * 1024 * 1024;

/// The minimum charge of a POST, in bytes: even an empty one takes a store entry.
const LEAST: usize = 4096;

/// The overhead of sealing, in bytes, before base64.
const SEALED: usize = 256;

/// The maximum number of concurrent uploads.
const ARRIVING: usize = 128;

/// The maximum number of requests that are checked for a replay at once.
const CALLS: usize = 1024;

/// The share of one user. An expired cookie suffices to be counted as a user, so a share must not
/// open the whole quota. Anything beyond it counts as anonymous.
const SHARE: Sum = Sum {
    post_replays: 32,
    bytes: ROOM / 16,
    arriving: 8,
};

/// The user of a POST, with the index of the app. `None`: anonymous.
pub(in crate::auth) type Sender = Option<(usize, SubjectHash)>;

/// The POSTs that this process stored or is reading.
#[derive(Debug)]
pub(in crate::auth) struct PostQuota {
    most: Sum,
    held: Mutex<Held>,
    calls: Semaphore,
}

#[derive(Debug, Default)]
struct Held {
    post_replays: HashMap<String, Taken>,
    ends: BTreeSet<(Timestamp, String)>,
    all: Sum,
    anonymous_tasks: Sum,
    persons: HashMap<(usize, SubjectHash), Sum>,
}

#[derive(Debug)]
struct Taken {
    bytes: usize,
    sender: Sender,
    ends_at: Timestamp,
    arriving: bool,
}

/// An amount of POSTs: in use, or a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    post_replays: usize,
    bytes: usize,
    arriving: usize,
}

impl PostQuota {
    /// Creates a quota for a store of `max_entries`, of which POSTs use at most a quarter.
    pub(in crate::auth) fn new(max_entries: usize) -> Self {
        let most = Sum {
            post_replays: max_entries / 4,
            bytes: ROOM,
            arriving: ARRIVING,
        };
        Self {
            most,
            held: Mutex::default(),
            calls: Semaphore::new(CALLS),
        }
    }

    /// Reserves quota for the POST `key` of `bytes` before sealing. Anonymous POSTs use at most
    /// half of it.
    pub(in crate::auth) fn take(
        &self,
        key: &str,
        (sender, bytes): (Sender, usize),
        ends_at: Timestamp,
        now: Timestamp,
    ) -> bool {
        let bytes = charged(bytes);
        let mut held = self.lock();
        held.sweep(now);
        let share = sender.map(|user| held.persons.get(&user).copied().unwrap_or_default());
        let sender = sender.filter(|_| share.is_some_and(|share| share.leaves(bytes, SHARE)));
        let fits = held.all.leaves(bytes, self.most)
            && (sender.is_some() || held.anonymous_tasks.leaves(bytes, self.most.half()))
            && !held.post_replays.contains_key(key);
        if fits {
            held.add(
                key,
                Taken {
                    bytes,
                    sender,
                    ends_at,
                    arriving: true,
                },
            );
        }
        fits
    }

    /// The upload of the POST `key` has ended.
    pub(in crate::auth) fn arrived(&self, key: &str) {
        let mut held = self.lock();
        if let Some(mut taken) = held.remove(key) {
            taken.arriving = false;
            held.add(key, taken);
        }
    }

    pub(in crate::auth) fn free(&self, key: &str) {
        self.lock().remove(key);
    }

    /// How many POSTs hold quota, and their bytes.
    pub(in crate::auth) fn taken(&self) -> (usize, usize) {
        let all = self.lock().all;
        (all.post_replays, all.bytes)
    }

    pub(in crate::auth) fn sweep(&self, now: Timestamp) {
        self.lock().sweep(now);
    }

    pub(in crate::auth) fn calls(&self) -> &Semaphore {
        &self.calls
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The charge of a POST: its sealed size, or the minimum.
fn charged(bytes: usize) -> usize {
    (bytes.saturating_add(SEALED).saturating_mul(4) / 3).max(LEAST)
}

impl Held {
    fn add(&mut self, key: &str, taken: Taken) {
        self.all.add(&taken);
        match taken.sender {
            Some(user) => self.persons.entry(user).or_default().add(&taken),
            None => self.anonymous_tasks.add(&taken),
        }
        self.ends.insert((taken.ends_at, key.to_owned()));
        self.post_replays.insert(key.to_owned(), taken);
    }

    fn remove(&mut self, key: &str) -> Option<Taken> {
        let (key, taken) = self.post_replays.remove_entry(key)?;
        self.all.remove(&taken);
        match taken.sender.map(|user| self.persons.entry(user)) {
            Some(Entry::Occupied(mut share)) => {
                share.get_mut().remove(&taken);
                if share.get().post_replays == 0 {
                    share.remove();
                }
            }
            Some(Entry::Vacant(_)) => {}
            None => self.anonymous_tasks.remove(&taken),
        }
        self.ends.remove(&(taken.ends_at, key));
        Some(taken)
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

impl Sum {
    /// Whether one more upload of `bytes` is within `most`.
    const fn leaves(self, bytes: usize, most: Self) -> bool {
        self.post_replays < most.post_replays
            && self.bytes.saturating_add(bytes) <= most.bytes
            && self.arriving < most.arriving
    }

    const fn half(self) -> Self {
        Self {
            post_replays: self.post_replays / 2,
            bytes: self.bytes / 2,
            arriving: self.arriving / 2,
        }
    }

    const fn add(&mut self, taken: &Taken) {
        self.post_replays += 1;
        self.bytes += taken.bytes;
        self.arriving += taken.arriving as usize;
    }

    const fn remove(&mut self, taken: &Taken) {
        self.post_replays -= 1;
        self.bytes -= taken.bytes;
        self.arriving -= taken.arriving as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::oauth::Subject;

    const NOW: Timestamp = Timestamp::from_secs(0);
    const END: Timestamp = Timestamp::from_secs(100);

    fn user(name: usize) -> Sender {
        Some((0, SubjectHash::of(&Subject::new(name.to_string()))))
    }

    /// How many POSTs with these IDs get quota.
    fn kept(room: &PostQuota, sender: Sender, bytes: usize, ids: std::ops::Range<usize>) -> usize {
        let fits = |id: &usize| {
            let key = id.to_string();
            room.take(&key, (sender, bytes), END, NOW) && {
                room.arrived(&key);
                true
            }
        };
        ids.filter(fits).count()
    }

    #[test]
    fn the_room_is_bounded_in_bytes_and_strangers_leave_half_of_it() {
        let (room, part) = (PostQuota::new(100_000), ROOM / 32 * 3 / 4 - SEALED);
        assert_eq!(kept(&room, None, part, 0..100), 16);
        let known: usize = (0..20)
            .map(|one| kept(&room, user(one), part, 100 * (one + 1)..100 * (one + 2)))
            .sum();
        assert_eq!((known, room.taken()), (16, (32, ROOM)));
        room.free("0");
        room.free("0");
        assert_eq!(room.taken(), (31, ROOM - ROOM / 32));
        assert_eq!(kept(&room, None, part, 5000..5100), 1);
        room.sweep(Timestamp::from_secs(99));
        assert_eq!(room.taken().0, 32);
        room.sweep(END);
        assert_eq!(room.taken(), (0, 0));
        let held = room.lock();
        assert!(held.ends.is_empty() && held.persons.is_empty());
        assert_eq!(
            (held.all, held.anonymous_tasks),
            (Sum::default(), Sum::default())
        );
    }

    #[test]
    fn empty_forms_leave_logins_most_of_the_store() {
        let large = PostQuota::new(100_000);
        assert_eq!(kept(&large, None, 0, 0..20_000), ROOM / LEAST / 2);
        let small = PostQuota::new(80);
        assert_eq!(
            (
                kept(&small, None, 0, 0..100),
                kept(&small, user(1), 0, 100..200)
            ),
            (10, 10)
        );
        assert_eq!(small.taken().0, 20, "a quarter");
    }

    #[test]
    fn one_person_has_a_share_and_takes_beyond_it_what_strangers_have() {
        let room = PostQuota::new(100_000);
        assert_eq!(
            kept(&room, user(1), 0, 0..20_000),
            SHARE.post_replays + ROOM / LEAST / 2
        );
        assert_eq!(kept(&room, None, 0, 20_000..20_100), 0);
        assert_eq!(
            kept(&room, user(2), 0, 20_000..20_100),
            SHARE.post_replays,
            "others have theirs"
        );
    }

    #[test]
    fn few_forms_arrive_at_once() {
        let room = PostQuota::new(100_000);
        let take = |sender, id: usize| room.take(&id.to_string(), (sender, 0), END, NOW);
        assert_eq!((0..1000).filter(|id| take(None, *id)).count(), ARRIVING / 2);
        assert!(take(user(1), 1000), "strangers leave half");
        room.arrived("0");
        room.free("1");
        assert_eq!((2000..3000).filter(|id| take(None, *id)).count(), 2);
    }
}
