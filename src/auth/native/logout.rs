//! Logout of native apps: first the local session, then the provider.

use std::sync::Arc;

use crate::auth::native::{NativeFailure, NativeOutcome};
use crate::auth::session::authenticate::SessionKey;
use crate::auth::{Auth, Event};
use crate::policy::native::{Native, Tokens};
use crate::policy::native_request::LogoutRequest;
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::session::jwt::SessionJwt;
use crate::session::native::read;
use crate::types::oauth::RefreshToken;

impl Auth {
    /// Ends the session of the token in `asked`. An unknown token has no session to end, which
    /// counts as success (RFC 7009 section 2.2).
    ///
    /// # Errors
    /// See [`NativeFailure`].
    pub async fn native_logout(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        native: &Native,
        asked: LogoutRequest,
        request_cookies: &RequestCookies<'_>,
    ) -> Result<NativeOutcome, NativeFailure> {
        let app = self
            .app(app_ref.index)
            .ok_or(NativeFailure::Provider("internal_error"))?;
        let token = match asked {
            LogoutRequest::OfCookies => {
                return Ok(NativeOutcome::LoggedOut(
                    self.logout(app_ref, request_cookies).await.set_cookies,
                ));
            }
            LogoutRequest::OfToken(token) => token,
        };
        let (session, refresh) = match native.tokens {
            Tokens::Sealed => {
                let held = read(&app.seals.native_refresh, &token);
                let by_refresh = held.map(|held| (held.jwt, Some(held.refresh.token)));
                let found =
                    by_refresh.or_else(|| Some((read(&app.seals.native_access, &token)?, None)));
                let Some((
                    SessionJwt {
                        sid,
                        subject,
                        started_at,
                        ..
                    },
                    refresh,
                )) = found
                else {
                    return Ok(NativeOutcome::LoggedOut(Vec::new()));
                };
                (
                    Some(SessionKey {
                        sid,
                        subject,
                        started_at,
                    }),
                    refresh,
                )
            }
            Tokens::Plain => (None, Some(RefreshToken::new(token.as_str()))),
        };
        if let Some(session) = &session {
            // First, whatever the store and the provider do.
            self.revoke_session(app, &session.sid, &session.subject, session.started_at);
        }
        let (outcome, _) = self.revoke_in_time(app, session, refresh).await;
        self.observer.record_event(app, Event::Logout, outcome);
        Ok(NativeOutcome::LoggedOut(Vec::new()))
    }
}
