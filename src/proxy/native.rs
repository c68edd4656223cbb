//! Calls of native apps: the body is read, within limits, and handed to the flows. What may hold a password is wiped.

use std::time::Duration;

use http::{HeaderName, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use zeroize::Zeroizing;

use super::Proxy;
use super::execute::RequestContext;
use super::request_telemetry::RequestRecord;
use super::responder::{RequestBodyError, TaggedResponse};
use crate::auth::native::Proving;
use crate::policy::native::{Native, NativeCall};
use crate::policy::native_request::{Head, LogoutRequest, Mode, NativeRequest};
use crate::policy::route::AppRef;
use crate::types::body::Body;

/// Most bytes of a body, and how long it may take to arrive.
const MAX_BODY: usize = 32 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A call of a native app.
pub(super) struct Call<'c> {
    pub(super) app_ref: AppRef<'c>,
    pub(super) native: &'c Native,
    pub(super) call: NativeCall,
    /// The listed web origin that calls, if one does.
    pub(super) origin: Option<String>,
}

impl Proxy {
    pub(super) async fn native(
        &self,
        called: Call<'_>,
        context: RequestContext<'_>,
        record: &RequestRecord,
    ) -> TaggedResponse {
        let answer = self.answer_native(&called, context, record).await;
        answer.readable_by(called.origin.as_deref())
    }

    async fn answer_native(
        &self,
        called: &Call<'_>,
        context: RequestContext<'_>,
        record: &RequestRecord,
    ) -> TaggedResponse {
        let Call {
            app_ref,
            native,
            call,
            origin,
        } = called;
        let (responder, request_id) = (&self.responder, record.request_id());
        let text = |name: HeaderName| {
            context
                .parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let head = Head {
            content_type: text(header::CONTENT_TYPE).unwrap_or_default(),
            authorization: context
                .parts
                .headers
                .get(header::AUTHORIZATION)
                .map(|value| value.to_str().unwrap_or_default()),
        };
        let body = match whole(context.body).await {
            Ok(body) => body,
            Err(why) => return responder.native_without_body(app_ref.app, *call, why, request_id),
        };
        let request = match NativeRequest::read(*call, head, &body, &native.client_id) {
            Ok(request) => request,
            Err(why) => return responder.native_unreadable(app_ref.app, *call, why, request_id),
        };
        drop(body);
        let address = context.info.address.client;
        let path = context.info.target.path();
        let proving = Proving {
            method: context.info.method.as_str(),
            path,
            headers: &context.parts.headers,
        };
        let end = match request {
            // Its cookies would be the listed page's to set, and it could log a visitor in as somebody else.
            NativeRequest::Login(context) if context.mode == Mode::Cookies && origin.is_some() => {
                return responder.cross_site(app_ref.app, request_id);
            }
            NativeRequest::Logout(LogoutRequest::OfCookies) if origin.is_some() => {
                return responder.cross_site(app_ref.app, request_id);
            }
            NativeRequest::Login(credentials) => {
                self.auth
                    .native_login(
                        *app_ref,
                        native,
                        credentials,
                        address,
                        context.cookies,
                        proving,
                    )
                    .await
            }
            NativeRequest::Refresh(request) => {
                self.auth
                    .native_refresh(*app_ref, native, request, address, proving)
                    .await
            }
            NativeRequest::Logout(request) => {
                self.auth
                    .native_logout(*app_ref, native, request, context.cookies)
                    .await
            }
        };
        match end {
            Ok(end) => responder.native(end, call.code()),
            Err(failure) => {
                tracing::info!(app = %app_ref.app.name, %request_id, code = failure.code(), %failure, "native_call_failed");
                responder.native_failed(app_ref.app, *call, &failure, request_id)
            }
        }
    }
}

/// The whole body, in memory of ours that is wiped; room for all of it, so that growing leaves no copy behind.
async fn whole(mut body: Body) -> Result<Zeroizing<Vec<u8>>, RequestBodyError> {
    let expected = body.size_hint().exact().map_or(MAX_BODY, |length| {
        usize::try_from(length).unwrap_or(usize::MAX)
    });
    if expected > MAX_BODY {
        return Err(RequestBodyError::TooLarge);
    }
    let read = async {
        let mut whole = Zeroizing::new(Vec::with_capacity(expected));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| RequestBodyError::Broke)?;
            let data = frame.data_ref().map(|data| &data[..]).unwrap_or_default();
            if whole.len() + data.len() > MAX_BODY {
                return Err(RequestBodyError::TooLarge);
            }
            whole.extend_from_slice(data);
        }
        Ok(whole)
    };
    tokio::time::timeout(BODY_TIMEOUT, read)
        .await
        .unwrap_or(Err(RequestBodyError::Broke))
}
