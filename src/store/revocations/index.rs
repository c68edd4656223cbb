//! Revocations by identifier. Issuers are kept apart: the names that one provider gives to sessions
//! and users mean nothing at another.

use std::collections::BTreeMap;

use super::entry::Entry;
use super::name_map::NameMap;
use crate::types::oauth::{Issuer, SessionId};

/// One map for each type of identifier, so that equal identifiers of different types do not collide.
#[derive(Clone, Debug, Default)]
pub(super) struct RevocationIndex {
    /// By Doorward's session ID.
    pub(super) sessions: NameMap<Entry>,
    /// By the names of the app's own provider.
    pub(super) own: ProviderIndex,
    /// By the names of other providers, by issuer. Few, as the configuration has them.
    pub(super) others: BTreeMap<Box<str>, ProviderIndex>,
}

/// Revocations by the names that one provider uses.
#[derive(Clone, Debug, Default)]
pub(super) struct ProviderIndex {
    pub(super) sessions: NameMap<Entry>,
    pub(super) users: NameMap<Entry>,
    /// By the user of a revoked provider session: sessions whose provider session is not known.
    pub(super) unnamed: NameMap<Entry>,
}

/// A type of identifier at one provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl RevocationIndex {
    pub(super) fn get(&self, name: Name<'_>) -> Option<&Entry> {
        let provider = match name.issuer {
            None => Some(&self.own),
            Some(issuer) => self.others.get(issuer.as_str()),
        };
        let map = match name.kind {
            Kind::Session => &self.sessions,
            Kind::ProviderSession => &provider?.sessions,
            Kind::User => &provider?.users,
            Kind::Unnamed => &provider?.unnamed,
        };
        map.get(name.name)
    }

    pub(super) fn insert(&mut self, name: Name<'_>, entry: Entry) {
        let provider = match name.issuer {
            None => &mut self.own,
            Some(issuer) => self.others.entry(issuer.as_str().into()).or_default(),
        };
        let map = match name.kind {
            Kind::Session => &mut self.sessions,
            Kind::ProviderSession => &mut provider.sessions,
            Kind::User => &mut provider.users,
            Kind::Unnamed => &mut provider.unnamed,
        };
        map.insert(name.name, entry);
    }

    pub(super) fn len(&self) -> usize {
        let others: usize = self.others.values().map(ProviderIndex::len).sum();
        self.sessions.len() + self.own.len() + others
    }

    /// All entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let providers = std::iter::once(&self.own).chain(self.others.values());
        self.sessions
            .iter()
            .chain(providers.flat_map(ProviderIndex::iter))
            .map(|(_, entry)| entry)
    }

    /// Removes the entries that `keep` rejects.
    pub(super) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let providers = std::iter::once(&mut self.own).chain(self.others.values_mut());
        for provider in providers {
            for map in [
                &mut provider.sessions,
                &mut provider.users,
                &mut provider.unnamed,
            ] {
                map.retain(|_, entry| keep(entry));
            }
        }
        self.sessions.retain(|_, entry| keep(entry));
        self.others.retain(|_, provider| provider.len() > 0);
    }
}

impl ProviderIndex {
    pub(super) const fn len(&self) -> usize {
        self.sessions.len() + self.users.len() + self.unnamed.len()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.sessions
            .iter()
            .chain(self.users.iter())
            .chain(self.unnamed.iter())
    }
}
