//! Revocations by identifier. Issuers are kept apart: the names that one provider gives to sessions
//! and users mean nothing at another.

use std::collections::BTreeMap;

use super::entry::{Entry, RevokedSession};
use super::name_map::{NameMap, Named, Part};
use crate::types::oauth::Issuer;

/// One map for each type of identifier, so that equal identifiers of different types do not collide.
#[derive(Clone, Debug, Default)]
pub(super) struct RevocationIndex {
    /// By Doorward's session ID.
    pub(super) sessions: NameMap<RevokedSession>,
    /// By the names of the app's own provider.
    pub(super) own: ProviderIndex,
    /// By the names of other providers, by issuer. Few, as the configuration has them.
    pub(super) others: BTreeMap<Box<str>, ProviderIndex>,
}

/// Revocations by the names that one provider uses.
#[derive(Clone, Debug, Default)]
pub(super) struct ProviderIndex {
    pub(super) sessions: NameMap<RevokedSession>,
    pub(super) users: NameMap<Entry>,
    /// By the user of a revoked provider session: sessions whose provider session is not known.
    pub(super) unnamed: NameMap<Entry>,
}

impl RevocationIndex {
    /// The revocations by the names of an issuer, by default of the app's own provider.
    pub(super) fn provider(&self, issuer: Option<&Issuer>) -> Option<&ProviderIndex> {
        match issuer {
            None => Some(&self.own),
            Some(issuer) => self.others.get(issuer.as_str()),
        }
    }

    /// The same, to add some.
    pub(super) fn provider_mut(&mut self, issuer: Option<&Issuer>) -> &mut ProviderIndex {
        match issuer {
            None => &mut self.own,
            Some(issuer) => self.others.entry(issuer.as_str().into()).or_default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        let others: usize = self.others.values().map(ProviderIndex::len).sum();
        self.sessions.len() + self.own.len() + others
    }

    /// All entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let providers = std::iter::once(&self.own).chain(self.others.values());
        let sessions = self.sessions.iter().map(|named| named.value.as_entry());
        sessions.chain(providers.flat_map(ProviderIndex::entries))
    }

    /// Removes the entries of `part` of each map that `keep` rejects.
    pub(super) fn retain_in(&mut self, part: &Part, keep: impl Fn(Entry) -> bool) {
        let keep_session = |named: Named<'_, RevokedSession>| keep(named.value.as_entry());
        let keep_user = |named: Named<'_, Entry>| keep(named.value);
        let providers = std::iter::once(&mut self.own).chain(self.others.values_mut());
        for provider in providers {
            provider.sessions.retain_in(part, keep_session);
            provider.users.retain_in(part, keep_user);
            provider.unnamed.retain_in(part, keep_user);
        }
        self.sessions.retain_in(part, keep_session);
        self.others.retain(|_, provider| provider.len() > 0);
    }
}

impl ProviderIndex {
    pub(super) const fn len(&self) -> usize {
        self.sessions.len() + self.users.len() + self.unnamed.len()
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        let sessions = self.sessions.iter().map(|named| named.value.as_entry());
        let users = self.users.iter().chain(self.unnamed.iter());
        sessions.chain(users.map(|named| named.value))
    }
}
