//! Decrypts session cookies and native access tokens. Parsed sessions are cached per worker.

use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::refresh::generations::NewestGenerations;
use crate::auth::refresh::revoke::{RevocableSession, SessionKey};
use crate::auth::refresh::rotations::Rotations;
use crate::auth::session::cache::{CachedSession, SessionCache};
use crate::session::cookie::RequestCookies;
use crate::session::grant::RefreshGrant;
use crate::session::jwt::SessionJwt;
use crate::session::seal::{Purpose, Seal, read_payload};
use crate::types::oauth::{Generation, SessionId};
use crate::types::time::Timestamp;

/// A decrypted session.
pub(in crate::auth) struct OpenedSession {
    pub(in crate::auth) cached: Arc<CachedSession>,
    /// Whether it was not in the cache.
    pub(in crate::auth) is_new: bool,
}

impl OpenedSession {
    /// The refresh cookie, if it belongs to another session: the cookies of two users would be one
    /// session until the JWT expires (cookie tossing). The cookie is decrypted at the first request
    /// only.
    pub(in crate::auth) fn foreign_refresh(
        &self,
        app: &AppAuth,
        cookies: &RequestCookies<'_>,
    ) -> Option<RefreshGrant> {
        // Of several values, one is opened each time.
        let value = cookies.get_bytes(&app.app.cookies.refresh);
        if value.is_some_and(|value| self.cached.owns_refresh(value)) {
            return None;
        }
        let refresh = open_refresh(app, cookies)?;
        if refresh.sid != self.cached.session.sid {
            return Some(refresh);
        }
        if let Some(value) = value {
            self.cached.set_refresh(value);
        }
        None
    }
}

/// Decrypts sessions.
pub(in crate::auth) struct SessionOpener {
    context: Arc<Context>,
    generations: Arc<NewestGenerations>,
}

impl SessionOpener {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        generations: Arc<NewestGenerations>,
    ) -> Self {
        Self {
            context,
            generations,
        }
    }

    /// The session of a sealed token of the app at this position. A token in the cache is not
    /// decrypted again.
    pub(in crate::auth) fn open<P: Purpose<Payload = SessionJwt>>(
        &self,
        app: &Arc<AppAuth>,
        position: usize,
        seal: &Seal<P>,
        text: &[u8],
        cache: &SessionCache,
        now: Timestamp,
    ) -> Option<OpenedSession> {
        if let Some(cached) = cache.get(position, seal, text) {
            if cached.takes_confirmation(now) {
                self.confirm_generation(app, &cached, now);
            }
            return Some(OpenedSession {
                cached,
                is_new: false,
            });
        }
        let text = std::str::from_utf8(text).ok()?;
        let mut buffer = Vec::with_capacity(text.len());
        let opened = seal.open_into(text, &mut buffer)?;
        let session = app.session_of(&read_payload::<P>(&opened)?)?;
        let cached = cache.insert(position, seal, text, session, opened.key_age);
        self.confirm_generation(app, &cached, now);
        Some(OpenedSession {
            cached,
            is_new: true,
        })
    }

    /// The first request with a new generation confirms that the client has the refreshed tokens.
    /// If that fails, a later request at this worker repeats it.
    fn confirm_generation(&self, app: &Arc<AppAuth>, cached: &Arc<CachedSession>, now: Timestamp) {
        let session = &cached.session;
        if session.generation == Generation::FIRST {
            return;
        }
        let (sid, generation) = (&session.sid, session.generation);
        if !self.generations.confirm(sid, generation, now) {
            return;
        }
        let (context, generations) = (Arc::clone(&self.context), Arc::clone(&self.generations));
        let (app, task_cached) = (Arc::clone(app), Arc::clone(cached));
        let spawned = self.context.runtime.spawn(async move {
            let rotations = Rotations::new(&context, &app);
            let session = &task_cached.session;
            let (sid, started_at) = (&session.sid, session.started_at);
            let confirmed = rotations.confirm(sid, generation, started_at, now);
            if let Err(error) = confirmed.await {
                generations.forget_confirmation(sid, generation);
                task_cached.retry_confirmation(context.now());
                tracing::debug!(app = %app.app.name, session = %sid.log_name(), %error, "generation_confirm_failed");
            }
        });
        if spawned.is_err() {
            self.generations.forget_confirmation(sid, generation);
            cached.retry_confirmation(now);
        }
    }
}

/// The content of the refresh token cookie.
pub(in crate::auth) fn open_refresh(
    app: &AppAuth,
    cookies: &RequestCookies<'_>,
) -> Option<RefreshGrant> {
    let name = &app.app.cookies.refresh;
    cookies.open(name, |value| app.seals.refresh.open(value))
}

/// The content of the JWT cookie.
pub(in crate::auth) fn open_jwt(app: &AppAuth, cookies: &RequestCookies<'_>) -> Option<SessionJwt> {
    let name = &app.app.cookies.jwt;
    cookies.open(name, |value| app.seals.jwt.open(value))
}

/// Whether the JWT cookie is of this app at its provider.
pub(in crate::auth) fn opens_jwt(app: &AppAuth, cookies: &RequestCookies<'_>) -> bool {
    let name = &app.app.cookies.jwt;
    let opened = cookies.open(name, |value| app.seals.jwt.opens(value).then_some(()));
    opened.is_some()
}

/// Whether the refresh cookie is of this app at its provider.
pub(in crate::auth) fn opens_refresh(app: &AppAuth, cookies: &RequestCookies<'_>) -> bool {
    let name = &app.app.cookies.refresh;
    let opened = cookies.open(name, |value| app.seals.refresh.opens(value).then_some(()));
    opened.is_some()
}

/// The sessions of the cookies, valid or not. They are two if the cookies were mixed: a logout must
/// end both.
pub(in crate::auth) fn revocable_sessions(
    app: &AppAuth,
    cookies: &RequestCookies<'_>,
) -> Vec<RevocableSession> {
    let jwt = open_jwt(app, cookies).map(RevocableSession::from);
    let refresh = open_refresh(app, cookies).map(RevocableSession::from);
    match (jwt, refresh) {
        (Some(jwt), Some(refresh)) if jwt.key == refresh.key => vec![RevocableSession {
            key: jwt.key,
            provider_sid: jwt.provider_sid.or(refresh.provider_sid),
            token: refresh.token,
        }],
        (jwt, refresh) => jwt.into_iter().chain(refresh).collect(),
    }
}

/// Identifies the session of the cookies, valid or not.
pub(in crate::auth) fn session_key(
    app: &AppAuth,
    cookies: &RequestCookies<'_>,
) -> Option<SessionKey> {
    let by_jwt = open_jwt(app, cookies).map(|jwt| SessionKey::from(&jwt));
    by_jwt.or_else(|| open_refresh(app, cookies).map(|refresh| SessionKey::from(&refresh)))
}

/// The last activity that the cookie of this session records.
pub(in crate::auth) fn last_activity(
    app: &AppAuth,
    sid: &SessionId,
    cookies: &RequestCookies<'_>,
) -> Option<Timestamp> {
    let name = &app.app.cookies.activity;
    let activity = cookies.open(name, |value| app.seals.activity.open(value))?;
    (activity.sid == *sid).then_some(activity.last_activity)
}
