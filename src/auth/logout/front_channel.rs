//! Front-channel logout (OpenID Connect Front-Channel Logout 1.0): the provider's logout page loads
//! this endpoint in a frame. It ends the session of the cookies in the request, and only browsers
//! that send cookies in frames of the provider's site can use it.

use std::sync::Arc;

use url::Url;

use crate::auth::app::AppAuth;
use crate::auth::session::authenticate::{open_jwt, open_refresh, session_key};
use crate::auth::session::cookies::{self, SetCookieHeaders};
use crate::auth::{Auth, Event, login::user_switch};
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;

/// The result of a front-channel logout.
#[derive(Debug)]
pub struct FrontchannelOutcome {
    /// The stable code for logs, metrics and the response.
    pub outcome: &'static str,
    /// The origins that may embed the response: those of the provider.
    pub ancestors: Vec<String>,
    /// The headers that clear the cookies.
    pub set_cookies: SetCookieHeaders,
}

/// The session was ended.
pub const FRONT_CHANNEL: &str = "front_channel";
/// The request has no session.
pub const NO_SESSION: &str = "front_channel_no_session";

impl Auth {
    /// Ends the session of `request_cookies`, if `iss` and `sid` in `query` match.
    pub fn frontchannel_logout(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        query: &str,
        request_cookies: &RequestCookies<'_>,
    ) -> FrontchannelOutcome {
        let Some(app) = self.app(app_ref.index) else {
            return FrontchannelOutcome {
                outcome: "internal_error",
                ancestors: Vec::new(),
                set_cookies: SetCookieHeaders::new(),
            };
        };
        let outcome = self.end_if_meant(app, query, request_cookies);
        self.observer.record_event(app, Event::Revocation, outcome);
        let mut set_cookies = SetCookieHeaders::new();
        if outcome == FRONT_CHANNEL {
            set_cookies.extend(cookies::forget_session(app, request_cookies));
            set_cookies.extend(user_switch::forget(app));
        }
        FrontchannelOutcome {
            outcome,
            ancestors: origins(app),
            set_cookies,
        }
    }

    fn end_if_meant(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        query: &str,
        request_cookies: &RequestCookies<'_>,
    ) -> &'static str {
        let values = |name: &str| {
            let pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs
                .filter(|(found, _)| found == name)
                .map(|(_, value)| value.into_owned())
                .collect::<Vec<_>>()
        };
        if values("iss")
            .iter()
            .any(|iss| *iss != app.provider.settings().issuer.as_str())
        {
            return "front_channel_issuer_mismatch";
        }
        let Some(session) = session_key(app, request_cookies) else {
            return NO_SESSION;
        };
        let provider_sid = open_jwt(app, request_cookies).and_then(|jwt| jwt.provider_sid);
        let ours = provider_sid.as_ref().map(|sid| sid.as_str());
        if values("sid").iter().any(|sid| Some(sid.as_str()) != ours) {
            return "front_channel_sid_mismatch";
        }
        self.revoke_session(app, &session.sid, &session.subject, session.started_at);
        // The store and the provider are called in the background: the logout page must not wait.
        let token = open_refresh(app, request_cookies).map(|refresh| refresh.token);
        let (auth, app) = (Arc::clone(self), Arc::clone(app));
        let begun = self.runtime.spawn(async move {
            let newest = auth
                .revoke_session_and_rotation(
                    &app,
                    &session.sid,
                    &session.subject,
                    session.started_at,
                )
                .await;
            let token = newest
                .and_then(|grant| grant.refresh)
                .map(|refresh| refresh.token)
                .or(token);
            if let Some(token) = token {
                auth.revoke_at_provider(&app, &token).await;
            }
        });
        if begun.is_err() {
            tracing::warn!("front_channel_token_not_revoked");
        }
        FRONT_CHANNEL
    }
}

/// The known origins of the provider's pages.
fn origins(app: &AppAuth) -> Vec<String> {
    let metadata = app.provider.known_metadata();
    let logout = metadata
        .as_ref()
        .and_then(|metadata| metadata.end_session_endpoint.clone());
    let pages = [Some(app.provider.settings().discovery_url.clone()), logout]
        .into_iter()
        .flatten();
    let mut origins: Vec<String> = pages
        .map(|url: Url| url.origin().ascii_serialization())
        .collect();
    origins.dedup();
    origins
}
