//! Sessions of one app that were ended before their time. On the way of a request this is a snapshot that is only
//! read; a revocation makes a new one. Nothing is ever evicted: at the limit all sessions that began before now are
//! ended instead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

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
    settled: Arc<RevocationIndex>,
    recent: RevocationIndex,
    /// Until when all sessions began that are over, and when the last of them would have ended by itself.
    everyone: Option<(Timestamp, Timestamp)>,
}

/// Which sessions of one app end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revocation {
    /// The one that we call so, and whose it is.
    Session(SessionId, Subject),
    /// Those of one session at the provider.
    ProviderSession(ProviderSid),
    /// All of a person that began at or before a moment.
    Person(Subject, Timestamp),
    /// All that began at or before a moment.
    Everyone(Timestamp),
}

impl Revocation {
    /// The name in it; none where everyone is meant.
    pub fn name(&self) -> &str {
        match self {
            Self::Session(sid, _) => sid.as_str(),
            Self::ProviderSession(sid) => sid.as_str(),
            Self::Person(subject, _) => subject.as_str(),
            Self::Everyone(_) => "",
        }
    }

    /// The same, but of no session that begins after `latest`: nobody could log in until then.
    #[must_use]
    pub fn until(self, latest: Timestamp) -> Self {
        match self {
            Self::Person(subject, began_until) => Self::Person(subject, began_until.min(latest)),
            Self::Everyone(began_until) => Self::Everyone(began_until.min(latest)),
            Self::Session(..) | Self::ProviderSession(_) => self,
        }
    }
}

/// Whenever it began.
const FOR_EVER: Timestamp = Timestamp::from_secs(u64::MAX);

/// What a session is known by.
#[derive(Clone, Copy, Debug)]
pub struct SessionKeyRef<'s> {
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
struct RevocationIndex {
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
    pub fn contains(&self, whose: SessionKeyRef<'_>) -> bool {
        if self
            .everyone
            .is_some_and(|(began_until, _)| whose.started_at <= began_until)
        {
            return true;
        }
        let names = |map: fn(&RevocationIndex) -> &HashMap<String, Entry>, name: &str| {
            let entry = map(&self.recent)
                .get(name)
                .or_else(|| map(&self.settled).get(name));
            entry.is_some_and(|entry| whose.started_at <= entry.began_until)
        };
        names(|names| &names.sessions, whose.sid.as_str())
            || whose
                .provider_sid
                .is_some_and(|sid| names(|names| &names.provider_sessions, sid.as_str()))
            || names(|names| &names.people, whose.subject.as_str())
    }

    /// Whether this very session was ended by its name.
    pub fn has_session(&self, sid: &SessionId) -> bool {
        self.recent.sessions.contains_key(sid.as_str())
            || self.settled.sessions.contains_key(sid.as_str())
    }

    /// How many revocations there are by name.
    pub fn len(&self) -> usize {
        self.recent.len() + self.settled.len()
    }

    /// Everything that was revoked and still matters at `now`, with the end of each.
    pub fn all(&self, now: Timestamp) -> Vec<(Revocation, Timestamp)> {
        let mut names = RevocationIndex::clone(&self.settled);
        names.take_in(self.recent.clone());
        names.forget_ended(now);
        let sessions = names.sessions.into_iter().map(|(sid, entry)| {
            let person = Subject::new(entry.person.unwrap_or_default());
            (
                Revocation::Session(SessionId::new(sid), person),
                entry.ends_at,
            )
        });
        let provider_sessions = names.provider_sessions.into_iter();
        let people = names.people.into_iter();
        let everyone = self.everyone.filter(|(_, ends_at)| now < *ends_at);
        sessions
            .chain(provider_sessions.map(|(sid, entry)| {
                (
                    Revocation::ProviderSession(ProviderSid::new(sid)),
                    entry.ends_at,
                )
            }))
            .chain(people.map(|(sub, entry)| {
                (
                    Revocation::Person(Subject::new(sub), entry.began_until),
                    entry.ends_at,
                )
            }))
            .chain(
                everyone.map(|(began_until, ends_at)| (Revocation::Everyone(began_until), ends_at)),
            )
            .collect()
    }

    /// Whether nothing was revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.everyone.is_none()
    }
}

impl Revocations {
    /// None yet, and at most `max_entries` to be named one by one.
    pub fn new(max_entries: usize) -> Self {
        Self {
            snapshot: ArcSwap::default(),
            writing: Mutex::new(()),
            max_entries,
        }
    }

    /// What is revoked now.
    pub fn snapshot(&self) -> Arc<RevokedSet> {
        self.snapshot.load_full()
    }

