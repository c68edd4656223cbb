//! Authentication: decrypts the session cookies, validates the session, and refreshes it if needed.
//! The only place that starts a refresh of a browser session.

use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::FailureCause;
use crate::auth::refresh::single_flight::TokenRefresher;
use crate::auth::request_head::RequestHead;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::auth::session::authentication::{Authentication, SessionUpdate};
use crate::auth::session::cache::{CachedSession, SessionCache};
use crate::auth::session::client_continuity::ClientContinuity;
use crate::auth::session::device_gate::DeviceGate;
use crate::auth::session::key_rotation::KeyRotation;
use crate::auth::session::open::{SessionOpener, open_jwt, open_refresh, opens_jwt, opens_refresh};
use crate::auth::session::outage_grace::{GraceFailures, OutageGrace, StaleRequest};
use crate::auth::session::stream::StreamActivity;
use crate::auth::session_validity::{SessionValidity, is_known_key};
use crate::policy::decide::Caller;
use crate::policy::route::{AppRef, ResumeMode};
use crate::session::cookie::RequestCookies;
use crate::session::device_binding::BindingStatus;
use crate::session::seal::KeyAge;
use crate::session::validity::{
    LiveSession, NoSessionReason, PresentedSession, SessionStatus, validate,
};
use crate::types::body::StreamSession;
use crate::types::time::Timestamp;

/// The services that authentication by session cookie uses.
pub(in crate::auth) struct SessionServices {
    pub(in crate::auth) context: Arc<Context>,
    pub(in crate::auth) replicator: RevocationReplicator,
    pub(in crate::auth) refresher: Arc<TokenRefresher>,
    pub(in crate::auth) opener: Arc<SessionOpener>,
    pub(in crate::auth) key_rotation: Arc<KeyRotation>,
    pub(in crate::auth) grace_failures: Arc<GraceFailures>,
    pub(in crate::auth) continuity: ClientContinuity,
    pub(in crate::auth) streams: Arc<StreamActivity>,
}

/// Authenticates requests by session cookie.
pub struct SessionAuthenticator {
    context: Arc<Context>,
    replicator: RevocationReplicator,
    refresher: Arc<TokenRefresher>,
    opener: Arc<SessionOpener>,
    key_rotation: Arc<KeyRotation>,
    outage_grace: OutageGrace,
    continuity: ClientContinuity,
    streams: Arc<StreamActivity>,
}

struct OpenedCookies {
    presented: PresentedSession,
    cached: Option<Arc<CachedSession>>,
    key_age: Option<KeyAge>,
    /// Whether the session was not in the cache of the worker.
    is_new: bool,
}

impl OpenedCookies {
    /// The cookies are a session at none of several providers, or at more than one.
    fn of_no_provider(app: &AppAuth, cookies: &RequestCookies<'_>) -> Self {
        let names = &app.app.cookies;
        let presented = PresentedSession {
            jwt: None,
            refresh: None,
            activity: None,
            streamed: None,
            unreadable: cookies.has(&names.jwt) || cookies.has(&names.refresh),
        };
        Self {
            presented,
            cached: None,
            key_age: None,
            is_new: false,
        }
    }
}

impl SessionAuthenticator {
    pub(in crate::auth) fn new(services: SessionServices) -> Self {
        let SessionServices {
            context,
            replicator,
            refresher,
            opener,
            key_rotation,
            grace_failures,
            continuity,
            streams,
        } = services;
        let outage_grace =
            OutageGrace::new(Arc::clone(&context), Arc::clone(&refresher), grace_failures);
        Self {
            outage_grace,
            continuity,
            context,
            replicator,
            refresher,
            opener,
            key_rotation,
            streams,
        }
    }

