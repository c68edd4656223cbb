//! Writes sessions to the client: the `Set-Cookie` headers of a response, and the replacement of a
//! session by a login.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::auth::app::AppAuth;
use crate::auth::context::{Context, MAX_CACHED_SESSIONS};
use crate::auth::refresh::generations::NewestGenerations;
use crate::auth::refresh::outcome::Refreshed;
use crate::auth::refresh::revoke::{RevocableSession, SessionRevoker};
use crate::auth::session::authentication::SessionUpdate;
use crate::auth::session::client_continuity::ClientContinuity;
use crate::auth::session::cookies::{
    self, CookieWriteError, SessionCookies, SetCookieHeaders, activity_cookie,
};
use crate::auth::session::device_gate::awaiting_registration;
use crate::auth::session::key_rotation::to_reencrypt;
use crate::auth::session::open::{last_activity, revocable_sessions};
use crate::auth::session::stream::StreamActivity;
use crate::auth::session_validity::{key_of_jwt, key_of_session};
use crate::policy::route::AppRef;
use crate::session::client_continuity::PresentedClient;
use crate::session::cookie::RequestCookies;
use crate::session::grant::Grant;
use crate::session::validity::{LiveSession, NoSessionReason};
use crate::store::RevokedSet;
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// With a shared store, responses slower than this do not set refreshed cookies: another replica
/// may have rotated the tokens again. Well below the lifetime of a JWT.
const MAX_RESPONSE_DELAY: Duration = Duration::from_secs(10);

/// The response that a session update is written to.
#[derive(Clone, Copy)]
pub struct UpdateTarget<'r> {
    /// The app of the request.
    pub app_ref: AppRef<'r>,
    /// The cookies of the request.
    pub request_cookies: &'r RequestCookies<'r>,
    /// When the request was authenticated.
    pub authenticated_at: Timestamp,
    /// Whether the request updates the last activity. Background requests do not.
    pub counts_as_activity: bool,
}

/// Writes session cookies.
pub struct SessionWriter {
    context: Arc<Context>,
    revoker: SessionRevoker,
    generations: Arc<NewestGenerations>,
    replaced: Arc<ReplacedSessions>,
    continuity: ClientContinuity,
    streams: Arc<StreamActivity>,
}

/// Recent sessions that a login on the same browser replaced. A late response must not clear the
/// cookies of the new session.
pub(in crate::auth) struct ReplacedSessions(Cache<SessionId, ()>);

impl Default for ReplacedSessions {
    fn default() -> Self {
        Self(Cache::new(MAX_CACHED_SESSIONS))
    }
}

/// A response that is about to be written.
struct Pending<'r> {
    app: &'r AppAuth,
    target: UpdateTarget<'r>,
    revoked: Arc<RevokedSet>,
    now: Timestamp,
}

