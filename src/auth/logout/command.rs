//! An operator's order to end sessions. It is sealed with a key of the ring, which only who may read the configuration
//! has: so the admin listener can take it from whoever brings it, a page in a browser on the same machine included.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::app::AppAuth;
use crate::auth::{Auth, Event, random};
use crate::session::seal::Purpose;
use crate::store::Revocation;
use crate::types::oauth::{ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// How long after it was given an order is followed, and how far clocks may be apart.
const FRESH: Duration = Duration::from_secs(60);

/// Most apps that one message may be about.
const MOST: usize = 1000;

/// The purpose of an order.
#[derive(Debug)]
pub struct SealedRevocationCommand;

impl Purpose for SealedRevocationCommand {
    type Payload = RevocationCommand;
    const NAME: &'static str = "revocation order";
}

/// Which sessions of one app to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationCommand {
    ended: Revocation,
    given_at: Timestamp,
}

/// What an operator names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationTarget {
    /// A person, by `sub`: all sessions that began before now.
    Subject(Subject),
    /// One session, by our name of it or the provider's.
    Session(String),
    /// All sessions that began before now.
    Everyone,
}

/// An order was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRejected {
    /// It was sealed for no app here by no key that opens here.
    #[error("the order was not sealed with a key of this deployment, for one of its apps")]
    Foreign,
    /// It was given too long ago, or the clocks differ.
    #[error("the order was given more than a minute ago, or the clocks differ by so much")]
    NeedsRefresh,
}

impl RevocationTarget {
    /// What that means for one app at `now`. A name may be ours or the provider's, and ends what is called so.
    pub fn ends(&self, now: Timestamp) -> Vec<Revocation> {
        match self {
            Self::Subject(subject) => vec![Revocation::Person(subject.clone(), now)],
            Self::Session(name) => vec![
                Revocation::Session(SessionId::new(name.clone()), Subject::new("")),
                Revocation::ProviderSession(ProviderSid::new(name.clone())),
            ],
            Self::Everyone => vec![Revocation::Everyone(now)],
        }
    }
}

impl AppAuth {
    /// The message that orders it, one line for each ending. `None`: there is no randomness.
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
    /// Follows the orders of `message`; says how many there were.
    ///
    /// # Errors
    /// See [`CommandRejected`]; nothing was followed then.
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
            // Not beyond now, whatever the clock of who gave the order says.
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
