//! Revocations of one app in one process. Requests read an immutable snapshot; each revocation creates
//! a new one. Revocations are never evicted: at the limit, all sessions that started before now are
//! revoked instead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::lock::lock;
use crate::types::oauth::{ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// The most recent revocations, which are copied with each new one, before they are merged.
const MAX_RECENT: usize = 256;

/// At the limit, the revoked sessions of a user with more than this are replaced by one revocation.
const MAX_SESSIONS_PER_USER: usize = 64;

/// The revocations of one app in one process.
#[derive(Debug)]
pub struct Revocations {
    snapshot: ArcSwap<RevokedSet>,
    writing: Mutex<()>,
    max_entries: usize,
}

/// A snapshot of the revocations.
#[derive(Clone, Debug, Default)]
pub struct RevokedSet {
    settled: Arc<RevocationIndex>,
    recent: RevocationIndex,
    /// The latest start of revoked sessions of any user, and when the last of them would expire.
    everyone: Option<(Timestamp, Timestamp)>,
}

/// The revoked sessions of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revocation {
    /// One session, with its user.
    Session(SessionId, Subject),
    /// The sessions of one provider session.
    ProviderSession(ProviderSid),
    /// The sessions of a user that started at or before a time.
    User(Subject, Timestamp),
    /// All sessions that started at or before a time.
    Everyone(Timestamp),
}

impl Revocation {
    /// The session ID or subject. Empty for all sessions.
    pub fn name(&self) -> &str {
        match self {
            Self::Session(sid, _) => sid.as_str(),
            Self::ProviderSession(sid) => sid.as_str(),
            Self::User(subject, _) => subject.as_str(),
            Self::Everyone(_) => "",
        }
    }

    /// Limits the start of revoked sessions to `latest`, so that users can log in after it.
    #[must_use]
    pub fn until(self, latest: Timestamp) -> Self {
        match self {
            Self::User(subject, started_until) => Self::User(subject, started_until.min(latest)),
            Self::Everyone(started_until) => Self::Everyone(started_until.min(latest)),
            Self::Session(..) | Self::ProviderSession(_) => self,
        }
    }
}

/// Matches any start time.
const ANY_START: Timestamp = Timestamp::from_secs(u64::MAX);

/// The identifiers of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionKeyRef<'s> {
    /// Doorward's session ID.
    pub sid: &'s SessionId,
    /// The provider's session ID, if known.
    pub provider_sid: Option<&'s ProviderSid>,
    /// The user.
    pub subject: &'s Subject,
    /// The start of the session.
    pub started_at: Timestamp,
}

/// One map for each type of identifier, so that equal identifiers of different types do not collide.
#[derive(Clone, Debug, Default)]
struct RevocationIndex {
    sessions: HashMap<String, Entry>,
    provider_sessions: HashMap<String, Entry>,
    users: HashMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    started_until: Timestamp,
    ends_at: Timestamp,
    /// The user of a session.
    user: Option<Box<str>>,
}

impl RevokedSet {
    /// Whether the session is revoked.
    pub fn contains(&self, session: SessionKeyRef<'_>) -> bool {
        if self
            .everyone
            .is_some_and(|(started_until, _)| session.started_at <= started_until)
        {
            return true;
        }
        let names = |map: fn(&RevocationIndex) -> &HashMap<String, Entry>, name: &str| {
            let entry = map(&self.recent)
                .get(name)
                .or_else(|| map(&self.settled).get(name));
            entry.is_some_and(|entry| session.started_at <= entry.started_until)
        };
        names(|names| &names.sessions, session.sid.as_str())
            || session
                .provider_sid
                .is_some_and(|sid| names(|names| &names.provider_sessions, sid.as_str()))
            || names(|names| &names.users, session.subject.as_str())
    }

    /// Whether the session is revoked individually.
    pub fn has_session(&self, sid: &SessionId) -> bool {
        self.recent.sessions.contains_key(sid.as_str())
            || self.settled.sessions.contains_key(sid.as_str())
    }

    /// The number of revocations, without that of all sessions.
    pub fn len(&self) -> usize {
        self.recent.len() + self.settled.len()
    }

    /// All revocations that have not expired, with their expiry times.
    pub fn all(&self, now: Timestamp) -> Vec<(Revocation, Timestamp)> {
        let mut names = RevocationIndex::clone(&self.settled);
        names.merge(self.recent.clone());
        names.remove_expired(now);
        let sessions = names.sessions.into_iter().map(|(sid, entry)| {
            let user = Subject::new(entry.user.unwrap_or_default());
            (
                Revocation::Session(SessionId::new(sid), user),
                entry.ends_at,
            )
        });
        let provider_sessions = names.provider_sessions.into_iter();
        let users = names.users.into_iter();
        let everyone = self.everyone.filter(|(_, ends_at)| now < *ends_at);
        sessions
            .chain(provider_sessions.map(|(sid, entry)| {
                (
                    Revocation::ProviderSession(ProviderSid::new(sid)),
                    entry.ends_at,
                )
            }))
            .chain(users.map(|(sub, entry)| {
                (
                    Revocation::User(Subject::new(sub), entry.started_until),
                    entry.ends_at,
                )
            }))
            .chain(
                everyone
                    .map(|(started_until, ends_at)| (Revocation::Everyone(started_until), ends_at)),
            )
            .collect()
    }