    /// Ends sessions. `ends_at` is when the last of them would have ended by itself. Says whether that is news.
    pub fn revoke(&self, ended: Revocation, ends_at: Timestamp, now: Timestamp) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = RevokedSet::clone(&self.snapshot.load());
        let is_news = match ended {
            Revocation::Session(sid, subject) => {
                let entry = Entry {
                    began_until: FOR_EVER,
                    ends_at,
                    person: named(&subject),
                };
                next.add(
                    |names| &mut names.sessions,
                    |names| &names.sessions,
                    sid.as_str(),
                    entry,
                )
            }
            Revocation::ProviderSession(sid) => {
                let entry = Entry {
                    began_until: FOR_EVER,
                    ends_at,
                    person: None,
                };
                next.add(
                    |names| &mut names.provider_sessions,
                    |names| &names.provider_sessions,
                    sid.as_str(),
                    entry,
                )
            }
            Revocation::Person(subject, began_until) => {
                let entry = Entry {
                    began_until,
                    ends_at,
                    person: None,
                };
                next.add(
                    |names| &mut names.people,
                    |names| &names.people,
                    subject.as_str(),
                    entry,
                )
            }
            Revocation::Everyone(began_until) => next.add_everyone(began_until, ends_at),
        };
        if is_news {
            if next.recent.len() > RECENT || next.len() > self.max_entries {
                self.settle(&mut next, now, ends_at);
            }
            self.snapshot.store(Arc::new(next));
        }
        is_news
    }

    fn settle(&self, set: &mut RevokedSet, now: Timestamp, ends_at: Timestamp) {
        let mut settled = RevocationIndex::clone(&set.settled);
        settled.take_in(std::mem::take(&mut set.recent));
        settled.forget_ended(now);
        if settled.len() > self.max_entries {
            settled.name_busy_people(now);
        }
        if settled.len() > self.max_entries {
            let last = settled.last_end().unwrap_or(ends_at);
            set.add_everyone(now, last);
            settled = RevocationIndex::default();
        }
        set.settled = Arc::new(settled);
    }
}

/// Whose session it is, if that is known.
fn named(subject: &Subject) -> Option<Box<str>> {
    (!subject.as_str().is_empty()).then(|| subject.as_str().into())
}

impl RevokedSet {
    fn add(
        &mut self,
        write: fn(&mut RevocationIndex) -> &mut HashMap<String, Entry>,
        read: fn(&RevocationIndex) -> &HashMap<String, Entry>,
        name: &str,
        entry: Entry,
    ) -> bool {
        let known = read(&self.recent)
            .get(name)
            .or_else(|| read(&self.settled).get(name));
        let Some(known) = known else {
            write(&mut self.recent).insert(name.to_owned(), entry);
            return true;
        };
        let is_news = known.began_until < entry.began_until || known.ends_at < entry.ends_at;
        if is_news {
            let (began_until, ends_at) = (
                known.began_until.max(entry.began_until),
                known.ends_at.max(entry.ends_at),
            );
            write(&mut self.recent).insert(
                name.to_owned(),
                Entry {
                    began_until,
                    ends_at,
                    ..entry
                },
            );
        }
        is_news
    }

    fn add_everyone(&mut self, began_until: Timestamp, ends_at: Timestamp) -> bool {
        let before = self.everyone;
        let known = before.unwrap_or((began_until, ends_at));
        self.everyone = Some((known.0.max(began_until), known.1.max(ends_at)));
        self.everyone != before
    }
}

impl RevocationIndex {
    fn take_in(&mut self, newer: Self) {
        self.sessions.extend(newer.sessions);
        self.provider_sessions.extend(newer.provider_sessions);
        self.people.extend(newer.people);
    }

    fn forget_ended(&mut self, now: Timestamp) {
        for map in [
            &mut self.sessions,
            &mut self.provider_sessions,
            &mut self.people,
        ] {
            map.retain(|_, entry| now < entry.ends_at);
        }
    }

