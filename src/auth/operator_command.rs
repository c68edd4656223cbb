//! Commands of an operator that concern the whole deployment: its keys authenticate them at the admin
//! listener.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::auth::random;
use crate::session::seal::{Binding, KeyRing, Purpose, Seal};
use crate::types::oauth::{ClientId, Issuer};
use crate::types::time::Timestamp;

/// The maximum age of a command, and the accepted clock difference.
pub(in crate::auth) const MAX_AGE: Duration = Duration::from_secs(60);

/// The most keys that a command is sealed with.
const MAX_KEYS: usize = 100;

/// The content of a command.
pub trait OperatorCommand: Serialize + DeserializeOwned {
    /// When the operator gave it.
    fn given_at(&self) -> Timestamp;
}

/// Why a command was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRejected {
    /// No key opens it.
    #[error("the command was not sealed with a key of this deployment")]
    NotSealedHere,
    /// It is too old, or the clocks differ.
    #[error("the command is more than a minute old, or the clocks differ by that much")]
    TooOld,
}

/// The message with a command, sealed with the first key of each of `rings`: the server may not have
/// all keys of the operator's configuration yet. `None`: no randomness.
pub fn sealed<P: Purpose<Payload: OperatorCommand>>(
    rings: &[Arc<KeyRing>],
    command: &P::Payload,
) -> Option<String> {
    let mut message = String::new();
    for ring in rings {
        message.push_str(&deployment_seal::<P>(ring).seal(command, random::bytes().ok()?)?);
        message.push('\n');
    }
    Some(message)
}

/// The command of a message, if one of its lines was sealed in this deployment.
///
/// # Errors
/// See [`CommandRejected`].
pub fn open<P: Purpose<Payload: OperatorCommand>>(
    ring: &Arc<KeyRing>,
    message: &str,
    now: Timestamp,
) -> Result<P::Payload, CommandRejected> {
    let seal = deployment_seal::<P>(ring);
    let mut lines = message.lines().take(MAX_KEYS);
    let command = lines.find_map(|line| seal.open(line));
    let command = command.ok_or(CommandRejected::NotSealedHere)?;
    let given_at = command.given_at();
    if now.since(given_at) > MAX_AGE || given_at.since(now) > MAX_AGE {
        return Err(CommandRejected::TooOld);
    }
    Ok(command)
}

/// A seal that belongs to the deployment and to no app.
pub(in crate::auth) fn deployment_seal<P: Purpose>(ring: &Arc<KeyRing>) -> Seal<P> {
    let binding = Binding {
        origin: String::new(),
        issuer: Issuer::new(""),
        client_id: ClientId::new(""),
    };
    Seal::new(Arc::clone(ring), &binding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::purposes::{ReloadCommand, SealedReloadCommand};
    use crate::auth::session_list::query::SealedSessionQuery;
    use crate::session::seal::Key;
    use crate::types::secret::Secret;

    fn ring(bytes: &[u8]) -> Arc<KeyRing> {
        let mut keys = bytes
            .iter()
            .map(|byte| Key::new(&Secret::new([*byte; 32])).unwrap());
        let sealing = keys.next().unwrap();
        Arc::new(KeyRing::new(sealing, keys.collect()))
    }

    #[test]
    fn command_needs_a_key_of_the_deployment_and_a_recent_time() {
        let at = Timestamp::from_secs;
        let command = |keys: &[u8]| {
            let rings: Vec<_> = keys.iter().map(|key| ring(&[*key])).collect();
            let command = ReloadCommand { given_at: at(1000) };
            sealed::<SealedReloadCommand>(&rings, &command).unwrap()
        };
        let check = |message: &str, now| {
            let opened = open::<SealedReloadCommand>(&ring(&[1, 2]), message, at(now));
            opened.map(|_| ())
        };
        for (message, now, expected) in [
            (command(&[1]), 1060, Ok(())),
            (command(&[2]), 940, Ok(())),
            (command(&[1]), 1061, Err(CommandRejected::TooOld)),
            (command(&[1]), 939, Err(CommandRejected::TooOld)),
            (command(&[3]), 1000, Err(CommandRejected::NotSealedHere)),
            (command(&[3, 2]), 1000, Ok(())),
            (String::new(), 1000, Err(CommandRejected::NotSealedHere)),
        ] {
            assert_eq!(check(&message, now), expected, "{message} at {now}");
        }
        let other = open::<SealedSessionQuery>(&ring(&[1]), &command(&[1]), at(1000));
        assert_eq!(
            other,
            Err(CommandRejected::NotSealedHere),
            "another purpose"
        );
    }
}
