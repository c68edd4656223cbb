//! Sessions of one app that were ended before their time. On the way of a request this is a snapshot that is only
//! read; a revocation makes a new one. Nothing is ever evicted: at the limit all sessions that began before now are
//! ended instead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::types::oauth::{ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// How many recent revocations are copied with each new one before they are merged into the rest.
const RECENT: usize = 256;

/// The revocations of one app in one process.
#[derive(Debug)]
pub struct Revocations {
    snapshot: ArcSwap<RevokedSet>,
    writing: Mutex<()>,
    max_entries: usize,
}

/// What was revoked, at one moment.
#[derive(Clone, Debug, Default)]
pub struct RevokedSet {
    settled: Arc<Names>,
    recent: Names,
    not_before: Option<Timestamp>,
}

/// Which sessions end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The one that we call so.
    Session(SessionId),
    /// Those of one session at the provider.
    ProviderSession(ProviderSid),
    /// All of a person that began at or before a moment.
    Person(Subject, Timestamp),
}

/// What a session is known by.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'s> {
    /// Our name of it.
    pub sid: &'s SessionId,
    /// The provider's name of it, as far as it is known.
    pub provider_sid: Option<&'s ProviderSid>,
    /// The person, as far as known.
    pub subject: Option<&'s Subject>,
    /// When it began.
    pub started_at: Timestamp,
}

/// One map for each kind, so that no name of one kind can be taken for another's.
#[derive(Clone, Debug, Default)]
struct Names {
    sessions: HashMap<String, Entry>,
    provider_sessions: HashMap<String, Entry>,
    people: HashMap<String, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    began_until: Timestamp,
    ends_at: Timestamp,
}

impl RevokedSet {
    /// Whether the session was ended.
    pub fn contains(&self, whose: Whose<'_>) -> bool {
        if self.not_before.is_some_and(|not_before| whose.started_at <= not_before) {
            return true;
        }
        let names = |map: fn(&Names) -> &HashMap<String, Entry>, name: &str| {
            let entry = map(&self.recent).get(name).or_else(|| map(&self.settled).get(name));
            entry.is_some_and(|entry| whose.started_at <= entry.began_until)
        };
        names(|names| &names.sessions, whose.sid.as_str())
            || whose.provider_sid.is_some_and(|sid| names(|names| &names.provider_sessions, sid.as_str()))
            || whose.subject.is_some_and(|subject| names(|names| &names.people, subject.as_str()))
    }

    /// How many revocations there are by name.
    pub fn len(&self) -> usize {
        self.recent.len() + self.settled.len()
    }

    /// Whether nothing was revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.not_before.is_none()
    }
}

impl Revocations {
    /// None yet, and at most `max_entries` to be named one by one.
    pub fn new(max_entries: usize) -> Self {
        Self { snapshot: ArcSwap::default(), writing: Mutex::new(()), max_entries }
    }

    /// What is revoked now.
    pub fn snapshot(&self) -> Arc<RevokedSet> {
        self.snapshot.load_full()
    }

    /// Ends sessions. `ends_at` is when the last of them would have ended by itself.
    pub fn revoke(&self, ended: Ended, ends_at: Timestamp, now: Timestamp) {
        const ALWAYS: Timestamp = Timestamp::from_secs(u64::MAX);
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = RevokedSet::clone(&self.snapshot.load());
        let (name, began_until) = match &ended {
            Ended::Session(sid) => (sid.as_str(), ALWAYS),
            Ended::ProviderSession(sid) => (sid.as_str(), ALWAYS),
            Ended::Person(subject, began_until) => (subject.as_str(), *began_until),
        };
        let before = next.settled.of(&ended).get(name).copied();
        let entry = next.recent.of_mut(&ended).entry(name.to_owned()).or_insert(Entry { began_until, ends_at });
        for known in [Some(Entry { began_until, ends_at }), before].into_iter().flatten() {
            entry.began_until = entry.began_until.max(known.began_until);
            entry.ends_at = entry.ends_at.max(known.ends_at);
        }
        if next.recent.len() > RECENT || next.len() > self.max_entries {
            self.settle(&mut next, now);
        }
        self.snapshot.store(Arc::new(next));
    }

