//! `outage_grace`: recently expired sessions continue during a provider outage. Only the first
//! request of a session waits for the provider. Refreshes are then tried beside its requests.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::auth::app::AppAuth;
use crate::auth::context::{Context, MAX_CACHED_SESSIONS};
use crate::auth::error::Unavailable;
use crate::auth::refresh::outcome::Refreshed;
use crate::auth::refresh::single_flight::TokenRefresher;
use crate::auth::session::authentication::{Authentication, SessionUpdate};
use crate::auth::session::open::open_jwt;
use crate::auth::session_validity::{SessionValidity, key_of_jwt};
use crate::policy::decide::Caller;
use crate::policy::route::ResumeMode;
use crate::session::cookie::RequestCookies;
use crate::session::validity::{LiveSession, NeedsRefresh, NoSessionReason};
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// How long requests do not wait for the provider after it failed a session.
const NO_WAIT: Duration = Duration::from_secs(60);

/// A request whose session needs a refresh first.
pub(in crate::auth) struct StaleRequest<'r> {
    pub(in crate::auth) app: &'r Arc<AppAuth>,
    pub(in crate::auth) cookies: &'r RequestCookies<'r>,
    pub(in crate::auth) mode: ResumeMode,
    pub(in crate::auth) now: Timestamp,
}

/// When the provider last failed to refresh a session with an expired JWT, of recent sessions.
pub(in crate::auth) struct GraceFailures(Cache<SessionId, Timestamp>);

impl Default for GraceFailures {
    fn default() -> Self {
        Self(Cache::new(MAX_CACHED_SESSIONS))
    }
}

/// Authenticates requests whose session needs a refresh.
pub(in crate::auth) struct OutageGrace {
    context: Arc<Context>,
    refresher: Arc<TokenRefresher>,
    failures: Arc<GraceFailures>,
}

impl OutageGrace {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        refresher: Arc<TokenRefresher>,
        failures: Arc<GraceFailures>,
    ) -> Self {
        Self {
            context,
            refresher,
            failures,
        }
    }

    /// Authenticates a request whose session needs a refresh first.
    pub(in crate::auth) async fn authenticate(
        &self,
        request: StaleRequest<'_>,
        stale: NeedsRefresh,
    ) -> Authentication {
        let StaleRequest {
            app,
            cookies,
            mode,
            now,
        } = request;
        let failed_at = self.failures.0.get(&stale.refresh.sid);
        let failed_lately = failed_at.is_some_and(|at| now.since(at) < NO_WAIT);
        if failed_lately && let Some(live) = session_in_grace(app, &stale, now) {
            return self.continue_in_grace(&request, stale, live);
        }
        if mode != ResumeMode::Refresh {
            return Authentication::new(
                Ok(Caller::Anonymous(NoSessionReason::Expired)),
                SessionUpdate::Nothing,
            );
        }
        let old = open_jwt(app, cookies);
        let refreshed = self
            .refresher
            .refresh(app, stale.refresh.clone(), old)
            .wait()
            .await
            .attributed(&self.context);
        if let Refreshed::Unavailable(outage) | Refreshed::LoginRequired(outage) = &refreshed
            && outage.is_provider_outage()
        {
            let now = self.context.now();
            self.failures.0.insert(stale.refresh.sid.clone(), now);
            if let Some(live) = session_in_grace(app, &stale, now) {
                return Authentication::new(
                    Ok(Caller::Authenticated(live.clone())),
                    SessionUpdate::TouchActivity(live),
                );
            }
        }
        after_refresh(app, &stale, refreshed)
    }

    fn continue_in_grace(
        &self,
        request: &StaleRequest<'_>,
        stale: NeedsRefresh,
        live: LiveSession,
    ) -> Authentication {
        let caller = Ok(Caller::Authenticated(live.clone()));
        let sid = &stale.refresh.sid;
        let may_refresh =
            request.mode == ResumeMode::Refresh && !self.refresher.is_backing_off(sid, request.now);
        let update = if may_refresh {
            let old = open_jwt(request.app, request.cookies);
            let handle = self.refresher.refresh(request.app, stale.refresh, old);
            SessionUpdate::SetIfRefreshed(handle, live)
        } else {
            SessionUpdate::TouchActivity(live)
        };
        Authentication::new(caller, update)
    }
}

/// The session within its grace, if the app has one and nothing but the JWT has expired. Validated
/// now: a logout may have come during the wait.
fn session_in_grace(app: &AppAuth, stale: &NeedsRefresh, now: Timestamp) -> Option<LiveSession> {
    stale.within(
        app.settings.outage_grace,
        now,
        app.app.browser_limits(stale.refresh.device.is_bound()),
        &SessionValidity::of_sessions(app),
    )
}

/// The result of a request after the refresh of its session.
fn after_refresh(app: &AppAuth, stale: &NeedsRefresh, refreshed: Refreshed) -> Authentication {
    let sid = stale.refresh.sid.clone();
    let grant = match refreshed {
        Refreshed::Renewed(grant) => grant,
        Refreshed::SessionOver(why) => return Authentication::no_session(why, Some(sid)),
        Refreshed::Unavailable(outage) => return Authentication::unavailable(outage),
        Refreshed::LoginRequired(_) => {
            return Authentication::no_session(NoSessionReason::NotRefreshed, Some(sid));
        }
    };
    // Check again: a logout may have come during the refresh.
    if app.revocations.snapshot().contains(key_of_jwt(&grant.jwt)) {
        return Authentication::no_session(NoSessionReason::Revoked, Some(sid));
    }
    let caller = match app.session_of(&grant.jwt) {
        Some(session) => Ok(Caller::Authenticated(LiveSession::just_verified(
            Arc::new(session),
            stale.last_activity(),
            *app.app.browser_limits(grant.jwt.device.is_bound()),
        ))),
        None => Err(Unavailable::internal("internal_error")),
    };
    Authentication::new(caller, SessionUpdate::SetSession(grant))
}