    /// The app at the provider of the session in the cookies, which only its seals open. The same if
    /// they have no session.
    pub(in crate::auth) fn at_session<'r>(
        &self,
        app_ref: AppRef<'r>,
        cookies: &RequestCookies<'_>,
    ) -> AppRef<'r> {
        if app_ref.provider.is_some() {
            return app_ref;
        }
        let whose = |name: &str, opens: fn(&AppAuth, &RequestCookies<'_>) -> bool| {
            let indices = app_ref.app.providers.indices();
            let opens_at = |at: &AppRef<'_>| {
                let app = self.context.app(*at);
                app.is_some_and(|app| opens(&app, cookies))
            };
            let mut at_each = indices.map(|index| app_ref.at(index)).filter(opens_at);
            let found = at_each.next();
            // Of several values, each may be a session at another provider.
            found.filter(|_| cookies.get(name).is_some() || at_each.next().is_none())
        };
        let names = &app_ref.app.cookies;
        let by_jwt = whose(&names.jwt, opens_jwt);
        by_jwt
            .or_else(|| whose(&names.refresh, opens_refresh))
            .unwrap_or(app_ref)
    }

    /// Authenticates a request by its cookies.
    pub(in crate::auth) async fn authenticate(
        &self,
        app_ref: AppRef<'_>,
        head: RequestHead<'_>,
        cookies: &RequestCookies<'_>,
        mode: ResumeMode,
        cache: &SessionCache,
    ) -> Authentication {
        let Some(position) = self.context.position(app_ref) else {
            return Authentication::anonymous();
        };
        let Some(app) = &self.context.app(app_ref) else {
            return Authentication::anonymous();
        };
        let now = self.context.now();
        let OpenedCookies {
            mut presented,
            cached,
            key_age,
            is_new,
        } = match app_ref.provider {
            Some(_) => self.open(app, position, cookies, cache, now),
            None => OpenedCookies::of_no_provider(app, cookies),
        };
        let sid = presented.sid().cloned();
        let limits = presented.bound().map_or(&app.app.limits, |bound| {
            app.app.browser_limits(bound.device.is_bound())
        });
        if let Some(sid) = &sid
            && presented.is_activity_due(now, limits)
        {
            presented.streamed = self.streams.last(sid);
            if mode != ResumeMode::ReadOnly && presented.is_idle(now, limits) {
                // Boxed: rare, and its future is large.
                match Box::pin(self.streams.stored(app, sid)).await {
                    Ok(stored) => presented.streamed = presented.streamed.max(stored),
                    Err(outage) => return Authentication::unavailable(outage),
                }
            }
        }
        let gate = DeviceGate::new(
            app,
            presented.bound(),
            cached.as_deref(),
            head,
            cookies,
            now,
        );
        let binding = presented.bound().map(|bound| gate.status(bound));
        let binding = binding.unwrap_or(BindingStatus::Permitted);
        if binding == BindingStatus::Permitted
            && let Some(proof) = gate.proof()
        {
            self.streams.proven(proof);
        }
        let client = head.info.presented_client(head.headers);
        let client_assessment =
            ClientContinuity::assess(app, &presented, cached.as_deref(), client);
        let validity = SessionValidity::of_sessions(app);
        let status = match (validate(presented, now, limits, &validity), binding) {
            (status @ SessionStatus::None(_), _) => status,
            // Before a refresh, which a copy of a bound session must not cause.
            (_, BindingStatus::Unproven(unproven)) => {
                SessionStatus::None(NoSessionReason::DeviceUnproven(unproven))
            }
            (status, BindingStatus::Permitted | BindingStatus::NeedsRefresh) => {
                let continuity = &self.continuity;
                continuity.apply(app, status, client_assessment)
            }
        };
        let authentication = match (status, self.replicator.require_synced(app)) {
            (SessionStatus::None(why), _) => Authentication::no_session(why, sid),
            (SessionStatus::Live(_) | SessionStatus::NeedsRefresh(..), Err(_))
                if mode == ResumeMode::ReadOnly =>
            {
                Authentication::no_session(NoSessionReason::RevocationsUnknown, sid)
            }
            (SessionStatus::Live(_) | SessionStatus::NeedsRefresh(..), Err(outage)) => {
                Authentication::unavailable(outage)
            }
            (SessionStatus::Live(live), Ok(())) if binding == BindingStatus::NeedsRefresh => {
                let request = StaleRequest {
                    app,
                    cookies,
                    mode,
                    now,
                };
                Box::pin(self.exchange_pending(request, live)).await
            }
            (SessionStatus::Live(live), Ok(())) => self.live(app, cookies, live, mode, now),
            (SessionStatus::NeedsRefresh(stale), Ok(())) => {
                let request = StaleRequest {
                    app,
                    cookies,
                    mode,
                    now,
                };
                // Boxed: rare, and its future is large.
                Box::pin(self.outage_grace.authenticate(request, *stale)).await
            }
        };
        let authentication = gate.recheck(authentication);
        let update = match (authentication.update, key_age) {
            _ if mode != ResumeMode::Refresh => SessionUpdate::Nothing,
            (SessionUpdate::TouchActivity(live), Some(KeyAge::Old)) => {
                SessionUpdate::Reencrypt(live)
            }
            (update, _) => update,
        };
        if let (Ok(Caller::Authenticated(live)), Some(age)) = (&authentication.caller, key_age) {
            self.key_rotation.record(app, live.session(), age, now);
        }
        Authentication {
            update,
            at: now,
            is_first_use: is_new,
            ..authentication
        }
    }

    /// Refreshes a session that was not bound in time. A copy of a session that was bound meanwhile
    /// gets the bound one, which is of no use to it, or is recognized as reuse.
    async fn exchange_pending(
        &self,
        request: StaleRequest<'_>,
        live: LiveSession,
    ) -> Authentication {
        let StaleRequest { app, cookies, .. } = request;
        let session = live.session();
        let refresh = open_refresh(app, cookies);
        let refresh = refresh.filter(|refresh| {
            refresh.sid == session.sid && refresh.generation == session.generation
        });
        let Some(refresh) = refresh else {
            return Authentication::no_session(NoSessionReason::CookieMismatch, None);
        };
        let stale = live.to_refresh(refresh);
        let authentication = self.outage_grace.authenticate(request, stale).await;
        match authentication.caller {
            // The provider or the store is unavailable, and the JWT is valid.
            Err(outage) if outage.cause != FailureCause::Client => Authentication::new(
                Ok(Caller::Authenticated(live.clone())),
                SessionUpdate::TouchActivity(live),
            ),
            Ok(_) | Err(_) => authentication,
        }
    }

    /// Starts a refresh beside the request if the JWT is about to expire.
    fn live(
        &self,
        app: &Arc<AppAuth>,
        cookies: &RequestCookies<'_>,
        live: LiveSession,
        mode: ResumeMode,
        now: Timestamp,
    ) -> Authentication {
        let caller = Ok(Caller::Authenticated(live.clone()));
        let session = live.session();
        let refresh_is_due = mode == ResumeMode::Refresh
            && live.is_ageing(now)
            && !self.refresher.is_backing_off(&session.sid, now);
        let refresh = refresh_is_due
            .then(|| open_refresh(app, cookies))
            .flatten()
            .filter(|refresh| {
                refresh.sid == session.sid && refresh.generation == session.generation
            });
        let update = match refresh {
            Some(refresh) => {
                let old = open_jwt(app, cookies);
                SessionUpdate::SetIfRefreshed(self.refresher.refresh(app, refresh, old), live)
            }
            None => SessionUpdate::TouchActivity(live),
        };
        Authentication::new(caller, update)
    }

    fn open(
        &self,
        app: &Arc<AppAuth>,
        position: usize,
        cookies: &RequestCookies<'_>,
        cache: &SessionCache,
        now: Timestamp,
    ) -> OpenedCookies {
        let names = &app.app.cookies;
        let opened = cookies.open_bytes(&names.jwt, |value| {
            self.opener
                .open(app, position, &app.seals.jwt, value, cache, now)
        });
        let valid = opened.as_ref().filter(|opened| {
            let session = &opened.cached.session;
            now < session.valid_until && session.key.is_none_or(|key| is_known_key(app, &key))
        });
        let jwt_is_valid = valid.is_some();
        // While the JWT is valid the refresh token is not used. It only must be of this session.
        let refresh = match valid {
            Some(opened) => opened.foreign_refresh(app, cookies),
            None => open_refresh(app, cookies),
        };
        let is_new = opened.as_ref().is_some_and(|opened| opened.is_new);
        let cached = opened.map(|opened| opened.cached);
        let activity = match (&cached, &refresh) {
            (None, None) => None,
            (Some(cached), _) => cookies.open_bytes(&names.activity, |value| {
                cached.activity(&app.seals.activity, value)
            }),
            (None, Some(_)) => {
                cookies.open(&names.activity, |value| app.seals.activity.open(value))
            }
        };
        let key_age = cached.as_ref().map(|cached| cached.key_age);
        let jwt = cached.as_ref().map(|cached| Arc::clone(&cached.session));
        let is_unreadable = |name: &str, opened: bool| !opened && cookies.has(name);
        let unreadable = is_unreadable(&names.jwt, jwt.is_some())
            || (!jwt_is_valid && is_unreadable(&names.refresh, refresh.is_some()));
        OpenedCookies {
            presented: PresentedSession {
                jwt,
                refresh,
                activity,
                streamed: None,
                unreadable,
            },
            cached,
            key_age,
            is_new,
        }
    }

    /// The session of a stream. If `counts_as_activity`, data that the client sends on it reset the
    /// idle timeout.
    pub fn stream_session(
        &self,
        app_ref: AppRef<'_>,
        live: &LiveSession,
        counts_as_activity: bool,
    ) -> StreamSession {
        match &self.context.app(app_ref) {
            Some(app) => self.streams.stream(app, live, counts_as_activity),
            None => StreamSession::new(|| false),
        }
    }
}
