//! Purposes of seals that are not cookies: revocation commands, revocation events and DPoP nonces.

use serde::{Deserialize, Serialize};

use crate::session::layout::defaulted;
use crate::session::seal::Purpose;
use crate::store::{ProviderRevocation, Revocation};
use crate::types::oauth::{SessionId, Subject};
use crate::types::time::Timestamp;

/// The purpose of a revocation command.
#[derive(Debug)]
pub struct SealedRevocationCommand;

impl Purpose for SealedRevocationCommand {
    type Payload = RevocationCommand;
    const NAME: &'static str = "revocation order";
}

/// The sessions of one app to revoke, by order of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationCommand {
    /// The sessions.
    pub revocation: Revocation,
    /// When the operator gave the command.
    pub given_at: Timestamp,
}

/// The purpose of a revocation event.
#[derive(Debug)]
pub struct SealedRevocationEvent;

impl Purpose for SealedRevocationEvent {
    type Payload = RevocationEvent;
    const NAME: &'static str = "announcement of an ending";
}

/// A revocation that is replicated through the store.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationEvent {
    /// The revoked sessions, as far as earlier versions can name them.
    basic: Revocation,
    /// Until when it matters.
    pub ends_at: Timestamp,
    /// The revoked sessions, if `basic` does not name all of them. Earlier versions ignore it.
    #[serde(deserialize_with = "defaulted")]
    complete: Option<Revocation>,
}

impl RevocationEvent {
    /// The event of a revocation that matters until `ends_at`.
    pub fn new(revocation: Revocation, ends_at: Timestamp) -> Self {
        let Revocation::Provider(ended) = &revocation else {
            return Self {
                basic: revocation,
                ends_at,
                complete: None,
            };
        };
        let basic = match ended {
            ProviderRevocation {
                issuer: None,
                sid: Some(sid),
                ..
            } => Revocation::ProviderSession(sid.clone()),
            ProviderRevocation {
                issuer: None,
                sid: None,
                user: Some(user),
            } => Revocation::User(user.subject.clone(), user.started_until),
            // Earlier versions know no other issuers. No session has this name.
            ProviderRevocation { .. } => Revocation::Session(SessionId::new(""), Subject::new("")),
        };
        Self {
            basic,
            ends_at,
            complete: Some(revocation),
        }
    }

    /// The revoked sessions.
    pub fn into_revocation(self) -> Revocation {
        self.complete.unwrap_or(self.basic)
    }
}

/// The purpose of a DPoP nonce. A nonce is the sealed time of its creation, so it needs no state.
#[derive(Debug)]
pub struct DpopNonce;

impl Purpose for DpopNonce {
    type Payload = Timestamp;
    const NAME: &'static str = "dpop nonce";
}
