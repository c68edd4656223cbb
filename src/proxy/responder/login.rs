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
use crate::proxy::request_id::RequestId;
use crate::session::login_loop::LoginLoopCause;

impl Responder {
    /// The response to a failed login. Its link starts another login that leads to `return_to`.
    pub fn login_failed(
        &self,
        app: &App,
        failure: &LoginFailure,
        return_to: &ReturnTo,
        request_id: RequestId,
    ) -> TaggedResponse {
        let status = status_of_login_failure(failure);
        let retry_after = if let LoginFailure::Unavailable(unavailable) = failure {
            Some(unavailable.retry_after)
        } else {
            None
        };
        let login = Some(login_path(app, return_to));
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

/// The path that starts a login which leads to `return_to`.
pub(super) fn login_path(app: &App, return_to: &ReturnTo) -> String {
    let query: String =
        url::form_urlencoded::byte_serialize(return_to.as_str().as_bytes()).collect();
    format!("{}?return_to={query}", app.endpoint_path("login"))
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
        LoginFailure::SessionRevoked => StatusCode::FORBIDDEN,
        LoginFailure::Malformed(_)
        | LoginFailure::StateInvalid
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
