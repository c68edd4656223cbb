//! Responses to failed logins.

use http::StatusCode;

use super::Responder;
use super::error::{EndpointLink, ErrorResponse};
use super::response::TaggedResponse;
use crate::auth::login::LoginFailure;
use crate::identity::return_to::ReturnTo;
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::proxy::messages;
use crate::proxy::pages::MAX_LINK;
use crate::session::login_loop::LoginLoopCause;
use crate::types::request_id::RequestId;

impl Responder {
    /// The response to a failed login. Its link starts another login that leads to `return_to`.
    pub fn login_failed(
        &self,
        app: &App,
        failure: &LoginFailure,
        return_to: &ReturnTo,
        request_id: RequestId,
    ) -> TaggedResponse {
        self.failed_login_page(FailedLoginPage {
            app,
            failure,
            login: Some(login_path(app, return_to)),
            request_id,
        })
    }

    /// The page of a failed login.
    pub(super) fn failed_login_page(&self, page: FailedLoginPage<'_>) -> TaggedResponse {
        let FailedLoginPage {
            app,
            failure,
            login,
            request_id,
        } = page;
        let status = status_of_login_failure(failure);
        let retry_after = if let LoginFailure::Unavailable(unavailable) = failure {
            Some(unavailable.retry_after)
        } else {
            None
        };
        let link =
            (*failure == LoginFailure::Loop(LoginLoopCause::NotAllowed)).then_some(EndpointLink {
                label: "Log out",
                endpoint: "logout",
            });
        let error = ErrorResponse::new(
            status,
            failure.code(),
            messages::login_failure_text(failure),
            Some(app),
            request_id,
        );
        let detail = messages::login_failure_detail(failure, app);
        // Only browsers are redirected to the callback.
        self.render(
            ClientKind::Navigation,
            &ErrorResponse {
                detail,
                retry_after,
                login,
                link,
                ..error
            },
        )
    }
}

/// A failed login as its page shows it.
pub(super) struct FailedLoginPage<'p> {
    /// The site of the page.
    pub(super) app: &'p App,
    /// Why it failed.
    pub(super) failure: &'p LoginFailure,
    /// The path that starts another login.
    pub(super) login: Option<String>,
    pub(super) request_id: RequestId,
}

/// The path that starts a login which leads to `return_to`, or to its path alone where the link
/// would be too long.
pub(super) fn login_path(app: &App, return_to: &ReturnTo) -> String {
    login_link(app.endpoint_path("login"), return_to)
}

fn login_link(endpoint: String, return_to: &ReturnTo) -> String {
    let link = |page: &ReturnTo| {
        let query = url::form_urlencoded::byte_serialize(page.as_str().as_bytes());
        format!("{endpoint}?return_to={}", query.collect::<String>())
    };
    let links = [link(return_to), link(&return_to.without_query())];
    let fitting = links.into_iter().find(|link| link.len() <= MAX_LINK);
    fitting.unwrap_or(endpoint)
}

/// 502 only if the provider is the cause. Anyone can send an invalid code.
fn status_of_login_failure(failure: &LoginFailure) -> StatusCode {
    match failure {
        LoginFailure::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        LoginFailure::Declined { error, .. } => match error.as_str() {
            "server_error" | "temporarily_unavailable" => StatusCode::BAD_GATEWAY,
            _ => StatusCode::FORBIDDEN,
        },
        LoginFailure::NotRegistered => StatusCode::FORBIDDEN,
        LoginFailure::CodeNotRedeemed(_)
        | LoginFailure::TokensRejected(_)
        | LoginFailure::ClockSkew(_)
        | LoginFailure::TooLarge(_) => StatusCode::BAD_GATEWAY,
        LoginFailure::Loop(cause) => match cause {
            LoginLoopCause::CookieNotReturned
            | LoginLoopCause::WrongHost
            | LoginLoopCause::SecureOverHttp => StatusCode::BAD_REQUEST,
            LoginLoopCause::SessionEnded | LoginLoopCause::NotAllowed => StatusCode::FORBIDDEN,
            LoginLoopCause::TooLarge
            | LoginLoopCause::ClockSkew
            | LoginLoopCause::UnreadableCookie => StatusCode::INTERNAL_SERVER_ERROR,
        },
        LoginFailure::SessionRevoked | LoginFailure::UserBlocked => StatusCode::FORBIDDEN,
        LoginFailure::Malformed(_)
        | LoginFailure::StateInvalid
        | LoginFailure::RequestInvalid
        | LoginFailure::HandoverInvalid
        | LoginFailure::HandoverGone
        | LoginFailure::CookieMissing
        | LoginFailure::BrowserMismatch
        | LoginFailure::AttemptExpired
        | LoginFailure::CodeRejected
        | LoginFailure::Replayed => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_login_link_loses_its_query_and_then_its_page() {
        let link = |page: &str| {
            let page = ReturnTo::parse(page, "/.doorward").unwrap();
            login_link("/.doorward/login".to_owned(), &page)
        };
        assert_eq!(link("/a?b=c"), "/.doorward/login?return_to=%2Fa%3Fb%3Dc");
        let long = "x".repeat(9000);
        assert_eq!(
            link(&format!("/a?{long}")),
            "/.doorward/login?return_to=%2Fa"
        );
        assert_eq!(link(&format!("/{long}")), "/.doorward/login");
    }

    #[test]
    fn unknown_code_is_400_and_rejected_client_is_502() {
        assert_eq!(
            status_of_login_failure(&LoginFailure::CodeRejected),
            StatusCode::BAD_REQUEST
        );
        let by_provider = LoginFailure::CodeNotRedeemed("client_rejected");
        assert_eq!(
            status_of_login_failure(&by_provider),
            StatusCode::BAD_GATEWAY
        );
    }
}
