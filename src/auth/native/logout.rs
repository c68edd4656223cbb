//! Logout of native apps: first the local session, then the provider.

use std::net::IpAddr;
use std::sync::Arc;

use super::throttle::PasswordThrottle;
use super::{NativeFailure, NativeOutcome};
use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::logout::rp_initiated::Logout;
use crate::auth::refresh::revoke::RevocableSession;
use crate::policy::native::{Native, Throttle, Tokens};
use crate::policy::native_request::LogoutRequest;
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::session::native::read;
use crate::types::oauth::RefreshToken;

/// Logs native apps out.
pub struct NativeLogout {
    context: Arc<Context>,
    logout: Logout,
    throttle: PasswordThrottle,
}

impl NativeLogout {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        logout: Logout,
        throttle: PasswordThrottle,
    ) -> Self {
        Self {
            context,
            logout,
            throttle,
        }
    }

    /// Ends the session of the token in `request` of a client at `address`. An unknown token has no
    /// session to end, which counts as success (RFC 7009 section 2.2).
    ///
    /// # Errors
    /// See [`NativeFailure`].
    pub async fn log_out(
        &self,
        app_ref: AppRef<'_>,
        native: &Native,
        request: LogoutRequest,
        address: Option<IpAddr>,
        request_cookies: &RequestCookies<'_>,
    ) -> Result<NativeOutcome, NativeFailure> {
        let app = self.context.app(app_ref);
        let app = &app.ok_or(NativeFailure::Provider("internal_error"))?;
        let token = match request {
            LogoutRequest::Cookies => {
                let outcome = self.logout.log_out(app_ref, request_cookies, None).await;
                return Ok(NativeOutcome::LoggedOut(outcome.set_cookies));
            }
            LogoutRequest::Token(token) => token,
        };
        match native.tokens {
            Tokens::Sealed => {
                if let Some(session) = sealed_session(app, &token) {
                    self.logout.end_sessions(app, vec![session]).await;
                }
            }
            Tokens::Plain => {
                // Only the provider knows whether it is a token.
                self.count_revocation(app, native.throttle, address).await?;
                let token = RefreshToken::new(token.as_str());
                self.logout.revoke_token(app, token).await;
            }
        }
        Ok(NativeOutcome::LoggedOut(Vec::new()))
    }

    async fn count_revocation(
        &self,
        app: &Arc<AppAuth>,
        limits: Throttle,
        address: Option<IpAddr>,
    ) -> Result<(), NativeFailure> {
        let (throttle, app) = (self.throttle.clone(), Arc::clone(app));
        let task = async move { throttle.count_revocation(&app, limits, address).await };
        let tasks = &self.context.anonymous_tasks;
        tasks.run(CALL_TIMEOUT, task).await.unwrap_or_else(|error| {
            Err(NativeFailure::Unavailable(Unavailable::of_store_task(
                error,
            )))
        })
    }
}

/// The session of a sealed refresh or access token.
fn sealed_session(app: &AppAuth, token: &str) -> Option<RevocableSession> {
    if let Some(native) = read(&app.seals.native_refresh, token) {
        return Some(native.refresh.into());
    }
    read(&app.seals.native_access, token).map(RevocableSession::from)
}
