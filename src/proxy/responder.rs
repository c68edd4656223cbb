//! Response factory: the only place that makes Doorward's own responses. Each is `no-store`, and
//! names its cause by a code and a request ID only.

mod decision;
mod device_binding;
mod error;
mod expected;
mod grpc;
mod limited_client;
mod login;
mod login_host;
mod native;
mod provider;
mod refusal;
mod response;
mod route_response;
mod sessions;
mod unavailable;
mod user_pages;

use http::{HeaderValue, StatusCode, header};

use super::pages::{Page, PageSet};
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::types::body::Body;
use error::ErrorResponse;
use response::insert;

pub(super) use decision::{Permitted, is_preflight};
pub(super) use login::login_url;
pub(super) use login_host::MovingOn;
pub(super) use response::{ResponseUpdate, TaggedResponse, require_https};
pub(super) use sessions::{EVERYWHERE, SESSION_FIELD};
pub(super) use user_pages::ReplayPrompt;

/// Makes responses.
pub struct Responder {
    pages: PageSet,
}

impl Responder {
    /// A factory of responses with these pages.
    pub const fn new(pages: PageSet) -> Self {
        Self { pages }
    }

    /// A redirect.
    pub fn redirect(
        &self,
        status: StatusCode,
        location: &str,
        code: &'static str,
    ) -> TaggedResponse {
        TaggedResponse {
            code,
            response: response::redirect(status, location),
        }
    }

    /// Renders the page of a response, if it has one, as a page of `app`.
    pub fn render_page(
        &self,
        mut tagged: TaggedResponse,
        app: Option<&App>,
        accept_language: Option<&HeaderValue>,
    ) -> TaggedResponse {
        let response = &mut tagged.response;
        let Some(page) = response.extensions_mut().remove::<Page>() else {
            return tagged;
        };
        let accept_language = accept_language.and_then(|languages| languages.to_str().ok());
        let page = self.pages.of(app).render(&page, accept_language);
        *response.body_mut() = Body::full(page.html);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            page.content_security_policy,
        );
        insert(headers, header::CONTENT_LANGUAGE, &page.language);
        headers.append(
            header::VARY,
            const { HeaderValue::from_static("Accept-Language") },
        );
        tagged
    }

    fn render(&self, client_kind: ClientKind, error: &ErrorResponse<'_>) -> TaggedResponse {
        error.render(self.pages.english(), client_kind)
    }
}
