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
    others: impl Iterator<Item = AppHandle<'o>>,
    request_cookies: &RequestCookies<'_>,
    subject: &Subject,
) -> bool {
    if app.app.app_logout.is_empty() {
        return false;
    }
    let others: Vec<_> = others.collect();
    let (session, last) = (
        session_user(app, request_cookies),
        last_user(app, request_cookies),
    );
    // A session is newer than what the browser remembers.
    let switched = if let Some(user) = session {
        user != SubjectHash::of(subject)
    } else if others
        .iter()
        .any(|other| session_user(other, request_cookies).is_some())
    {
        true
    } else if let Some(user) = last {
        user != SubjectHash::of(subject)
    } else {
        others
            .iter()
            .any(|other| last_user(other, request_cookies).is_some())
    };
    if switched {
        tracing::info!(app = %app.app.name, "user_switched");
    }
    switched
}

/// The user of this browser's session at `app` and its provider.
fn session_user(app: &AppAuth, request_cookies: &RequestCookies<'_>) -> Option<SubjectHash> {
    session_key(app, request_cookies).map(|session| SubjectHash::of(&session.subject))
}

/// The user of the last session that the browser remembers.
fn last_user(app: &AppAuth, request_cookies: &RequestCookies<'_>) -> Option<SubjectHash> {
    let name = &app.app.cookies.user;
    request_cookies.open(name, |value| app.seals.last_user.open(value))
}

/// The cookie that remembers the user.
pub(in crate::auth) fn remember(app: &AppAuth, subject: &Subject) -> Option<HeaderValue> {
    if app.app.app_logout.is_empty() {
        return None;
    }
    let nonce = random::bytes().ok()?;
    let value = app.seals.last_user.seal(&SubjectHash::of(subject), nonce)?;
    let names = &app.app.cookies;
    names.set(&names.user, &value, &names.path, Some(KEPT))
}

/// The header that clears it.
pub(in crate::auth) fn forget(app: &AppAuth) -> Option<HeaderValue> {
    if app.app.app_logout.is_empty() {
        return None;
    }
    let names = &app.app.cookies;
    names.expire(&names.user, &names.path)
}
