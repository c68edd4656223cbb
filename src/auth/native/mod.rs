//! Native apps with their own login form: the password grant behind a throttle, and sealed tokens
//! instead of cookies. Refresh, reuse detection and revocation are those of browser sessions.

mod authenticate;
mod dpop;
mod login;
mod logout;
mod refresh;
mod throttle;
mod tokens;

pub use dpop::Proving;
pub use tokens::NativeTokens;

use std::time::Duration;

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::auth::Unavailable;
use crate::auth::bearer::dpop::DpopError;
use crate::auth::session::cookies::{CookieWriteError, SetCookieHeaders};
use crate::oidc::password::Refusal;
use crate::session::validity::NoSessionReason;

/// How long a native app waits for a login or a refresh.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The result of a native endpoint.
#[derive(Debug)]
pub enum NativeOutcome {
    /// Tokens.
    Tokens(NativeTokens),
    /// The cookies of a session.
    Cookies {
        /// The `Set-Cookie` headers.
        set_cookies: SetCookieHeaders,
        /// The absolute timeout of the session.
        lasts: Duration,
        /// `device_token`.
        device_token: Zeroizing<String>,
    },
    /// The session is over. The headers clear its cookies.
    LoggedOut(SetCookieHeaders),
}

/// Why a native endpoint failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NativeFailure {
    /// Too many password attempts, by the limit of this code.
    #[error("too many logins were tried: {0}")]
    Throttled(&'static str, Duration),
    /// The provider refused the login.
    #[error("the provider refused the login: {}", .0.why.code())]
    Refused(Refusal),
    /// The refresh token does not decrypt.
    #[error("the refresh token is not one that this app was given")]
    UnknownToken,
    /// The session is over.
    #[error("the session is over: {}", .0.code())]
    SessionOver(NoSessionReason),
    /// Possession of the key is not proven. The nonce is for the next proof.
    #[error("the device does not prove possession of its key: {}", .0.code())]
    DpopRejection(DpopError, Option<HeaderValue>),
    /// The scope is not allowed for this app.
    #[error("a scope was asked for that this app does not have")]
    Scope,
    /// The provider rejects password grants of this app, or its tokens are unusable.
    #[error("the provider gave nothing that can be used: {0}")]
    Provider(&'static str),
    /// A token does not fit into a header: its largest part and its size in bytes.
    #[error("the {0} makes a token of {1} bytes; at most {max} fit into a header", max = crate::session::cookie::MAX_ALL)]
    TokenTooLarge(&'static str, usize),
    /// The session does not fit into cookies.
    #[error(transparent)]
    TooLarge(#[from] CookieWriteError),
    /// The provider or the store is unavailable.
    #[error("the provider or the store could not be asked: {}", .0.code)]
    Unavailable(Unavailable),
}

impl NativeFailure {
    /// The stable code for logs, metrics and responses.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Throttled(by, _) => by,
            Self::Refused(refusal) => refusal.why.code(),
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
