//! Logins that go in circles end on a page that names the cause: neither a person nor the provider is kept busy.

use super::app::AppAuth;
use super::set_cookies::Lines;
use super::{Auth, Event};
use crate::policy::return_to::ReturnTo;
use crate::policy::route::Place;
use crate::session::assess::Why;
use crate::session::cookie::RequestCookies;
use crate::session::login_loop::{Cause, REMEMBERED, Rounds, SentBackBy, Signs};

impl Auth {
    /// Why the login that this request needs is not begun, if it would be one too many. `why` there is no session.
    pub fn login_loop(
        &self,
        place: Place<'_>,
        came: &RequestCookies<'_>,
        why: Why,
        signs: Signs,
    ) -> Option<(Cause, Lines)> {
        let app = self.app(place.index)?;
        let names = &app.app.cookies;
        let rounds = known(app, came)?;
        let cause = rounds.are_too_many(why, signs, came, [&names.jwt, &names.refresh])?;
        tracing::warn!(app = %app.app.name, code = cause.code(), why = why.code(), ?rounds, ?signs, "login_loop");
        self.observer
            .happened(app, Event::LoginFinished, cause.code());
        // Who tries again by the link on the page has a first try.
        Some((
            cause,
            names.expire(&names.rounds, "/").into_iter().collect(),
        ))
    }

    /// A person who is signed in asked for a login and goes back to `return_to`: the lines that count it.
    ///
    /// # Errors
    /// It was too often: the app does not take the person for signed in.
    pub fn sent_back(
        &self,
        place: Place<'_>,
        came: &RequestCookies<'_>,
        return_to: &ReturnTo,
    ) -> Result<Lines, (Cause, Lines)> {
        let Some(app) = self.app(place.index) else {
            return Ok(Lines::new());
        };
        let counted = self.count_sent_back(app, came, return_to, SentBackBy::Login);
        if let Err((cause, _)) = &counted {
            self.observer
                .happened(app, Event::LoginFinished, cause.code());
        }
        counted
    }

    /// The same, by whichever of our endpoints.
    pub(super) fn count_sent_back(
        &self,
        app: &AppAuth,
        came: &RequestCookies<'_>,
        return_to: &ReturnTo,
        by: SentBackBy,
    ) -> Result<Lines, (Cause, Lines)> {
        let names = &app.app.cookies;
        let now = self.now();
        match Rounds::after_sending_back(known(app, came).as_ref(), return_to, by, now) {
            Some(rounds) => {
                let line = names.set(
                    &names.rounds,
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
                    names.expire(&names.rounds, "/").into_iter().collect(),
                ))
            }
        }
    }
}

/// The logins that finished before this one begins, each in vain so far.
pub(super) fn logins_before(app: &AppAuth, came: &RequestCookies<'_>) -> u8 {
    known(app, came).map_or(0, |rounds| rounds.logins())
}

/// Why a login that comes back is not finished, if it would be one too many. Its beginning saw none of the others,
/// and its callback none of their sessions.
pub(super) fn one_too_many(
    app: &AppAuth,
    came: &RequestCookies<'_>,
    signs: Signs,
) -> Option<Cause> {
    if session_came(app, came) {
        return None;
    }
    let names = &app.app.cookies;
    known(app, came)?.are_too_many(Why::NoCookie, signs, came, [&names.jwt, &names.refresh])
}

fn session_came(app: &AppAuth, came: &RequestCookies<'_>) -> bool {
    let names = &app.app.cookies;
    came.has(&names.jwt) || came.has(&names.refresh)
}

/// The line that counts a login that finished, `before` being how many had when it began.
pub(super) fn finished(
    app: &AppAuth,
    came: &RequestCookies<'_>,
    before: u8,
    bytes: usize,
) -> Lines {
    let names = &app.app.cookies;
    let rounds = Rounds::after_login(
        known(app, came).as_ref(),
        before,
        session_came(app, came),
        bytes,
    );
    names
        .set(&names.rounds, &rounds.to_value(), "/", Some(REMEMBERED))
        .into_iter()
        .collect()
}

/// A session was seen again: the logins before it were not in vain.
pub(super) fn seen_again(app: &AppAuth, came: &RequestCookies<'_>) -> Lines {
    let names = &app.app.cookies;
    let counted = known(app, came).is_some_and(|rounds| rounds.logins() > 0);
    counted
        .then(|| names.expire(&names.rounds, "/"))
        .flatten()
        .into_iter()
        .collect()
}

fn known(app: &AppAuth, came: &RequestCookies<'_>) -> Option<Rounds> {
    came.get(&app.app.cookies.rounds).and_then(Rounds::parse)
}
