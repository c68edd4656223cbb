//! Reload command of an operator: the deployment's keys authenticate it at the admin listener.

use std::sync::Arc;

use crate::auth::purposes::{ReloadCommand, SealedReloadCommand};
use crate::auth::random;
use crate::auth::revocation::command::MAX_AGE;
use crate::session::seal::{Binding, KeyRing, Seal};
use crate::types::oauth::{ClientId, Issuer};
use crate::types::time::Timestamp;

/// The most keys that a command is sealed with.
const MAX_KEYS: usize = 100;

/// Why a command was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadRejected {
    /// No key opens it.
    #[error("the command was not sealed with a key of this deployment")]
    NotSealedHere,
    /// It is too old, or the clocks differ.
    #[error("the command is more than a minute old, or the clocks differ by that much")]
    TooOld,
}

/// The command, sealed with the first key of `ring`. `None`: no randomness.
pub fn sealed_reload_command(ring: &Arc<KeyRing>, now: Timestamp) -> Option<String> {
    let command = ReloadCommand { given_at: now };
    seal(ring).seal(&command, random::bytes().ok()?)
}

/// Checks that one line of `message` is a command of this deployment. The operator's configuration
/// may have keys that `ring` does not have yet, so the command is sealed with each of them.
///
/// # Errors
/// See [`ReloadRejected`].
pub fn check_reload_command(
    ring: &Arc<KeyRing>,
    message: &str,
    now: Timestamp,
) -> Result<(), ReloadRejected> {
    let seal = seal(ring);
    let mut lines = message.lines().take(MAX_KEYS);
    let command = lines.find_map(|line| seal.open(line));
    let given_at = command.ok_or(ReloadRejected::NotSealedHere)?.given_at;
    if now.since(given_at) > MAX_AGE || given_at.since(now) > MAX_AGE {
        return Err(ReloadRejected::TooOld);
    }
    Ok(())
}

/// The seal belongs to the deployment and to no app.
fn seal(ring: &Arc<KeyRing>) -> Seal<SealedReloadCommand> {
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
        let command = |key: u8| sealed_reload_command(&ring(&[key]), at(1000)).unwrap();
        let check = |message: &str, now| check_reload_command(&ring(&[1, 2]), message, at(now));
        for (message, now, expected) in [
            (command(1), 1060, Ok(())),
            (command(2), 940, Ok(())),
            (command(1), 1061, Err(ReloadRejected::TooOld)),
            (command(1), 939, Err(ReloadRejected::TooOld)),
            (command(3), 1000, Err(ReloadRejected::NotSealedHere)),
            (format!("{}\n{}", command(3), command(2)), 1000, Ok(())),
            (String::new(), 1000, Err(ReloadRejected::NotSealedHere)),
        ] {
            assert_eq!(check(&message, now), expected, "{message} at {now}");
        }
    }
}
