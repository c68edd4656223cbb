//! The events that give a set of revocations, to publish them again.

use super::entry::{Entry, RevokedSession};
use super::index::ProviderIndex;
use super::name_map::{NameMap, Named};
use super::{RevocationEvent, RevokedSet};
use crate::store::{ProviderRevocation, Revocation, UserSessions};
use crate::types::oauth::{Issuer, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

impl RevokedSet {
    /// All revocations that have not expired.
    pub fn all(&self, now: Timestamp) -> impl Iterator<Item = RevocationEvent> {
        let sessions = self.index.sessions.iter().map(|named| {
            let revocation =
                Revocation::Session(SessionId::new(named.name), Subject::new(named.user));
            event_of(named.value.as_entry(), revocation)
        });
        let others = self.index.others.iter();
        let others = others.flat_map(|(issuer, names)| names.events(Some(Issuer::new(&**issuer))));
        let everyone = self
            .everyone
            .into_iter()
            .flat_map(|entry| events_of_users(entry, Revocation::Everyone));
        sessions
            .chain(self.index.own.events(None))
            .chain(others)
            .chain(everyone)
            .filter(move |event| now < event.ends_at)
    }

    /// Those by the names of another provider, for an app whose own provider it is.
    pub fn at_issuer(&self, issuer: &Issuer) -> impl Iterator<Item = RevocationEvent> {
        let names = self.index.others.get(issuer.as_str());
        names.into_iter().flat_map(|names| names.events(None))
    }

    /// A lower bound of the number of events of [`Self::all`].
    pub fn count(&self, now: Timestamp) -> usize {
        let sessions = |sessions: &NameMap<RevokedSession>| {
            let lives = |named: &Named<'_, RevokedSession>| now < named.value.ends_at;
            sessions.iter().filter(lives).count()
        };
        let of_provider = |names: &ProviderIndex| {
            let lives = |named: &Named<'_, Entry>| now < named.value.ends_at;
            sessions(&names.sessions) + names.users.iter().filter(lives).count()
        };
        let others: usize = self.index.others.values().map(of_provider).sum();
        let everyone = self.everyone.iter().filter(|entry| now < entry.ends_at);
        sessions(&self.index.sessions) + of_provider(&self.index.own) + others + everyone.count()
    }
}

impl ProviderIndex {
    fn events(&self, issuer: Option<Issuer>) -> impl Iterator<Item = RevocationEvent> {
        let of_session = issuer.clone();
        let sessions = self.sessions.iter().map(move |session| {
            let sid = Some(ProviderSid::new(session.name));
            // The revocation of a user's provider session is the only source of `unnamed`.
            match self.unnamed.get(session.user) {
                None => {
                    let revocation = by_provider(of_session.as_ref(), sid, None);
                    event_of(session.value.as_entry(), revocation)
                }
                Some(unnamed) => {
                    let started_until = unnamed.value.bound.started_until;
                    let user = user_sessions(unnamed.name, started_until);
                    let revocation = by_provider(of_session.as_ref(), sid, Some(user));
                    event_of(unnamed.value, revocation)
                }
            }
        });
        let users = self.users.iter().flat_map(move |user| {
            let issuer = issuer.clone();
            events_of_users(user.value, move |until| {
                let user = user_sessions(user.name, until);
                by_provider(issuer.as_ref(), None, Some(user))
            })
        });
        sessions.chain(users)
    }
}

fn user_sessions(subject: &str, started_until: Timestamp) -> UserSessions {
    UserSessions {
        subject: Subject::new(subject),
        started_until,
    }
}

fn by_provider(
    issuer: Option<&Issuer>,
    sid: Option<ProviderSid>,
    user: Option<UserSessions>,
) -> Revocation {
    let ended = Revocation::Provider(ProviderRevocation {
        issuer: issuer.cloned(),
        sid,
        user,
    });
    match issuer {
        Some(_) => ended,
        None => ended.at_own_provider(),
    }
}

fn event_of(entry: Entry, revocation: Revocation) -> RevocationEvent {
    RevocationEvent {
        order: entry.bound.order,
        block: entry.block,
        ..RevocationEvent::new(revocation, entry.ends_at)
    }
}

/// The events of an entry of a user or of all: one that the store timed, and one that it did not.
fn events_of_users(
    entry: Entry,
    revocation: impl Fn(Timestamp) -> Revocation,
) -> impl Iterator<Item = RevocationEvent> {
    let timed = event_of(entry, revocation(entry.bound.started_until));
    let untimed = entry
        .bound
        .unordered_until
        .filter(|_| entry.bound.order.is_some())
        .map(|until| RevocationEvent::new(revocation(until), entry.ends_at));
    std::iter::once(timed).chain(untimed)
}
