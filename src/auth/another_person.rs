//! Whether another person was signed in on this browser before, and may have left something of the app there. Asked
//! and remembered only for apps that have something to take away.

use super::app::AppAuth;
use super::entropy;
use super::resume::named_session;
use super::set_cookies::Lines;
use crate::session::cookie::RequestCookies;
use crate::session::person::{KEPT, PersonHash};
use crate::types::oauth::Subject;

/// Whether somebody else than `subject` was signed in last, by the session that is still there, or by what was
/// remembered of one that has ended. Who logged out has left nothing.
pub(super) fn was_here(app: &AppAuth, came: &RequestCookies<'_>, subject: &Subject) -> bool {
    if app.app.leaving.is_nothing() {
        return false;
    }
    let of_session = named_session(app, came).map(|before| PersonHash::of(&before.subject));
    let remembered = || {
        came.get(&app.app.cookies.person)
            .and_then(|value| app.seals.person.open(value))
    };
    let another = of_session
        .or_else(remembered)
        .is_some_and(|last| last != PersonHash::of(subject));
    if another {
        tracing::info!(app = %app.app.name, "another_person_signed_in");
    }
    another
}

/// The line that remembers who is signed in now.
pub(super) fn remember(app: &AppAuth, subject: &Subject) -> Lines {
    if app.app.leaving.is_nothing() {
        return Lines::new();
    }
    let sealed = entropy::bytes()
        .ok()
        .and_then(|nonce| app.seals.person.seal(&PersonHash::of(subject), nonce));
    let names = &app.app.cookies;
    sealed
        .and_then(|value| names.set(&names.person, &value, "/", Some(KEPT)))
        .into_iter()
        .collect()
}

/// The line that forgets it.
pub(super) fn forget(app: &AppAuth) -> Lines {
    let names = &app.app.cookies;
    let remembers = !app.app.leaving.is_nothing();
    remembers
        .then(|| names.expire(&names.person, "/"))
        .flatten()
        .into_iter()
        .collect()
}
