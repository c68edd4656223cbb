//! Detection of login loops: they end on a page that names the cause.

use crate::auth::app::AppAuth;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::auth::{Auth, Event};
use crate::identity::return_to::ReturnTo;
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::session::login_loop::{
    LoginLoopCause, LoginLoopState, REMEMBERED, SentBackBy, TransportHints,
};
use crate::session::validity::NoSessionReason;

impl Auth {
    /// The cause of a login loop, if the login that this request needs exceeds the limit. `why` is
    /// the reason that it has no session.
    pub fn login_loop(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        why: NoSessionReason,
        signs: TransportHints,
    ) -> Option<(LoginLoopCause, SetCookieHeaders)> {
        let app = self.app(app_ref.index)?;
        let names = &app.app.cookies;
        let rounds = known(app, request_cookies)?;
        let cause =
            rounds.exceeds_limit(why, signs, request_cookies, [&names.jwt, &names.refresh])?;
        tracing::warn!(app = %app.app.name, code = cause.code(), why = why.code(), ?rounds, ?signs, "login_loop");
        self.observer
            .record_event(app, Event::LoginFinished, cause.code());
        // A retry from the page starts a new count.
        Some((
            cause,
            names.expire(&names.login_loop, "/").into_iter().collect(),
        ))
    }

    /// Counts a redirect of a logged-in user from the login endpoint back to `return_to`.
    ///
    /// # Errors
    /// It happened too often: the app does not accept the session.
    pub fn sent_back(
        &self,
        app_ref: AppRef<'_>,
        request_cookies: &RequestCookies<'_>,
        return_to: &ReturnTo,
    ) -> Result<SetCookieHeaders, (LoginLoopCause, SetCookieHeaders)> {
        let Some(app) = self.app(app_ref.index) else {
            return Ok(SetCookieHeaders::new());
        };
        let counted = self.count_sent_back(app, request_cookies, return_to, SentBackBy::Login);
        if let Err((cause, _)) = &counted {
            self.observer
                .record_event(app, Event::LoginFinished, cause.code());
        }
        counted
    }

    /// Counts a redirect back to `return_to` by an endpoint.
    pub(in crate::auth) fn count_sent_back(
        &self,
        app: &AppAuth,
        request_cookies: &RequestCookies<'_>,
        return_to: &ReturnTo,
        by: SentBackBy,
    ) -> Result<SetCookieHeaders, (LoginLoopCause, SetCookieHeaders)> {
        let names = &app.app.cookies;
        let now = self.now();
        match LoginLoopState::after_sending_back(
            known(app, request_cookies).as_ref(),
            return_to,
            by,
            now,
        ) {
            Some(rounds) => {
                let line = names.set(
                    &names.login_loop,
                    &rounds.to_value(),
                    "/",
                    Some(rounds.remembered(now)),
                );
                Ok(line.into_iter().collect())
            }
            None => {
                let cause = by.cause();
                tracing::warn!(app = %app.app.name, code = cause.code(), %return_to, "login_loop");
                Err((
                    cause,
                    names.expire(&names.login_loop, "/").into_iter().collect(),
                ))
            }
        }
    }
}

/// How many logins finished before this one starts, without a session seen since.
pub(in crate::auth) fn logins_before(app: &AppAuth, request_cookies: &RequestCookies<'_>) -> u8 {
    known(app, request_cookies).map_or(0, |rounds| rounds.logins())
}

/// The cause of a login loop, if this callback exceeds the limit. Its start may have seen none of
/// the other logins, and no session has been seen since.
pub(in crate::auth) fn loop_detected(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
    signs: TransportHints,
) -> Option<LoginLoopCause> {
    if session_came(app, request_cookies) {
        return None;
    }
    let names = &app.app.cookies;
    known(app, request_cookies)?.exceeds_limit(
        NoSessionReason::NoCookie,
        signs,
        request_cookies,
        [&names.jwt, &names.refresh],
    )
}

fn session_came(app: &AppAuth, request_cookies: &RequestCookies<'_>) -> bool {
    let names = &app.app.cookies;
    request_cookies.has(&names.jwt) || request_cookies.has(&names.refresh)
}

/// The cookie that counts a finished login. `before` is the count when it started.
pub(in crate::auth) fn finished(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
    before: u8,
    bytes: usize,
) -> SetCookieHeaders {
    let names = &app.app.cookies;
    let rounds = LoginLoopState::after_login(
        known(app, request_cookies).as_ref(),
        before,
        session_came(app, request_cookies),
        bytes,
    );
    names
        .set(&names.login_loop, &rounds.to_value(), "/", Some(REMEMBERED))
        .into_iter()
        .collect()
}

/// Resets the counter: a request with a session shows that cookies arrive.
pub(in crate::auth) fn session_confirmed(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
) -> SetCookieHeaders {
    let names = &app.app.cookies;
    let counted = known(app, request_cookies).is_some_and(|rounds| rounds.logins() > 0);
    counted
        .then(|| names.expire(&names.login_loop, "/"))
        .flatten()
        .into_iter()
        .collect()
}

fn known(app: &AppAuth, request_cookies: &RequestCookies<'_>) -> Option<LoginLoopState> {
    request_cookies
        .get(&app.app.cookies.login_loop)
        .and_then(LoginLoopState::parse)
}
