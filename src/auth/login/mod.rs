//! The authorization code flow (RFC 6749 section 4.1): start, callback, login loop detection, user
//! switch, and the choice among several providers.

mod attempts;
pub(in crate::auth) mod browser;
pub mod callback;
mod failure;
pub(in crate::auth) mod handover;
mod last_choice;
mod loop_guard;
pub(in crate::auth) mod redeem;
pub(in crate::auth) mod response;
pub mod start;
mod stored_targets;
pub(in crate::auth) mod user_switch;

use std::sync::Arc;

use crate::auth::context::Context;
use crate::auth::session::writer::SessionWriter;
use attempts::Attempts;
use handover::Handovers;
use redeem::CodeRedeemer;
use stored_targets::{StoredTargets, TargetQuota};

pub use failure::LoginFailure;
pub(in crate::auth) use failure::is_cured_by_new_attempt;
pub use loop_guard::LoginLoop;

/// Logs users in.
pub struct Login {
    context: Arc<Context>,
    sessions: Arc<SessionWriter>,
    redeemer: CodeRedeemer,
    handovers: Handovers,
    attempts: Arc<Attempts>,
    targets: StoredTargets,
}

/// The logins that this process has started, in any configuration.
#[derive(Clone, Default)]
pub(in crate::auth) struct StartedLogins {
    attempts: Arc<Attempts>,
    targets: Arc<TargetQuota>,
}

impl Login {
    pub(in crate::auth) fn new(
        context: Arc<Context>,
        sessions: Arc<SessionWriter>,
        started: StartedLogins,
    ) -> Self {
        Self {
            redeemer: CodeRedeemer::new(Arc::clone(&context)),
            handovers: Handovers::new(Arc::clone(&context)),
            targets: StoredTargets::new(Arc::clone(&context), started.targets),
            context,
            sessions,
            attempts: started.attempts,
        }
    }
}
