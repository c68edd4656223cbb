//! Reasons for refusing a request, each with a stable code and a status.

use http::StatusCode;

use crate::policy::post_replay::PreservePostError;
use crate::policy::request_info::InvalidRequest;
use crate::session::token::TokenRefusal;
use crate::session::validity::{NoSessionReason, PasswordRefusal};
use crate::types::target::TargetError;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request is malformed or ambiguous. This is the protection against request smuggling and
    /// path confusion.
    InvalidRequest(InvalidRequest),
    /// The path has an ambiguity that the app does not allow.
    UnsupportedPath,
    /// No app has the requested host.
    Misdirected,
    /// No app at the host has the path, or servers may read it as one of another app.
    NoAppAtPath,
    /// The request has no session.
    LoginRequired(NoSessionReason),
    /// The request has no session, and its form cannot be preserved during a login.
    PostNotPreserved(NoSessionReason, PreservePostError),
    /// The preserved POST does not exist, or belongs to another browser.
    NoPreservedPost,
    /// The POST was preserved for a user other than the one who logged in.
    PostOfAnotherUser,
    /// The request has no session, and providers do not allow a login inside a frame.
    LoginBlockedInFrame(NoSessionReason),
    /// The browser has a device-bound session and could not renew its proof.
    DeviceProofUnavailable,
    /// The app accepts only device-bound sessions.
    DeviceNotBound,
    /// The session or token ended while the request body was passed on.
    SessionOver,
    /// Only an access token is accepted, and the request has none.
    TokenRequired,
    /// The access token is not accepted.
    TokenRefused(TokenRefusal),
    /// A user name and a password are required, and the request has none.
    PasswordRequired,
    /// The user name and the password are not accepted.
    PasswordRefused(PasswordRefusal),
    /// Only a user name and a password are accepted, and the request came over plain HTTP.
    PasswordOverHttp,
    /// The claims do not satisfy the rule.
    Forbidden,
    /// The token belongs to a client, and the rule requires a user.
    UserRequired,
    /// The rule denies everyone.
    Denied,
    /// The endpoint prefix has no such endpoint.
    NoSuchEndpoint,
    /// The endpoint allows only these methods.
    MethodNotAllowed(&'static str),
    /// A login link has a parameter that the app does not allow.
    LoginParameterNotAllowed(&'static str),
    /// A state-changing request comes from another origin.
    CrossSite,
    /// The preflight request comes from an origin that the app does not allow.
    OriginNotAllowed,
    /// Another proxy asks for a decision about a request for one of Doorward's endpoints, which it
    /// should pass to Doorward.
    EndpointNotProxied,
    /// The decision needs the body of the request, and another proxy has it.
    BodyRequired,
}

impl Reason {
    /// The stable code for logs, metrics and pages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(error) => error.code(),
            Self::UnsupportedPath => "unsupported_path",
            Self::Misdirected => "misdirected",
            Self::NoAppAtPath => "no_app_at_path",
            Self::LoginRequired(reason) => reason.code(),
            Self::PostNotPreserved(..) => "post_not_preserved",
            Self::NoPreservedPost => "no_preserved_post",
            Self::PostOfAnotherUser => "post_of_another_user",
            Self::LoginBlockedInFrame(_) => "login_blocked_in_frame",
            Self::DeviceProofUnavailable => "device_proof_unavailable",
            Self::DeviceNotBound => "device_not_bound",
            Self::SessionOver => "session_over",
            Self::TokenRequired => "token_missing",
            Self::TokenRefused(refusal) => refusal.code,
            Self::PasswordRequired => "password_missing",
            Self::PasswordRefused(refusal) => refusal.code,
            Self::PasswordOverHttp => "password_over_http",
            Self::Forbidden => "forbidden",
            Self::UserRequired => "user_required",
            Self::Denied => "denied",
            Self::NoSuchEndpoint => "no_such_endpoint",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::LoginParameterNotAllowed(_) => "login_parameter_not_allowed",
            Self::CrossSite => "cross_site",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::EndpointNotProxied => "endpoint_not_proxied",
            Self::BodyRequired => "body_required",
        }
    }

    /// Whether the user must authenticate again (RFC 9470).
    pub const fn is_insufficient_authentication(self) -> bool {
        use NoSessionReason::InsufficientAuthentication as Why;
        matches!(
            self,
            Self::LoginRequired(Why)
                | Self::LoginBlockedInFrame(Why)
                | Self::PostNotPreserved(Why, _)
        )
    }

    /// The status of the response.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest(InvalidRequest::Method | InvalidRequest::Protocol) => {
                StatusCode::NOT_IMPLEMENTED
            }
            Self::InvalidRequest(InvalidRequest::Target(TargetError::TooLong)) => {
                StatusCode::URI_TOO_LONG
            }
            Self::InvalidRequest(InvalidRequest::Expectation) => StatusCode::EXPECTATION_FAILED,
            Self::InvalidRequest(_) | Self::UnsupportedPath | Self::LoginParameterNotAllowed(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::LoginRequired(_)
            | Self::PostNotPreserved(..)
            | Self::LoginBlockedInFrame(_)
            | Self::SessionOver
            | Self::TokenRequired
            | Self::TokenRefused(_)
            | Self::PasswordRequired
            | Self::BodyRequired => StatusCode::UNAUTHORIZED,
            Self::PasswordRefused(refusal) => match refusal.retry_after {
                None => StatusCode::UNAUTHORIZED,
                Some(_) => StatusCode::TOO_MANY_REQUESTS,
            },
            Self::DeviceProofUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Forbidden
            | Self::DeviceNotBound
            | Self::UserRequired
            | Self::Denied
            | Self::CrossSite
            | Self::OriginNotAllowed
            | Self::PasswordOverHttp
            | Self::PostOfAnotherUser => StatusCode::FORBIDDEN,
            Self::NoAppAtPath
            | Self::NoSuchEndpoint
            | Self::NoPreservedPost
            | Self::EndpointNotProxied => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}
