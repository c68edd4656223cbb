//! Sealed revocation command for the admin endpoint. The deployment key authenticates it, so the
//! admin listener accepts it from any client, including a page in a local browser.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::events::Event;
use crate::auth::purposes::RevocationCommand;
use crate::auth::random;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::store::{ProviderRevocation, Revocation, UserSessions};
use crate::types::oauth::{ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// The maximum age of a command, and the accepted clock difference.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The maximum number of commands in one message.
const MAX_COMMANDS: usize = 1000;

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
    #[error("the command was not sealed with a key of this deployment, for one of its apps")]
    NotSealedHere,
    /// It is too old, or the clocks differ.
    #[error("the command is more than a minute old, or the clocks differ by that much")]
    TooOld,
}

impl RevocationTarget {
    /// The revocations of this target at one app. A session name may be Doorward's or the
    /// provider's.
    pub fn revocations(&self, now: Timestamp) -> Vec<Revocation> {
        match self {
            Self::Subject(subject) => vec![Revocation::User(subject.clone(), now)],
            Self::Session(name) => vec![
                Revocation::Session(SessionId::new(name.clone()), Subject::new("")),
                Revocation::ProviderSession(ProviderSid::new(name.clone())),
            ],
            Self::Everyone => vec![Revocation::Everyone(now)],
        }
    }

    /// The message with the commands of this target at `app`, one per line. `None`: no randomness.
    pub fn sealed_commands(&self, app: &AppAuth, now: Timestamp) -> Option<String> {
        let mut message = String::new();
        for revocation in self.revocations(now) {
            let command = RevocationCommand {
                revocation,
                given_at: now,
            };
            let seal = &app.seals.revocation_command;
            message.push_str(&seal.seal(&command, random::bytes().ok()?)?);
            message.push('\n');
        }
        Some(message)
    }
}

/// Applies the revocation commands of operators.
pub struct RevocationCommands {
    context: Arc<Context>,
    replicator: RevocationReplicator,
}

impl RevocationCommands {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        replicator: RevocationReplicator,
    ) -> Self {
        Self {
            context,
            replicator,
        }
    }

    /// Applies the commands of `message` and returns their number.
    ///
    /// # Errors
    /// See [`CommandRejected`]. Nothing was applied then.
    pub fn apply(&self, message: &str) -> Result<usize, CommandRejected> {
        let now = self.context.now();
        let mut revocations = Vec::new();
        for line in message.lines().take(MAX_COMMANDS) {
            let open = |app: &Arc<AppAuth>| app.seals.revocation_command.open(line);
            let mut apps = self.context.apps.iter();
            let opened = apps.find_map(|app| Some((app, open(app)?)));
            let (app, command) = opened.ok_or(CommandRejected::NotSealedHere)?;
            if now.since(command.given_at) > MAX_AGE || command.given_at.since(now) > MAX_AGE {
                return Err(CommandRejected::TooOld);
            }
            // Clamped to now, whatever the operator's clock says.
            revocations.push((app, command.revocation.until(now)));
        }
        let applied = revocations.len();
        for (app, revocation) in revocations {
            let ends_at = now.plus(app.app.limits.absolute);
            for elsewhere in at_other_issuers(app, &revocation) {
                self.replicator.revoke(app, elsewhere, ends_at);
            }
            self.replicator.revoke(app, revocation, ends_at);
            self.context
                .observer
                .record_event(app, Event::Revocation, "ordered");
        }
        Ok(applied)
    }
}

/// The same names at the other providers whose access tokens the app accepts: an operator does not
/// say who issued a token.
fn at_other_issuers(app: &AppAuth, revocation: &Revocation) -> Vec<Revocation> {
    let (sid, user) = match revocation {
        Revocation::ProviderSession(sid) => (Some(sid.clone()), None),
        Revocation::User(subject, started_until) => {
            let user = UserSessions {
                subject: subject.clone(),
                started_until: *started_until,
            };
            (None, Some(user))
        }
        Revocation::Session(..) | Revocation::Everyone(_) | Revocation::Provider(_) => {
            return Vec::new();
        }
    };
    let providers = app.bearer.iter().flat_map(|bearer| &bearer.providers);
    let issuers = providers.filter_map(|provider| app.other_issuer(provider));
    issuers
        .map(|issuer| {
            Revocation::Provider(ProviderRevocation {
                issuer: Some(issuer.clone()),
                sid: sid.clone(),
                user: user.clone(),
            })
        })
        .collect()
}
