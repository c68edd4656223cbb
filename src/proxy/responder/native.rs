//! Responses to native clients: at the token endpoint by RFC 6749 section 5, elsewhere as JSON and
//! problem documents. Every error has a stable `code` and, where a browser login helps, its URL.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::Responder;
use super::login::login_path;
use super::response::{ResponseUpdate, TaggedResponse, insert, text_response};
use crate::auth::Unavailable;
use crate::auth::bearer::dpop::DpopError;
use crate::auth::native::{NativeFailure, NativeOutcome, NativeTokens};
use crate::identity::login_link::LoginLink;
use crate::identity::return_to::ReturnTo;
use crate::oidc::password::RejectionReason;
use crate::policy::app::App;
use crate::policy::cors::AllowedPreflight;
use crate::policy::native::NativeCall;
use crate::policy::native_request::NativeRequestError;
use crate::proxy::request_body::ReadBodyError;
use crate::session::validity::NoSessionReason;
use crate::types::body::Body;
use crate::types::request_id::RequestId;

/// How long browsers cache a preflight response.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// An error, independent of the endpoint.
struct NativeError<'f> {
    status: StatusCode,
    /// `error` (RFC 6749 section 5.2).
    error: &'static str,
    code: &'static str,
    text: &'static str,
    /// Additional members.
    members: Option<&'f Map<String, Value>>,
    retry_after: Option<Duration>,
    /// Whether a login in a browser would help.
    offers_login: bool,
    /// Whether the request's token is invalid (RFC 6750 section 3.1).
    is_token_invalid: bool,
    /// The nonce for the next DPoP proof.
    nonce: Option<HeaderValue>,
}

impl Responder {
    /// The response to a successful call.
    pub fn native(&self, outcome: NativeOutcome, code: &'static str) -> TaggedResponse {
        match outcome {
            NativeOutcome::Tokens(tokens) => TaggedResponse {
                code,
                response: json_response(StatusCode::OK, &token_body(&tokens)),
            },
            NativeOutcome::Cookies {
                set_cookies,
                lasts,
                device_token,
            } => {
                let body = json!({ "session_expires_in": lasts.as_secs(), "device_token": device_token.as_str() });
                TaggedResponse {
                    code,
                    response: json_response(StatusCode::OK, &body),
                }
                .with_cookies(set_cookies)
            }
            NativeOutcome::LoggedOut(set_cookies) => {
                let mut response =
                    text_response(StatusCode::NO_CONTENT, "application/json", String::new());
                response.headers_mut().remove(header::CONTENT_TYPE);
                TaggedResponse { code, response }.with_cookies(set_cookies)
            }
        }
    }

    /// The response to a failed call.
    pub fn native_failed(
        &self,
        app: &App,
        call: NativeCall,
        failure: &NativeFailure,
        request_id: RequestId,
    ) -> TaggedResponse {
        self.native_error(app, call, &failure_error(failure), request_id)
    }

    /// The response to an invalid request.
    pub fn native_unreadable(
        &self,
        app: &App,
        call: NativeCall,
        error: NativeRequestError,
        request_id: RequestId,
    ) -> TaggedResponse {
        self.native_error(app, call, &request_error(error), request_id)
    }

    /// The response if the body cannot be read.
    pub(in crate::proxy) fn native_without_body(
        &self,
        app: &App,
        call: NativeCall,
        error: ReadBodyError,
        request_id: RequestId,
    ) -> TaggedResponse {
        let error = match error {
            ReadBodyError::TooLarge => NativeError {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                ..NativeError::new(
                    "invalid_request",
                    "body_too_large",
                    "The body is too large.",
                )
            },
            ReadBodyError::Incomplete => NativeError {
                status: StatusCode::REQUEST_TIMEOUT,
                ..NativeError::new(
                    "invalid_request",
                    "body_aborted",
                    "The body did not arrive in time.",
                )
            },
            ReadBodyError::Busy => NativeError {
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry_after: Some(Duration::from_secs(1)),
                ..NativeError::new(
                    "temporarily_unavailable",
                    "server_busy",
                    "The server is busy. Try again in a moment.",
                )
            },
        };
        let mut response = self.native_error(app, call, &error, request_id);
        // The rest of the body is not read.
        insert(response.response.headers_mut(), header::CONNECTION, "close");
        response
    }

    /// The response to a preflight request (Fetch section 3.2.3).
    pub fn preflight(&self, allowed: &AllowedPreflight, code: &'static str) -> TaggedResponse {
        let AllowedPreflight { origin, request } = allowed;
        let mut response = text_response(StatusCode::NO_CONTENT, "application/json", String::new());
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        insert(
            headers,
            header::ACCESS_CONTROL_ALLOW_METHODS,
            request.method.as_str(),
        );
        insert(
            headers,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            &request.headers,
        );
        insert(
            headers,
            header::ACCESS_CONTROL_MAX_AGE,
            &PREFLIGHT_AGE.as_secs().to_string(),
        );
        TaggedResponse { code, response }.readable_by(origin)
    }

