//! Why a login did not create a session.

use crate::auth::app::AppAuth;
use crate::auth::error::Unavailable;
use crate::auth::session::cookies::CookieWriteError;
use crate::oidc::callback::{AuthorizationError, CallbackError};
use crate::session::attempt::ATTEMPT_LIFETIME;
use crate::session::login_loop::LoginLoopCause;
use crate::types::oauth::AppName;

/// Why a login did not create a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    /// The query is not an authorization response.
    #[error(transparent)]
    Malformed(CallbackError),
    /// `state` does not decrypt.
    #[error("the state parameter was not sealed by this app")]
    StateInvalid,
    /// The cookie of the attempt is missing, for the second time.
    #[error("the browser did not return the cookie of the login attempt")]
    CookieMissing,
    /// The request to a login host does not decrypt.
    #[error("the login request was not sealed by an app of this login host")]
    RequestInvalid,
    /// The hand-over code does not decrypt.
    #[error("the hand-over code was not sealed for this app")]
    HandoverInvalid,
    /// The session of the hand-over code was handed over before, has expired, or is in the store of
    /// another replica.
    #[error("the hand-over code is not known, was used before, or expired")]
    HandoverGone,
    /// A different browser started the attempt, for the second time: possibly login CSRF.
    #[error("the login was started by a different browser")]
    BrowserMismatch,
    /// The attempt expired, for the second time.
    #[error("the login took longer than {} minutes", ATTEMPT_LIFETIME.as_secs() / 60)]
    AttemptExpired,
    /// The provider returned an error.
    #[error("the provider returned an error: `{error}`{}", described(description.as_deref()))]
    Declined {
        /// `error`.
        error: String,
        /// `error_description`.
        description: Option<String>,
        /// A known reason in `error_reason`, as a stable code.
        reason: Option<&'static str>,
    },
    /// The code was redeemed before, and its result is gone.
    #[error("the authorization code was redeemed before")]
    Replayed,
    /// The provider rejected the code: it expired, or was never issued.
    #[error("the provider does not know the authorization code, or it expired")]
    CodeRejected,
    /// The provider rejected the client or returned an invalid response.
    #[error("the provider did not redeem the authorization code: {0}")]
    CodeNotRedeemed(&'static str),
    /// The user is not registered for this app at the provider.
    #[error("the user is not registered for this app at the provider")]
    NotRegistered,
    /// The tokens were rejected.
    #[error("the provider's tokens were rejected: {0}")]
    TokensRejected(&'static str),
    /// The user authenticated, but not as the login requires (RFC 9470).
    #[error("the user did not authenticate as the login requires: {0}")]
    InsufficientAuthentication(&'static str),
    /// The session was revoked at the moment of its login.
    #[error("the session was revoked at the moment of its login")]
    SessionRevoked,
    /// An operator blocked the user for a time.
    #[error("an operator has blocked the user")]
    UserBlocked,
    /// The session does not fit into cookies.
    #[error(transparent)]
    TooLarge(#[from] CookieWriteError),
    /// A clock is wrong: the tokens are expired or not yet valid.
    #[error("the provider's tokens are expired or not yet valid: {0}; compare the clocks")]
    ClockSkew(&'static str),
    /// A login loop.
    #[error("login loop: {}", .0.code())]
    Loop(LoginLoopCause),
    /// The provider or the store is unavailable.
    #[error("{}: {}", .0.cause, .0.code)]
    Unavailable(Unavailable),
}

impl From<CallbackError> for LoginFailure {
    fn from(error: CallbackError) -> Self {
        if error.is_outage() {
            Self::Unavailable(Unavailable::of_provider(error.code()))
        } else {
            Self::Malformed(error)
        }
    }
}

fn described(description: Option<&str>) -> String {
    description.map_or_else(String::new, |description| format!(" ({description})"))
}

impl LoginFailure {
    /// Whether a dependency is unavailable. The beginning of its outage is logged.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The failure of a login that the provider rejected.
    pub(in crate::auth) fn declined(app: &AppAuth, refused: AuthorizationError) -> Self {
        /// The user cannot authenticate as `acr_values` requires (OpenID Connect Core Error Code
        /// unmet_authentication_requirements 1.0).
        const UNMET: &str = "unmet_authentication_requirements";
        let AuthorizationError {
            error,
            description,
            reason,
        } = refused;
        if error == UNMET {
            return Self::InsufficientAuthentication(UNMET);
        }
        Self::Declined {
            reason: app.provider.settings().dialect.reason(reason.as_deref()),
            error,
            description,
        }
    }

    /// Logs it, and returns its code.
    pub(in crate::auth) fn logged(&self, app: &AppName) -> &'static str {
        let code = self.code();
        if self.is_outage() {
            tracing::debug!(%app, code, error = %self, "login_failed");
        } else {
            tracing::warn!(%app, code, error = %self, "login_failed");
        }
        code
    }

    /// The stable code for logs, metrics and pages.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(error) => error.code(),
            Self::StateInvalid => "state_invalid",
            Self::RequestInvalid => "login_request_invalid",
            Self::HandoverInvalid => "handover_code_invalid",
            Self::HandoverGone => "handover_code_unknown",
            Self::CookieMissing => "login_cookie_missing",
            Self::BrowserMismatch => "login_browser_mismatch",
            Self::AttemptExpired => "login_attempt_expired",
            Self::Declined { reason, .. } => match reason {
                Some(reason) => reason,
                None => "declined_by_provider",
            },
            Self::Replayed => "code_replayed",
            Self::CodeRejected => "code_rejected",
            Self::NotRegistered => "not_registered",
            Self::CodeNotRedeemed(code)
            | Self::TokensRejected(code)
            | Self::InsufficientAuthentication(code)
            | Self::ClockSkew(code) => code,
            Self::SessionRevoked => "session_revoked",
            Self::UserBlocked => "user_blocked",
            Self::Loop(cause) => cause.code(),
            Self::TooLarge(CookieWriteError::TooLarge { .. }) => "session_too_large",
            Self::TooLarge(CookieWriteError::Unsealed) => "internal_error",
            Self::Unavailable(outage) => outage.code,
        }
    }
}

/// Whether the provider could not finish this attempt and may finish the next one: it was overloaded,
/// its login form expired, or it expected a session that had ended. Such an error is also the result
/// of `prompt=none`, which would have the same result again.
pub(in crate::auth) fn is_cured_by_new_attempt(
    app: &AppAuth,
    refused: &AuthorizationError,
) -> bool {
    let AuthorizationError {
        error, description, ..
    } = refused;
    let expired = description
        .as_ref()
        .is_some_and(|text| text.contains("authentication_expired"));
    let is_silent = app
        .client
        .extra_authorization_params
        .iter()
        .any(|(name, value)| name == "prompt" && value == "none");
    expired
        || error == "temporarily_unavailable"
        || (!is_silent && matches!(error.as_str(), "login_required" | "interaction_required"))
}
