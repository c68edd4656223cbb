//! The result of authentication: the caller, and the session update of the response.

use std::sync::Arc;

use http::HeaderValue;

use crate::auth::error::Unavailable;
use crate::auth::refresh::single_flight::RefreshHandle;
use crate::policy::decide::Caller;
use crate::policy::login_providers::ProviderIndex;
use crate::session::grant::Grant;
use crate::session::token::TokenRefusal;
use crate::session::validity::{LiveSession, NoSessionReason};
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// How the response updates the session of the client.
#[derive(Debug)]
pub enum SessionUpdate {
    /// No update.
    Nothing,
    /// Sets the refreshed session.
    SetSession(Arc<Grant>),
    /// Returns refreshed tokens to a native app, with their scope.
    ReturnTokens(Arc<Grant>, String),
    /// Sets the refreshed session if the refresh beside this request ends in time, else touches the
    /// last activity.
    SetIfRefreshed(RefreshHandle, LiveSession),
    /// Sets the activity cookie, if it is due.
    TouchActivity(LiveSession),
    /// Sets the same tokens again, sealed with the current key.
    Reencrypt(LiveSession),
    /// Clears the cookies of this session, for this reason.
    Clear(SessionId, NoSessionReason),
}

/// The result of authentication. The session update takes effect when the response head is written.
#[derive(Debug)]
pub struct Authentication {
    /// The caller, or why it cannot be determined now.
    pub caller: Result<Caller, Unavailable>,
    /// The change that the response makes to the session.
    pub update: SessionUpdate,
    /// When the request was authenticated.
    pub at: Timestamp,
    /// The `DPoP-Nonce` for the client's next proof.
    pub nonce: Option<HeaderValue>,
    /// The provider of the session or the token. `None`: the request has nothing of any of
    /// several.
    pub provider: Option<ProviderIndex>,
    /// Whether the worker opened the session for the first time, as far as it remembers.
    pub is_first_use: bool,
}

impl Authentication {
    /// No session: the request has no app.
    pub const fn anonymous() -> Self {
        Self::new(
            Ok(Caller::Anonymous(NoSessionReason::NoCookie)),
            SessionUpdate::Nothing,
        )
    }

    pub(in crate::auth) const fn new(
        caller: Result<Caller, Unavailable>,
        update: SessionUpdate,
    ) -> Self {
        Self {
            caller,
            update,
            at: Timestamp::from_secs(0),
            nonce: None,
            provider: None,
            is_first_use: false,
        }
    }

    /// The same at this provider.
    pub(in crate::auth) fn at(self, provider: Option<ProviderIndex>) -> Self {
        Self { provider, ..self }
    }

    /// The caller cannot be determined now.
    pub(in crate::auth) const fn unavailable(outage: Unavailable) -> Self {
        Self::new(Err(outage), SessionUpdate::Nothing)
    }

    /// No session: the presented token is rejected.
    pub(in crate::auth) const fn rejected(refusal: TokenRefusal) -> Self {
        Self::new(
            Ok(Caller::Anonymous(NoSessionReason::TokenRefused(refusal))),
            SessionUpdate::Nothing,
        )
    }

    /// No session, for this reason. `sid` is the session that the cookies name.
    pub(in crate::auth) fn no_session(why: NoSessionReason, sid: Option<SessionId>) -> Self {
        let update = match (why, sid) {
            (
                NoSessionReason::Idle
                | NoSessionReason::AbsoluteTimeout
                | NoSessionReason::RefreshRefused
                | NoSessionReason::RefreshTokenReused
                | NoSessionReason::Expired,
                Some(sid),
            ) => SessionUpdate::Clear(sid, why),
            // The response that ended the session cleared its cookies, and a new login may have set
            // others since. Cookies that cannot be decrypted may belong to another key ring. A
            // session that the provider does not refresh now may be refreshed later, a device may
            // prove possession of its key later, and the user's own client may have the same
            // cookies. None is deleted.
            (
                NoSessionReason::Revoked
                | NoSessionReason::RevocationsUnknown
                | NoSessionReason::NoCookie
                | NoSessionReason::UnreadableCookie
                | NoSessionReason::CookieMismatch
                | NoSessionReason::NotRefreshed
                | NoSessionReason::InsufficientAuthentication
                | NoSessionReason::DeviceUnproven(_)
                | NoSessionReason::ClientChanged(_)
                | NoSessionReason::TokenRefused(_)
                | NoSessionReason::PasswordRefused(_),
                _,
            )
            | (_, None) => SessionUpdate::Nothing,
        };
        Self::new(Ok(Caller::Anonymous(why)), update)
    }
}
