//! Purposes of seals that are not cookies: revocation commands, revocation events and DPoP nonces.

use serde::{Deserialize, Serialize};

use crate::session::seal::Purpose;
use crate::store::Revocation;
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
    /// The revoked sessions.
    pub revocation: Revocation,
    /// Until when it matters.
    pub ends_at: Timestamp,
}

/// The purpose of a DPoP nonce. A nonce is the sealed time of its creation, so it needs no state.
#[derive(Debug)]
pub struct DpopNonce;

impl Purpose for DpopNonce {
    type Payload = Timestamp;
    const NAME: &'static str = "dpop nonce";
}