    fn last_end(&self) -> Option<Timestamp> {
        let all = [&self.sessions, &self.provider_sessions, &self.people]
            .into_iter()
            .flat_map(HashMap::values);
        all.map(|entry| entry.ends_at).max()
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
        self.sessions.retain(|_, entry| {
            entry
                .person
                .as_ref()
                .is_none_or(|person| !busy.contains_key(person))
        });
        for (person, (_, ends_at)) in busy {
            let known = self
                .people
                .get(&*person)
                .map_or(ends_at, |known| known.ends_at.max(ends_at));
            self.people.insert(
                person.into(),
                Entry {
                    began_until: now,
                    ends_at: known,
                    person: None,
                },
            );
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

    fn session(number: usize, person: usize) -> Revocation {
        Revocation::Session(
            SessionId::new(number.to_string()),
            Subject::new(format!("person {person}")),
        )
    }

    fn is_over(
        revocations: &Revocations,
        sid: &str,
        provider_sid: &str,
        subject: &str,
        started_at: u64,
    ) -> bool {
        let (sid, provider_sid) = (SessionId::new(sid), ProviderSid::new(provider_sid));
        let subject = Subject::new(subject);
        revocations.snapshot().contains(SessionKeyRef {
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
        assert!((0..1000).all(|number| is_over(
            &revocations,
            &number.to_string(),
            "p",
            "alice",
            0
        )));
        assert!(!is_over(&revocations, "other", "p", "alice", 0));
    }

    #[test]
    fn each_kind_of_name_ends_its_own_sessions_only() {
        let revocations = Revocations::new(10);
        revocations.revoke(
            Revocation::ProviderSession(ProviderSid::new("x")),
            at(100),
            at(50),
        );
        assert!(is_over(&revocations, "s", "x", "alice", 60));
        assert!(!is_over(&revocations, "x", "p", "x", 0));
        revocations.revoke(
            Revocation::Person(Subject::new("bob"), at(50)),
            at(100),
            at(50),
        );
        assert!(is_over(&revocations, "s", "p", "bob", 50));
        assert!(!is_over(&revocations, "s", "p", "bob", 51));
        revocations.revoke(
            Revocation::Person(Subject::new("bob"), at(40)),
            at(100),
            at(50),
        );
        assert!(
            is_over(&revocations, "s", "p", "bob", 50),
            "an older revocation takes nothing back"
        );
    }

    #[test]
    fn all_that_is_revoked_can_be_told_to_another_who_then_refuses_the_same() {
        let here = Revocations::new(1000);
        for number in 0..400 {
            assert!(here.revoke(session(number, number), at(100), at(1)));
        }
        here.revoke(
            Revocation::ProviderSession(ProviderSid::new("x")),
            at(100),
            at(1),
        );
        here.revoke(
            Revocation::Person(Subject::new("bob"), at(50)),
            at(100),
            at(1),
        );
        here.revoke(
            Revocation::Person(Subject::new("ended"), at(50)),
            at(2),
            at(1),
        );
        let there = Revocations::new(1000);
        let all = here.snapshot().all(at(2));
        assert_eq!(all.len(), 402);
        for (ended, ends_at) in all.clone() {
            assert!(there.revoke(ended, ends_at, at(2)));
        }
        for (ended, ends_at) in all {
            assert!(
                !there.revoke(ended, ends_at, at(2)),
                "it is no news any more"
            );
        }
        assert!((0..400).all(|number| is_over(&there, &number.to_string(), "p", "alice", 60)));
        assert!(is_over(&there, "s", "x", "alice", 60) && is_over(&there, "s", "p", "bob", 50));
        assert!(!is_over(&there, "s", "p", "bob", 51) && !is_over(&there, "s", "p", "ended", 1));

        here.revoke(Revocation::Everyone(at(70)), at(100), at(2));
        for (ended, ends_at) in here.snapshot().all(at(2)) {
            there.revoke(ended, ends_at, at(2));
        }
        assert!(
            is_over(&there, "any", "p", "carol", 70) && !is_over(&there, "any", "p", "carol", 71)
        );
    }

    #[test]
    fn who_logs_out_without_end_ends_nobody_elses_sessions() {
        let revocations = Revocations::new(200);
        revocations.revoke(session(1_000_000, 1), at(100), at(1));
        for number in 0..5_000 {
            revocations.revoke(session(number, 0), at(100), at(2));
        }
        assert!((0..5_000).all(|number| is_over(
            &revocations,
            &number.to_string(),
            "p",
            "person 0",
            1
        )));
        assert!(is_over(&revocations, "1000000", "p", "person 1", 0));
        assert!(!is_over(&revocations, "other", "p", "person 1", 0));
        assert!(!is_over(&revocations, "later", "p", "person 0", 3));
    }

    #[test]
    fn sessions_of_nobody_in_particular_stay_ended_one_by_one() {
        let revocations = Revocations::new(100);
        for number in 0..90 {
            let ended = Revocation::Session(SessionId::new(number.to_string()), Subject::new(""));
            revocations.revoke(ended, at(100), at(2));
        }
        for number in 100..120 {
            revocations.revoke(session(number, number), at(100), at(2));
        }
        assert!((0..90).all(|number| is_over(&revocations, &number.to_string(), "p", "alice", 1)));
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
