//! Revocations of one app in one process. Requests read an immutable snapshot; each revocation
//! publishes a new one, which shares all but a few nodes with the one before. Revocations are never
//! evicted: at the limit they are merged into fewer that revoke more (`shrink`).

mod entry;
mod event;
mod export;
mod index;
mod name_map;
mod shrink;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{ProviderRevocation, Revocation, StoreTime, UserSessions};
use crate::lock::lock;
use crate::types::oauth::{Issuer, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;
use entry::{Bound, Entry, RevokedSession};
use index::RevocationIndex;
use name_map::{NameMap, Named, Part};

pub use event::{Block, RevocationEvent};
pub use shrink::Shrunk;

/// The revocations of one app in one process.
#[derive(Debug)]
pub struct Revocations {
    snapshot: ArcSwap<RevokedSet>,
    writing: Mutex<()>,
    max_entries: usize,
    /// The longest life of a session, in seconds.
    absolute_timeout: AtomicU64,
    is_removed: AtomicBool,
}

/// A snapshot of the revocations.
#[derive(Clone, Debug, Default)]
pub struct RevokedSet {
    index: RevocationIndex,
    everyone: Option<Entry>,
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
    /// The start of the session, by the clock of a replica.
    pub started_at: Timestamp,
    /// The start of the session by the time of the store, if known.
    pub order: Option<StoreTime>,
    /// An access token of an API client. A logout of a browser session does not end the user's
    /// tokens of other sessions.
    pub is_access_token: bool,
}

/// The changes of [`Revocations::revoke_all`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationChanges {
    /// The number of revocations that were not known.
    pub new: usize,
    /// How revocations were merged, if the limit was reached.
    pub shrunk: Option<Shrunk>,
}

impl Revocations {
    /// An empty set for at most `max_entries` individual revocations, of sessions that live at most
    /// for `absolute_timeout`.
    pub fn new(max_entries: usize, absolute_timeout: Duration) -> Self {
        Self {
            snapshot: ArcSwap::default(),
            writing: Mutex::new(()),
            max_entries,
            absolute_timeout: AtomicU64::new(absolute_timeout.as_secs()),
            is_removed: AtomicBool::new(false),
        }
    }

    /// Sets the longest life of a session.
    pub fn set_absolute_timeout(&self, absolute_timeout: Duration) {
        let seconds = absolute_timeout.as_secs();
        self.absolute_timeout.store(seconds, Ordering::Relaxed);
    }

    /// The app was removed from the configuration. Nothing is revoked here any more, so what it
    /// streams must end.
    pub fn mark_removed(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
    }

    /// Whether the app was removed from the configuration.
    pub fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<RevokedSet> {
        self.snapshot.load_full()
    }

    /// The most individual revocations.
    pub const fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// Revokes sessions, and publishes one snapshot with all of `events`.
    pub fn revoke_all(
        &self,
        events: impl IntoIterator<Item = RevocationEvent>,
        now: Timestamp,
    ) -> RevocationChanges {
        let _writing = lock(&self.writing);
        let mut next = RevokedSet::clone(&self.snapshot.load());
        let absolute_timeout = Duration::from_secs(self.absolute_timeout.load(Ordering::Relaxed));
        let mut new = 0;
        for event in events {
            new += usize::from(next.add(event, absolute_timeout));
        }
        if new == 0 {
            return RevocationChanges::default();
        }
        let shrunk = (next.len() > self.max_entries).then(|| next.shrink(self.max_entries, now));
        self.snapshot.store(Arc::new(next));
        RevocationChanges { new, shrunk }
    }

    /// Removes the revocations by the names of another provider.
    pub fn remove_issuer(&self, issuer: &Issuer) {
        let _writing = lock(&self.writing);
        let mut next = RevokedSet::clone(&self.snapshot.load());
        if next.index.others.remove(issuer.as_str()).is_some() {
            self.snapshot.store(Arc::new(next));
        }
    }

    /// Removes expired revocations, in parts, so that new ones do not wait for long.
    pub fn sweep(&self, now: Timestamp) {
        for part in Part::of(self.snapshot.load().len()) {
            let _writing = lock(&self.writing);
            let mut next = RevokedSet::clone(&self.snapshot.load());
            let before = next.len();
            next.index.retain_in(&part, |entry| now < entry.ends_at);
            if next.len() != before {
                self.snapshot.store(Arc::new(next));
            }
        }
    }
}

