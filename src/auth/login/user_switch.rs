//! Detects that a different user logs in on the same browser, where state of the app may be left.
//! Only for apps with an app logout.

use crate::auth::app::AppAuth;
use crate::auth::random;
use crate::auth::session::authenticate::session_key;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::session::cookie::RequestCookies;
use crate::session::last_user::{KEPT, SubjectHash};
use crate::types::oauth::Subject;

/// Whether a different user than `subject` had the last session of this browser, by its cookies or
/// by the last user cookie. A logout removes both.
pub(in crate::auth) fn was_here(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
    subject: &Subject,
) -> bool {
    if app.app.app_logout.is_nothing() {
        return false;
    }
    let of_session =
        session_key(app, request_cookies).map(|before| SubjectHash::of(&before.subject));
    let remembered = || {
        request_cookies
            .get(&app.app.cookies.user)
            .and_then(|value| app.seals.user.open(value))
    };
    let another = of_session
        .or_else(remembered)
        .is_some_and(|last| last != SubjectHash::of(subject));
    if another {
        tracing::info!(app = %app.app.name, "user_switched");
    }
    another
}

/// The cookie that remembers the user.
pub(in crate::auth) fn remember(app: &AppAuth, subject: &Subject) -> SetCookieHeaders {
    if app.app.app_logout.is_nothing() {
        return SetCookieHeaders::new();
    }
    let sealed = random::bytes()
        .ok()
        .and_then(|nonce| app.seals.user.seal(&SubjectHash::of(subject), nonce));
    let names = &app.app.cookies;
    sealed
        .and_then(|value| names.set(&names.user, &value, "/", Some(KEPT)))
        .into_iter()
        .collect()
}

/// The header that clears it.
pub(in crate::auth) fn forget(app: &AppAuth) -> SetCookieHeaders {
    let names = &app.app.cookies;
    let remembers = !app.app.app_logout.is_nothing();
    remembers
        .then(|| names.expire(&names.user, "/"))
        .flatten()
        .into_iter()
        .collect()
}
