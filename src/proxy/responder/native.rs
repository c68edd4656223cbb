//! Answers to native apps: at the token endpoint as RFC 6749 section 5 has them, elsewhere the same facts as JSON and
//! problem documents. Every failure carries a stable `code` that an app can act on, and where to log in with a browser.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::Responder;
use super::login::login_path;
use super::response::{ResponseUpdate, TaggedResponse, insert, text_response};
use crate::auth::Unavailable;
use crate::auth::bearer::dpop::DpopError;
use crate::auth::native::{NativeFailure, NativeOutcome, NativeTokens};
use crate::identity::return_to::ReturnTo;
use crate::oidc::password::WhyRefused;
use crate::policy::app::App;
use crate::policy::native::NativeCall;
use crate::policy::native_request::NativeRequestError;
use crate::proxy::request_body::ReadBodyError;
use crate::proxy::request_id::RequestId;
use crate::session::validity::NoSessionReason;
use crate::types::body::Body;

/// How long a browser remembers that a web origin may call.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// What went wrong, before it has a form.
struct Failed<'f> {
    status: StatusCode,
    /// `error` (RFC 6749 section 5.2).
    error: &'static str,
    code: &'static str,
    text: &'static str,
    /// More for the app.
    members: Option<&'f Map<String, Value>>,
    retry_after: Option<Duration>,
    /// Whether a login in a browser would help.
    login: bool,
    /// Whether what was brought is a token that is none, or none any more (RFC 6750 section 3.1).
    token_is_dead: bool,
    /// What the next proof of possession has to carry.
    nonce: Option<HeaderValue>,
}