impl SessionWriter {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        revoker: SessionRevoker,
        generations: Arc<NewestGenerations>,
        replaced: Arc<ReplacedSessions>,
        continuity: ClientContinuity,
        streams: Arc<StreamActivity>,
    ) -> Self {
        Self {
            context,
            revoker,
            generations,
            replaced,
            continuity,
            streams,
        }
    }

    /// The `Set-Cookie` headers of a response, decided when its head is written: of the newest
    /// known generation, and none for a session that was revoked meanwhile.
    pub fn set_cookie_headers(
        &self,
        update: SessionUpdate,
        target: UpdateTarget<'_>,
    ) -> SetCookieHeaders {
        let Some(app) = &self.context.app(target.app_ref) else {
            return SetCookieHeaders::new();
        };
        let response = Pending {
            app,
            target,
            revoked: app.revocations.snapshot(),
            now: self.context.now(),
        };
        let (mut headers, has_session) = match update {
            SessionUpdate::Nothing | SessionUpdate::ReturnTokens(..) => {
                (SetCookieHeaders::new(), false)
            }
            SessionUpdate::SetSession(grant) => (self.set_session(&response, &grant), true),
            SessionUpdate::SetIfRefreshed(refresh, live) => match refresh.try_result() {
                Some(Refreshed::Renewed(grant)) => (self.set_session(&response, &grant), true),
                Some(
                    Refreshed::SessionOver(_)
                    | Refreshed::Unavailable(_)
                    | Refreshed::LoginRequired(_),
                )
                | None => (touch_activity(&response, &live), true),
            },
            SessionUpdate::TouchActivity(live) => (touch_activity(&response, &live), true),
            SessionUpdate::Reencrypt(live) => {
                let grant = to_reencrypt(app, &live, target.request_cookies, response.now);
                let headers = grant.map_or_else(
                    || touch_activity(&response, &live),
                    |grant| self.set_session(&response, &grant),
                );
                (headers, true)
            }
            SessionUpdate::Clear(sid, why) => (self.clear(&response, &sid, why), false),
        };
        if has_session {
            headers.extend(cookies::reset_login_loop(app, target.request_cookies));
        }
        headers
    }

    fn set_session(&self, response: &Pending<'_>, grant: &Grant) -> SetCookieHeaders {
        let Pending {
            app, target, now, ..
        } = response;
        let (sid, request_cookies) = (&grant.jwt.sid, target.request_cookies);
        if self.is_superseded(grant, target.authenticated_at)
            || response.revoked.contains(key_of_jwt(&grant.jwt))
        {
            return SetCookieHeaders::new();
        }
        let recorded = last_activity(app, sid, request_cookies);
        let streamed = self.streams.last(sid);
        let streamed = streamed.filter(|streamed| recorded.is_none_or(|known| known < *streamed));
        let activity = if target.counts_as_activity {
            Some(streamed.or(recorded).map_or(*now, |known| known.max(*now)))
        } else {
            streamed
        };
        match self.session_cookies(app, grant, request_cookies, activity) {
            Ok(cookies) => cookies.set_cookies,
            Err(error) => {
                tracing::error!(app = %app.app.name, session = %sid.log_name(), %error, "refreshed_session_write_failed");
                SetCookieHeaders::new()
            }
        }
    }

    fn clear(
        &self,
        response: &Pending<'_>,
        sid: &SessionId,
        why: NoSessionReason,
    ) -> SetCookieHeaders {
        let timed_out = matches!(
            why,
            NoSessionReason::Idle | NoSessionReason::AbsoluteTimeout | NoSessionReason::Expired
        );
        // A login may have replaced these cookies meanwhile, at another replica too: it revokes the
        // previous session of the browser.
        let was_replaced =
            self.replaced.0.get(sid).is_some() || (timed_out && response.revoked.has_session(sid));
        if was_replaced {
            return SetCookieHeaders::new();
        }
        cookies::clear_session(response.app, response.target.request_cookies)
    }

    /// Whether refreshed tokens of a request that was authenticated `at` must not be delivered: a
    /// newer generation exists, or another replica may have made one. The successor stays in the
    /// store then.
    pub(in crate::auth) fn is_superseded(&self, grant: &Grant, at: Timestamp) -> bool {
        let is_shared = self.context.has_shared_store();
        let is_late = is_shared && self.context.now().since(at) > MAX_RESPONSE_DELAY;
        let jwt = &grant.jwt;
        is_late || self.generations.is_newer_known(&jwt.sid, jwt.generation)
    }

    /// Writes the cookies of a new session and revokes the sessions of the request: no session ID
    /// survives a login (protection against session fixation).
    pub(in crate::auth) fn replace_session(
        &self,
        app: &Arc<AppAuth>,
        grant: &Grant,
        request_cookies: &RequestCookies<'_>,
        client: PresentedClient<'_>,
    ) -> Result<SessionCookies, CookieWriteError> {
        let activity = Some(self.context.now());
        let grant = awaiting_registration(app, grant);
        let grant = &self.continuity.begin(app, grant, request_cookies, client);
        let cookies = self.session_cookies(app, grant, request_cookies, activity)?;
        self.context.observer.session_started(app, &grant.jwt);
        self.revoke_replaced(app, &grant.jwt.sid, request_cookies);
        for other in self.context.at_other_providers(app) {
            self.revoke_replaced(&other, &grant.jwt.sid, request_cookies);
        }
        Ok(cookies)
    }

    /// Revokes the sessions of the request at `app` that the session `sid` replaces.
    fn revoke_replaced(
        &self,
        app: &Arc<AppAuth>,
        sid: &SessionId,
        request_cookies: &RequestCookies<'_>,
    ) {
        for RevocableSession { key: previous, .. } in revocable_sessions(app, request_cookies) {
            if previous.sid == *sid {
                continue;
            }
            self.revoker.revoke(app, &previous);
            self.replaced.0.insert(previous.sid.clone(), ());
            let (revoker, app) = (self.revoker.clone(), Arc::clone(app));
            let spawned = self.context.runtime.spawn(async move {
                revoker.revoke_with_rotation(&app, &previous).await;
            });
            if spawned.is_err() {
                tracing::warn!("revocation_write_failed");
            }
        }
    }

    fn session_cookies(
        &self,
        app: &AppAuth,
        grant: &Grant,
        request_cookies: &RequestCookies<'_>,
        last_activity: Option<Timestamp>,
    ) -> Result<SessionCookies, CookieWriteError> {
        let now = self.context.now();
        let cookies = cookies::session_cookies(app, grant, request_cookies, last_activity, now);
        let size = match &cookies {
            Ok(SessionCookies { total, .. }) | Err(CookieWriteError::TooLarge { total, .. }) => {
                Some(*total)
            }
            Err(CookieWriteError::Unsealed) => None,
        };
        if let Some(size) = size {
            self.context.observer.observe_cookie_size(app, size);
        }
        cookies
    }
}

/// Sets the activity cookie of a live session, if it is due.
fn touch_activity(response: &Pending<'_>, live: &LiveSession) -> SetCookieHeaders {
    let Pending {
        app, target, now, ..
    } = response;
    let session = live.session();
    let active_at = if target.counts_as_activity {
        *now
    } else {
        // On streams.
        live.last_activity()
    };
    if !live.activity_due(active_at) || response.revoked.contains(key_of_session(session)) {
        return SetCookieHeaders::new();
    }
    activity_cookie(app, session, active_at)
        .into_iter()
        .collect()
}
