//! Why a native endpoint failed.

use std::time::Duration;

use http::HeaderValue;

use crate::auth::app::AppAuth;
use crate::auth::bearer::dpop::DpopError;
use crate::auth::error::Unavailable;
use crate::auth::refresh::grant_error::GrantError;
use crate::auth::session::cookies::CookieWriteError;
use crate::oidc::password::{PasswordRejection, RejectionReason};
use crate::oidc::token::TokenError;
use crate::session::validity::NoSessionReason;

/// Why a native endpoint failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NativeFailure {
    /// Too many password attempts, by the limit of this code.
    #[error("too many password attempts: {0}")]
    Throttled(&'static str, Duration),
    /// The provider refused the login.
    #[error("the provider refused the login: {}", .0.reason.code())]
    Refused(PasswordRejection),
    /// The refresh token does not decrypt.
    #[error("the refresh token was not issued for this app")]
    UnknownToken,
    /// The session is over.
    #[error("the session is over: {}", .0.code())]
    SessionOver(NoSessionReason),
    /// Possession of the key is not proven. The nonce is for the next proof.
    #[error("possession of the key is not proven: {}", .0.code())]
    DpopRejection(DpopError, Option<HeaderValue>),
    /// The scope is not allowed for this app.
    #[error("the requested scope is not allowed for this app")]
    Scope,
    /// The provider rejects password grants of this app, or its tokens are unusable.
    #[error("the provider returned nothing usable: {0}")]
    Provider(&'static str),
    /// A token does not fit into a header: its largest part and its size in bytes.
    #[error("the {0} makes a token of {1} bytes; at most {max} fit into a header", max = crate::session::cookie::MAX_ALL)]
    TokenTooLarge(&'static str, usize),
    /// The session does not fit into cookies.
    #[error(transparent)]
    TooLarge(#[from] CookieWriteError),
    /// The provider or the store is unavailable.
    #[error("the provider or the store is unavailable: {}", .0.code)]
    Unavailable(Unavailable),
}

impl NativeFailure {
    /// The stable code for logs, metrics and responses.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Throttled(by, _) => by,
            Self::Refused(refusal) => refusal.reason.code(),
            Self::UnknownToken => "unknown_refresh_token",
            Self::SessionOver(why) => why.code(),
            Self::DpopRejection(error, _) => error.code(),
            Self::Scope => "invalid_scope",
            Self::Provider(code) => code,
            Self::TokenTooLarge(..) | Self::TooLarge(CookieWriteError::TooLarge { .. }) => {
                "session_too_large"
            }
            Self::TooLarge(CookieWriteError::Unsealed) => "internal_error",
            Self::Unavailable(outage) => outage.code,
        }
    }
}

/// The failure that a token endpoint error means for a native app.
pub(super) const fn of_token_error(error: &TokenError) -> NativeFailure {
    match error {
        TokenError::ClientRejected { .. }
        | TokenError::BadResponse(_)
        | TokenError::GrantRejected { .. } => NativeFailure::Provider(error.code()),
        TokenError::Unavailable { .. }
        | TokenError::Unreachable(_)
        | TokenError::OutcomeUnknown(_) => {
            NativeFailure::Unavailable(Unavailable::of_provider(error.code()))
        }
    }
}

/// The failure that rejected tokens mean for a native app.
pub(super) fn of_grant_error(app: &AppAuth, error: &GrantError) -> NativeFailure {
    tracing::warn!(app = %app.app.name, code = error.code(), %error, "native_tokens_rejected");
    if error.is_outage() {
        NativeFailure::Unavailable(Unavailable::of_provider(error.code()))
    } else if matches!(error, GrantError::NotRegistered) {
        NativeFailure::Refused(PasswordRejection {
            reason: RejectionReason::RegistrationRequired,
            continuation: serde_json::Map::new(),
        })
    } else {
        NativeFailure::Provider(error.code())
    }
}
