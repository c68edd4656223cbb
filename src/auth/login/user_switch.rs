//! Detects that a different user logs in on the same browser, where state of the app may be left.
//! Only for apps with an app logout.

use http::HeaderValue;

use crate::auth::app::AppAuth;
use crate::auth::random;
use crate::auth::session::open::session_key;
use crate::session::cookie::RequestCookies;
use crate::session::last_user::{KEPT, SubjectHash};
use crate::types::oauth::Subject;

/// Whether a different user than `subject` had the last session of this browser, by its cookies or
/// by the last user cookie. A logout removes both.
pub(in crate::auth) fn detect(
    app: &AppAuth,
    request_cookies: &RequestCookies<'_>,
    subject: &Subject,
) -> bool {
    if app.app.app_logout.is_empty() {
        return false;
    }
    let by_session =
        session_key(app, request_cookies).map(|session| SubjectHash::of(&session.subject));
    let remembered = || {
        let value = request_cookies.get(&app.app.cookies.user)?;
        app.seals.last_user.open(value)
    };
    let last = by_session.or_else(remembered);
    let switched = last.is_some_and(|last| last != SubjectHash::of(subject));
    if switched {
        tracing::info!(app = %app.app.name, "user_switched");
    }
    switched
}

/// The cookie that remembers the user.
pub(in crate::auth) fn remember(app: &AppAuth, subject: &Subject) -> Option<HeaderValue> {
    if app.app.app_logout.is_empty() {
        return None;
    }
    let nonce = random::bytes().ok()?;
    let value = app.seals.last_user.seal(&SubjectHash::of(subject), nonce)?;
    let names = &app.app.cookies;
    names.set(&names.user, &value, "/", Some(KEPT))
}

/// The header that clears it.
pub(in crate::auth) fn forget(app: &AppAuth) -> Option<HeaderValue> {
    if app.app.app_logout.is_empty() {
        return None;
    }
    let names = &app.app.cookies;
    names.expire(&names.user, "/")
}