    /// Whether there are no revocations.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.everyone.is_none()
    }
}

impl Revocations {
    /// An empty set, for at most `max_entries` individual revocations.
    pub fn new(max_entries: usize) -> Self {
        Self {
            snapshot: ArcSwap::default(),
            writing: Mutex::new(()),
            max_entries,
        }
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<RevokedSet> {
        self.snapshot.load_full()
    }

    /// Revokes sessions. `ends_at` is when the last of them would expire. Returns whether the set changed.
    pub fn revoke(&self, ended: Revocation, ends_at: Timestamp, now: Timestamp) -> bool {
        let _writing = lock(&self.writing);
        let mut next = RevokedSet::clone(&self.snapshot.load());
        let is_new = match ended {
            Revocation::Session(sid, subject) => {
                let entry = Entry {
                    started_until: ANY_START,
                    ends_at,
                    user: user_of(&subject),
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
                    started_until: ANY_START,
                    ends_at,
                    user: None,
                };
                next.add(
                    |names| &mut names.provider_sessions,
                    |names| &names.provider_sessions,
                    sid.as_str(),
                    entry,
                )
            }
            Revocation::User(subject, started_until) => {
                let entry = Entry {
                    started_until,
                    ends_at,
                    user: None,
                };
                next.add(
                    |names| &mut names.users,
                    |names| &names.users,
                    subject.as_str(),
                    entry,
                )
            }
            Revocation::Everyone(started_until) => next.add_everyone(started_until, ends_at),
        };
        if is_new {
            if next.recent.len() > MAX_RECENT || next.len() > self.max_entries {
                self.settle(&mut next, now, ends_at);
            }
            self.snapshot.store(Arc::new(next));
        }
        is_new
    }

    fn settle(&self, set: &mut RevokedSet, now: Timestamp, ends_at: Timestamp) {
        let mut settled = RevocationIndex::clone(&set.settled);
        settled.merge(std::mem::take(&mut set.recent));
        settled.remove_expired(now);
        if settled.len() > self.max_entries {
            settled.merge_sessions_of_users(now);
        }
        if settled.len() > self.max_entries {
            let last = settled.last_end().unwrap_or(ends_at);
            set.add_everyone(now, last);
            settled = RevocationIndex::default();
        }
        set.settled = Arc::new(settled);
    }
}

/// The user of a session, if known.
fn user_of(subject: &Subject) -> Option<Box<str>> {
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
        let is_new = known.started_until < entry.started_until || known.ends_at < entry.ends_at;
        if is_new {
            let (started_until, ends_at) = (
                known.started_until.max(entry.started_until),
                known.ends_at.max(entry.ends_at),
            );
            write(&mut self.recent).insert(
                name.to_owned(),
                Entry {
                    started_until,
                    ends_at,
                    ..entry
                },
            );
        }
        is_new
    }

    fn add_everyone(&mut self, started_until: Timestamp, ends_at: Timestamp) -> bool {
        let before = self.everyone;
        let known = before.unwrap_or((started_until, ends_at));
        self.everyone = Some((known.0.max(started_until), known.1.max(ends_at)));
        self.everyone != before
    }
}

impl RevocationIndex {
    fn merge(&mut self, newer: Self) {
        self.sessions.extend(newer.sessions);
        self.provider_sessions.extend(newer.provider_sessions);
        self.users.extend(newer.users);
    }

    fn remove_expired(&mut self, now: Timestamp) {
        for map in [
            &mut self.sessions,
            &mut self.provider_sessions,
            &mut self.users,
        ] {
            map.retain(|_, entry| now < entry.ends_at);
        }
    }

    fn last_end(&self) -> Option<Timestamp> {
        let all = [&self.sessions, &self.provider_sessions, &self.users]
            .into_iter()
            .flat_map(HashMap::values);
        all.map(|entry| entry.ends_at).max()
    }

    /// Replaces the many revoked sessions of a user by one revocation of all that user's sessions.
    fn merge_sessions_of_users(&mut self, now: Timestamp) {
        let mut merged: HashMap<Box<str>, (usize, Timestamp)> = HashMap::new();
        for entry in self.sessions.values() {
            if let Some(user) = &entry.user {
                let (sessions, ends_at) = merged.entry(user.clone()).or_default();
                *sessions += 1;
                *ends_at = entry.ends_at.max(*ends_at);
            }
        }
        merged.retain(|_, (sessions, _)| *sessions > MAX_SESSIONS_PER_USER);
        self.sessions.retain(|_, entry| {
            entry
                .user
                .as_ref()
                .is_none_or(|user| !merged.contains_key(user))
        });
        for (user, (_, ends_at)) in merged {
            let known = self
                .users
                .get(&*user)
                .map_or(ends_at, |known| known.ends_at.max(ends_at));
            self.users.insert(
                user.into(),
                Entry {
                    started_until: now,
                    ends_at: known,
                    user: None,
                },
            );
        }
    }

