//! Revocations by identifier. Issuers are kept apart: the names that one provider gives to sessions
//! and users mean nothing at another.

use std::collections::HashMap;

use super::revocation::{ProviderRevocation, Revocation, UserSessions};
use crate::types::oauth::{Issuer, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// Matches any start time.
const ANY_START: Timestamp = Timestamp::from_secs(u64::MAX);

/// At the limit, the revoked sessions of a user with more than this are replaced by one revocation.
const MAX_SESSIONS_PER_USER: usize = 64;

/// One map for each type of identifier, so that equal identifiers of different types do not collide.
#[derive(Clone, Debug, Default)]
pub(super) struct RevocationIndex {
    /// By Doorward's session ID.
    sessions: HashMap<String, Entry>,
    /// By the names of the app's own provider.
    own: ProviderIndex,
    /// By the names of other providers, by issuer.
    others: HashMap<String, ProviderIndex>,
}

/// Revocations by the names that one provider uses.
#[derive(Clone, Debug, Default)]
struct ProviderIndex {
    sessions: HashMap<String, Entry>,
    users: HashMap<String, Entry>,
    /// By the user of a revoked provider session: sessions whose provider session is not known.
    unnamed: HashMap<String, Entry>,
}

/// A type of identifier at one provider.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Session,
    ProviderSession,
    User,
    Unnamed,
}

/// An identifier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'n> {
    pub(super) issuer: Option<&'n Issuer>,
    pub(super) kind: Kind,
    pub(super) name: &'n str,
}

impl<'n> Name<'n> {
    pub(super) fn of_session(sid: &'n SessionId) -> Self {
        Self {
            issuer: None,
            kind: Kind::Session,
            name: sid.as_str(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) started_until: Timestamp,
    pub(super) ends_at: Timestamp,
    /// The user of a session.
    pub(super) user: Option<Box<str>>,
}

impl Entry {
    /// A revoked session.
    pub(super) fn of_session(user: Option<&Subject>, ends_at: Timestamp) -> Self {
        Self {
            started_until: ANY_START,
            ends_at,
            user: user.and_then(user_of),
        }
    }

    /// The revoked sessions of a user.
    pub(super) const fn of_user(started_until: Timestamp, ends_at: Timestamp) -> Self {
        Self {
            started_until,
            ends_at,
            user: None,
        }
    }
}

/// The user of a session, if known.
fn user_of(subject: &Subject) -> Option<Box<str>> {
    (!subject.as_str().is_empty()).then(|| subject.as_str().into())
}

impl RevocationIndex {
    pub(super) fn find(&self, name: Name<'_>) -> Option<&Entry> {
        let provider = match name.issuer {
            None => Some(&self.own),
            Some(issuer) => self.others.get(issuer.as_str()),
        };
        match name.kind {
            Kind::Session => self.sessions.get(name.name),
            Kind::ProviderSession => provider?.sessions.get(name.name),
            Kind::User => provider?.users.get(name.name),
            Kind::Unnamed => provider?.unnamed.get(name.name),
        }
    }

    pub(super) fn map_mut(&mut self, name: Name<'_>) -> &mut HashMap<String, Entry> {
        let provider = match name.issuer {
            None => &mut self.own,
            Some(issuer) => self.others.entry(issuer.as_str().to_owned()).or_default(),
        };
        match name.kind {
            Kind::Session => &mut self.sessions,
            Kind::ProviderSession => &mut provider.sessions,
            Kind::User => &mut provider.users,
            Kind::Unnamed => &mut provider.unnamed,
        }
    }

    pub(super) fn merge(&mut self, newer: Self) {
        self.sessions.extend(newer.sessions);
        self.own.merge(newer.own);
        for (issuer, names) in newer.others {
            self.others.entry(issuer).or_default().merge(names);
        }
    }

    pub(super) fn remove_expired(&mut self, now: Timestamp) {
        self.sessions.retain(|_, entry| now < entry.ends_at);
        self.own.remove_expired(now);
        for names in self.others.values_mut() {
            names.remove_expired(now);
        }
        self.others.retain(|_, names| names.len() > 0);
    }

    pub(super) fn last_end(&self) -> Option<Timestamp> {
        let providers = [&self.own].into_iter().chain(self.others.values());
        providers
            .flat_map(ProviderIndex::entries)
            .chain(self.sessions.values())
            .map(|entry| entry.ends_at)
            .max()
    }

    /// Replaces the many revoked sessions of a user by one revocation of all that user's sessions.
    pub(super) fn merge_sessions_of_users(&mut self, now: Timestamp) {
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
                .own
                .users
                .get(&*user)
                .map_or(ends_at, |known| known.ends_at.max(ends_at));
            self.own
                .users
                .insert(user.into(), Entry::of_user(now, known));
        }
    }

    pub(super) fn len(&self) -> usize {
        let others: usize = self.others.values().map(ProviderIndex::len).sum();
        self.sessions.len() + self.own.len() + others
    }

    /// As revocations, with their expiry times.
    pub(super) fn into_revocations(self) -> impl Iterator<Item = (Revocation, Timestamp)> {
        let sessions = self.sessions.into_iter().map(|(sid, entry)| {
            let user = Subject::new(entry.user.unwrap_or_default());
            let revocation = Revocation::Session(SessionId::new(sid), user);
            (revocation, entry.ends_at)
        });
        let others = self.others.into_iter().flat_map(|(issuer, names)| {
            let issuer = Issuer::new(issuer);
            names.into_revocations(Some(&issuer))
        });
        sessions
            .chain(self.own.into_revocations(None))
            .chain(others)
    }
}

impl ProviderIndex {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        [&self.sessions, &self.users, &self.unnamed]
            .into_iter()
            .flat_map(HashMap::values)
    }