impl Responder {
    /// What a call led to.
    pub fn native(&self, end: NativeOutcome, code: &'static str) -> TaggedResponse {
        match end {
            NativeOutcome::Tokens(tokens) => TaggedResponse {
                code,
                response: of_json(StatusCode::OK, &of_tokens(&tokens)),
            },
            NativeOutcome::Cookies {
                set_cookies,
                lasts,
                device_token,
            } => {
                let body = json!({ "session_expires_in": lasts.as_secs(), "device_token": device_token.as_str() });
                TaggedResponse {
                    code,
                    response: of_json(StatusCode::OK, &body),
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

    /// A call that led to nothing.
    pub fn native_failed(
        &self,
        app: &App,
        call: NativeCall,
        failure: &NativeFailure,
        request_id: RequestId,
    ) -> TaggedResponse {
        self.tell_app(app, call, &of_failure(failure), request_id)
    }

    /// A body that is no request.
    pub fn native_unreadable(
        &self,
        app: &App,
        call: NativeCall,
        why: NativeRequestError,
        request_id: RequestId,
    ) -> TaggedResponse {
        self.tell_app(app, call, &of_bad_request(why), request_id)
    }

    /// A body that could not be had.
    pub(in crate::proxy) fn native_without_body(
        &self,
        app: &App,
        call: NativeCall,
        why: ReadBodyError,
        request_id: RequestId,
    ) -> TaggedResponse {
        let (status, code, text) = match why {
            ReadBodyError::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The body is too large.",
            ),
            ReadBodyError::Incomplete => (
                StatusCode::REQUEST_TIMEOUT,
                "body_aborted",
                "The body did not arrive in time.",
            ),
        };
        let failed = Failed {
            status,
            ..Failed::new("invalid_request", code, text)
        };
        let mut answer = self.tell_app(app, call, &failed, request_id);
        // What is left of it is not read.
        insert(answer.response.headers_mut(), header::CONNECTION, "close");
        answer
    }

    /// That pages of `origin` may call (Fetch section 3.2.3).
    pub fn preflight(&self, origin: &str, code: &'static str) -> TaggedResponse {
        let mut response = text_response(StatusCode::NO_CONTENT, "application/json", String::new());
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        insert(headers, header::ACCESS_CONTROL_ALLOW_METHODS, "POST");
        insert(
            headers,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Content-Type, Authorization, DPoP",
        );
        insert(
            headers,
            header::ACCESS_CONTROL_MAX_AGE,
            &PREFLIGHT_AGE.as_secs().to_string(),
        );
        TaggedResponse { code, response }.readable_by(Some(origin))
    }

    fn tell_app(
        &self,
        app: &App,
        call: NativeCall,
        failed: &Failed<'_>,
        request_id: RequestId,
    ) -> TaggedResponse {
        let mut members = failed.members.cloned().unwrap_or_default();
        members.insert("code".to_owned(), json!(failed.code));
        members.insert("request_id".to_owned(), json!(request_id.to_string()));
        if failed.login {
            let login = login_path(app, &ReturnTo::root());
            members.insert(
                "login_url".to_owned(),
                json!(format!("{}{login}", app.origin)),
            );
        }
        let mut response = match call {
            NativeCall::Token => {
                members.insert("error".to_owned(), json!(failed.error));
                members.insert("error_description".to_owned(), json!(failed.text));
                of_json(status_of_rfc_6749(failed), &Value::Object(members))
            }
            NativeCall::Login | NativeCall::Refresh | NativeCall::Logout => {
                members.insert("type".to_owned(), json!("about:blank"));
                members.insert(
                    "title".to_owned(),
                    json!(failed.status.canonical_reason().unwrap_or_default()),
                );
                members.insert("status".to_owned(), json!(failed.status.as_u16()));
                members.insert("detail".to_owned(), json!(failed.text));
                text_response(
                    failed.status,
                    "application/problem+json",
                    Value::Object(members).to_string(),
                )
            }
        };
        let status = response.status();
        let headers = response.headers_mut();
        if let Some(retry_after) = failed.retry_after {
            insert(
                headers,
                header::RETRY_AFTER,
                &retry_after.as_secs().to_string(),
            );
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = match (call, failed.token_is_dead) {
                (NativeCall::Token, _) => "Basic realm=\"doorward\"",
                (_, true) => "Bearer realm=\"doorward\", error=\"invalid_token\"",
                (_, false) => "Bearer realm=\"doorward\"",
            };
            insert(headers, header::WWW_AUTHENTICATE, challenge);
        }
        TaggedResponse {
            code: failed.code,
            response,
        }
        .apply(ResponseUpdate {
            dpop_nonce: failed.nonce.clone(),
            ..ResponseUpdate::default()
        })
    }
}

/// Which statuses there are is said there: 400, 401 for a client, and what HTTP has for servers and limits.
fn status_of_rfc_6749(failed: &Failed<'_>) -> StatusCode {
    match failed.error {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        "slow_down" | "temporarily_unavailable" | "server_error" => failed.status,
        _ if failed.status == StatusCode::PAYLOAD_TOO_LARGE
            || failed.status == StatusCode::REQUEST_TIMEOUT =>
        {
            failed.status
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

impl Failed<'_> {
    const fn new(error: &'static str, code: &'static str, text: &'static str) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self {
            status,
            error,
            code,
            text,
            members: None,
            retry_after: None,
            login: false,
            token_is_dead: false,
            nonce: None,
        }
    }
}

fn of_failure(failure: &NativeFailure) -> Failed<'_> {
    let code = failure.code();
    match failure {
        NativeFailure::Throttled(_, wait) => Failed {
            status: StatusCode::TOO_MANY_REQUESTS,
            retry_after: Some(*wait),
            login: true,
            ..Failed::new(
                "slow_down",
                code,
                "Too many logins were tried. Wait, or log in with the browser.",
            )
        },
        NativeFailure::Refused(refusal) => Failed {
            status: match refusal.why {
                WhyRefused::WrongCredentials => StatusCode::UNAUTHORIZED,
                WhyRefused::TwoFactorRequired
                | WhyRefused::ChangePasswordRequired
                | WhyRefused::VerificationRequired
                | WhyRefused::RegistrationRequired
                | WhyRefused::AccountLocked
                | WhyRefused::AccountExpired
                | WhyRefused::LoginPrevented
                | WhyRefused::InteractionRequired => StatusCode::FORBIDDEN,
            },
            members: Some(&refusal.go_on_with),
            login: true,
            ..Failed::new("invalid_grant", code, of_refusal(refusal.why))
        },
        NativeFailure::UnknownToken => Failed {
            status: StatusCode::UNAUTHORIZED,
            login: true,
            token_is_dead: true,
            ..Failed::new(
                "invalid_grant",
                code,
                "The refresh token is not one of this app. Log in again.",
            )
        },
        NativeFailure::SessionOver(why) => Failed {
            status: StatusCode::UNAUTHORIZED,
            login: true,
            token_is_dead: true,
            ..Failed::new("invalid_grant", code, of_end(*why))
        },
        NativeFailure::Scope => Failed::new(
            "invalid_scope",
            code,
            "A scope was asked for that this app does not have.",
        ),
        NativeFailure::Provider(_)
        | NativeFailure::TokenTooLarge(..)
        | NativeFailure::TooLarge(_) => Failed {
            status: StatusCode::BAD_GATEWAY,
            ..Failed::new(
                "server_error",
                code,
                "The login service gave nothing that can be used.",
            )
        },
        NativeFailure::DpopRejection(DpopError::Unavailable(outage), _)
        | NativeFailure::Unavailable(outage) => of_outage(*outage),
        NativeFailure::DpopRejection(error, nonce) => Failed {
            nonce: nonce.clone(),
            ..Failed::new(
                if error.wants_nonce() {
                    "use_dpop_nonce"
                } else {
                    "invalid_dpop_proof"
                },
                code,
                "The device has to prove possession of its key.",
            )
        },
    }
}

fn of_outage(outage: Unavailable) -> Failed<'static> {
    Failed {
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after: Some(outage.retry_after),
        ..Failed::new(
            "temporarily_unavailable",
            outage.code,
            "The login service does not answer. Try again in a moment.",
        )
    }
}

const fn of_refusal(why: WhyRefused) -> &'static str {
    match why {
        WhyRefused::WrongCredentials => "The name or the password is wrong.",
        WhyRefused::TwoFactorRequired => "A second factor is required. Log in with the browser.",
        WhyRefused::ChangePasswordRequired => {
            "The password has to be changed first. Log in with the browser."
        }
        WhyRefused::VerificationRequired => {
            "An address or number has to be verified first. Log in with the browser."
        }
        WhyRefused::RegistrationRequired => "The person is not registered for this app.",
        WhyRefused::AccountLocked => "The account is locked.",
        WhyRefused::AccountExpired => "The account has expired.",
        WhyRefused::LoginPrevented => "The login service does not let this person in.",
        WhyRefused::InteractionRequired => {
            "The person has to do something first. Log in with the browser."
        }
    }
}

const fn of_end(why: NoSessionReason) -> &'static str {
    match why {
        NoSessionReason::RefreshTokenReused => {
            "This refresh token was used before, so the session was ended. Log in again."
        }
        NoSessionReason::Idle | NoSessionReason::AbsoluteTimeout | NoSessionReason::Expired => {
            "The session is too old. Log in again."
        }
        NoSessionReason::Revoked
        | NoSessionReason::RevocationsUnknown
        | NoSessionReason::RefreshRefused => "The session was ended. Log in again.",
        NoSessionReason::NoCookie
        | NoSessionReason::UnreadableCookie
        | NoSessionReason::CookieMismatch
        | NoSessionReason::TokenRefused(_) => "There is no session. Log in again.",
    }
}

