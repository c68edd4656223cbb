//! Revocations of one app in one process. Requests read an immutable snapshot; each revocation creates
//! a new one. Revocations are never evicted: at the limit, all sessions that started before now are
//! revoked instead.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::revocation::{ProviderRevocation, Revocation, UserSessions};
use super::revocation_index::{Entry, Kind, Name, RevocationIndex};
use crate::lock::lock;
use crate::types::oauth::{Issuer, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// The most recent revocations, which are copied with each new one, before they are merged.
const MAX_RECENT: usize = 256;

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

/// The identifiers of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionKeyRef<'s> {
    /// The issuer of its tokens, if that is not the app's own provider.
    pub issuer: Option<&'s Issuer>,
    /// Doorward's session ID.
    pub sid: &'s SessionId,
    /// The provider's session ID, if known.
    pub provider_sid: Option<&'s ProviderSid>,
    /// The user.
    pub subject: &'s Subject,
    /// The start of the session.
    pub started_at: Timestamp,
    /// An access token of an API client. A logout of a browser session does not end the user's
    /// tokens of other sessions.
    pub is_access_token: bool,
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
        let is_revoked = |kind, name| {
            let issuer = session.issuer;
            let entry = self.find(Name { issuer, kind, name });
            entry.is_some_and(|entry| session.started_at <= entry.started_until)
        };
        let subject = session.subject.as_str();
        is_revoked(Kind::Session, session.sid.as_str())
            || is_revoked(Kind::User, subject)
            || match session.provider_sid {
                Some(sid) => is_revoked(Kind::ProviderSession, sid.as_str()),
                None => !session.is_access_token && is_revoked(Kind::Unnamed, subject),
            }
    }

    /// The entry of an identifier. A recent entry includes the settled one.
    fn find(&self, name: Name<'_>) -> Option<&Entry> {
        let recent = self.recent.find(name);
        recent.or_else(|| self.settled.find(name))
    }

    /// Whether the session is revoked individually.
    pub fn has_session(&self, sid: &SessionId) -> bool {
        self.find(Name::of_session(sid)).is_some()
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
        let everyone = self.everyone.filter(|(_, ends_at)| now < *ends_at);
        let everyone =
            everyone.map(|(started_until, ends_at)| (Revocation::Everyone(started_until), ends_at));
        names.into_revocations().chain(everyone).collect()
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
        let is_new = next.add_revocation(ended, ends_at);
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

impl RevokedSet {
    /// Returns whether the set changed.
    fn add_revocation(&mut self, revocation: Revocation, ends_at: Timestamp) -> bool {
        let by_provider = match revocation {
            Revocation::Session(sid, subject) => {
                let entry = Entry::of_session(Some(&subject), ends_at);
                return self.add(Name::of_session(&sid), entry);
            }
            Revocation::Everyone(started_until) => {
                return self.add_everyone(started_until, ends_at);
            }
            Revocation::ProviderSession(sid) => ProviderRevocation {
                issuer: None,
                sid: Some(sid),
                user: None,
            },
            Revocation::User(subject, started_until) => ProviderRevocation {
                issuer: None,
                sid: None,
                user: Some(UserSessions {
                    subject,
                    started_until,
                }),
            },
            Revocation::Provider(by_provider) => by_provider,
        };
        self.add_by_provider(&by_provider, ends_at)
    }

    fn add_by_provider(&mut self, revocation: &ProviderRevocation, ends_at: Timestamp) -> bool {
        let ProviderRevocation { issuer, sid, user } = revocation;
        let issuer = issuer.as_ref();
        let mut is_new = false;
        if let Some(sid) = sid {
            let name = Name {
                issuer,
                kind: Kind::ProviderSession,
                name: sid.as_str(),
            };
            let subject = user.as_ref().map(|user| &user.subject);
            is_new |= self.add(name, Entry::of_session(subject, ends_at));
        }
        if let Some(user) = user {
            let name = Name {
                issuer,
                kind: sid.as_ref().map_or(Kind::User, |_| Kind::Unnamed),
                name: user.subject.as_str(),
            };
            is_new |= self.add(name, Entry::of_user(user.started_until, ends_at));
        }
        is_new
    }

    fn add(&mut self, name: Name<'_>, entry: Entry) -> bool {
        let Some(known) = self.find(name) else {
            self.recent
                .map_mut(name)
                .insert(name.name.to_owned(), entry);
            return true;
        };
        let merged = Entry {
            started_until: known.started_until.max(entry.started_until),
            ends_at: known.ends_at.max(entry.ends_at),
            user: known.user.clone().or(entry.user),
        };
        let is_new = merged.started_until > known.started_until
            || merged.ends_at > known.ends_at
            || merged.user != known.user;
        if is_new {
            self.recent
                .map_mut(name)
                .insert(name.name.to_owned(), merged);
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
            issuer: None,
            sid: &sid,
            provider_sid: Some(&provider_sid),
            subject: &subject,
            started_at: at(started_at),
            is_access_token: false,
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

    fn provider_session(issuer: Option<&str>, sid: &str, user: Option<(&str, u64)>) -> Revocation {
        Revocation::Provider(ProviderRevocation {
            issuer: issuer.map(Issuer::new),
            sid: Some(ProviderSid::new(sid)),
            user: user.map(|(subject, started_until)| UserSessions {
                subject: Subject::new(subject),
                started_until: at(started_until),
            }),
        })
    }

    /// A session of alice that started at 50.
    fn is_revoked_at(
        revocations: &Revocations,
        issuer: Option<&str>,
        provider_sid: Option<&str>,
    ) -> bool {
        let (issuer, provider_sid) = (issuer.map(Issuer::new), provider_sid.map(ProviderSid::new));
        revocations.snapshot().contains(SessionKeyRef {
            issuer: issuer.as_ref(),
            sid: &SessionId::new("s"),
            provider_sid: provider_sid.as_ref(),
            subject: &Subject::new("alice"),
            started_at: at(50),
            is_access_token: false,
        })
    }

    #[test]
    fn access_token_of_unknown_provider_session_outlives_the_logout_of_a_session() {
        let revocations = Revocations::new(100);
        let revocation = Revocation::Provider(ProviderRevocation {
            issuer: None,
            sid: Some(ProviderSid::new("p")),
            user: Some(UserSessions {
                subject: Subject::new("alice"),
                started_until: at(100),
            }),
        });
        revocations.revoke(revocation, at(1000), at(100));
        let is_revoked = |is_access_token| {
            revocations.snapshot().contains(SessionKeyRef {
                issuer: None,
                sid: &SessionId::new("s"),
                provider_sid: None,
                subject: &Subject::new("alice"),
                started_at: at(50),
                is_access_token,
            })
        };
        assert!(is_revoked(false) && !is_revoked(true));
    }

    #[test]
    fn session_of_unknown_provider_session_ends_with_its_user() {
        for (user, is_over) in [
            (None, false),
            (Some(("alice", 50)), true),
            (Some(("alice", 49)), false),
            (Some(("bob", 50)), false),
        ] {
            let revocations = Revocations::new(10);
            revocations.revoke(provider_session(None, "p", user), at(100), at(50));
            let at_other_replica = Revocations::new(10);
            for (revocation, ends_at) in revocations.snapshot().all(at(50)) {
                at_other_replica.revoke(revocation, ends_at, at(50));
            }
            for revocations in [revocations, at_other_replica] {
                let is_revoked = |sid| is_revoked_at(&revocations, None, sid);
                assert_eq!(is_revoked(None), is_over, "{user:?}");
                assert!(is_revoked(Some("p")) && !is_revoked(Some("q")), "{user:?}");
            }
        }
    }

    #[test]
    fn names_of_one_issuer_mean_nothing_at_another() {
        let (own, other) = (None, Some("https://other.example"));
        for issuer in [own, other] {
            let of_user = Revocation::Provider(ProviderRevocation {
                issuer: issuer.map(Issuer::new),
                sid: None,
                user: Some(UserSessions {
                    subject: Subject::new("alice"),
                    started_until: at(50),
                }),
            });
            for revocation in [
                of_user,
                provider_session(issuer, "p", None),
                provider_session(issuer, "q", Some(("alice", 50))),
            ] {
                let revocations = Revocations::new(10);
                revocations.revoke(revocation.clone(), at(100), at(50));
                let again = Revocations::new(10);
                for (revocation, ends_at) in revocations.snapshot().all(at(50)) {
                    again.revoke(revocation, ends_at, at(50));
                }
                for revocations in [revocations, again] {
                    let is_over = |issuer| {
                        is_revoked_at(&revocations, issuer, Some("p"))
                            || is_revoked_at(&revocations, issuer, None)
                    };
                    let found = [own, other].map(is_over);
                    let expected = [own, other].map(|found| found == issuer);
                    assert_eq!(found, expected, "{revocation:?}");
                }
            }
        }
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
