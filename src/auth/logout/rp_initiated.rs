//! RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0): first the local session, so that
//! the logout holds whatever the provider does, then the refresh token, then the session at the
//! provider.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::auth::app::AppAuth;
use crate::auth::refresh::single_flight::RevocationResult;
use crate::auth::session::authenticate::{SessionKey, open_refresh, session_key};
use crate::auth::session::cookies::{self, SetCookieHeaders};
use crate::auth::{Auth, Event, login::loop_guard, login::user_switch};
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::types::oauth::RefreshToken;

/// In the query of the signed-out page: the session at the provider was not ended.
pub const NOT_TOLD: &str = "provider=not-told";

/// How long a logout waits for the revocation of the refresh token, which continues after it.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The redirect after a logout.
#[derive(Debug)]
pub struct LogoutOutcome {
    /// The provider's `end_session_endpoint`, or the signed-out page.
    pub location: String,
    /// The headers that clear the cookies.
    pub set_cookies: SetCookieHeaders,
}

impl Auth {
    /// Ends the session of `request_cookies`, if it has one.
    pub async fn logout(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
    ) -> LogoutOutcome {
        let signed_out = app_ref.app.endpoint_url("signed-out");
        let Some(app) = self.app(app_ref.index) else {
            return LogoutOutcome {
                location: signed_out,
                set_cookies: SetCookieHeaders::new(),
            };
        };
        let token = open_refresh(app, request_cookies).map(|refresh| refresh.token);
        let session = session_key(app, request_cookies);
        if let Some(session) = &session {
            // First, whatever the store and the provider do.
            self.revoke_session(app, &session.sid, &session.subject, session.started_at);
        }
        let (outcome, provider_is_there) = self.revoke_in_time(app, session, token).await;
        self.observer.record_event(app, Event::Logout, outcome);
        let location = if provider_is_there {
            self.end_session_location(app, request_cookies, &signed_out)
                .await
                .unwrap_or(signed_out)
        } else {
            // An unreachable provider would show a browser error instead of a logout.
            format!("{signed_out}?{NOT_TOLD}")
        };
        let mut set_cookies = cookies::forget_session(app, request_cookies);
        set_cookies.extend(loop_guard::session_confirmed(app, request_cookies));
        set_cookies.extend(user_switch::forget(app));
        LogoutOutcome {
            location,
            set_cookies,
        }
    }

    /// Whether a logout ends the session at the provider too.
    pub fn can_end_provider_session(&self, app_ref: AppRef<'_>) -> bool {
        self.app(app_ref.index).is_some_and(|app| {
            let metadata = app.provider.known_metadata();
            metadata
                .is_some_and(|metadata| app.provider.settings().dialect.can_end_session(&metadata))
        })
    }

    /// Revokes the newest refresh token of the session.
    pub(in crate::auth) async fn revoke_in_time(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        session: Option<SessionKey>,
        token: Option<RefreshToken>,
    ) -> (&'static str, bool) {
        let (auth, app) = (Arc::clone(self), Arc::clone(app));
        let task = async move {
            let newest = match session {
                Some(SessionKey {
                    sid,
                    subject,
                    started_at,
                }) => {
                    auth.revoke_session_and_rotation(&app, &sid, &subject, started_at)
                        .await
                }
                None => None,
            };
            let token = newest
                .and_then(|grant| grant.refresh)
                .map(|refresh| refresh.token)
                .or(token);
            match token {
                Some(token) => auth.revoke_at_provider(&app, &token).await,
                None => RevocationResult::NothingToRevoke,
            }
        };
        match self.runtime.run(REVOKE_TIMEOUT, task).await {
            Ok(RevocationResult::NothingToRevoke) => ("no_refresh_token", true),
            Ok(RevocationResult::Revoked) => ("refresh_token_revoked", true),
            Ok(RevocationResult::NotOffered) => ("revocation_not_offered", true),
            Ok(RevocationResult::Failed) => ("revocation_failed", true),
            Ok(RevocationResult::Unreachable) => ("provider_unreachable", false),
            Err(error) => (error.code(), false),
        }
    }

    async fn end_session_location(
        &self,
        app: &Arc<AppAuth>,
        request_cookies: &RequestCookies<'_>,
        signed_out: &str,
    ) -> Option<String> {
        let metadata = self.metadata(app).await.ok()?;
        let token = request_cookies
            .get(&app.app.cookies.hint)
            .and_then(|value| app.seals.hint.open(value));
        let return_to = Url::parse(signed_out).ok();
        let dialect = &app.provider.settings().dialect;
        dialect
            .end_session_url(&metadata, &app.client, token.as_ref(), return_to.as_ref())
            .map(String::from)
    }
}
