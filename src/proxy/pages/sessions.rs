//! The page on which a user sees and ends their sessions. It needs no script: each button of its
//! form names a session.

use serde::Serialize;

use super::{Href, PageContent, PageKind};

/// The sessions of a user.
#[derive(Clone, Debug, Serialize)]
pub struct SessionsPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The user.
    pub user: &'a str,
    /// The sessions, that of this browser first.
    pub sessions: &'a [SessionRow<'a>],
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

impl PageContent for SessionsPage<'_> {
    const TEMPLATE: &'static str = "sessions.html";

    fn kind(&self) -> PageKind {
        PageKind::Form
    }
}

/// A session in a [`SessionsPage`].
#[derive(Clone, Debug, Serialize)]
pub struct SessionRow<'a> {
    /// Its name in the form.
    pub name: String,
    /// The host of the app.
    pub site: &'a str,
    /// The program of its client.
    pub program: Option<&'a str>,
    /// The operating system of this program.
    pub system: Option<&'a str>,
    /// The network of its client.
    pub network: Option<&'a str>,
    /// Whether a native app holds it.
    pub is_native: bool,
    /// Whether it is accepted from its device only.
    pub is_device_bound: bool,
    /// The time since the login.
    pub login: Age,
    /// The time since the last activity.
    pub activity: Age,
}

/// A time span in its largest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Age {
    /// The key of the message, which has the unit.
    pub message: &'static str,
    /// The whole number of units.
    pub count: u64,
}

impl Age {
    /// The age of something that happened so many seconds ago.
    pub const fn of_secs(secs: u64) -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let (unit, message) = if secs < MINUTE {
            (MINUTE, "ago.just_now")
        } else if secs < HOUR {
            (MINUTE, "ago.minutes")
        } else if secs < 2 * DAY {
            (HOUR, "ago.hours")
        } else {
            (DAY, "ago.days")
        };
        let count = secs / unit;
        Self { message, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_in_its_largest_unit() {
        for (secs, count, message) in [
            (59, 0, "ago.just_now"),
            (119, 1, "ago.minutes"),
            (3599, 59, "ago.minutes"),
            (3600, 1, "ago.hours"),
            (47 * 3600, 47, "ago.hours"),
            (48 * 3600, 2, "ago.days"),
        ] {
            assert_eq!(Age::of_secs(secs), Age { message, count }, "{secs}");
        }
    }
}
