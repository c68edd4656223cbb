//! Error responses: an HTML page for browsers, a problem document (RFC 9457) for other clients, and
//! trailers for gRPC.

use std::borrow::Cow;
use std::time::Duration;

use http::{Response, StatusCode, header};
use serde_json::json;

use super::grpc;
use super::response::{TaggedResponse, insert, page_response, text_response};
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::proxy::messages::ErrorText;
use crate::proxy::pages::{Detail, ErrorPage, Href, Language, Link, Page};
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
    pub(super) detail: Option<Detail>,
    /// Path of the login.
    pub(super) login: Option<String>,
    /// A link to show in place of the login.
    pub(super) link: Option<EndpointLink>,
    pub(super) retry_after: Option<Duration>,
    /// Whether the same request may succeed after `retry_after`. The page of a navigation then
    /// reloads by itself.
    pub(super) is_repeatable: bool,
}

/// How long a page waits before it reloads by itself.
const MIN_RELOAD: Duration = Duration::from_secs(5);
const MAX_RELOAD: Duration = Duration::from_secs(60);

/// A link to an endpoint.
pub(super) struct EndpointLink {
    /// The key of its label.
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
            is_repeatable: false,
        }
    }

    /// After how long the page reloads. Only a `GET` of a tab may be repeated: the browser sends no
    /// body then, so it would lose a form.
    fn reload_after(&self, client_kind: ClientKind) -> Option<Duration> {
        let retry_after = self.retry_after.filter(|_| self.is_repeatable)?;
        let is_get_of_a_tab = client_kind == ClientKind::Navigation;
        is_get_of_a_tab.then(|| retry_after.clamp(MIN_RELOAD, MAX_RELOAD))
    }

    /// Renders the error in the client's format.
    pub(super) fn render(&self, english: &Language, client_kind: ClientKind) -> TaggedResponse {
        let reload_after = self.reload_after(client_kind);
        let mut response = match client_kind {
            ClientKind::Navigation
            | ClientKind::FormSubmission
            | ClientKind::EmbeddedFrame
            | ClientKind::HtmlFetch => self.to_page(reload_after),
            ClientKind::NonBrowser => self.to_problem(english),
            ClientKind::Grpc => {
                let title = english.plain(self.text.title);
                let message = format!("{title} ({})", self.support_code());
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

    fn to_page(&self, reload_after: Option<Duration>) -> Response<Body> {
        // A login host has no start page.
        let app_with_home = self.app.filter(|app| !app.is_login_host());
        let home = app_with_home.and_then(|app| href(&app.paths.base.home()));
        let (label, path) = match (self.app, &self.link) {
            (Some(app), Some(link)) => (link.label, Some(app.endpoint_path(link.endpoint))),
            (_, _) => ("action.log_in", self.login.clone()),
        };
        let path = path.as_deref().and_then(href);
        let page = Page::new(&ErrorPage {
            site: &self.app.map_or_else(Cow::default, App::site),
            status: self.status,
            title: self.text.title,
            explanation: self.text.explanation,
            detail: self.detail.as_ref(),
            advice: self.text.advice,
            link: path.as_ref().map(|href| Link { label, href }),
            home: home.as_ref(),
            reloads: reload_after.is_some(),
            request_id: &self.support_code(),
        });
        let mut response = page_response(self.status, page);
        if let Some(reload_after) = reload_after {
            let seconds = reload_after.as_secs().to_string();
            insert(response.headers_mut(), header::REFRESH, &seconds);
        }
        response
    }

    fn to_problem(&self, english: &Language) -> Response<Body> {
        let mut problem = json!({
            "type": "about:blank",
            "title": english.plain(self.text.title),
            "status": self.status.as_u16(),
            "detail": english.plain(self.text.explanation),
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

/// The reference that a user gives to the support: the code, and the request's ID in the log.
pub(super) fn support_code(code: &str, request_id: RequestId) -> String {
    format!("{code} {request_id}")
}

/// A link to a path of the app's origin.
pub(super) fn href(path: &str) -> Option<Href> {
    Href::parse(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::messages::busy_text;

    const CLIENT_KINDS: [ClientKind; 6] = [
        ClientKind::Navigation,
        ClientKind::FormSubmission,
        ClientKind::EmbeddedFrame,
        ClientKind::HtmlFetch,
        ClientKind::NonBrowser,
        ClientKind::Grpc,
    ];

    /// The `Refresh` header of an error after which the client is told to wait.
    fn refresh(client_kind: ClientKind, retry_after: u64, is_repeatable: bool) -> Option<String> {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let request_id = RequestId::new(0);
        let error = ErrorResponse {
            retry_after: Some(Duration::from_secs(retry_after)),
            is_repeatable,
            ..ErrorResponse::new(status, "server_busy", busy_text(), None, request_id)
        };
        let english = &Language::shipped().unwrap()[0];
        let response = error.render(english, client_kind).response;
        let value = response.headers().get(header::REFRESH)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_the_get_of_a_tab_reloads() {
        for client_kind in CLIENT_KINDS {
            let expected = (client_kind == ClientKind::Navigation).then(|| "7".to_owned());
            assert_eq!(refresh(client_kind, 7, true), expected, "{client_kind:?}");
            assert_eq!(refresh(client_kind, 7, false), None, "{client_kind:?}");
        }
    }

    #[test]
    fn reload_waits_from_5_to_60_seconds() {
        for (retry_after, expected) in [(0, "5"), (1, "5"), (30, "30"), (3600, "60")] {
            let seconds = refresh(ClientKind::Navigation, retry_after, true);
            assert_eq!(seconds.as_deref(), Some(expected));
        }
    }
}
