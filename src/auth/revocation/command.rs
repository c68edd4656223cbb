//! Sealed revocation command for the admin endpoint. The deployment key authenticates it, so the
//! admin listener accepts it from any client, including a page in a local browser.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::events::{Event, EventSession};
use crate::auth::operator_command::MAX_AGE;
use crate::auth::purposes::{RevocationCommand, SealedRevocationCommand};
use crate::auth::random;
use crate::auth::revocation::publication::Reach;
use crate::auth::revocation::replication::{MAX_BLOCK, RevocationReplicator};
use crate::lock::lock;
use crate::session::seal::{SealId, read_payload};
use crate::store::{ProviderRevocation, Revocation, UserSessions};
use crate::types::oauth::{ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// The maximum number of commands in one message.
const MAX_COMMANDS: usize = 1000;

/// The maximum number of commands within their age that are recognized when they come again.
const MAX_SEEN: usize = 10_000;

/// How long a command waits until the store has its revocations. Longer than the longest call.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(6);

/// The target of a revocation command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationTarget {
    /// A user, by `sub`: all sessions that started until now.
    Subject(Subject),
    /// The same, and no session may start until a time.
    Blocked(Subject, Timestamp),
    /// Nothing: the user may log in again.
    Unblocked(Subject),
    /// One session, by Doorward's session ID or the provider's `sid`.
    Session(String),
    /// One session, by the session ID that the list of sessions has.
    Listed(SessionId),
    /// All sessions that started until now.
    Everyone,
}

/// The result of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandsApplied {
    /// The number of commands.
    pub count: usize,
    /// How far their revocations are known.
    pub reach: Reach,
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
    /// The commands of this target at one app. A session name may be Doorward's or the provider's.
    fn commands(&self, now: Timestamp) -> Vec<RevocationCommand> {
        let command = |revocation, block| RevocationCommand {
            revocation,
            given_at: now,
            block,
        };
        let of_user = |subject: &Subject, until| Revocation::User(subject.clone(), until);
        match self {
            Self::Subject(subject) => vec![command(of_user(subject, now), None)],
            Self::Blocked(subject, until) => {
                vec![command(of_user(subject, now), Some(*until))]
            }
            Self::Unblocked(subject) => {
                let never = Timestamp::default();
                vec![command(of_user(subject, never), Some(never))]
            }
            Self::Session(name) => vec![
                command(
                    Revocation::Session(SessionId::new(name.clone()), Subject::new("")),
                    None,
                ),
                command(
                    Revocation::ProviderSession(ProviderSid::new(name.clone())),
                    None,
                ),
            ],
            Self::Listed(sid) => {
                let revocation = Revocation::Session(sid.clone(), Subject::new(""));
                vec![command(revocation, None)]
            }
            Self::Everyone => vec![command(Revocation::Everyone(now), None)],
        }
    }

    /// The message with the commands of this target at `app`, one per line. `None`: no randomness.
    pub fn sealed_commands(&self, app: &AppAuth, now: Timestamp) -> Option<String> {
        let mut message = String::new();
        for command in self.commands(now) {
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
    applied: Arc<AppliedCommands>,
}

/// Commands that were applied, until they are too old to come again.
#[derive(Default)]
pub(in crate::auth) struct AppliedCommands(Mutex<HashMap<SealId, Timestamp>>);

struct OpenedCommand<'a> {
    app: &'a Arc<AppAuth>,
    id: SealId,
    command: RevocationCommand,
}

impl RevocationCommands {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        replicator: RevocationReplicator,
        applied: Arc<AppliedCommands>,
    ) -> Self {
        Self {
            context,
            replicator,
            applied,
        }
    }

    /// Applies the commands of `message`, and waits for a limited time until the other replicas can
    /// read them.
    ///
    /// # Errors
    /// See [`CommandRejected`]. Nothing was applied then.
    pub async fn apply(&self, message: &str) -> Result<CommandsApplied, CommandRejected> {
        let now = self.context.now();
        let mut commands = Vec::new();
        for line in message.lines().take(MAX_COMMANDS) {
            let opened = self.open(line).ok_or(CommandRejected::NotSealedHere)?;
            let given_at = opened.command.given_at;
            if now.since(given_at) > MAX_AGE || given_at.since(now) > MAX_AGE {
                return Err(CommandRejected::TooOld);
            }
            commands.push(opened);
        }
        let count = commands.len();
        let mut publications = Vec::with_capacity(count);
        for OpenedCommand { app, id, command } in commands {
            if !self.is_first(id, now) {
                continue;
            }
            let absolute = app.app.limits.absolute;
            let block = command.block.map(|until| until.min(now.plus(MAX_BLOCK)));
            let ends_at = match block {
                // Longer than any block that it lifts.
                Some(until) if until <= now => now.plus(MAX_BLOCK),
                Some(until) => until,
                None => now,
            };
            let ends_at = ends_at.plus(absolute);
            let about = EventSession::from(&command.revocation);
            let revocation = until_receipt(command, now);
            let elsewhere = at_other_issuers(app, &revocation);
            publications.extend([revocation].into_iter().chain(elsewhere).map(|revocation| {
                self.replicator
                    .revoke_with(app, revocation, ends_at, block, now)
            }));
            self.context
                .observer
                .record_event(app, Event::Revocation, "ordered", &about);
        }
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        let mut reach = Reach::Published;
        for publication in publications {
            let left = deadline.saturating_duration_since(Instant::now());
            reach = reach.and(publication.reach(left).await);
        }
        Ok(CommandsApplied { count, reach })
    }

    fn open(&self, line: &str) -> Option<OpenedCommand<'_>> {
        let mut buffer = Vec::new();
        self.context.apps.iter().find_map(|app| {
            let opened = app.seals.revocation_command.open_into(line, &mut buffer)?;
            Some(OpenedCommand {
                app,
                id: opened.stamp,
                command: read_payload::<SealedRevocationCommand>(&opened)?,
            })
        })
    }

    /// Whether a command comes for the first time. A copy of it must not end sessions that have
    /// started since.
    fn is_first(&self, id: SealId, now: Timestamp) -> bool {
        let mut applied = lock(&self.applied.0);
        if applied.len() >= MAX_SEEN {
            applied.retain(|_, at| now.since(*at) <= MAX_AGE * 2);
        }
        applied.insert(id, now).is_none()
    }
}

/// The revocation of a command, which concerns all sessions that started until it was received:
/// whatever the operator's clock says.
fn until_receipt(command: RevocationCommand, now: Timestamp) -> Revocation {
    let RevocationCommand {
        revocation,
        given_at,
        ..
    } = command;
    match revocation {
        Revocation::User(subject, until) if until == given_at => Revocation::User(subject, now),
        Revocation::Everyone(until) if until == given_at => Revocation::Everyone(now),
        other @ (Revocation::User(..)
        | Revocation::Everyone(_)
        | Revocation::Session(..)
        | Revocation::ProviderSession(_)
        | Revocation::Provider(_)) => other.until(now),
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
