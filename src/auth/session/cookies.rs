//! The `Set-Cookie` headers of a session. All cookies together stay within what servers and
//! browsers accept, on every path. What cannot fit is rejected at login with the claim named,
//! instead of causing 431 later.

use std::time::Duration;

use http::HeaderValue;

use crate::auth::app::AppAuth;
use crate::auth::random;
use crate::session::attempt::MAX_ATTEMPTS;
use crate::session::budget::{self, LargestPart, cookie_size};
use crate::session::cookie::{MAX_ALL, MAX_CHUNKS, MAX_VALUE, RequestCookies, chunk_name, chunks};
use crate::session::grant::{Grant, LastActivity, LogoutHint, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::login_loop::LoginLoopState;
use crate::session::validity::Session;
use crate::types::time::Timestamp;

/// The `Set-Cookie` headers of a response.
pub type SetCookieHeaders = Vec<HeaderValue>;

/// Why the cookies of a session cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieWriteError {
    /// Together they are too large.
    #[error(
        "the cookies of this app would take {total} bytes of a request, and at most {MAX_ALL} fit: most of it is {largest}"
    )]
    TooLarge {
        /// The largest part.
        largest: LargestPart,
        /// The size of all cookies, in bytes.
        total: usize,
    },
    /// No randomness, or a value that cannot be encoded.
    #[error("the session could not be sealed")]
    Unsealed,
}

/// The cookies of a session.
pub(in crate::auth) struct SessionCookies {
    pub(in crate::auth) set_cookies: SetCookieHeaders,
    /// The size of all cookies in a request for a page, in bytes.
    pub(in crate::auth) total: usize,
}

/// The cookies of `grant`, replacing those of the request. An ID token that does not fit is left
/// out, and logout then sends the client ID instead. Without `last_activity` the activity cookie is
/// not changed.
pub(in crate::auth) fn session_cookies(
    app: &AppAuth,
    grant: &Grant,
    request_cookies: &RequestCookies<'_>,
    last_activity: Option<Timestamp>,
    now: Timestamp,
) -> Result<SessionCookies, CookieWriteError> {
    let names = &app.app.cookies;
    // The tokens record the activity too. A background refresh must not count as activity.
    let active_at = last_activity.unwrap_or(grant.jwt.active_at);
    let jwt = SessionJwt {
        active_at,
        ..grant.jwt.clone()
    };
    let jwt = sealed(|nonce| app.seals.jwt.seal(&jwt, nonce))?;
    let refresh = grant.refresh.as_ref().map(|refresh| RefreshGrant {
        active_at,
        ..refresh.clone()
    });
    let refresh = refresh
        .map(|refresh| sealed(|nonce| app.seals.refresh.seal(&refresh, nonce)))
        .transpose()?;
    let activity = LastActivity {
        sid: grant.jwt.sid.clone(),
        generation: grant.jwt.generation,
        last_activity: last_activity.unwrap_or(now),
    };
    let activity = sealed(|nonce| app.seals.activity.seal(&activity, nonce))?;
    let refresh_size = refresh
        .as_ref()
        .map_or(0, |refresh| cookie_size(&names.refresh, refresh));
    let proof_size = app.app.device_binding.map_or(0, |_| budget::DEVICE_PROOF);
    let total = budget::total(
        cookie_size(&names.jwt, &jwt)
            + refresh_size
            + cookie_size(&names.activity, &activity)
            + proof_size,
    );
    if total > MAX_ALL {
        return Err(CookieWriteError::TooLarge {
            largest: LargestPart::of(grant),
            total,
        });
    }
    let mut writer = Writer::new(app, request_cookies, grant.jwt.started_at, now);
    writer.set(&names.jwt, &jwt)?;
    match refresh {
        Some(refresh) => writer.set(&names.refresh, &refresh)?,
        None => writer.expire(&names.refresh),
    }
    if last_activity.is_some() {
        writer.set(&names.activity, &activity)?;
    }
    if let Some(id_token) = &grant.hint {
        let hint = LogoutHint {
            id_token: id_token.clone(),
            sid: Some(grant.jwt.sid.clone()),
        };
        let hint = sealed(|nonce| app.seals.hint.seal(&hint, nonce))?;
        writer.set_hint(&hint, total);
    }
    writer.expire_surplus_attempts(total);
    Ok(SessionCookies {
        set_cookies: writer.set_cookies,
        total,
    })
}

