//! Endpoints for native apps: reads the body within limits, parses the call and runs its flow.

use std::time::Duration;

use http::header;

use super::Proxy;
use super::context::RequestContext;
use super::request_body::BodyLimits;
use super::responder::TaggedResponse;
use crate::auth::bearer::dpop::DpopTarget;
use crate::auth::native::login::NativeLoginRequest;
use crate::policy::cors::AllowedOrigin;
use crate::policy::native::{Native, NativeCall};
use crate::policy::native_request::{Head, LogoutRequest, Mode, NativeRequest};
use crate::policy::route::AppRef;

const BODY_LIMITS: BodyLimits = BodyLimits {
    max_bytes: 32 * 1024,
    timeout: Duration::from_secs(5),
};

/// A native endpoint that was called.
pub(super) struct NativeEndpoint<'c> {
    pub(super) app_ref: AppRef<'c>,
    pub(super) native: &'c Native,
    pub(super) call: NativeCall,
    /// The allowed web origin that calls.
    pub(super) origin: Option<String>,
}

impl Proxy {
    pub(super) async fn native(
        &self,
        endpoint: NativeEndpoint<'_>,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let response = self.call_native(&endpoint, context).await;
        match &endpoint.origin {
            Some(origin) => response.readable_by(&AllowedOrigin::without_credentials(origin)),
            None => response,
        }
    }

    async fn call_native(
        &self,
        endpoint: &NativeEndpoint<'_>,
        mut context: RequestContext<'_>,
    ) -> TaggedResponse {
        let NativeEndpoint {
            app_ref,
            native,
            call,
            origin,
        } = endpoint;
        let (responder, request_id) = (&self.responder, context.request_id());
        let body = match context.read_body(BODY_LIMITS).await {
            Ok(body) => body,
            Err(error) => {
                return responder.native_without_body(app_ref.app, *call, error, request_id);
            }
        };
        let head = Head {
            content_type: context
                .parts
                .headers
                .get(header::CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default(),
            authorization: context
                .parts
                .headers
                .get(header::AUTHORIZATION)
                .map(|value| value.to_str().unwrap_or_default()),
        };
        let request = match NativeRequest::read(*call, head, &body, &native.client_id) {
            Ok(request) => request,
            Err(error) => {
                return responder.native_unreadable(app_ref.app, *call, error, request_id);
            }
        };
        drop(body);
        let address = context.info.address.client;
        let flows = &self.auth.native;
        let target = DpopTarget {
            method: context.info.method.as_str(),
            path: context.info.target.path(),
            headers: &context.parts.headers,
        };
        let outcome = match request {
            // Another origin could set cookies for its visitor and so log the visitor in as another
            // user.
            NativeRequest::Login(login) if login.mode == Mode::Cookies && origin.is_some() => {
                return responder.cross_site(app_ref.app, request_id);
            }
            NativeRequest::Logout(LogoutRequest::Cookies) if origin.is_some() => {
                return responder.cross_site(app_ref.app, request_id);
            }
            NativeRequest::Login(credentials) => {
                let request = NativeLoginRequest {
                    app_ref: *app_ref,
                    native,
                    credentials,
                    address,
                    cookies: context.cookies,
                    target,
                    client: context.info.presented_client(&context.parts.headers),
                };
                flows.login.log_in(request).await
            }
            NativeRequest::Refresh(request) => {
                let refresh = &flows.refresh;
                refresh
                    .refresh(*app_ref, native, request, address, target)
                    .await
            }
            NativeRequest::Logout(request) => {
                let logout = &flows.logout;
                logout
                    .log_out(*app_ref, native, request, address, context.cookies)
                    .await
            }
        };
        match outcome {
            Ok(outcome) => responder.native(outcome, call.code()),
            Err(failure) => {
                tracing::info!(app = %app_ref.app.name, code = failure.code(), error = %failure, "native_call_failed");
                responder.native_failed(app_ref.app, *call, &failure, request_id)
            }
        }
    }
}
