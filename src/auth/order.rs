//! An operator's order to end sessions. It is sealed with a key of the ring, which only who may read the configuration
//! has: so the admin listener can take it from whoever brings it, a page in a browser on the same machine included.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app::AppAuth;
use super::{Auth, Event, entropy};
use crate::session::seal::Purpose;
use crate::store::Ended;
use crate::types::oauth::{ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// How long after it was given an order is followed, and how far clocks may be apart.
const FRESH: Duration = Duration::from_secs(60);

/// Most apps that one message may be about.
const MOST: usize = 1000;

/// The purpose of an order.
#[derive(Debug)]
pub struct SealedOrder;

impl Purpose for SealedOrder {
    type Payload = Order;
    const NAME: &'static str = "revocation order";
}

/// Which sessions of one app to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    ended: Ended,
    given_at: Timestamp,
}

/// What an operator names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A person, by `sub`: all sessions that began before now.
    Subject(Subject),
    /// One session, by our name of it or the provider's.
    Session(String),
    /// All sessions that began before now.
    Everyone,
}

/// An order was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disobeyed {
    /// It was sealed for no app here by no key that opens here.
    #[error("the order was not sealed with a key of this deployment, for one of its apps")]
    Foreign,
    /// It was given too long ago, or the clocks differ.
    #[error("the order was given more than a minute ago, or the clocks differ by so much")]
    Stale,
}

impl Named {
    /// What that means for one app at `now`. A name may be ours or the provider's, and ends what is called so.
    pub fn ends(&self, now: Timestamp) -> Vec<Ended> {
        match self {
            Self::Subject(subject) => vec![Ended::Person(subject.clone(), now)],
            Self::Session(name) => vec![
                Ended::Session(SessionId::new(name.clone()), Subject::new("")),
                Ended::ProviderSession(ProviderSid::new(name.clone())),
            ],
            Self::Everyone => vec![Ended::Everyone(now)],
        }
    }
}

impl AppAuth {
    /// The message that orders it, one line for each ending. `None`: there is no randomness.
    pub fn order(&self, named: &Named, now: Timestamp) -> Option<String> {
        let mut message = String::new();
        for ended in named.ends(now) {
            let order = Order {
                ended,
                given_at: now,
            };
            message.push_str(&self.seals.order.seal(&order, entropy::bytes().ok()?)?);
            message.push('\n');
        }
        Some(message)
    }
}

impl Auth {
    /// Follows the orders of `message`; says how many there were.
    ///
    /// # Errors
    /// See [`Disobeyed`]; nothing was followed then.
    pub fn obey(self: &Arc<Self>, message: &str) -> Result<usize, Disobeyed> {
        let now = self.now();
        let mut orders = Vec::new();
        for line in message.lines().take(MOST) {
            let opened = self
                .apps
                .iter()
                .find_map(|app| Some((app, app.seals.order.open(line)?)));
            let (app, order) = opened.ok_or(Disobeyed::Foreign)?;
            if now.since(order.given_at) > FRESH || order.given_at.since(now) > FRESH {
                return Err(Disobeyed::Stale);
            }
            // Not beyond now, whatever the clock of who gave the order says.
            orders.push((app, order.ended.until(now)));
        }
        let followed = orders.len();
        for (app, ended) in orders {
            self.observer.happened(app, Event::Revocation, "ordered");
            self.end(app, ended, now.plus(app.app.limits.absolute));
        }
        Ok(followed)
    }
}
