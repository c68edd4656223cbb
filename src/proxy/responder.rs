//! Response factory: the only place that makes Doorward's own responses. Each is `no-store`, and
//! names its cause by a code and a request ID only.

mod decision;
mod device_binding;
mod error;
mod expected;
mod grpc;
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

use http::StatusCode;

use super::pages::{Pages, PagesError};
use crate::policy::client_kind::ClientKind;
use error::ErrorResponse;

pub(super) use decision::{Permitted, is_preflight};
pub(super) use login::login_url;
pub(super) use login_host::MovingOn;
pub(super) use response::{ResponseUpdate, TaggedResponse, require_https};
pub(super) use sessions::{EVERYWHERE, SESSION_FIELD};
pub(super) use user_pages::ReplayPrompt;

/// Makes responses.
pub struct Responder {
    pages: Pages,
}

impl Responder {
    /// Compiles all pages.
    ///
    /// # Errors
    /// A template is invalid, which tests exclude.
    pub fn new() -> Result<Self, PagesError> {
        Ok(Self {
            pages: Pages::new()?,
        })
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

    fn render(&self, client_kind: ClientKind, error: &ErrorResponse<'_>) -> TaggedResponse {
        error.render(&self.pages, client_kind)
    }
}
