//! Responses of the endpoints of device-bound sessions, and the page that lets a browser renew a proof.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::Responder;
use super::error::ErrorResponse;
use super::login_host::MovingOn;
use super::response::{TaggedResponse, text_response};
use crate::auth::device_binding::{
    PROOF_ENDPOINT, ProofOutcome, RegisteredDevice, RegistrationError, RenewedProof,
};
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::policy::request_info::RequestInfo;
use crate::proxy::messages;
use crate::types::request_id::RequestId;

const CHALLENGE: HeaderName = HeaderName::from_static("secure-session-challenge");

/// Nothing of the failure remains: the browser tries again with the next request.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl Responder {
    /// The response to a registration that bound the session. The browser renews the cookie that it
    /// names, whose attributes must be those that are set.
    pub fn device_registered(
        &self,
        app: &App,
        registered: RegisteredDevice,
        code: &'static str,
    ) -> TaggedResponse {
        let body = json!({
            "session_identifier": registered.session_identifier,
            "refresh_url": app.endpoint_path(PROOF_ENDPOINT),
            "scope": { "include_site": false },
            "credentials": [{
                "type": "cookie",
                "name": app.cookies.device,
                "attributes": app.cookies.attributes(&app.cookies.path),
            }],
        });
        let response = TaggedResponse {
            code,
            response: text_response(StatusCode::OK, "application/json", body.to_string()),
        };
        response
            .with_challenge(registered.challenge)
            .with_cookies(registered.set_cookies)
    }

    /// The response to a registration that failed. The browser has no device-bound session then.
    pub fn device_not_registered(
        &self,
        app: &App,
        error: RegistrationError,
        request_id: RequestId,
    ) -> TaggedResponse {
        let status = match error {
            RegistrationError::Unavailable(_) | RegistrationError::NotWritten => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            RegistrationError::NoProof
            | RegistrationError::Refused(_)
            | RegistrationError::ChallengeInvalid
            | RegistrationError::SessionMismatch
            | RegistrationError::NotPending
            | RegistrationError::NoRefreshToken
            | RegistrationError::SessionOver(_) => StatusCode::BAD_REQUEST,
        };
        self.device_error(app, status, error.code(), request_id)
    }

    /// The response to the renewal of a proof. Chromium keeps its session after 403 and 5xx only, and
    /// ends it after any other failure.
    pub fn device_proof(
        &self,
        app: &App,
        outcome: ProofOutcome,
        request_id: RequestId,
    ) -> TaggedResponse {
        let code = outcome.code();
        match outcome {
            ProofOutcome::Renewed(RenewedProof {
                set_cookie,
                challenge,
            }) => {
                let response =
                    text_response(StatusCode::OK, "text/plain; charset=utf-8", String::new());
                let response = TaggedResponse { code, response };
                response
                    .with_challenge(challenge)
                    .with_cookies(vec![set_cookie])
            }
            ProofOutcome::ChallengeRequired { challenge, .. } => self
                .device_error(app, StatusCode::FORBIDDEN, code, request_id)
                .with_challenge(challenge),
            ProofOutcome::SessionEnded(identifier) => {
                let body = json!({ "session_identifier": identifier, "continue": false });
                let body = body.to_string();
                TaggedResponse {
                    code,
                    response: text_response(StatusCode::OK, "application/json", body),
                }
            }
            ProofOutcome::Refused(_) => {
                self.device_error(app, StatusCode::UNAUTHORIZED, code, request_id)
            }
            ProofOutcome::Unavailable => {
                self.device_error(app, StatusCode::SERVICE_UNAVAILABLE, code, request_id)
            }
        }
    }

    /// The page that opens the requested page again. It is no redirect, since a browser takes those for
    /// steps of the other site's navigation.
    pub fn reload_from_app(
        &self,
        app: &App,
        info: &RequestInfo,
        code: &'static str,
    ) -> TaggedResponse {
        self.moving_on(&MovingOn {
            from: app,
            to: &app.site(),
            target: &format!("{}{}", app.origin, info.target.as_str()),
            title: "moving_on.same_site",
            code,
        })
    }

    fn device_error(
        &self,
        app: &App,
        status: StatusCode,
        code: &'static str,
        request_id: RequestId,
    ) -> TaggedResponse {
        let text = messages::DEVICE_BINDING_FAILED;
        let error = ErrorResponse::new(status, code, text, Some(app), request_id);
        let retry_after = status.is_server_error().then_some(RETRY_AFTER);
        let error = ErrorResponse {
            retry_after,
            ..error
        };
        self.render(ClientKind::NonBrowser, &error)
    }
}

impl TaggedResponse {
    fn with_challenge(mut self, challenge: HeaderValue) -> Self {
        self.response.headers_mut().insert(CHALLENGE, challenge);
        self
    }
}
