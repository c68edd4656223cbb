//! The page on which users see and end their sessions.

use std::time::Duration;

use http::StatusCode;

use super::Proxy;
use super::context::RequestContext;
use super::logout::form_field;
use super::request_body::{BodyLimits, ReadBodyError};
use super::responder::{EVERYWHERE, SESSION_FIELD, TaggedResponse};
use crate::auth::session_list::ClientOfRequest;
use crate::policy::route::AppRef;
use crate::session::validity::LiveSession;

const FORM_LIMITS: BodyLimits = BodyLimits {
    max_bytes: 1024,
    timeout: Duration::from_secs(5),
};

impl Proxy {
    pub(super) fn show_sessions(
        &self,
        app_ref: AppRef<'_>,
        live: &LiveSession,
        code: &'static str,
        context: &RequestContext<'_>,
    ) -> TaggedResponse {
        let client = ClientOfRequest {
            address: context.info.address.client,
            headers: &context.parts.headers,
        };
        let own = self.auth.session_list.own(app_ref, live, client);
        let user = &live.session().identity;
        self.responder
            .sessions(app_ref.app, user, own, self.auth.now(), code)
    }

    /// Ends the session that the form names, or all of them. A session that is not the user's is
    /// not found, as one that is over.
    pub(super) async fn end_sessions(
        &self,
        app_ref: AppRef<'_>,
        live: &LiveSession,
        code: &'static str,
        mut context: RequestContext<'_>,
    ) -> TaggedResponse {
        let named = match context.read_body(FORM_LIMITS).await {
            Ok(form) => form_field(&form, SESSION_FIELD),
            Err(ReadBodyError::Busy) => return self.server_busy(app_ref, &context),
            Err(ReadBodyError::TooLarge | ReadBodyError::Incomplete) => None,
        };
        let session_list = &self.auth.session_list;
        match named.as_deref() {
            Some(EVERYWHERE) => {
                session_list.end_everywhere(app_ref, live);
                return self.logout(app_ref, None, "sessions_ended", context).await;
            }
            Some(name) => {
                session_list.end_own(app_ref, live, name).await;
            }
            None => {}
        }
        let page = app_ref.app.endpoint_url("sessions");
        self.responder.redirect(StatusCode::SEE_OTHER, &page, code)
    }
}