fn of_bad_request(why: NativeRequestError) -> Failed<'static> {
    let code = why.code();
    match why {
        NativeRequestError::MediaType => Failed {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ..Failed::new(
                "invalid_request",
                code,
                "This endpoint takes another media type.",
            )
        },
        NativeRequestError::Malformed => {
            Failed::new("invalid_request", code, "The body cannot be read.")
        }
        NativeRequestError::Missing(_) => {
            Failed::new("invalid_request", code, "A parameter is missing.")
        }
        NativeRequestError::Repeated => {
            Failed::new("invalid_request", code, "A parameter came twice.")
        }
        NativeRequestError::Unfit(_) => Failed::new(
            "invalid_request",
            code,
            "A parameter is too long or has odd characters.",
        ),
        NativeRequestError::GrantType => Failed::new(
            "unsupported_grant_type",
            code,
            "grant_type must be password or refresh_token.",
        ),
        NativeRequestError::Client => Failed::new(
            "invalid_client",
            code,
            "This app's clients are public: no secret, and client_id as configured.",
        ),
    }
}

fn of_tokens(tokens: &NativeTokens) -> Value {
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

fn of_json(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = text_response(status, "application/json", body.to_string());
    // RFC 6749 section 5.1.
    insert(
        response.headers_mut(),
        HeaderName::from_static("pragma"),
        "no-cache",
    );
    response
}
