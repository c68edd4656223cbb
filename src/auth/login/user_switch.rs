//! Detects that a different user logs in on the same browser, where state of the app may be left.
//! Only for apps with an app logout.

use http::HeaderValue;

use crate::auth::app::AppAuth;
use crate::auth::context::AppHandle;
use crate::auth::random;
use crate::auth::session::open::session_key;
use crate::session::cookie::RequestCookies;
use crate::session::last_user::{KEPT, SubjectHash};
use crate::types::oauth::Subject;

/// Whether a different user than `subject` had the last session of this browser, by its cookies or
/// by the last user cookie. A logout removes both. A user of another provider is a different user.
pub(in crate::auth) fn detect<'o>(
    app: &AppAuth,
    mut others: impl Iterator<Item = AppHandle<'o>>,
    request_cookies: &RequestCookies<'_>,
    subject: &Subject,
) -> bool {
    if app.app.app_logout.is_empty() {
        return false;
    }
    let switched = match last_user(app, request_cookies) {
        Some(last) => last != SubjectHash::of(subject),
        None => others.any(|other| last_user(&other, request_cookies).is_some()),
    };
    if switched {
        tracing::info!(app = %app.app.name, "user_switched");
    }
    switched
}

/// The user of the last session of this browser at `app` and its provider.
fn last_user(app: &AppAuth, request_cookies: &RequestCookies<'_>) -> Option<SubjectHash> {
    let by_session =
        session_key(app, request_cookies).map(|session| SubjectHash::of(&session.subject));
    let remembered = || {
        let value = request_cookies.get(&app.app.cookies.user)?;
        app.seals.last_user.open(value)
    };
    by_session.or_else(remembered)
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
