//! The `Set-Cookie` headers of a session. All cookies together stay within what servers and
//! browsers accept, on every path. What cannot fit is rejected at login with the claim named,
//! instead of causing 431 later.

use http::HeaderValue;

use crate::auth::app::AppAuth;
use crate::auth::{Auth, random};
use crate::session::attempt::MAX_ATTEMPTS;
use crate::session::budget::{self, LargestPart, cookie_size};
use crate::session::cookie::{MAX_ALL, MAX_CHUNKS, MAX_VALUE, RequestCookies, chunk_name, chunks};
use crate::session::grant::{Grant, LastActivity, RefreshGrant};
use crate::session::jwt::SessionJwt;
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

impl Auth {
    /// Writes the cookies of `grant`, replacing those of the request. An ID token that does not fit
    /// is left out, and logout then sends the client ID instead. Without `last_activity` the
    /// activity cookie is not changed.
    pub(in crate::auth) fn write_grant(
        &self,
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
        let refresh = match &refresh {
            Some(refresh) => Some(sealed(|nonce| app.seals.refresh.seal(refresh, nonce))?),
            None => None,
        };
        let activity = LastActivity {
            sid: grant.jwt.sid.clone(),
            generation: grant.jwt.generation,
            last_activity: last_activity.unwrap_or(now),
        };
        let activity = sealed(|nonce| app.seals.activity.seal(&activity, nonce))?;
        let refresh_weight = refresh
            .as_ref()
            .map_or(0, |refresh| cookie_size(&names.refresh, refresh));
        let total = budget::total(
            cookie_size(&names.jwt, &jwt)
                + refresh_weight
                + cookie_size(&names.activity, &activity),
        );
        self.observer.observe_cookie_size(app, total);
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
        if let Some(hint) = &grant.hint {
            let hint = sealed(|nonce| app.seals.hint.seal(hint, nonce))?;
            writer.set_hint(&hint, total);
        }
        writer.expire_surplus_attempts(total);
        Ok(SessionCookies {
            set_cookies: writer.set_cookies,
            total,
        })
    }
}

/// The activity cookie of `session`.
pub fn write_activity(app: &AppAuth, session: &Session, now: Timestamp) -> Option<HeaderValue> {
    let activity = LastActivity {
        sid: session.sid.clone(),
        generation: session.generation,
        last_activity: now,
    };
    let value = sealed(|nonce| app.seals.activity.seal(&activity, nonce)).ok()?;
    let left = session.started_at.plus(app.app.limits.absolute).since(now);
    app.app
        .cookies
        .set(&app.app.cookies.activity, &value, "/", Some(left))
}

/// The headers that clear all cookies of a session, including every chunk.
pub fn forget_session(app: &AppAuth, request_cookies: &RequestCookies<'_>) -> SetCookieHeaders {
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
    writer
        .set_cookies
        .extend(names.expire(&names.hint, &app.app.endpoint_path("logout")));
    writer.set_cookies
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
    left: std::time::Duration,
    set_cookies: SetCookieHeaders,
}

impl<'a> Writer<'a> {
    fn new(
        app: &'a AppAuth,
        request_cookies: &'a RequestCookies<'a>,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        let left = started_at.plus(app.app.limits.absolute).since(now);
        Self {
            app,
            request_cookies,
            left,
            set_cookies: Vec::with_capacity(6),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), CookieWriteError> {
        let chunks = chunks(value).ok_or(CookieWriteError::Unsealed)?;
        for (index, chunk) in chunks.iter().enumerate() {
            let line =
                self.app
                    .app
                    .cookies
                    .set(&chunk_name(name, index), chunk, "/", Some(self.left));
            self.set_cookies
                .push(line.ok_or(CookieWriteError::Unsealed)?);
        }
        self.expire_chunks(name, chunks.len());
        Ok(())
    }

    fn expire(&mut self, name: &str) {
        self.set_cookies
            .extend(self.app.app.cookies.expire(name, "/"));
        self.expire_chunks(name, 1);
    }

    /// Expires left-over chunks of an earlier, longer value.
    fn expire_chunks(&mut self, name: &str, from: usize) {
        for chunk in (from..MAX_CHUNKS).map(|index| chunk_name(name, index)) {
            if self.request_cookies.has(&chunk) {
                self.set_cookies
                    .extend(self.app.app.cookies.expire(&chunk, "/"));
            }
        }
    }

    /// The ID token hint is limited to the logout path and never split.
    fn set_hint(&mut self, value: &str, total: usize) {
        let (names, path) = (&self.app.app.cookies, self.app.app.endpoint_path("logout"));
        let fits = value.len() <= MAX_VALUE && total + cookie_size(&names.hint, value) <= MAX_ALL;
        let line = if fits {
            names.set(&names.hint, value, &path, Some(self.left))
        } else {
            names.expire(&names.hint, &path)
        };
        self.set_cookies.extend(line);
    }

    /// Expires login attempts that do not fit beside the session. Their logins find a session, so
    /// they still reach their page.
    fn expire_surplus_attempts(&mut self, total: usize) {
        let (names, path) = (
            &self.app.app.cookies,
            self.app.app.endpoint_path("callback"),
        );
        let evictable_attempts =
            budget::evictable_attempts(self.request_cookies, &names.login, total, MAX_ATTEMPTS);
        self.set_cookies.extend(
            evictable_attempts
                .into_iter()
                .filter_map(|name| names.expire(name, &path)),
        );
    }
}
