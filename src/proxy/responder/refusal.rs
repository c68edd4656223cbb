//! Responses to refused requests.

use std::time::Duration;

use http::header;
use http::request::Parts;

use super::Responder;
use super::error::{ErrorResponse, href, support_code};
use super::login::login_path;
use super::response::{TaggedResponse, insert, page_response};
use super::user_pages::display_name;
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::policy::decide::{Reason, Refusal};
use crate::policy::request_info::InvalidRequest;
use crate::proxy::challenge;
use crate::proxy::messages;
use crate::proxy::pages::{Detail, ForbiddenPage, FrameLoginPage, Page, PostNotPreservedPage};
use crate::types::request_id::RequestId;

/// Browsers try again half a second after a failure, and later after several.
const DEVICE_RETRY: Duration = Duration::from_secs(2);

impl Responder {
    /// The response to a malformed or ambiguous request.
    pub fn invalid_request(
        &self,
        parts: &Parts,
        error: InvalidRequest,
        request_id: RequestId,
    ) -> TaggedResponse {
        let error = of_reason(Reason::InvalidRequest(error), None, request_id);
        let client_kind = ClientKind::read(&parts.method, &parts.headers);
        let mut response = self.render(client_kind, &error);
        // With an ambiguous length, the start of the next request is unknown.
        insert(response.response.headers_mut(), header::CONNECTION, "close");
        response
    }

    /// The response to a WebSocket handshake over HTTP/2 at something that is no WebSocket.
    pub fn no_websocket(&self, request_id: RequestId) -> TaggedResponse {
        let reason = Reason::InvalidRequest(InvalidRequest::Protocol);
        self.render(ClientKind::NonBrowser, &of_reason(reason, None, request_id))
    }

    /// The response to a refused request.
    pub fn refusal(&self, refusal: &Refusal<'_>, request_id: RequestId) -> TaggedResponse {
        let app = refusal.app_ref.map(|app_ref| app_ref.app.as_ref());
        let login = app
            .zip(refusal.login.as_ref())
            .map(|(app, link)| login_path(app, link));
        let mut response = match self.refusal_page(refusal, app, login.as_deref(), request_id) {
            Some(page) => TaggedResponse {
                code: refusal.reason.code(),
                response: page_response(refusal.reason.status(), page),
            },
            None => {
                let detail = if let Reason::LoginParameterNotAllowed(name) = refusal.reason {
                    Some(Detail {
                        message: "detail.parameter",
                        value: name.to_string(),
                    })
                } else {
                    None
                };
                let retry_after = if let Reason::PasswordRefused(password) = refusal.reason {
                    password.retry_after
                } else {
                    (refusal.reason == Reason::DeviceProofUnavailable).then_some(DEVICE_RETRY)
                };
                let error = ErrorResponse {
                    login,
                    detail,
                    retry_after,
                    ..of_reason(refusal.reason, app, request_id)
                };
                self.render(refusal.client_kind, &error)
            }
        };
        let headers = response.response.headers_mut();
        challenge::add(headers, refusal);
        if let Reason::MethodNotAllowed(allowed) = refusal.reason {
            insert(headers, header::ALLOW, allowed);
        }
        response
    }

    /// The page of a reason that has its own page.
    fn refusal_page(
        &self,
        refusal: &Refusal<'_>,
        app: Option<&App>,
        login: Option<&str>,
        request_id: RequestId,
    ) -> Option<Page> {
        let app = app?;
        let site = &app.site();
        let code = support_code(refusal.reason.code(), request_id);
        match refusal.reason {
            Reason::PostNotPreserved(_, error) => Some(Page::new(&PostNotPreservedPage {
                site,
                because: messages::post_not_preserved_text(error),
                login: &href(login?)?,
                request_id: &code,
            })),
            Reason::LoginBlockedInFrame(_) => Some(Page::new(&FrameLoginPage {
                site,
                login: &href(login?)?,
                request_id: &code,
            })),
            Reason::Forbidden if refusal.client_kind.reads_pages() => {
                Some(Page::new(&ForbiddenPage {
                    site,
                    user: &display_name(refusal.user.as_ref()?),
                    switch_account: &href(login.unwrap_or(&app.endpoint_path("logout")))?,
                    home: &href(&app.paths.base.home())?,
                    request_id: &code,
                }))
            }
            Reason::InvalidRequest(_)
            | Reason::UnsupportedPath
            | Reason::Misdirected
            | Reason::NoAppAtPath
            | Reason::LoginRequired(_)
            | Reason::NoPreservedPost
            | Reason::PostOfAnotherUser
            | Reason::DeviceProofUnavailable
            | Reason::DeviceNotBound
            | Reason::SessionOver
            | Reason::TokenRequired
            | Reason::TokenRefused(_)
            | Reason::PasswordRequired
            | Reason::PasswordRefused(_)
            | Reason::PasswordOverHttp
            | Reason::Forbidden
            | Reason::UserRequired
            | Reason::Denied
            | Reason::NoSuchEndpoint
            | Reason::MethodNotAllowed(_)
            | Reason::LoginParameterNotAllowed(_)
            | Reason::CrossSite
            | Reason::OriginNotAllowed
            | Reason::EndpointNotProxied
            | Reason::BodyRequired => None,
        }
    }

    /// The response to a native call that only the app's own origin may send.
    pub fn cross_site(&self, app: &App, request_id: RequestId) -> TaggedResponse {
        let error = of_reason(Reason::CrossSite, Some(app), request_id);
        self.render(ClientKind::NonBrowser, &error)
    }
}

pub(super) fn of_reason(
    reason: Reason,
    app: Option<&App>,
    request_id: RequestId,
) -> ErrorResponse<'_> {
    ErrorResponse::new(
        reason.status(),
        reason.code(),
        messages::refusal_text(reason),
        app,
        request_id,
    )
}
