//! Error responses: an HTML page for browsers, a problem document (RFC 9457) for other clients, and
//! trailers for gRPC.

use std::time::Duration;

use http::{Response, StatusCode, header};
use serde_json::json;

use super::grpc;
use super::response::{TaggedResponse, insert, page_response, text_response};
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::proxy::messages::ErrorText;
use crate::proxy::pages::{ErrorPage, Href, Link, Pages};
use crate::types::body::Body;
use crate::types::request_id::RequestId;

/// An error, independent of the format of its response.
pub(super) struct ErrorResponse<'t> {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) text: ErrorText,
    pub(super) app: Option<&'t App>,
    pub(super) request_id: RequestId,
    /// Details of this case.
    pub(super) detail: Option<String>,
    /// Path of the login.
    pub(super) login: Option<String>,
    /// A link to show in place of the login.
    pub(super) link: Option<EndpointLink>,
    pub(super) retry_after: Option<Duration>,
}

/// A link to an endpoint.
pub(super) struct EndpointLink {
    pub(super) label: &'static str,
    pub(super) endpoint: &'static str,
}

impl<'t> ErrorResponse<'t> {
    pub(super) const fn new(
        status: StatusCode,
        code: &'static str,
        text: ErrorText,
        app: Option<&'t App>,
        request_id: RequestId,
    ) -> Self {
        Self {
            status,
            code,
            text,
            app,
            request_id,
            detail: None,
            login: None,
            link: None,
            retry_after: None,
        }
    }

    /// Renders the error in the client's format.
    pub(super) fn render(&self, pages: &Pages, client_kind: ClientKind) -> TaggedResponse {
        let mut response = match client_kind {
            ClientKind::Navigation
            | ClientKind::FormSubmission
            | ClientKind::EmbeddedFrame
            | ClientKind::HtmlFetch => self.to_page(pages),
            ClientKind::NonBrowser => self.to_problem(),
            ClientKind::Grpc => {
                let message = format!("{} ({})", self.text.title, self.support_code());
                grpc::error(self.status, &message)
            }
        };
        if let Some(retry_after) = self.retry_after {
            let seconds = retry_after.as_secs().to_string();
            insert(response.headers_mut(), header::RETRY_AFTER, &seconds);
        }
        TaggedResponse {
            code: self.code,
            response,
        }
    }

    fn to_page(&self, pages: &Pages) -> Response<Body> {
        let (label, path) = match (self.app, &self.link) {
            (Some(app), Some(link)) => (link.label, Some(app.endpoint_path(link.endpoint))),
            (_, _) => ("Log in", self.login.clone()),
        };
        let path = path.as_deref().and_then(href);
        let page = pages.error(&ErrorPage {
            site: self.app.map_or("", |app| app.origin.host()),
            status: self.status,
            title: self.text.title,
            explanation: self.text.explanation,
            detail: self.detail.as_deref(),
            advice: self.text.advice,
            link: path.as_ref().map(|href| Link { label, href }),
            request_id: &self.support_code(),
        });
        page_response(self.status, page)
    }

    fn to_problem(&self) -> Response<Body> {
        let mut problem = json!({
            "type": "about:blank",
            "title": self.text.title,
            "status": self.status.as_u16(),
            "detail": self.text.explanation,
            "code": self.code,
            "request_id": self.request_id.to_string(),
        });
        if let (Some(login), Some(app), Some(members)) =
            (&self.login, self.app, problem.as_object_mut())
        {
            members.insert("login_url".into(), format!("{}{login}", app.origin).into());
        }
        text_response(self.status, "application/problem+json", problem.to_string())
    }

    fn support_code(&self) -> String {
        support_code(self.code, self.request_id)
    }
}

/// What a user tells the support: the code, and the request's ID in the log.
pub(super) fn support_code(code: &str, request_id: RequestId) -> String {
    format!("{code} {request_id}")
}

/// A link to a path of the app's origin.
pub(super) fn href(path: &str) -> Option<Href> {
    Href::parse(path).ok()
}