    fn merge(&mut self, newer: Self) {
        self.sessions.extend(newer.sessions);
        self.users.extend(newer.users);
        self.unnamed.extend(newer.unnamed);
    }

    fn remove_expired(&mut self, now: Timestamp) {
        for map in [&mut self.sessions, &mut self.users, &mut self.unnamed] {
            map.retain(|_, entry| now < entry.ends_at);
        }
    }

    fn len(&self) -> usize {
        self.sessions.len() + self.users.len() + self.unnamed.len()
    }

    /// As revocations of the provider `issuer`, with their expiry times.
    fn into_revocations(self, issuer: Option<&Issuer>) -> Vec<(Revocation, Timestamp)> {
        let Self {
            sessions,
            users,
            unnamed,
        } = self;
        let of_user = |subject: &str, entry: &Entry| UserSessions {
            subject: Subject::new(subject),
            started_until: entry.started_until,
        };
        let sessions = sessions.into_iter().map(|(sid, entry)| {
            let sid = ProviderSid::new(sid);
            // The revocation of a user's provider session is the only source of `unnamed`.
            let user = entry.user.as_deref();
            let user = user.and_then(|user| Some(of_user(user, unnamed.get(user)?)));
            let revocation = match (issuer, user) {
                (None, None) => Revocation::ProviderSession(sid),
                (issuer, user) => Revocation::Provider(ProviderRevocation {
                    issuer: issuer.cloned(),
                    sid: Some(sid),
                    user,
                }),
            };
            (revocation, entry.ends_at)
        });
        let users = users.into_iter().map(|(subject, entry)| {
            let user = of_user(&subject, &entry);
            let revocation = match issuer {
                None => Revocation::User(user.subject, user.started_until),
                Some(issuer) => Revocation::Provider(ProviderRevocation {
                    issuer: Some(issuer.clone()),
                    sid: None,
                    user: Some(user),
                }),
            };
            (revocation, entry.ends_at)
        });
        sessions.chain(users).collect()
    }
}