/// The activity cookie of `session`, which was last used at `active_at`.
pub(in crate::auth) fn activity_cookie(
    app: &AppAuth,
    session: &Session,
    active_at: Timestamp,
) -> Option<HeaderValue> {
    let activity = LastActivity {
        sid: session.sid.clone(),
        generation: session.generation,
        last_activity: active_at,
    };
    let value = sealed(|nonce| app.seals.activity.seal(&activity, nonce)).ok()?;
    let ends_at = session.started_at.plus(app.app.limits.absolute);
    let max_age = ends_at.since(active_at);
    let names = &app.app.cookies;
    names.set(&names.activity, &value, &names.path, Some(max_age))
}

/// The headers that clear all cookies of a session, including every chunk.
pub(in crate::auth) fn clear_session(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
) -> SetCookieHeaders {
    let names = &app.app.cookies;
    let mut writer = Writer::new(
        app,
        request_cookies,
        Timestamp::default(),
        Timestamp::default(),
    );
    for name in [&names.jwt, &names.refresh, &names.activity] {
        writer.expire(name);
    }
    if request_cookies.has(&names.device) {
        writer.expire(&names.device);
    }
    writer
        .set_cookies
        .extend(names.expire(&names.hint, &app.app.endpoint_path("logout")));
    writer.set_cookies
}

/// The login loop counter of the browser.
pub(in crate::auth) fn login_loop(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
) -> Option<LoginLoopState> {
    request_cookies
        .get(&app.app.cookies.login_loop)
        .and_then(LoginLoopState::parse)
}

/// Resets the login loop counter: a request with a session shows that cookies arrive.
pub(in crate::auth) fn reset_login_loop(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
) -> Option<HeaderValue> {
    let names = &app.app.cookies;
    let state = login_loop(app, request_cookies)?;
    (state.logins() > 0)
        .then(|| names.expire(&names.login_loop, &names.path))
        .flatten()
}

fn sealed(seal: impl FnOnce([u8; 12]) -> Option<String>) -> Result<String, CookieWriteError> {
    random::bytes()
        .ok()
        .and_then(seal)
        .ok_or(CookieWriteError::Unsealed)
}

struct Writer<'a> {
    app: &'a AppAuth,
    request_cookies: &'a RequestCookies<'a>,
    max_age: Duration,
    set_cookies: SetCookieHeaders,
}

impl<'a> Writer<'a> {
    fn new(
        app: &'a AppAuth,
        request_cookies: &'a RequestCookies<'a>,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        let max_age = started_at.plus(app.app.limits.absolute).since(now);
        Self {
            app,
            request_cookies,
            max_age,
            set_cookies: Vec::with_capacity(6),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), CookieWriteError> {
        let chunks = chunks(value).ok_or(CookieWriteError::Unsealed)?;
        for (index, chunk) in chunks.iter().enumerate() {
            let names = &self.app.app.cookies;
            let header = names.set(
                &chunk_name(name, index),
                chunk,
                &names.path,
                Some(self.max_age),
            );
            self.set_cookies
                .push(header.ok_or(CookieWriteError::Unsealed)?);
        }
        self.expire_chunks(name, chunks.len());
        Ok(())
    }

    fn expire(&mut self, name: &str) {
        let names = &self.app.app.cookies;
        self.set_cookies.extend(names.expire(name, &names.path));
        self.expire_chunks(name, 1);
    }

    /// Expires left-over chunks of an earlier, longer value.
    fn expire_chunks(&mut self, name: &str, from: usize) {
        let names = &self.app.app.cookies;
        for chunk in (from..MAX_CHUNKS).map(|index| chunk_name(name, index)) {
            if self.request_cookies.has(&chunk) {
                self.set_cookies.extend(names.expire(&chunk, &names.path));
            }
        }
    }

    /// The ID token hint is limited to the logout path and never split.
    fn set_hint(&mut self, value: &str, total: usize) {
        let names = &self.app.app.cookies;
        let path = self.app.app.endpoint_path("logout");
        let fits = value.len() <= MAX_VALUE && total + cookie_size(&names.hint, value) <= MAX_ALL;
        let header = if fits {
            names.set(&names.hint, value, &path, Some(self.max_age))
        } else {
            names.expire(&names.hint, &path)
        };
        self.set_cookies.extend(header);
    }

    /// Expires login attempts that do not fit beside the session. Their logins find a session, so
    /// they still reach their page.
    fn expire_surplus_attempts(&mut self, total: usize) {
        let names = &self.app.app.cookies;
        let path = self.app.app.endpoint_path("callback");
        let evictable =
            budget::evictable_attempts(self.request_cookies, &names.login, total, MAX_ATTEMPTS);
        let expired = evictable.into_iter();
        self.set_cookies
            .extend(expired.filter_map(|name| names.expire(name, &path)));
    }
}
