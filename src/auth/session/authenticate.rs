//! Authentication: decrypts the session cookies, validates the session, and refreshes it if needed.
//! The only place that starts a refresh.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use quick_cache::sync::Cache;

use crate::auth::app::AppAuth;
use crate::auth::native::Proving;
use crate::auth::refresh::single_flight::{RefreshHandle, Refreshed};
use crate::auth::session::cookies::{self, SetCookieHeaders};
use crate::auth::{Auth, Unavailable, login::loop_guard};
use crate::policy::decide::Caller;
use crate::policy::native::NativeCredentials;
use crate::policy::route::{AppRef, ResumeMode};
use crate::session::cookie::RequestCookies;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::seal::{KeyAge, Purpose, Seal, SealId, read_payload};
use crate::session::token::TokenRefusal;
use crate::session::validity::{
    LiveSession, NeedsRefresh, NoSessionReason, PresentedSession, Session, SessionStatus,
    ValidityContext, validate,
};
use crate::store::{RevokedSet, SessionKeyRef};
use crate::types::body::ValidityCheck;
use crate::types::oauth::{Generation, KeyFingerprint, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// Sessions by app and seal: a cached session is not parsed again, and its identity headers are
/// built once. One cache per worker.
pub struct SessionCache(Cache<(usize, SealId), Arc<Session>>);

impl SessionCache {
    /// Creates a cache of at most `sessions` entries.
    pub fn new(sessions: usize) -> Self {
        Self(Cache::new(sessions))
    }
}

/// The result of authentication. The session update takes effect when the response head is written.
#[derive(Debug)]
pub struct Authentication {
    /// The caller, or why it cannot be determined now.
    pub caller: Result<Caller, Unavailable>,
    /// What the response does with the session.
    pub update: SessionUpdate,
    /// When the request was authenticated.
    pub at: Timestamp,
    /// The `DPoP-Nonce` for the client's next proof.
    pub nonce: Option<HeaderValue>,
}

/// With a shared store, responses slower than this do not set refreshed cookies: another replica
/// may have rotated the tokens again. Well below the lifetime of a JWT.
const LATE: Duration = Duration::from_secs(10);

/// How the response updates the session of the client.
#[derive(Debug)]
pub enum SessionUpdate {
    /// No update.
    Nothing,
    /// Sets the refreshed session.
    SetSession(Arc<Grant>),
    /// Returns refreshed tokens to a native app, with their scope.
    ReturnTokens(Arc<Grant>, String),
    /// Sets the refreshed session if the refresh beside this request ends in time, else touches the
    /// last activity.
    SetIfRefreshed(RefreshHandle, LiveSession),
    /// Sets the activity cookie, if it is due.
    TouchActivity(LiveSession),
    /// Sets the same tokens again, sealed with the current key.
    Reencrypt(LiveSession),
    /// Clears the cookies of this session, for this reason.
    Clear(SessionId, NoSessionReason),
}

impl Authentication {
    /// No session: the request has no app.
    pub const fn anonymous() -> Self {
        Self::new(
            Ok(Caller::Anonymous(NoSessionReason::NoCookie)),
            SessionUpdate::Nothing,
        )
    }

    pub(in crate::auth) const fn new(
        caller: Result<Caller, Unavailable>,
        update: SessionUpdate,
    ) -> Self {
        Self {
            caller,
            update,
            at: Timestamp::from_secs(0),
            nonce: None,
        }
    }

    /// No session: the presented token is rejected.
    pub(in crate::auth) const fn refused(refusal: TokenRefusal) -> Self {
        Self::new(
            Ok(Caller::Anonymous(NoSessionReason::TokenRefused(refusal))),
            SessionUpdate::Nothing,
        )
    }

    /// No session, for this reason. `sid` is the session that the cookies name.
    pub(in crate::auth) fn no_session(why: NoSessionReason, sid: Option<SessionId>) -> Self {
        let update = match (why, sid) {
            (
                NoSessionReason::Idle
                | NoSessionReason::AbsoluteTimeout
                | NoSessionReason::RefreshRefused
                | NoSessionReason::RefreshTokenReused
                | NoSessionReason::Expired,
                Some(sid),
            ) => SessionUpdate::Clear(sid, why),
            // The response that ended the session cleared its cookies, and a new login may have set
            // others since. Cookies that cannot be decrypted may belong to another key ring.
            // Neither are deleted.
            (
                NoSessionReason::Revoked
                | NoSessionReason::RevocationsUnknown
                | NoSessionReason::NoCookie
                | NoSessionReason::UnreadableCookie
                | NoSessionReason::CookieMismatch
                | NoSessionReason::TokenRefused(_),
                _,
            )
            | (_, None) => SessionUpdate::Nothing,
        };
        Self::new(Ok(Caller::Anonymous(why)), update)
    }
}

impl Auth {
    /// Authenticates a request by its cookies, else by its native access token. A session cookie
    /// wins: the token is then not read.
    pub async fn resume(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        proving: Proving<'_>,
        cookies: &RequestCookies<'_>,
        effort: ResumeMode,
        cache: &SessionCache,
    ) -> Authentication {
        let by_cookies = self.resume_cookies(app_ref, cookies, effort, cache).await;
        match (
            &by_cookies.caller,
            &app_ref.app.native,
            NativeCredentials::read(proving.headers),
        ) {
            (Ok(Caller::Anonymous(_)), Some(native), Some(shown)) => {
                Box::pin(self.resume_native(app_ref, native, (shown, proving), effort, cache)).await
            }
            _ => by_cookies,
        }
    }

    async fn resume_cookies(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        cookies: &RequestCookies<'_>,
        effort: ResumeMode,
        cache: &SessionCache,
    ) -> Authentication {
        let Some(app) = self.app(app_ref.index) else {
            return Authentication::anonymous();
        };
        let now = self.now();
        let opened = self.open(app, app_ref.index, cookies, cache, now);
        let key_age = opened.key_age;
        let outside = SessionValidity::now(app);
        let sid = opened.presented.sid().cloned();
        let resumed = match (
            validate(opened.presented, now, &app.app.limits, &outside),
            self.require_synced(app),
        ) {
            (SessionStatus::None(why), _) => Authentication::no_session(why, sid),
            (SessionStatus::Live(_) | SessionStatus::NeedsRefresh(..), Err(_))
                if effort == ResumeMode::ReadOnly =>
            {
                Authentication::no_session(NoSessionReason::RevocationsUnknown, sid)
            }
            (SessionStatus::Live(_) | SessionStatus::NeedsRefresh(..), Err(outage)) => {
                Authentication::new(Err(outage), SessionUpdate::Nothing)
            }
            (SessionStatus::Live(live), Ok(())) => self.live(app, cookies, live, effort, now),
            (SessionStatus::NeedsRefresh(stale), Ok(())) => {
                Box::pin(self.resume_stale(app, cookies, stale, effort, now)).await
            }
        };
        let update = match (resumed.update, key_age) {
            _ if effort != ResumeMode::Refresh => SessionUpdate::Nothing,
            (SessionUpdate::TouchActivity(live), Some(KeyAge::Old)) => {
                SessionUpdate::Reencrypt(live)
            }
            (update, _) => update,
        };
        if let (Ok(Caller::Authenticated(live)), Some(age)) = (&resumed.caller, key_age) {
            self.note_key(app, live.session(), age, now);
        }
        Authentication {
            update,
            at: now,
            ..resumed
        }
    }

    fn live(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        cookies: &RequestCookies<'_>,
        live: LiveSession,
        effort: ResumeMode,
        now: Timestamp,
    ) -> Authentication {
        let caller = Ok(Caller::Authenticated(live.clone()));
        let failed_lately = || {
            self.refresh_backoff
                .get(&live.session().sid)
                .is_some_and(|until| now < until)
        };
        let ahead_of_time =
            effort == ResumeMode::Refresh && live.is_ageing(now) && !failed_lately();
        let grant = ahead_of_time.then(|| open_refresh(app, cookies)).flatten();
        let same = grant.filter(|grant| {
            let session = live.session();
            grant.sid == session.sid && grant.generation == session.generation
        });
        let update = match same {
            Some(grant) => SessionUpdate::SetIfRefreshed(
                self.refresh(app, grant, open_jwt(app, cookies)),
                live,
            ),
            None => SessionUpdate::TouchActivity(live),
        };
        Authentication::new(caller, update)
    }

    /// The result of a request after the refresh of its session.
    pub(in crate::auth) fn refreshed(
        &self,
        app: &AppAuth,
        stale: &NeedsRefresh,
        refreshed: Refreshed,
    ) -> Authentication {
        let sid = stale.refresh.sid.clone();
        let grant = match refreshed {
            Refreshed::Renewed(grant) => grant,
            Refreshed::Revocation(why) => return Authentication::no_session(why, Some(sid)),
            Refreshed::Unavailable(outage) => {
                return Authentication::new(Err(outage), SessionUpdate::Nothing);
            }
        };
        // Checked again: a logout may have come during the refresh.
        if app
            .revocations
            .snapshot()
            .contains(session_key_ref(&grant.jwt))
        {
            return Authentication::no_session(NoSessionReason::Revoked, Some(sid));
        }
        let caller = match Session::of(&grant.jwt, &app.app.headers) {
            Some(session) => Ok(Caller::Authenticated(LiveSession::just_verified(
                Arc::new(session),
                stale.last_activity,
            ))),
            None => Err(Unavailable::new("internal_error")),
        };
        Authentication::new(caller, SessionUpdate::SetSession(grant))
    }

    fn open(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        index: usize,
        cookies: &RequestCookies<'_>,
        cache: &SessionCache,
        now: Timestamp,
    ) -> Opened {
        let names = &app.app.cookies;
        let (jwt, key_age) = match self.open_session(app, index, cookies, cache, now) {
            Some((session, key_age)) => (Some(session), Some(key_age)),
            None => (None, None),
        };
        let lives = jwt.as_ref().is_some_and(|session| {
            now < session.valid_until && session.key.is_none_or(|key| is_known_key(app, &key))
        });
        // While the JWT is valid the refresh token is not used, so it is not decrypted.
        let refresh = if lives {
            None
        } else {
            open_refresh(app, cookies)
        };
        let activity = if jwt.is_some() || refresh.is_some() {
            cookies
                .get(&names.activity)
                .and_then(|value| app.seals.activity.open(value))
        } else {
            None
        };
        let is_garbage = |name: &str, opened: bool| cookies.has(name) && !opened;
        let unreadable = is_garbage(&names.jwt, jwt.is_some())
            || (!lives && is_garbage(&names.refresh, refresh.is_some()));
        Opened {
            presented: PresentedSession {
                jwt,
                refresh,
                activity,
                unreadable,
            },
            key_age,
        }
    }

    fn open_session(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        index: usize,
        cookies: &RequestCookies<'_>,
        cache: &SessionCache,
        now: Timestamp,
    ) -> Option<(Arc<Session>, KeyAge)> {
        let value = cookies.get_chunked(&app.app.cookies.jwt)?;
        self.session_of(app, index, (&app.seals.jwt, &value), cache, now)
    }

    /// The session of a sealed token. A cached session is returned without parsing.
    pub(in crate::auth) fn session_of<P: Purpose<Payload = SessionJwt>>(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        index: usize,
        (seal, text): (&Seal<P>, &str),
        cache: &SessionCache,
        now: Timestamp,
    ) -> Option<(Arc<Session>, KeyAge)> {
        let mut buffer = Vec::with_capacity(text.len());
        let opened = seal.open_into(text, &mut buffer)?;
        let key = (index, opened.stamp);
        if let Some(session) = cache.0.get(&key) {
            return Some((session, opened.key_age));
        }
        let session = Arc::new(Session::of(&read_payload::<P>(&opened)?, &app.app.headers)?);
        cache.0.insert(key, Arc::clone(&session));
        self.first_seen(app, &session, now);
        Some((session, opened.key_age))
    }

    /// The first request with a new generation confirms that the client has the refreshed tokens.
    fn first_seen(self: &Arc<Self>, app: &Arc<AppAuth>, session: &Arc<Session>, now: Timestamp) {
        if session.generation == Generation::FIRST {
            return;
        }
        if self
            .newest
            .get(&session.sid)
            .is_none_or(|newest| newest < session.generation)
        {
            self.newest.insert(session.sid.clone(), session.generation);
        }
        let (auth, app, session) = (Arc::clone(self), Arc::clone(app), Arc::clone(session));
        let begun = self.runtime.spawn(async move {
            let rotations = auth.rotations(&app);
            let (sid, started_at) = (&session.sid, session.started_at);
            if let Err(error) = rotations.confirm(sid, session.generation, started_at, now).await {
                tracing::warn!(app = %app.app.name, sid = %session.sid, %error, "generation_confirm_failed");
            }
        });
        if begun.is_err() {
            tracing::warn!("generation_confirm_failed");
        }
    }

    /// Returns a check for streams: false once the session is revoked or reaches the absolute
    /// timeout.
    pub fn holds(self: &Arc<Self>, app_ref: AppRef<'_>, live: &LiveSession) -> ValidityCheck {
        let (auth, index, session) = (Arc::clone(self), app_ref.index, Arc::clone(live.session()));
        ValidityCheck::new(move || {
            let Some(app) = auth.app(index) else {
                return false;
            };
            let world = SessionValidity::now(app);
            !world.has_ended(&session)
                && auth.now().since(session.started_at) < app.app.limits.absolute
        })
    }

    /// Whether refreshed tokens of a request that came `at` must not be delivered: a newer
    /// generation exists, or another replica may have made one. The successor stays in the store
    /// then.
    pub(in crate::auth) fn is_superseded(&self, grant: &Grant, at: Timestamp) -> bool {
        let is_late = self.stores.sessions.held().is_none() && self.now().since(at) > LATE;
        is_late
            || self
                .newest
                .get(&grant.jwt.sid)
                .is_some_and(|newest| newest > grant.jwt.generation)
    }

    /// The `Set-Cookie` headers of a response, decided when its head is written: of the newest
    /// known generation, and none for a session that was revoked meanwhile. Background requests do
    /// not update the last activity.
    pub fn set_cookie_headers(
        &self,
        app_ref: AppRef<'_>,
        (update, at): (SessionUpdate, Timestamp),
        request_cookies: &RequestCookies<'_>,
        counts_as_activity: bool,
    ) -> SetCookieHeaders {
        let Some(app) = self.app(app_ref.index) else {
            return SetCookieHeaders::new();
        };
        let now = self.now();
        let revoked = app.revocations.snapshot();
        let deliver = |grant: &Grant| {
            if self.is_superseded(grant, at) || revoked.contains(session_key_ref(&grant.jwt)) {
                return SetCookieHeaders::new();
            }
            let activity = counts_as_activity.then(|| {
                last_activity(app, &grant.jwt.sid, request_cookies)
                    .map_or(now, |last| last.max(now))
            });
            self.write_grant(app, grant, request_cookies, activity, now).map_or_else(
                |error| {
                    tracing::error!(app = %app.app.name, sid = %grant.jwt.sid, %error, "refreshed_session_write_failed");
                    SetCookieHeaders::new()
                },
                |written| written.set_cookies,
            )
        };
        let note = |live: &LiveSession| {
            let session = live.session();
            let is_over = || {
                SessionValidity {
                    app,
                    revoked: Arc::clone(&revoked),
                }
                .has_ended(session)
            };
            if !counts_as_activity || !live.activity_due(now, &app.app.limits) || is_over() {
                return SetCookieHeaders::new();
            }
            cookies::write_activity(app, session, now)
                .into_iter()
                .collect()
        };
        let lives = match &update {
            SessionUpdate::SetSession(_)
            | SessionUpdate::SetIfRefreshed(..)
            | SessionUpdate::TouchActivity(_)
            | SessionUpdate::Reencrypt(_) => true,
            SessionUpdate::Nothing | SessionUpdate::ReturnTokens(..) | SessionUpdate::Clear(..) => {
                false
            }
        };
        let mut set_cookies = match update {
            SessionUpdate::Nothing | SessionUpdate::ReturnTokens(..) => SetCookieHeaders::new(),
            SessionUpdate::SetSession(grant) => deliver(&grant),
            SessionUpdate::SetIfRefreshed(flight, live) => match flight.try_result() {
                Some(Refreshed::Renewed(grant)) => deliver(&grant),
                Some(Refreshed::Revocation(_) | Refreshed::Unavailable(_)) | None => note(&live),
            },
            SessionUpdate::TouchActivity(live) => note(&live),
            SessionUpdate::Reencrypt(live) => self
                .to_reencrypt(app, &live, request_cookies, now)
                .map_or_else(|| note(&live), |grant| deliver(&grant)),
            // A login may have replaced these cookies meanwhile,
            SessionUpdate::Clear(sid, _) if self.superseded.get(&sid).is_some() => {
                SetCookieHeaders::new()
            }
            // ... at another replica too: a login revokes the previous session of the browser.
            SessionUpdate::Clear(
                sid,
                NoSessionReason::Idle | NoSessionReason::AbsoluteTimeout | NoSessionReason::Expired,
            ) if revoked.has_session(&sid) => SetCookieHeaders::new(),
            SessionUpdate::Clear(..) => cookies::forget_session(app, request_cookies),
        };
        if lives {
            set_cookies.extend(loop_guard::session_confirmed(app, request_cookies));
        }
        set_cookies
    }
}

struct Opened {
    presented: PresentedSession,
    key_age: Option<KeyAge>,
}

/// The external validity inputs of an app's sessions: revocations and signing keys.
pub(in crate::auth) struct SessionValidity<'a> {
    app: &'a AppAuth,
    revoked: Arc<RevokedSet>,
}

