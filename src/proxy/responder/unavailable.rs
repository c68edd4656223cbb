//! Responses to requests that cannot be served now: the provider, the store or the app fails, or a
//! limit is reached.

use std::time::Duration;

use http::StatusCode;

use super::Responder;
use super::error::ErrorResponse;
use super::login::login_path;
use super::response::TaggedResponse;
use crate::auth::Unavailable;
use crate::identity::login_link::LoginLink;
use crate::identity::return_to::ReturnTo;
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::AppRef;
use crate::proxy::messages::{self, Operation};
use crate::static_files::FileError;
use crate::types::request_id::RequestId;
use crate::upstream::UpstreamError;

impl Responder {
    /// The response if a call failed that the request needs. A page offers a login, which may help
    /// sooner than waiting.
    pub fn unavailable(
        &self,
        info: &RequestInfo,
        app_ref: Option<AppRef<'_>>,
        unavailable: Unavailable,
        operation: Operation,
        request_id: RequestId,
    ) -> TaggedResponse {
        let app = app_ref.map(|app_ref| app_ref.app.as_ref());
        let login = match (app, operation) {
            (Some(app), Operation::SessionCheck | Operation::Login) => {
                let page = requested_page(info, app);
                info.client_kind
                    .reads_pages()
                    .then(|| login_path(app, &LoginLink::to(page)))
            }
            (Some(_), Operation::TokenCheck | Operation::FormReplay) | (None, _) => None,
        };
        let error = ErrorResponse::new(
            StatusCode::SERVICE_UNAVAILABLE,
            unavailable.code,
            messages::unavailable_text(unavailable.cause, operation),
            app,
            request_id,
        );
        self.render(
            info.client_kind,
            &ErrorResponse {
                retry_after: Some(unavailable.retry_after),
                is_repeatable: true,
                login,
                ..error
            },
        )
    }

    /// The response if the concurrency limit of the server or the app is exceeded.
    pub fn busy(
        &self,
        client_kind: ClientKind,
        app: Option<&App>,
        code: &'static str,
        request_id: RequestId,
    ) -> TaggedResponse {
        let error = ErrorResponse::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            messages::busy_text(),
            app,
            request_id,
        );
        self.render(
            client_kind,
            &ErrorResponse {
                retry_after: Some(Duration::from_secs(1)),
                is_repeatable: true,
                ..error
            },
        )
    }

    /// The response while an app is in maintenance.
    pub fn maintenance(
        &self,
        client_kind: ClientKind,
        app: Option<&App>,
        retry_after: Duration,
        request_id: RequestId,
    ) -> TaggedResponse {
        let error = ErrorResponse::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "maintenance",
            messages::maintenance_text(),
            app,
            request_id,
        );
        self.render(
            client_kind,
            &ErrorResponse {
                retry_after: Some(retry_after),
                is_repeatable: true,
                ..error
            },
        )
    }

    /// The response to a request for a file that is not served.
    pub fn file_failed(
        &self,
        info: &RequestInfo,
        app: &App,
        error: &FileError,
        request_id: RequestId,
    ) -> TaggedResponse {
        let status = match error {
            FileError::NotFound => StatusCode::NOT_FOUND,
            FileError::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
            FileError::Busy => {
                return self.busy(info.client_kind, Some(app), error.code(), request_id);
            }
        };
        let text = messages::file_text(error);
        let error = ErrorResponse::new(status, error.code(), text, Some(app), request_id);
        self.render(info.client_kind, &error)
    }

    /// The response to a failed upstream request.
    pub fn upstream_failed(
        &self,
        info: &RequestInfo,
        app: &App,
        error: &UpstreamError,
        request_id: RequestId,
    ) -> TaggedResponse {
        let (status, retry_after) = match error {
            UpstreamError::NotForwardable(_) | UpstreamError::RequestBodyAborted => {
                (StatusCode::BAD_REQUEST, None)
            }
            UpstreamError::RequestStalled => (StatusCode::REQUEST_TIMEOUT, None),
            UpstreamError::Loop => (StatusCode::LOOP_DETECTED, None),
            UpstreamError::Saturated => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some(Duration::from_secs(1)),
            ),
            UpstreamError::ConnectTimeout | UpstreamError::ResponseTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, None)
            }
            UpstreamError::Unresolved(_)
            | UpstreamError::ConnectRefused(_)
            | UpstreamError::Tls(_)
            | UpstreamError::ConnectionClosed(_)
            | UpstreamError::BadResponse(_) => (StatusCode::BAD_GATEWAY, None),
        };
        let error = ErrorResponse::new(
            status,
            error.code(),
            messages::upstream_text(error),
            Some(app),
            request_id,
        );
        self.render(
            info.client_kind,
            &ErrorResponse {
                retry_after,
                is_repeatable: true,
                ..error
            },
        )
    }
}

/// The page that a navigation requests, or else the start page.
fn requested_page(info: &RequestInfo, app: &App) -> ReturnTo {
    let page = match info.client_kind {
        ClientKind::Navigation | ClientKind::EmbeddedFrame | ClientKind::HtmlFetch => {
            ReturnTo::parse(info.target.as_str(), &app.paths)
        }
        ClientKind::FormSubmission | ClientKind::NonBrowser | ClientKind::Grpc => None,
    };
    page.unwrap_or_else(|| ReturnTo::home(&app.paths))
}