    fn len(&self) -> usize {
        self.sessions.len() + self.provider_sessions.len() + self.users.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn session(number: usize, user: usize) -> Revocation {
        Revocation::Session(
            SessionId::new(number.to_string()),
            Subject::new(format!("user {user}")),
        )
    }

    fn is_revoked(
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
    fn revocations_are_kept_until_the_session_expires() {
        let revocations = Revocations::new(10_000);
        for number in 0..1000 {
            revocations.revoke(session(number, number), at(100), at(1));
        }
        assert!((0..1000).all(|number| is_revoked(
            &revocations,
            &number.to_string(),
            "p",
            "alice",
            0
        )));
        assert!(!is_revoked(&revocations, "other", "p", "alice", 0));
    }

    #[test]
    fn identifier_types_do_not_collide() {
        let revocations = Revocations::new(10);
        revocations.revoke(
            Revocation::ProviderSession(ProviderSid::new("x")),
            at(100),
            at(50),
        );
        assert!(is_revoked(&revocations, "s", "x", "alice", 60));
        assert!(!is_revoked(&revocations, "x", "p", "x", 0));
        revocations.revoke(
            Revocation::User(Subject::new("bob"), at(50)),
            at(100),
            at(50),
        );
        assert!(is_revoked(&revocations, "s", "p", "bob", 50));
        assert!(!is_revoked(&revocations, "s", "p", "bob", 51));
        revocations.revoke(
            Revocation::User(Subject::new("bob"), at(40)),
            at(100),
            at(50),
        );
        assert!(
            is_revoked(&revocations, "s", "p", "bob", 50),
            "an older revocation changes nothing"
        );
    }

    #[test]
    fn exported_revocations_are_equal_after_import() {
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
            Revocation::User(Subject::new("bob"), at(50)),
            at(100),
            at(1),
        );
        here.revoke(
            Revocation::User(Subject::new("ended"), at(50)),
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
            assert!(!there.revoke(ended, ends_at, at(2)), "it is known already");
        }
        assert!((0..400).all(|number| is_revoked(&there, &number.to_string(), "p", "alice", 60)));
        assert!(
            is_revoked(&there, "s", "x", "alice", 60) && is_revoked(&there, "s", "p", "bob", 50)
        );
        assert!(
            !is_revoked(&there, "s", "p", "bob", 51) && !is_revoked(&there, "s", "p", "ended", 1)
        );

        here.revoke(Revocation::Everyone(at(70)), at(100), at(2));
        for (ended, ends_at) in here.snapshot().all(at(2)) {
            there.revoke(ended, ends_at, at(2));
        }
        assert!(
            is_revoked(&there, "any", "p", "carol", 70)
                && !is_revoked(&there, "any", "p", "carol", 71)
        );
    }

    #[test]
    fn many_logouts_of_a_user_affect_no_other() {
        let revocations = Revocations::new(200);
        revocations.revoke(session(1_000_000, 1), at(100), at(1));
        for number in 0..5_000 {
            revocations.revoke(session(number, 0), at(100), at(2));
        }
        assert!((0..5_000).all(|number| is_revoked(
            &revocations,
            &number.to_string(),
            "p",
            "user 0",
            1
        )));
        assert!(is_revoked(&revocations, "1000000", "p", "user 1", 0));
        assert!(!is_revoked(&revocations, "other", "p", "user 1", 0));
        assert!(!is_revoked(&revocations, "later", "p", "user 0", 3));
    }

    #[test]
    fn sessions_without_a_user_are_not_merged() {
        let revocations = Revocations::new(100);
        for number in 0..90 {
            let ended = Revocation::Session(SessionId::new(number.to_string()), Subject::new(""));
            revocations.revoke(ended, at(100), at(2));
        }
        for number in 100..120 {
            revocations.revoke(session(number, number), at(100), at(2));
        }
        assert!((0..90).all(|number| is_revoked(
            &revocations,
            &number.to_string(),
            "p",
            "alice",
            1
        )));
    }

    #[test]
    fn at_the_limit_all_older_sessions_are_revoked() {
        let revocations = Revocations::new(3);
        for number in 0..5 {
            revocations.revoke(session(number, number), at(100), at(2));
        }
        assert!((0..5).all(|number| is_revoked(
            &revocations,
            &number.to_string(),
            "p",
            "alice",
            2
        )));
        assert!(is_revoked(&revocations, "any", "p", "alice", 2));
        assert!(!is_revoked(&revocations, "later", "p", "alice", 3));
    }
}