impl<'a> SessionValidity<'a> {
    /// The current inputs.
    pub(in crate::auth) fn now(app: &'a AppAuth) -> Self {
        Self {
            app,
            revoked: app.revocations.snapshot(),
        }
    }

    fn has_ended(&self, session: &Session) -> bool {
        self.is_revoked(
            &session.sid,
            &session.identity.subject,
            session.provider_sid.as_ref(),
            session.started_at,
        )
    }
}

impl ValidityContext for SessionValidity<'_> {
    fn is_revoked(
        &self,
        sid: &SessionId,
        subject: &Subject,
        provider_sid: Option<&ProviderSid>,
        started_at: Timestamp,
    ) -> bool {
        self.revoked.contains(SessionKeyRef {
            sid,
            provider_sid,
            subject,
            started_at,
        })
    }

    fn is_known_key(&self, key: &KeyFingerprint) -> bool {
        is_known_key(self.app, key)
    }
}

/// The key of the session of `jwt` for revocation lookups.
pub(in crate::auth) fn session_key_ref(jwt: &SessionJwt) -> SessionKeyRef<'_> {
    SessionKeyRef {
        sid: &jwt.sid,
        provider_sid: jwt.provider_sid.as_ref(),
        subject: &jwt.subject,
        started_at: jwt.started_at,
    }
}

