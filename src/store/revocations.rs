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

/// How many ended sessions of one person are named one by one when room gets scarce.
const MANY: usize = 64;

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
    /// The one that we call so, and whose it is.
    Session(SessionId, Subject),
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
    /// The person.
    pub subject: &'s Subject,
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

#[derive(Clone, Debug)]
struct Entry {
    began_until: Timestamp,
    ends_at: Timestamp,
    /// Whose session it was.
    person: Option<Box<str>>,
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
            || names(|names| &names.people, whose.subject.as_str())
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
            Ended::Session(sid, _) => (sid.as_str(), ALWAYS),
            Ended::ProviderSession(sid) => (sid.as_str(), ALWAYS),
            Ended::Person(subject, began_until) => (subject.as_str(), *began_until),
        };
        let person = match &ended {
            Ended::Session(_, subject) => Some(subject.as_str().into()),
            Ended::ProviderSession(_) | Ended::Person(..) => None,
        };
        let before = next.settled.of(&ended).get(name).map(|entry| (entry.began_until, entry.ends_at));
        let entry = Entry { began_until, ends_at, person };
        let entry = next.recent.of_mut(&ended).entry(name.to_owned()).or_insert(entry);
        for (began_until, ends_at) in [Some((began_until, ends_at)), before].into_iter().flatten() {
            entry.began_until = entry.began_until.max(began_until);
            entry.ends_at = entry.ends_at.max(ends_at);
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
            settled.name_busy_people(now);
        }
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
            Ended::Session(..) => &self.sessions,
            Ended::ProviderSession(_) => &self.provider_sessions,
            Ended::Person(..) => &self.people,
        }
    }

    const fn of_mut(&mut self, ended: &Ended) -> &mut HashMap<String, Entry> {
        match ended {
            Ended::Session(..) => &mut self.sessions,
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

    /// Whoever logged out very often is named once instead: all of that person's sessions that began before now end.
    fn name_busy_people(&mut self, now: Timestamp) {
        let mut busy: HashMap<Box<str>, (usize, Timestamp)> = HashMap::new();
        for entry in self.sessions.values() {
            if let Some(person) = &entry.person {
                let (sessions, ends_at) = busy.entry(person.clone()).or_default();
                *sessions += 1;
                *ends_at = entry.ends_at.max(*ends_at);
            }
        }
        busy.retain(|_, (sessions, _)| *sessions > MANY);
        self.sessions.retain(|_, entry| entry.person.as_ref().is_none_or(|person| !busy.contains_key(person)));
        for (person, (_, ends_at)) in busy {
            let known = self.people.get(&*person).map_or(ends_at, |known| known.ends_at.max(ends_at));
            self.people.insert(person.into(), Entry { began_until: now, ends_at: known, person: None });
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

    fn session(number: usize, person: usize) -> Ended {
        Ended::Session(SessionId::new(number.to_string()), Subject::new(format!("person {person}")))
    }

    fn is_over(revocations: &Revocations, sid: &str, provider_sid: &str, subject: &str, started_at: u64) -> bool {
        let (sid, provider_sid) = (SessionId::new(sid), ProviderSid::new(provider_sid));
        let subject = Subject::new(subject);
        revocations.snapshot().contains(Whose {
            sid: &sid,
            provider_sid: Some(&provider_sid),
            subject: &subject,
            started_at: at(started_at),
        })
    }

    #[test]
    fn what_was_revoked_stays_so_for_the_life_of_the_session() {
        let revocations = Revocations::new(10_000);
        for number in 0..1000 {
            revocations.revoke(session(number, number), at(100), at(1));
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
    fn who_logs_out_without_end_ends_nobody_elses_sessions() {
        let revocations = Revocations::new(200);
        revocations.revoke(session(1_000_000, 1), at(100), at(1));
        for number in 0..5_000 {
            revocations.revoke(session(number, 0), at(100), at(2));
        }
        assert!((0..5_000).all(|number| is_over(&revocations, &number.to_string(), "p", "person 0", 1)));
        assert!(is_over(&revocations, "1000000", "p", "person 1", 0));
        assert!(!is_over(&revocations, "other", "p", "person 1", 0));
        assert!(!is_over(&revocations, "later", "p", "person 0", 3));
    }

    #[test]
    fn at_the_limit_all_older_sessions_end_and_none_is_forgotten() {
        let revocations = Revocations::new(3);
        for number in 0..5 {
            revocations.revoke(session(number, number), at(100), at(2));
        }
        assert!((0..5).all(|number| is_over(&revocations, &number.to_string(), "p", "alice", 2)));
        assert!(is_over(&revocations, "any", "p", "alice", 2));
        assert!(!is_over(&revocations, "later", "p", "alice", 3));
    }
}