impl RevokedSet {
    /// Whether the session is revoked.
    pub fn contains(&self, session: SessionKeyRef<'_>) -> bool {
        let covers = |users: &NameMap<Entry>| {
            let user = users.get(session.subject.as_str());
            user.is_some_and(|user| user.value.covers(&session))
        };
        let provider = self.index.provider(session.issuer);
        self.has_session(session.sid)
            || provider.is_some_and(|provider| {
                covers(&provider.users)
                    || match session.provider_sid {
                        Some(sid) => provider.sessions.get(sid.as_str()).is_some(),
                        None => !session.is_access_token && covers(&provider.unnamed),
                    }
            })
            || self.everyone.is_some_and(|entry| entry.covers(&session))
    }

    /// Whether the session is revoked individually.
    pub fn has_session(&self, sid: &SessionId) -> bool {
        self.index.sessions.get(sid.as_str()).is_some()
    }

    /// Whether the user of the app's own provider may not start a session at this time.
    pub fn blocks(&self, subject: &Subject, start: Timestamp) -> bool {
        let user = self.index.own.users.get(subject.as_str());
        user.is_some_and(|user| user.value.blocks(start))
    }

    /// The number of revocations, without that of all sessions.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no revocations.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.everyone.is_none()
    }

    /// Adds a revocation. Returns whether it was not known.
    fn add(&mut self, event: RevocationEvent, absolute_timeout: Duration) -> bool {
        let RevocationEvent {
            revocation,
            ends_at,
            order,
            block,
        } = event;
        // No session outlives its revocation, so a revoked one started at this time or before.
        let session = RevokedSession {
            started_until: ends_at.minus(absolute_timeout),
            order,
            ends_at,
        };
        let by_provider = match revocation {
            Revocation::Session(sid, subject) => {
                let sessions = &mut self.index.sessions;
                return add_session(sessions, sid.as_str(), subject.as_str(), session);
            }
            Revocation::Everyone(started_until) => {
                let bound = Bound::new(started_until, order);
                return self.add_everyone(Entry::of_users(bound, ends_at, None));
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
        let ProviderRevocation { issuer, sid, user } = &by_provider;
        let provider = self.index.provider_mut(issuer.as_ref());
        let mut is_new = false;
        if let Some(sid) = sid {
            let user = user.as_ref().map_or("", |user| user.subject.as_str());
            is_new |= add_session(&mut provider.sessions, sid.as_str(), user, session);
        }
        if let Some(user) = user {
            let users = match sid {
                None => &mut provider.users,
                Some(_) => &mut provider.unnamed,
            };
            let bound = Bound::new(user.started_until, order);
            let entry = Entry::of_users(bound, ends_at, block);
            is_new |= add_user(users, user.subject.as_str(), entry);
        }
        is_new
    }

    fn add_everyone(&mut self, entry: Entry) -> bool {
        let merged = self.everyone.map_or(entry, |known| known.merge(entry));
        self.everyone.replace(merged) != Some(merged)
    }
}

/// Adds the revocation of a session by its ID. `user` may be empty. Returns whether it was not known.
fn add_session(
    sessions: &mut NameMap<RevokedSession>,
    name: &str,
    user: &str,
    session: RevokedSession,
) -> bool {
    let Some(known) = sessions.get(name) else {
        return sessions.insert(Named {
            name,
            user,
            value: session,
        });
    };
    let value = RevokedSession {
        ends_at: known.value.ends_at.max(session.ends_at),
        ..known.value
    };
    let user = if known.user.is_empty() {
        user
    } else {
        known.user
    };
    let user = user.to_owned();
    sessions.insert(Named {
        name,
        user: &user,
        value,
    })
}

/// Adds the revocation of the sessions of a user. Returns whether it was not known.
fn add_user(users: &mut NameMap<Entry>, name: &str, entry: Entry) -> bool {
    let known = users.get(name);
    let value = known.map_or(entry, |known| known.value.merge(entry));
    let user = "";
    users.insert(Named { name, user, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(100);

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn revoke(revocations: &Revocations, revocation: Revocation, ends_at: u64) -> bool {
        let event = RevocationEvent::new(revocation, at(ends_at));
        revocations.revoke_all([event], at(1)).new == 1
    }

    fn session(number: usize) -> Revocation {
        Revocation::Session(SessionId::new(number.to_string()), Subject::new("alice"))
    }

    fn user(name: &str, started_until: u64) -> Revocation {
        Revocation::User(Subject::new(name), at(started_until))
    }

    /// Whether a session of `bob` is revoked that the store timed at `order`, or that started at
    /// `started_at` by a clock.
    fn is_user_revoked(revocations: &Revocations, started_at: u64, order: Option<u64>) -> bool {
        revocations.snapshot().contains(SessionKeyRef {
            issuer: None,
            sid: &SessionId::new("s"),
            provider_sid: Some(&ProviderSid::new("p")),
            subject: &Subject::new("bob"),
            started_at: at(started_at),
            order: order.map(StoreTime::from_millis),
            is_access_token: false,
        })
    }

    fn is_revoked(revocations: &Revocations, sid: &str, provider_sid: &str) -> bool {
        revocations.snapshot().contains(SessionKeyRef {
            issuer: None,
            sid: &SessionId::new(sid),
            provider_sid: Some(&ProviderSid::new(provider_sid)),
            subject: &Subject::new("carol"),
            started_at: at(60),
            order: None,
            is_access_token: false,
        })
    }

    #[test]
    fn revocations_are_kept_until_the_session_expires() {
        let revocations = Revocations::new(10_000, LIFE);
        for number in 0..1000 {
            assert!(revoke(&revocations, session(number), 100));
        }
        assert!((0..1000).all(|number| is_revoked(&revocations, &number.to_string(), "p")));
        assert!(!is_revoked(&revocations, "other", "p"));
        revocations.sweep(at(99));
        assert_eq!(revocations.snapshot().len(), 1000);
        revocations.sweep(at(100));
        assert!(revocations.snapshot().is_empty());
    }

    #[test]
    fn identifier_types_do_not_collide() {
        let revocations = Revocations::new(10, LIFE);
        let provider_session = Revocation::ProviderSession(ProviderSid::new("x"));
        assert!(revoke(&revocations, provider_session, 100));
        assert!(is_revoked(&revocations, "s", "x"));
        assert!(!is_revoked(&revocations, "x", "p"));
        assert!(revoke(&revocations, user("s", 70), 100));
        assert!(!is_revoked(&revocations, "s", "p"));
    }

    #[test]
    fn older_revocation_of_a_user_changes_nothing() {
        let revocations = Revocations::new(10, LIFE);
        assert!(revoke(&revocations, user("bob", 50), 100));
        assert!(is_user_revoked(&revocations, 50, None));
        assert!(!is_user_revoked(&revocations, 51, None));
        assert!(!revoke(&revocations, user("bob", 40), 100));
        assert!(is_user_revoked(&revocations, 50, None));
    }

    #[test]
    fn time_of_the_store_orders_revocations_and_logins() {
        let revocations = Revocations::new(10, LIFE);
        let timed = RevocationEvent {
            order: Some(StoreTime::from_millis(50_500)),
            ..RevocationEvent::new(user("bob", 50), at(100))
        };
        revocations.revoke_all([timed], at(50));
        // The clock of the replica of the login was ahead.
        assert!(is_user_revoked(&revocations, 55, Some(50_499)));
        // The login came later in the same second.
        assert!(!is_user_revoked(&revocations, 50, Some(50_501)));
        // The clock of the store was set back before the revocation.
        let timed = RevocationEvent {
            order: Some(StoreTime::from_millis(50_600)),
            ..RevocationEvent::new(user("bob", 1050), at(2000))
        };
        let later = Revocations::new(10, LIFE);
        later.revoke_all([timed], at(1050));
        assert!(is_user_revoked(&later, 989, Some(989_000)));
        assert!(!is_user_revoked(&later, 990, Some(990_000)));
        // The store did not time these.
        assert!(is_user_revoked(&revocations, 50, None));
        assert!(!is_user_revoked(&revocations, 51, None));
        // A revocation that the store did not time is compared by clocks.
        assert!(revoke(&revocations, user("bob", 70), 100));
        assert!(is_user_revoked(&revocations, 70, Some(70_000)));
        assert!(!is_user_revoked(&revocations, 71, Some(71_000)));
    }

    #[test]
    fn blocked_user_may_start_no_session_until_its_end_or_lift() {
        let revocations = Revocations::new(10, LIFE);
        let block = |until, given| RevocationEvent {
            order: Some(StoreTime::from_millis(given)),
            block: Some(Block {
                until: at(until),
                given: StoreTime::from_millis(given),
            }),
            ..RevocationEvent::new(user("bob", given / 1000), at(10_000))
        };
        revocations.revoke_all([block(5000, 60_000)], at(60));
        assert!(is_user_revoked(&revocations, 4999, Some(4_999_000)));
        assert!(!is_user_revoked(&revocations, 5000, Some(5_000_000)));
        assert!(revocations.snapshot().blocks(&Subject::new("bob"), at(61)));
        revocations.revoke_all([block(0, 70_000)], at(70));
        assert!(!is_user_revoked(&revocations, 71, Some(71_000)));
        assert!(is_user_revoked(&revocations, 65, Some(65_000)));
        revocations.revoke_all([block(5000, 60_000)], at(80));
        assert!(
            !is_user_revoked(&revocations, 90, Some(90_000)),
            "an older order that arrives late changes nothing"
        );
    }

    #[test]
    fn exported_revocations_are_equal_after_import() {
        let here = Revocations::new(1000, LIFE);
        for number in 0..400 {
            assert!(revoke(&here, session(number), 100));
        }
        let provider_session = RevocationEvent::new(
            Revocation::Provider(ProviderRevocation {
                issuer: None,
                sid: Some(ProviderSid::new("x")),
                user: Some(UserSessions {
                    subject: Subject::new("dave"),
                    started_until: at(50),
                }),
            }),
            at(100),
        );
        let timed = RevocationEvent {
            order: Some(StoreTime::from_millis(40_000)),
            block: Some(Block {
                until: at(45),
                given: StoreTime::from_millis(40_000),
            }),
            ..RevocationEvent::new(user("bob", 40), at(100))
        };
        here.revoke_all([provider_session, timed], at(1));
        revoke(&here, user("bob", 50), 100);
        revoke(&here, user("ended", 50), 2);
        revoke(&here, Revocation::Everyone(at(10)), 100);
        let there = Revocations::new(1000, LIFE);
        let all: Vec<_> = here.snapshot().all(at(2)).collect();
        assert_eq!(all.len(), 404, "bob's twice: timed and untimed");
        assert!(there.revoke_all(all.clone(), at(2)).new > 0);
        assert_eq!(there.revoke_all(all, at(2)).new, 0, "all are known");
        for revocations in [&here, &there] {
            assert!((0..400).all(|number| is_revoked(revocations, &number.to_string(), "p")));
            assert!(is_revoked(revocations, "s", "x"));
            assert!(is_user_revoked(revocations, 50, Some(50_000)));
            assert!(is_user_revoked(revocations, 39, Some(39_000)));
            assert!(!is_user_revoked(revocations, 51, Some(51_000)));
            assert!(is_user_revoked(revocations, 10, None));
        }
        assert!(!there.snapshot().has_session(&SessionId::new("ended")));
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
            order: None,
            is_access_token: false,
        })
    }

    /// The set, and the set of another replica that got its events.
    fn replicated(revocation: Revocation) -> [Revocations; 2] {
        let sets = [0; 2].map(|_| Revocations::new(10, LIFE));
        let [here, there] = &sets;
        assert!(revoke(here, revocation, 100));
        there.revoke_all(here.snapshot().all(at(50)), at(50));
        sets
    }

    #[test]
    fn access_token_of_unknown_provider_session_outlives_the_logout_of_a_session() {
        for revocations in replicated(provider_session(None, "p", Some(("alice", 100)))) {
            let is_revoked = |is_access_token| {
                revocations.snapshot().contains(SessionKeyRef {
                    issuer: None,
                    sid: &SessionId::new("s"),
                    provider_sid: None,
                    subject: &Subject::new("alice"),
                    started_at: at(50),
                    order: None,
                    is_access_token,
                })
            };
            assert!(is_revoked(false) && !is_revoked(true));
        }
    }

    #[test]
    fn session_of_unknown_provider_session_ends_with_its_user() {
        for (user, is_over) in [
            (None, false),
            (Some(("alice", 50)), true),
            (Some(("alice", 49)), false),
            (Some(("bob", 50)), false),
        ] {
            for revocations in replicated(provider_session(None, "p", user)) {
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
                for revocations in replicated(revocation.clone()) {
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
}