    fn native_error(
        &self,
        app: &App,
        call: NativeCall,
        error: &NativeError<'_>,
        request_id: RequestId,
    ) -> TaggedResponse {
        let mut members = error.members.cloned().unwrap_or_default();
        members.insert("code".to_owned(), json!(error.code));
        members.insert("request_id".to_owned(), json!(request_id.to_string()));
        if error.offers_login {
            let login = login_path(app, &LoginLink::to(ReturnTo::home(&app.paths)));
            members.insert(
                "login_url".to_owned(),
                json!(format!("{}{login}", app.origin)),
            );
        }
        let mut response = match call {
            NativeCall::Token => {
                members.insert("error".to_owned(), json!(error.error));
                members.insert("error_description".to_owned(), json!(error.text));
                json_response(rfc_6749_status(error), &Value::Object(members))
            }
            NativeCall::Login | NativeCall::Refresh | NativeCall::Logout => {
                members.insert("type".to_owned(), json!("about:blank"));
                members.insert(
                    "title".to_owned(),
                    json!(error.status.canonical_reason().unwrap_or_default()),
                );
                members.insert("status".to_owned(), json!(error.status.as_u16()));
                members.insert("detail".to_owned(), json!(error.text));
                text_response(
                    error.status,
                    "application/problem+json",
                    Value::Object(members).to_string(),
                )
            }
        };
        let status = response.status();
        let headers = response.headers_mut();
        if let Some(retry_after) = error.retry_after {
            insert(
                headers,
                header::RETRY_AFTER,
                &retry_after.as_secs().to_string(),
            );
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = match (call, error.is_token_invalid) {
                (NativeCall::Token, _) => "Basic realm=\"doorward\"",
                (_, true) => "Bearer realm=\"doorward\", error=\"invalid_token\"",
                (_, false) => "Bearer realm=\"doorward\"",
            };
            insert(headers, header::WWW_AUTHENTICATE, challenge);
        }
        TaggedResponse {
            code: error.code,
            response,
        }
        .apply(ResponseUpdate {
            dpop_nonce: error.nonce.clone(),
            ..ResponseUpdate::default()
        })
    }
}

/// RFC 6749 section 5.2 allows 400, and 401 for a client. Server errors and limits use the HTTP
/// status.
fn rfc_6749_status(error: &NativeError<'_>) -> StatusCode {
    match error.error {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        "slow_down" | "temporarily_unavailable" | "server_error" => error.status,
        _ if error.status == StatusCode::PAYLOAD_TOO_LARGE
            || error.status == StatusCode::REQUEST_TIMEOUT =>
        {
            error.status
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

impl NativeError<'_> {
    const fn new(error: &'static str, code: &'static str, text: &'static str) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self {
            status,
            error,
            code,
            text,
            members: None,
            retry_after: None,
            offers_login: false,
            is_token_invalid: false,
            nonce: None,
        }
    }
}

fn failure_error(failure: &NativeFailure) -> NativeError<'_> {
    let code = failure.code();
    match failure {
        NativeFailure::Throttled(_, wait) => NativeError {
            status: StatusCode::TOO_MANY_REQUESTS,
            retry_after: Some(*wait),
            offers_login: true,
            ..NativeError::new(
                "slow_down",
                code,
                "There were too many attempts. Wait, or log in with the browser.",
            )
        },
        NativeFailure::Refused(refusal) => NativeError {
            status: match refusal.reason {
                RejectionReason::WrongCredentials => StatusCode::UNAUTHORIZED,
                RejectionReason::TwoFactorRequired
                | RejectionReason::ChangePasswordRequired
                | RejectionReason::VerificationRequired
                | RejectionReason::RegistrationRequired
                | RejectionReason::AccountLocked
                | RejectionReason::AccountExpired
                | RejectionReason::LoginPrevented
                | RejectionReason::InteractionRequired => StatusCode::FORBIDDEN,
            },
            members: Some(&refusal.continuation),
            offers_login: true,
            ..NativeError::new("invalid_grant", code, refusal_text(refusal.reason))
        },
        NativeFailure::UnknownToken => NativeError {
            status: StatusCode::UNAUTHORIZED,
            offers_login: true,
            is_token_invalid: true,
            ..NativeError::new(
                "invalid_grant",
                code,
                "The refresh token does not belong to this app. Log in again.",
            )
        },
        NativeFailure::SessionOver(why) => NativeError {
            status: StatusCode::UNAUTHORIZED,
            offers_login: true,
            is_token_invalid: true,
            ..NativeError::new("invalid_grant", code, session_end_text(*why))
        },
        NativeFailure::Scope => NativeError::new(
            "invalid_scope",
            code,
            "The requested scope is not allowed for this app.",
        ),
        NativeFailure::Provider(_)
        | NativeFailure::TokenTooLarge(..)
        | NativeFailure::TooLarge(_) => NativeError {
            status: StatusCode::BAD_GATEWAY,
            ..NativeError::new(
                "server_error",
                code,
                "The response of the login service is unusable.",
            )
        },
        NativeFailure::DpopRejection(DpopError::Unavailable(unavailable), _)
        | NativeFailure::Unavailable(unavailable) => unavailable_error(*unavailable),
        NativeFailure::DpopRejection(error, nonce) => NativeError {
            nonce: nonce.clone(),
            ..NativeError::new(
                if error.wants_nonce() {
                    "use_dpop_nonce"
                } else {
                    "invalid_dpop_proof"
                },
                code,
                "A DPoP proof of the device's key is required.",
            )
        },
    }
}

