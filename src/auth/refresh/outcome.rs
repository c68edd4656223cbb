//! The outcome of a refresh, and what a failure means: the session is over, a retry may succeed, or
//! only a login helps.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::auth::refresh::grant_error::GrantError;
use crate::auth::refresh::rotation::Rotation;
use crate::auth::session_id::start_of;
use crate::oidc::token::TokenError;
use crate::runtime::TaskError;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::validity::NoSessionReason;
use crate::store::{SessionKeyRef, StoreError};
use crate::types::oauth::Generation;

/// The code of a refresh that did not end while the request waited.
pub(super) const REFRESH_TOO_SLOW: &str = "refresh_too_slow";

/// The result of a refresh.
#[derive(Clone, Debug)]
pub enum Refreshed {
    /// New tokens.
    Renewed(Arc<Grant>),
    /// The session is over.
    SessionOver(NoSessionReason),
    /// Failed. A retry may succeed.
    Unavailable(Unavailable),
    /// The provider refused again, for a reason that does not end the session. A login repairs it.
    LoginRequired(Unavailable),
}

impl Refreshed {
    /// Whether the provider failed or refused, as opposed to the store or Doorward itself.
    pub(super) const fn is_by_provider(&self) -> bool {
        match self {
            Self::Unavailable(outage) | Self::LoginRequired(outage) => {
                outage.is_provider_outage() || outage.login_helps
            }
            Self::Renewed(_) | Self::SessionOver(_) => false,
        }
    }

    /// The same result, but a timeout while the store is unavailable is the store's.
    #[must_use]
    pub(in crate::auth) fn attributed(self, context: &Context) -> Self {
        match self {
            Self::Unavailable(outage) if outage.code == REFRESH_TOO_SLOW => {
                let cause = context.failed_task(TaskError::TooSlow);
                Self::Unavailable(if cause.is_provider_outage() {
                    outage
                } else {
                    cause
                })
            }
            Self::Unavailable(_)
            | Self::Renewed(_)
            | Self::SessionOver(_)
            | Self::LoginRequired(_) => self,
        }
    }

    /// The same failure with this `Retry-After`.
    #[must_use]
    pub(super) fn with_retry_after(&self, retry_after: Duration) -> Self {
        let outage = |outage: &Unavailable| Unavailable {
            retry_after,
            ..*outage
        };
        match self {
            Self::Unavailable(failed) => Self::Unavailable(outage(failed)),
            Self::LoginRequired(failed) => Self::LoginRequired(outage(failed)),
            Self::Renewed(_) | Self::SessionOver(_) => self.clone(),
        }
    }
}

pub(super) fn store_outage(app: &AppAuth, used: &RefreshGrant, error: &StoreError) -> Refreshed {
    tracing::debug!(app = %app.app.name, session = %used.sid.log_name(), code = error.code(), %error, "refresh_start_failed");
    Refreshed::Unavailable(Unavailable::of_store(error.code()))
}

/// The result of a refusal that does not end the session. The refresh that follows the first one
/// may succeed. After the second one the user has to log in.
pub(super) fn after_refusal(
    rotation: &Rotation,
    generation: Generation,
    outage: Unavailable,
) -> Refreshed {
    let outage = outage.repaired_by_login();
    if rotation.was_refused(generation) {
        Refreshed::LoginRequired(outage)
    } else {
        Refreshed::Unavailable(outage)
    }
}

/// Whether the provider responded to a refresh and gave no tokens, so that a login may be needed.
pub(super) const fn is_refusal(error: &TokenError) -> bool {
    match error {
        TokenError::ClientRejected { .. } | TokenError::BadResponse(_) => true,
        TokenError::GrantRejected { .. }
        | TokenError::Unavailable { .. }
        | TokenError::Unreachable(_)
        | TokenError::OutcomeUnknown(_) => false,
    }
}

/// The outage that a failed call means. A rejected client registration is a configuration error, not
/// an outage of the provider.
pub(super) const fn outage_of(error: &TokenError) -> Unavailable {
    match error {
        TokenError::Unavailable {
            retry_after: Some(retry_after),
            ..
        } => Unavailable {
            retry_after: *retry_after,
            ..Unavailable::of_provider(error.code())
        },
        TokenError::Unavailable { .. }
        | TokenError::Unreachable(_)
        | TokenError::OutcomeUnknown(_)
        | TokenError::BadResponse(_) => Unavailable::of_provider(error.code()),
        TokenError::ClientRejected { .. } | TokenError::GrantRejected { .. } => {
            Unavailable::refused(error.code())
        }
    }
}

pub(super) fn outage_of_grant(error: &GrantError) -> Unavailable {
    if error.is_outage() {
        Unavailable::of_provider(error.code())
    } else {
        Unavailable::refused(error.code())
    }
}

/// Whether the session was revoked here.
pub(super) fn is_revoked(app: &AppAuth, used: &RefreshGrant, jwt: Option<&SessionJwt>) -> bool {
    let by_jwt = jwt.and_then(|jwt| jwt.provider_sid.as_ref());
    app.revocations.snapshot().contains(SessionKeyRef {
        issuer: None,
        sid: &used.sid,
        provider_sid: by_jwt.or(used.provider_sid.as_ref()),
        subject: &used.subject,
        started_at: used.started_at,
        is_access_token: false,
        order: start_of(&used.sid),
    })
}

/// Logs a failed call. The outage is logged once, by the provider.
pub(super) fn log_failure(app: &AppAuth, used: &RefreshGrant, error: &TokenError) {
    let (sid, code, url) = (&used.sid, error.code(), app.provider.refresh_url());
    tracing::debug!(app = %app.app.name, session = %sid.log_name(), code, %error, url, "refresh_failed");
}
