//! Native apps, which show a login form of their own: the password grant behind a limit, and sealed tokens in place of
//! cookies. Sessions are the same: one refresh at a time, successors, theft, revocation.

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

/// How long a device waits for its login or for new tokens.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a call of a native app leads to.
#[derive(Debug)]
pub enum NativeOutcome {
    /// Tokens.
    Tokens(NativeTokens),
    /// The cookies of a session.
    Cookies {
        /// Their lines.
        set_cookies: SetCookieHeaders,
        /// How long the session lasts at most.
        lasts: Duration,
        /// `device_token`.
        device_token: Zeroizing<String>,
    },
    /// The session is over; the lines take its cookies away.
    LoggedOut(SetCookieHeaders),
}

/// Why it leads to nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NativeFailure {
    /// Too many passwords were tried; the word says by which measure.
    #[error("too many logins were tried: {0}")]
    Throttled(&'static str, Duration),
    /// The provider refused the person.
    #[error("the provider refused the login: {}", .0.why.code())]
    Refused(Refusal),
    /// The refresh token is none of this app's.
    #[error("the refresh token is not one that this app was given")]
    UnknownToken,
    /// The session is over.
    #[error("the session is over: {}", .0.code())]
    SessionOver(NoSessionReason),
    /// The device does not prove possession of its key; the nonce is for its next try.
    #[error("the device does not prove possession of its key: {}", .0.code())]
    DpopRejection(DpopError, Option<HeaderValue>),
    /// The app is not given this scope.
    #[error("a scope was asked for that this app does not have")]
    Scope,
    /// The provider does not take this app's passwords, or its tokens are of no use.
    #[error("the provider gave nothing that can be used: {0}")]
    Provider(&'static str),
    /// A token does not fit into a header: what is in it, and how many bytes it takes.
    #[error("the {0} makes a token of {1} bytes; at most {max} fit into a header", max = crate::session::cookie::MAX_ALL)]
    TokenTooLarge(&'static str, usize),
    /// The session does not fit into cookies.
    #[error(transparent)]
    TooLarge(#[from] CookieWriteError),
    /// The provider or the store could not be asked.
    #[error("the provider or the store could not be asked: {}", .0.code)]
    Unavailable(Unavailable),
}

impl NativeFailure {
    /// The stable word for logs, metrics and answers.
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