fn unavailable_error(unavailable: Unavailable) -> NativeError<'static> {
    NativeError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after: Some(unavailable.retry_after),
        offers_login: unavailable.login_helps,
        ..NativeError::new(
            "temporarily_unavailable",
            unavailable.code,
            "The login service is not available. Try again in a moment.",
        )
    }
}

const fn refusal_text(why: RejectionReason) -> &'static str {
    match why {
        RejectionReason::WrongCredentials => "The user name or the password is wrong.",
        RejectionReason::TwoFactorRequired => {
            "A second factor is required. Log in with the browser."
        }
        RejectionReason::ChangePasswordRequired => {
            "The password must be changed first. Log in with the browser."
        }
        RejectionReason::VerificationRequired => {
            "An email address or phone number must be verified first. Log in with the browser."
        }
        RejectionReason::RegistrationRequired => "The user is not registered for this app.",
        RejectionReason::AccountLocked => "The account is locked.",
        RejectionReason::AccountExpired => "The account has expired.",
        RejectionReason::LoginPrevented => "The login service prevents this user from logging in.",
        RejectionReason::InteractionRequired => {
            "Further steps are required. Log in with the browser."
        }
    }
}

const fn session_end_text(why: NoSessionReason) -> &'static str {
    match why {
        NoSessionReason::RefreshTokenReused => {
            "The refresh token was already used, so the session was ended. Log in again."
        }
        NoSessionReason::Idle | NoSessionReason::AbsoluteTimeout | NoSessionReason::Expired => {
            "The session has expired. Log in again."
        }
        NoSessionReason::Revoked
        | NoSessionReason::RevocationsUnknown
        | NoSessionReason::RefreshRefused
        | NoSessionReason::NotRefreshed => "The session was ended. Log in again.",
        NoSessionReason::NoCookie
        | NoSessionReason::UnreadableCookie
        | NoSessionReason::CookieMismatch
        | NoSessionReason::InsufficientAuthentication
        | NoSessionReason::DeviceUnproven(_)
        | NoSessionReason::ClientChanged(_)
        | NoSessionReason::TokenRefused(_)
        | NoSessionReason::PasswordRefused(_) => "There is no session. Log in again.",
    }
}

fn request_error(why: NativeRequestError) -> NativeError<'static> {
    let code = why.code();
    match why {
        NativeRequestError::MediaType => NativeError {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ..NativeError::new(
                "invalid_request",
                code,
                "This endpoint does not support the media type.",
            )
        },
        NativeRequestError::Malformed => {
            NativeError::new("invalid_request", code, "The body is malformed.")
        }
        NativeRequestError::Missing(_) => {
            NativeError::new("invalid_request", code, "A parameter is missing.")
        }
        NativeRequestError::Repeated => {
            NativeError::new("invalid_request", code, "A parameter is repeated.")
        }
        NativeRequestError::Invalid(_) => NativeError::new(
            "invalid_request",
            code,
            "A parameter is too long or contains a forbidden character.",
        ),
        NativeRequestError::GrantType => NativeError::new(
            "unsupported_grant_type",
            code,
            "grant_type must be password or refresh_token.",
        ),
        NativeRequestError::Client => NativeError::new(
            "invalid_client",
            code,
            "The client_id is wrong, or a public client sent a secret.",
        ),
    }
}

fn token_body(tokens: &NativeTokens) -> Value {
    let mut body = json!({
        "access_token": tokens.access_token.as_str(),
        "token_type": if tokens.is_bound { "DPoP" } else { "Bearer" },
        "expires_in": tokens.expires_in.as_secs(),
        "scope": tokens.scope,
    });
    if let Value::Object(members) = &mut body {
        let optional = [
            ("refresh_token", &tokens.refresh_token),
            ("device_token", &tokens.device_token),
        ];
        members.extend(
            optional.into_iter().filter_map(|(name, token)| {
                Some((name.to_owned(), json!(token.as_ref()?.as_str())))
            }),
        );
    }
    body
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = text_response(status, "application/json", body.to_string());
    // RFC 6749 section 5.1.
    insert(
        response.headers_mut(),
        HeaderName::from_static("pragma"),
        "no-cache",
    );
    response
}
