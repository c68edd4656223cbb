//! While the provider is away: a session whose JWT has just expired goes on for the app's `outage_grace`, by what its
//! seal vouches for. Only the first of its requests waits for the provider; its refresh is tried beside the others.

use std::sync::Arc;
use std::time::Duration;

use super::Auth;
use super::app::AppAuth;
use super::refresh::Refreshed;
use super::resume::{Afterwards, Effort, Resumed, World, open_jwt};
use crate::policy::decide::Caller;
use crate::session::assess::{LiveSession, Stale, Why};
use crate::session::cookie::RequestCookies;
use crate::types::time::Timestamp;

/// For how long after the provider failed a session its requests no longer wait for it.
const NO_WAIT: Duration = Duration::from_secs(60);

impl Auth {
    /// What becomes of a request whose session must be refreshed first.
    pub(super) async fn resume_stale(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        cookies: &RequestCookies<'_>,
        stale: Stale,
        effort: Effort,
        now: Timestamp,
    ) -> Resumed {
        let sid = &stale.refresh.sid;
        let failed_lately = self.away.get(sid).is_some_and(|at| now.since(at) < NO_WAIT);
        if failed_lately && let Some(live) = self.graced(app, &stale, now) {
            return self.resume_graced(app, cookies, stale, live, effort, now);
        }
        if effort != Effort::Refresh {
            return Resumed::new(Ok(Caller::Anonymous(Why::Expired)), Afterwards::Nothing);
        }
        let refreshed = self
            .refresh(app, stale.refresh.clone(), open_jwt(app, cookies))
            .wait()
            .await;
        if let Refreshed::Outage(outage) = &refreshed
            && outage.is_providers
        {
            let now = self.now();
            self.away.insert(stale.refresh.sid.clone(), now);
            if let Some(live) = self.graced(app, &stale, now) {
                return Resumed::new(
                    Ok(Caller::Authenticated(live.clone())),
                    Afterwards::Note(live),
                );
            }
        }
        self.refreshed(app, &stale, refreshed)
    }

    /// The session all the same, if the app has a grace and all but the JWT's end speaks for it: a logout may have come
    /// while the provider was waited for.
    fn graced(&self, app: &AppAuth, stale: &Stale, now: Timestamp) -> Option<LiveSession> {
        stale.within(
            app.settings.outage_grace,
            now,
            &app.app.limits,
            &World::now(app),
        )
    }

    fn resume_graced(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        cookies: &RequestCookies<'_>,
        stale: Stale,
        live: LiveSession,
        effort: Effort,
        now: Timestamp,
    ) -> Resumed {
        let caller = Ok(Caller::Authenticated(live.clone()));
        let is_cooling = self
            .cooling
            .get(&stale.refresh.sid)
            .is_some_and(|until| now < until);
        let afterwards = if effort == Effort::Refresh && !is_cooling {
            Afterwards::DeliverIfLanded(
                self.refresh(app, stale.refresh, open_jwt(app, cookies)),
                live,
            )
        } else {
            Afterwards::Note(live)
        };
        Resumed::new(caller, afterwards)
    }
}
