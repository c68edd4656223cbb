//! Detection of login loops: they end on a page that names the cause.

use http::HeaderValue;

use super::Login;
use crate::auth::app::AppAuth;
use crate::auth::events::{Event, EventSession};
use crate::auth::session::cookies::{SetCookieHeaders, login_loop};
use crate::identity::return_to::ReturnTo;
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::session::login_loop::{
    LoginLoopCause, LoginLoopState, REMEMBERED, SentBackBy, TransportHints,
};
use crate::session::validity::NoSessionReason;

/// A login loop was detected.
#[derive(Debug)]
pub struct LoginLoop {
    /// The cause for the page.
    pub cause: LoginLoopCause,
    /// Clears the counter: a retry from the page starts a new count.
    pub set_cookies: SetCookieHeaders,
}

impl LoginLoop {
    fn new(app: &AppAuth, cause: LoginLoopCause) -> Self {
        let names = &app.app.cookies;
        Self {
            cause,
            set_cookies: names
                .expire(&names.login_loop, &names.path)
                .into_iter()
                .collect(),
        }
    }
}

impl Login {
    /// The login loop, if the login that this request needs exceeds the limit. `why` is the reason
    /// that it has no session.
    pub fn detect_loop(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        why: NoSessionReason,
        hints: TransportHints,
    ) -> Option<LoginLoop> {
        let app = &self.context.app(app_ref)?;
        let names = &app.app.cookies;
        let state = login_loop(app, request_cookies)?;
        let session_cookies = [names.jwt.as_str(), names.refresh.as_str()];
        let cause = state.exceeds_limit(why, hints, request_cookies, session_cookies)?;
        tracing::warn!(app = %app.app.name, code = cause.code(), why = why.code(), ?state, ?hints, "login_loop");
        let observer = &self.context.observer;
        observer.record_event(
            app,
            Event::LoginFinished,
            cause.code(),
            &EventSession::default(),
        );
        Some(LoginLoop::new(app, cause))
    }

    /// Counts a redirect of a logged-in user from the login endpoint back to `return_to`.
    ///
    /// # Errors
    /// It happened too often: the app does not accept the session.
    pub fn send_back(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        return_to: &ReturnTo,
    ) -> Result<SetCookieHeaders, LoginLoop> {
        let Some(app) = &self.context.app(app_ref) else {
            return Ok(SetCookieHeaders::new());
        };
        let counted = self.count_sent_back(app, request_cookies, return_to, SentBackBy::Login);
        counted.inspect_err(|LoginLoop { cause, .. }| {
            let observer = &self.context.observer;
            observer.record_event(
                app,
                Event::LoginFinished,
                cause.code(),
                &EventSession::default(),
            );
        })
    }

    /// Counts a redirect back to `return_to` by an endpoint.
    pub(super) fn count_sent_back(
        &self,
        app: &AppAuth,
        request_cookies: &RequestCookies<'_>,
        return_to: &ReturnTo,
        by: SentBackBy,
    ) -> Result<SetCookieHeaders, LoginLoop> {
        let names = &app.app.cookies;
        let now = self.context.now();
        let before = login_loop(app, request_cookies);
        let Some(state) = LoginLoopState::after_sending_back(before.as_ref(), return_to, by, now)
        else {
            let cause = by.cause();
            tracing::warn!(app = %app.app.name, code = cause.code(), %return_to, "login_loop");
            return Err(LoginLoop::new(app, cause));
        };
        let lifetime = Some(state.remembered(now));
        let counter = names.set(&names.login_loop, &state.to_value(), &names.path, lifetime);
        Ok(counter.into_iter().collect())
    }
}

/// How many logins finished before this one starts, without a session seen since.
pub(super) fn logins_before(app: &AppAuth, request_cookies: &RequestCookies<'_>) -> u8 {
    login_loop(app, request_cookies).map_or(0, |state| state.logins())
}

/// The cause of a login loop, if this callback exceeds the limit. Its start may have seen none of
/// the other logins, and no session has been seen since.
pub(super) fn loop_detected(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
    hints: TransportHints,
) -> Option<LoginLoopCause> {
    if has_session_cookie(app, request_cookies) {
        return None;
    }
    let names = &app.app.cookies;
    login_loop(app, request_cookies)?.exceeds_limit(
        NoSessionReason::NoCookie,
        hints,
        request_cookies,
        [&names.jwt, &names.refresh],
    )
}

fn has_session_cookie(app: &AppAuth, request_cookies: &RequestCookies<'_>) -> bool {
    let names = &app.app.cookies;
    request_cookies.has(&names.jwt) || request_cookies.has(&names.refresh)
}

/// The cookie that counts a finished login with session cookies of `size` bytes. `before` is the
/// count when it started.
pub(super) fn finished(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
    before: u8,
    size: usize,
) -> Option<HeaderValue> {
    let names = &app.app.cookies;
    let state = LoginLoopState::after_login(
        login_loop(app, request_cookies).as_ref(),
        before,
        has_session_cookie(app, request_cookies),
        size,
    );
    names.set(
        &names.login_loop,
        &state.to_value(),
        &names.path,
        Some(REMEMBERED),
    )
}
