//! `[apps.NAME.unbound_sessions]`: browser sessions that are bound to no device.

use std::time::Duration;

use super::super::raw::RawUnboundSessions;
use super::super::report::Location;
use super::session::limits;
use crate::session::client_continuity::UnboundSessions;
use crate::session::validity::Limits;

/// `all` are the timeouts of the app's sessions.
pub(super) fn check(raw: RawUnboundSessions, at: &Location<'_>, all: Limits) -> UnboundSessions {
    let own = limits(raw.idle_timeout, raw.absolute_timeout, at, all);
    for (key, own, all) in [
        ("idle_timeout", own.idle, all.idle),
        ("absolute_timeout", own.absolute, all.absolute),
    ] {
        not_longer(&at.key(key), own, all);
    }
    UnboundSessions {
        on_client_change: raw.client_change.unwrap_or_default(),
        limits: own,
    }
}

fn not_longer(at: &Location<'_>, own: Duration, all: Duration) {
    if own > all {
        at.error(
            format!(
                "{} s is longer than the {} s of the app's sessions",
                own.as_secs(),
                all.as_secs()
            ),
            "sessions that are bound to no device last at most as long as the others",
        );
    }
}
