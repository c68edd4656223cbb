//! Purposes of seals that are not cookies: commands of operators, revocation events, DPoP nonces, and entries
//! of the store.

use serde::{Deserialize, Serialize};

use super::operator_command::OperatorCommand;
use crate::session::seal::Purpose;
use crate::store::{Revocation, RevocationEvent};
use crate::types::time::Timestamp;
use crate::types::trailing::absent_is_default;

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
    /// Until when the user may not log in. A time in the past lifts a block.
    // Absent in commands of earlier versions.
    #[serde(deserialize_with = "absent_is_default")]
    pub block: Option<Timestamp>,
}

/// The purpose of a reload command.
#[derive(Debug)]
pub struct SealedReloadCommand;

impl Purpose for SealedReloadCommand {
    type Payload = ReloadCommand;
    const NAME: &'static str = "reload command";
}

/// The command of an operator to read the configuration again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadCommand {
    /// When the operator gave the command.
    pub given_at: Timestamp,
}

impl OperatorCommand for ReloadCommand {
    fn given_at(&self) -> Timestamp {
        self.given_at
    }
}

/// The purpose of a maintenance command.
#[derive(Debug)]
pub struct SealedMaintenanceCommand;

impl Purpose for SealedMaintenanceCommand {
    type Payload = MaintenanceCommand;
    const NAME: &'static str = "maintenance command";
}

/// The command of an operator to switch maintenance on or off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceCommand {
    /// When the operator gave the command.
    pub given_at: Timestamp,
    /// The app. `None`: all.
    pub app: Option<String>,
    /// Whether maintenance begins.
    pub is_on: bool,
}

impl OperatorCommand for MaintenanceCommand {
    fn given_at(&self) -> Timestamp {
        self.given_at
    }
}

/// The purpose of a revocation event.
#[derive(Debug)]
pub struct SealedRevocationEvent;

impl Purpose for SealedRevocationEvent {
    type Payload = RevocationEvent;
    const NAME: &'static str = "announcement of an ending";
}

/// The purpose of a DPoP nonce. A nonce is the sealed time of its creation, so it needs no state.
#[derive(Debug)]
pub struct DpopNonce;

impl Purpose for DpopNonce {
    type Payload = Timestamp;
    const NAME: &'static str = "dpop nonce";
}

/// The purpose of a part of a session's rotation state in the store, in its own encoding.
#[derive(Debug)]
pub struct StoredRotation;

impl Purpose for StoredRotation {
    type Payload = Vec<u8>;
    const NAME: &'static str = "rotation state";
}

/// The purpose of the state of a throttle in the store, in its own encoding.
#[derive(Debug)]
pub struct StoredThrottle;

impl Purpose for StoredThrottle {
    type Payload = Vec<u8>;
    const NAME: &'static str = "throttle state";
}
