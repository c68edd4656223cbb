//! Front-channel logout (OpenID Connect Front-Channel Logout 1.0): the provider's logout page loads
//! this endpoint in a frame. It ends the session of the cookies in the request, and no other. It
//! only works in browsers that send cookies in frames of the provider's site.

use std::sync::Arc;

use url::Url;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::events::{Event, EventSession};
use crate::auth::login::user_switch;
use crate::auth::refresh::revoke::SessionRevoker;
use crate::auth::session::cookies::{SetCookieHeaders, clear_session};
use crate::auth::session::open::revocable_sessions;
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::types::oauth::ProviderSid;

/// The session was ended.
pub const FRONT_CHANNEL: &str = "front_channel";
/// The request has no session.
pub const NO_SESSION: &str = "front_channel_no_session";

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

/// Handles front-channel logouts.
pub struct FrontchannelLogout {
    context: Arc<Context>,
    revoker: SessionRevoker,
}

impl FrontchannelLogout {
    pub(in crate::auth) const fn new(context: Arc<Context>, revoker: SessionRevoker) -> Self {
        Self { context, revoker }
    }

    /// Ends the session of `request_cookies`, if `iss` and `sid` in `query` match.
    pub fn log_out(
        &self,
        app_ref: AppRef<'_>,
        query: &str,
        request_cookies: &RequestCookies<'_>,
    ) -> FrontchannelOutcome {
        let Some(app) = &self.context.app(app_ref) else {
            return FrontchannelOutcome {
                outcome: "internal_error",
                ancestors: Vec::new(),
                set_cookies: SetCookieHeaders::new(),
            };
        };
        let ended = self.end_matching_session(app, query, request_cookies);
        let (outcome, about) = match &ended {
            Ok(about) => (FRONT_CHANNEL, about),
            Err(code) => (*code, &EventSession::default()),
        };
        let observer = &self.context.observer;
        observer.record_event(app, Event::Revocation, outcome, about);
        let mut set_cookies = SetCookieHeaders::new();
        if ended.is_ok() {
            set_cookies.extend(clear_session(app, request_cookies));
            set_cookies.extend(user_switch::forget(app));
        }
        FrontchannelOutcome {
            outcome,
            ancestors: provider_origins(app),
            set_cookies,
        }
    }

    fn end_matching_session(
        &self,
        app: &Arc<AppAuth>,
        query: &str,
        request_cookies: &RequestCookies<'_>,
    ) -> Result<EventSession, &'static str> {
        let values = |name: &'static str| {
            let pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.filter_map(move |(found, value)| (found == name).then_some(value))
        };
        let issuer = app.provider.settings().issuer.as_str();
        // One of several providers must say which it is.
        let is_unnamed = app.app.providers.are_several() && values("iss").next().is_none();
        if is_unnamed || values("iss").any(|iss| iss != issuer) {
            return Err("front_channel_issuer_mismatch");
        }
        let mut sessions = revocable_sessions(app, request_cookies);
        if sessions.is_empty() {
            return Err(NO_SESSION);
        }
        sessions.retain(|session| {
            let provider_sid = session.provider_sid.as_ref().map(ProviderSid::as_str);
            values("sid").all(|sid| Some(&*sid) == provider_sid)
        });
        if sessions.is_empty() {
            return Err("front_channel_sid_mismatch");
        }
        let about = sessions
            .first()
            .map(|session| EventSession::from(&session.key));
        for session in &sessions {
            self.revoker.revoke(app, &session.key);
        }
        // The store and the provider are called in the background: the logout page must not wait.
        let (revoker, app) = (self.revoker.clone(), Arc::clone(app));
        let spawned = self.context.runtime.spawn(async move {
            for session in sessions {
                revoker.revoke_with_tokens(&app, session).await;
            }
        });
        if spawned.is_err() {
            tracing::warn!("front_channel_token_not_revoked");
        }
        Ok(about.unwrap_or_default())
    }
}

/// The known origins of the provider's pages.
fn provider_origins(app: &AppAuth) -> Vec<String> {
    let pages = match app.provider.known_metadata() {
        Some(metadata) => [
            Some(metadata.authorization_endpoint.clone()),
            metadata.end_session_endpoint.clone(),
        ],
        None => [Some(app.provider.settings().discovery_url.clone()), None],
    };
    let mut origins: Vec<String> = pages
        .into_iter()
        .flatten()
        .map(|url: Url| url.origin().ascii_serialization())
        .collect();
    origins.dedup();
    origins
}