    fn settle(&self, set: &mut RevokedSet, now: Timestamp) {
        let mut settled = Names::clone(&set.settled);
        settled.take_in(std::mem::take(&mut set.recent));
        settled.forget_ended(now);
        if settled.len() > self.max_entries {
            set.not_before = Some(now);
            settled = Names::default();
        }
        set.settled = Arc::new(settled);
    }
}

impl Names {
    const fn of(&self, ended: &Ended) -> &HashMap<String, Entry> {
        match ended {
            Ended::Session(_) => &self.sessions,
            Ended::ProviderSession(_) => &self.provider_sessions,
            Ended::Person(..) => &self.people,
        }
    }

    const fn of_mut(&mut self, ended: &Ended) -> &mut HashMap<String, Entry> {
        match ended {
            Ended::Session(_) => &mut self.sessions,
            Ended::ProviderSession(_) => &mut self.provider_sessions,
            Ended::Person(..) => &mut self.people,
        }
    }

    fn take_in(&mut self, newer: Self) {
        self.sessions.extend(newer.sessions);
        self.provider_sessions.extend(newer.provider_sessions);
        self.people.extend(newer.people);
    }

    fn forget_ended(&mut self, now: Timestamp) {
        for map in [&mut self.sessions, &mut self.provider_sessions, &mut self.people] {
            map.retain(|_, entry| now < entry.ends_at);
        }
    }

    fn len(&self) -> usize {
        self.sessions.len() + self.provider_sessions.len() + self.people.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn is_over(revocations: &Revocations, sid: &str, provider_sid: &str, subject: &str, started_at: u64) -> bool {
        let (sid, provider_sid) = (SessionId::new(sid), ProviderSid::new(provider_sid));
        let subject = Subject::new(subject);
        revocations.snapshot().contains(Whose {
            sid: &sid,
            provider_sid: Some(&provider_sid),
            subject: Some(&subject),
            started_at: at(started_at),
        })
    }

    #[test]
    fn what_was_revoked_stays_so_for_the_life_of_the_session() {
        let revocations = Revocations::new(10_000);
        for number in 0..1000 {
            revocations.revoke(Ended::Session(SessionId::new(number.to_string())), at(100), at(1));
        }
        assert!((0..1000).all(|number| is_over(&revocations, &number.to_string(), "p", "alice", 0)));
        assert!(!is_over(&revocations, "other", "p", "alice", 0));
    }

    #[test]
    fn each_kind_of_name_ends_its_own_sessions_only() {
        let revocations = Revocations::new(10);
        revocations.revoke(Ended::ProviderSession(ProviderSid::new("x")), at(100), at(50));
        assert!(is_over(&revocations, "s", "x", "alice", 60));
        assert!(!is_over(&revocations, "x", "p", "x", 0));
        revocations.revoke(Ended::Person(Subject::new("bob"), at(50)), at(100), at(50));
        assert!(is_over(&revocations, "s", "p", "bob", 50));
        assert!(!is_over(&revocations, "s", "p", "bob", 51));
        revocations.revoke(Ended::Person(Subject::new("bob"), at(40)), at(100), at(50));
        assert!(is_over(&revocations, "s", "p", "bob", 50), "an older revocation takes nothing back");
    }

    #[test]
    fn at_the_limit_all_older_sessions_end_and_none_is_forgotten() {
        let revocations = Revocations::new(3);
        for number in 0..5 {
            revocations.revoke(Ended::Session(SessionId::new(number.to_string())), at(100), at(2));
        }
        assert!((0..5).all(|number| is_over(&revocations, &number.to_string(), "p", "alice", 2)));
        assert!(is_over(&revocations, "any", "p", "alice", 2));
        assert!(!is_over(&revocations, "later", "p", "alice", 3));
    }
}
