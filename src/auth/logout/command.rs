//! Sealed revocation command for the admin endpoint. The deployment key authenticates it, so the
//! admin listener accepts it from any client, including a page in a local browser.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::app::AppAuth;
use crate::auth::{Auth, Event, random};
use crate::session::seal::Purpose;
use crate::store::Revocation;
use crate::types::oauth::{ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// The maximum age of a command, and the accepted clock difference.
const FRESH: Duration = Duration::from_secs(60);

/// The maximum number of commands in one message.
const MOST: usize = 1000;

/// The purpose of a revocation command.
#[derive(Debug)]
pub struct SealedRevocationCommand;

impl Purpose for SealedRevocationCommand {
    type Payload = RevocationCommand;
    const NAME: &'static str = "revocation order";
}

/// The sessions of one app to revoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationCommand {
    ended: Revocation,
    given_at: Timestamp,
}

/// What an operator wants to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationTarget {
    /// A user, by `sub`: all sessions that started until now.
    Subject(Subject),
    /// One session, by Doorward's session ID or the provider's `sid`.
    Session(String),
    /// All sessions that started until now.
    Everyone,
}

/// Why a command was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRejected {
    /// No app here opens its seal.
    #[error("the order was not sealed with a key of this deployment, for one of its apps")]
    Foreign,
    /// It is too old, or the clocks differ.
    #[error("the order was given more than a minute ago, or the clocks differ by so much")]
    NeedsRefresh,
}

impl RevocationTarget {
    /// The revocations of this target at one app. A session name may be Doorward's or the
    /// provider's.
    pub fn ends(&self, now: Timestamp) -> Vec<Revocation> {
        match self {
            Self::Subject(subject) => vec![Revocation::User(subject.clone(), now)],
            Self::Session(name) => vec![
                Revocation::Session(SessionId::new(name.clone()), Subject::new("")),
                Revocation::ProviderSession(ProviderSid::new(name.clone())),
            ],
            Self::Everyone => vec![Revocation::Everyone(now)],
        }
    }
}

impl AppAuth {
    /// The message with the commands of this target, one per line. `None`: no randomness.
    pub fn order(&self, named: &RevocationTarget, now: Timestamp) -> Option<String> {
        let mut message = String::new();
        for ended in named.ends(now) {
            let order = RevocationCommand {
                ended,
                given_at: now,
            };
            message.push_str(&self.seals.order.seal(&order, random::bytes().ok()?)?);
            message.push('\n');
        }
        Some(message)
    }
}

impl Auth {
    /// Applies the commands of `message` and returns their number.
    ///
    /// # Errors
    /// See [`CommandRejected`]. Nothing was applied then.
    pub fn apply_command(self: &Arc<Self>, message: &str) -> Result<usize, CommandRejected> {
        let now = self.now();
        let mut orders = Vec::new();
        for line in message.lines().take(MOST) {
            let opened = self
                .apps
                .iter()
                .find_map(|app| Some((app, app.seals.order.open(line)?)));
            let (app, order) = opened.ok_or(CommandRejected::Foreign)?;
            if now.since(order.given_at) > FRESH || order.given_at.since(now) > FRESH {
                return Err(CommandRejected::NeedsRefresh);
            }
            // Clamped to now, whatever the operator's clock says.
            orders.push((app, order.ended.until(now)));
        }
        let followed = orders.len();
        for (app, ended) in orders {
            self.observer
                .record_event(app, Event::Revocation, "ordered");
            self.end(app, ended, now.plus(app.app.limits.absolute));
        }
        Ok(followed)
    }
}
