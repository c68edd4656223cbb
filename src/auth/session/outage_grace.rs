//! `outage_grace`: recently expired sessions continue during a provider outage. Only the first
//! request of a session waits for the provider. Refreshes are then tried beside its requests.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Auth;
use crate::auth::app::AppAuth;
use crate::auth::refresh::single_flight::Refreshed;
use crate::auth::session::authenticate::{
    Authentication, SessionUpdate, SessionValidity, open_jwt,
};
use crate::policy::decide::Caller;
use crate::policy::route::ResumeMode;
use crate::session::cookie::RequestCookies;
use crate::session::validity::{LiveSession, NeedsRefresh, NoSessionReason};
use crate::types::time::Timestamp;

/// How long requests do not wait for the provider after it failed a session.
const NO_WAIT: Duration = Duration::from_secs(60);

impl Auth {
    /// Authenticates a request whose session needs a refresh first.
    pub(in crate::auth) async fn resume_stale(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        cookies: &RequestCookies<'_>,
        stale: NeedsRefresh,
        effort: ResumeMode,
        now: Timestamp,
    ) -> Authentication {
        let sid = &stale.refresh.sid;
        let failed_lately = self
            .outage_grace
            .get(sid)
            .is_some_and(|at| now.since(at) < NO_WAIT);
        if failed_lately && let Some(live) = self.session_in_grace(app, &stale, now) {
            return self.resume_in_grace(app, cookies, stale, live, effort, now);
        }
        if effort != ResumeMode::Refresh {
            return Authentication::new(
                Ok(Caller::Anonymous(NoSessionReason::Expired)),
                SessionUpdate::Nothing,
            );
        }
        let refreshed = self
            .refresh(app, stale.refresh.clone(), open_jwt(app, cookies))
            .wait()
            .await;
        if let Refreshed::Unavailable(outage) = &refreshed
            && outage.is_providers
        {
            let now = self.now();
            self.outage_grace.insert(stale.refresh.sid.clone(), now);
            if let Some(live) = self.session_in_grace(app, &stale, now) {
                return Authentication::new(
                    Ok(Caller::Authenticated(live.clone())),
                    SessionUpdate::TouchActivity(live),
                );
            }
        }
        self.refreshed(app, &stale, refreshed)
    }

    /// The session within its grace, if the app has one and nothing but the JWT has expired.
    /// Validated now: a logout may have come during the wait.
    fn session_in_grace(
        &self,
        app: &AppAuth,
        stale: &NeedsRefresh,
        now: Timestamp,
    ) -> Option<LiveSession> {
        stale.within(
            app.settings.outage_grace,
            now,
            &app.app.limits,
            &SessionValidity::now(app),
        )
    }

    fn resume_in_grace(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        cookies: &RequestCookies<'_>,
        stale: NeedsRefresh,
        live: LiveSession,
        effort: ResumeMode,
        now: Timestamp,
    ) -> Authentication {
        let caller = Ok(Caller::Authenticated(live.clone()));
        let is_cooling = self
            .refresh_backoff
            .get(&stale.refresh.sid)
            .is_some_and(|until| now < until);
        let update = if effort == ResumeMode::Refresh && !is_cooling {
            SessionUpdate::SetIfRefreshed(
                self.refresh(app, stale.refresh, open_jwt(app, cookies)),
                live,
            )
        } else {
            SessionUpdate::TouchActivity(live)
        };
        Authentication::new(caller, update)
    }
}
