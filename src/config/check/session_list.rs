//! `[session.list]`.

use super::super::raw::RawSessionList;
use super::super::report::Location;
use super::super::settings::SessionListConfig;
use super::log::logged_user;
use super::server::bounded;
use crate::auth::session_list::ClientDetail;

const MAX_SESSIONS: u32 = 50_000;

pub(super) fn check(raw: RawSessionList, at: &Location<'_>) -> SessionListConfig {
    let max_sessions = bounded(
        raw.max_sessions,
        &at.key("max_sessions"),
        "sessions",
        MAX_SESSIONS,
        0..=1_000_000,
    );
    let user = raw.user.as_deref();
    SessionListConfig {
        max_sessions: usize::try_from(max_sessions).unwrap_or(usize::MAX),
        user: user.map(|user| logged_user(user, &at.key("user"))),
        client: raw.client.unwrap_or(ClientDetail::ProgramAndNetwork),
        has_page: raw.page.unwrap_or(true),
    }
}
