//! Device-bound sessions: the offer of a registration, the two endpoints, and requests without a valid
//! proof.

use http::{HeaderMap, StatusCode, header};

use super::Proxy;
use super::context::RequestContext;
use super::responder::TaggedResponse;
use crate::auth::Auth;
use crate::auth::session::authentication::Authentication;
use crate::policy::client_kind::is_from_own_page;
use crate::policy::decide::{Reason, Refusal};
use crate::policy::route::{AppRef, Route};
use crate::session::device_binding::Unproven;
use crate::session::validity::NoSessionReason;

/// The header that offers the browser to bind its session, if the session waits for that.
pub(super) fn offer(
    auth: &Auth,
    route: &Route<'_>,
    headers: &HeaderMap,
    authentication: &Authentication,
) -> Option<http::HeaderValue> {
    let app_ref = route.backend_app()?;
    app_ref.app.device_binding?;
    let caller = authentication.caller.as_ref().ok()?;
    let is_plain = !headers.contains_key(header::UPGRADE);
    if is_plain && is_from_own_page(headers) {
        auth.device_binder.offer(app_ref, caller)
    } else {
        None
    }
}

impl Proxy {
    pub(super) async fn register_device(
        &self,
        app_ref: AppRef<'_>,
        code: &'static str,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let request_id = context.request_id();
        let binder = &self.auth.device_binder;
        let head = context.head();
        match binder.register(app_ref, context.cookies, head).await {
            Ok(registered) => self
                .responder
                .device_registered(app_ref.app, registered, code),
            Err(error) => self
                .responder
                .device_not_registered(app_ref.app, error, request_id),
        }
    }

    pub(super) fn renew_device_proof(
        &self,
        app_ref: AppRef<'_>,
        context: &RequestContext<'_>,
    ) -> TaggedResponse {
        let binder = &self.auth.device_binder;
        let outcome = binder.prove(app_ref, context.cookies, context.head());
        self.responder
            .device_proof(app_ref.app, outcome, context.request_id())
    }

    /// Expires the proof cookie, so that the browser renews it before it sends the request again. Method
    /// and body stay.
    pub(super) fn require_device_proof(
        &self,
        app_ref: AppRef<'_>,
        unproven: Unproven,
        by_redirect: bool,
        context: &RequestContext<'_>,
    ) -> TaggedResponse {
        let app = app_ref.app;
        let response = if by_redirect {
            let location = format!("{}{}", app.origin, context.info.target.as_str());
            let status = StatusCode::TEMPORARY_REDIRECT;
            self.responder.redirect(status, &location, unproven.code())
        } else {
            let reason = Reason::LoginRequired(NoSessionReason::DeviceUnproven(unproven));
            let refusal = Refusal::new(reason, Some(app_ref), context.info.client_kind);
            self.responder.refusal(&refusal, context.request_id())
        };
        let binder = &self.auth.device_binder;
        let head = context.head();
        response.with_cookies(binder.expire_proof(app_ref, unproven, context.cookies, head))
    }
}