/// Before the first key set is fetched the seal suffices. After that, a key that was removed from
/// it is not trusted.
fn is_known_key(app: &AppAuth, key: &KeyFingerprint) -> bool {
    app.provider.keys().is_none_or(|keys| keys.contains(key))
}

/// The last activity that the cookie of this session records.
fn last_activity(
    app: &AppAuth,
    sid: &SessionId,
    request_cookies: &RequestCookies<'_>,
) -> Option<Timestamp> {
    let activity = request_cookies
        .get(&app.app.cookies.activity)
        .and_then(|value| app.seals.activity.open(value))?;
    (activity.sid == *sid).then_some(activity.last_activity)
}

pub(in crate::auth) fn open_refresh(
    app: &AppAuth,
    cookies: &RequestCookies<'_>,
) -> Option<RefreshGrant> {
    let value = cookies.get_chunked(&app.app.cookies.refresh)?;
    app.seals.refresh.open(&value)
}

pub(in crate::auth) fn open_jwt(app: &AppAuth, cookies: &RequestCookies<'_>) -> Option<SessionJwt> {
    let value = cookies.get_chunked(&app.app.cookies.jwt)?;
    app.seals.jwt.open(&value)
}

/// Identifies the session of the cookies, valid or not.
pub(in crate::auth) struct SessionKey {
    pub(in crate::auth) sid: SessionId,
    pub(in crate::auth) subject: Subject,
    pub(in crate::auth) started_at: Timestamp,
}

pub(in crate::auth) fn session_key(
    app: &AppAuth,
    cookies: &RequestCookies<'_>,
) -> Option<SessionKey> {
    let by_jwt = open_jwt(app, cookies).map(
        |SessionJwt {
             sid,
             subject,
             started_at,
             ..
         }| SessionKey {
            sid,
            subject,
            started_at,
        },
    );
    by_jwt.or_else(|| {
        let RefreshGrant {
            sid,
            subject,
            started_at,
            ..
        } = open_refresh(app, cookies)?;
        Some(SessionKey {
            sid,
            subject,
            started_at,
        })
    })
}
