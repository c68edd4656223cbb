//! The page on which a user sees and ends their sessions. It needs no script: each button of its
//! form names a session.

use serde::Serialize;

use super::{Href, Page, Pages};

/// The template.
pub(super) const TEMPLATE: &str = include_str!("sessions.html");

/// The sessions of a user.
#[derive(Clone, Debug, Serialize)]
pub struct SessionsPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The user.
    pub user: &'a str,
    /// The sessions, that of this browser first.
    pub sessions: &'a [SessionRow],
    /// Whether there may be others.
    pub is_incomplete: bool,
    /// The target of the form: `{prefix}/sessions`.
    pub action: &'a Href,
    /// The target of the button that ends the session of this browser: `{prefix}/logout`.
    pub logout: &'a Href,
    /// The field of the form that names a session.
    pub field_name: &'a str,
    /// The value of that field for all sessions.
    pub everywhere: &'a str,
    /// The app's start page.
    pub home: &'a Href,
}

/// A session in a [`SessionsPage`].
#[derive(Clone, Debug, Serialize)]
pub struct SessionRow {
    /// Its name in the form.
    pub name: String,
    /// The host of the app.
    pub site: String,
    /// The program of its client.
    pub program: Option<String>,
    /// The network of its client.
    pub network: Option<String>,
    /// Whether a native app holds it.
    pub is_native: bool,
    /// The time since the login.
    pub login: Age,
    /// The time since the last activity.
    pub active: Age,
}

/// A time span in its largest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Age {
    /// The whole number of units. 0: less than a minute.
    pub amount: u64,
    /// `minute`, `hour` or `day`.
    pub unit: &'static str,
}

impl Age {
    /// The age of something that happened so many seconds ago.
    pub const fn of_secs(secs: u64) -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let (length, unit) = if secs < HOUR {
            (MINUTE, "minute")
        } else if secs < 2 * DAY {
            (HOUR, "hour")
        } else {
            (DAY, "day")
        };
        Self {
            amount: secs / length,
            unit,
        }
    }
}

impl Pages {
    /// The page of a user's sessions. See [`Self::logout_confirm`].
    pub fn sessions(&self, page: &SessionsPage<'_>) -> Page {
        self.page("sessions.html", page, &self.never_framed)
    }
}

/// Sessions with which the template is rendered at start.
pub(super) fn samples(text: &str) -> Vec<SessionRow> {
    let row = SessionRow {
        name: text.to_owned(),
        site: text.to_owned(),
        program: Some(text.to_owned()),
        network: Some(text.to_owned()),
        is_native: true,
        login: Age::of_secs(60),
        active: Age::of_secs(0),
    };
    let plain = SessionRow {
        program: None,
        network: None,
        is_native: false,
        login: Age::of_secs(7200),
        ..row.clone()
    };
    vec![plain, row]
}

/// The page with these sessions.
pub(super) const fn sample<'a>(
    sessions: &'a [SessionRow],
    href: &'a Href,
    is_incomplete: bool,
) -> SessionsPage<'a> {
    SessionsPage {
        site: "store.example.com",
        user: "alice",
        sessions,
        is_incomplete,
        action: href,
        logout: href,
        field_name: "field",
        everywhere: "all",
        home: href,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_in_its_largest_unit() {
        for (secs, amount, unit) in [
            (59, 0, "minute"),
            (119, 1, "minute"),
            (3599, 59, "minute"),
            (3600, 1, "hour"),
            (47 * 3600, 47, "hour"),
            (48 * 3600, 2, "day"),
        ] {
            assert_eq!(Age::of_secs(secs), Age { amount, unit }, "{secs}");
        }
    }
}
