//! The page of a user's sessions.

use super::Responder;
use super::error::href;
use super::response::TaggedResponse;
use super::user_pages::display_name;
use crate::auth::session_list::own::OwnSessions;
use crate::auth::session_list::{Holder, ListedSession};
use crate::identity::identity::Identity;
use crate::policy::app::App;
use crate::proxy::pages::{Age, Page, SessionRow, SessionsPage};
use crate::types::time::Timestamp;
use crate::types::user_agent::ProgramName;

/// The field of the form that names a session.
pub(in crate::proxy) const SESSION_FIELD: &str = "session";

/// The value of the field for all sessions.
pub(in crate::proxy) const EVERYWHERE: &str = "everywhere";

impl Responder {
    /// The page that lists the sessions of `user`.
    pub fn sessions(
        &self,
        app: &App,
        user: &Identity,
        own: Option<OwnSessions>,
        now: Timestamp,
        code: &'static str,
    ) -> TaggedResponse {
        let action = href(&app.endpoint_path("sessions"));
        let links = action
            .zip(href(&app.endpoint_path("logout")))
            .zip(href(&app.paths.base.home()));
        let values = links.zip(own);
        self.page_or_error(code, values, |(((action, logout), home), own)| {
            let listed = std::iter::once(&own.current).chain(&own.others);
            let sessions: Vec<SessionRow<'_>> = listed.map(|session| row(session, now)).collect();
            Page::new(&SessionsPage {
                site: &app.site(),
                user: &display_name(user),
                sessions: &sessions,
                is_incomplete: !own.is_complete,
                action: &action,
                logout: &logout,
                field_name: SESSION_FIELD,
                everywhere: EVERYWHERE,
                home: &home,
            })
        })
    }
}

fn row(session: &ListedSession, now: Timestamp) -> SessionRow<'_> {
    let age = |at: Timestamp| Age::of_secs(now.since(at).as_secs());
    let program = session.client.program.as_deref().map(ProgramName::of);
    SessionRow {
        name: session.sid.log_name(),
        site: &session.site,
        program: program.map(|program| program.product),
        system: program.and_then(|program| program.system),
        network: session.client.network.as_deref(),
        is_native: session.holder == Holder::NativeApp,
        is_device_bound: session.is_device_bound,
        login: age(session.started_at),
        activity: age(session.last_activity),
    }
}
