//! Responses to the provider: back-channel logout, front-channel logout and webhooks.

use http::{StatusCode, header};
use serde_json::json;

use super::Responder;
use super::response::{TaggedResponse, insert, text_response};
use crate::auth::logout::back_channel::BackchannelLogoutError;
use crate::auth::logout::front_channel::{FRONT_CHANNEL, FrontchannelOutcome, NO_SESSION};
use crate::auth::logout::webhook::{WebhookError, WebhookOutcome};

impl Responder {
    /// The response to a logout token (OpenID Connect Back-Channel Logout section 2.8).
    pub fn backchannel(
        &self,
        revoked: Result<(), BackchannelLogoutError>,
        code: &'static str,
    ) -> TaggedResponse {
        let Err(error) = revoked else {
            return TaggedResponse {
                code,
                response: text_response(StatusCode::OK, "text/plain; charset=utf-8", String::new()),
            };
        };
        let (status, name) = match error {
            BackchannelLogoutError::Rejected(_) | BackchannelLogoutError::Replayed => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            BackchannelLogoutError::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
        };
        let body = json!({ "error": name, "error_description": error.code() });
        TaggedResponse {
            code: error.code(),
            response: text_response(status, "application/json", body.to_string()),
        }
    }

    /// The empty response to a front-channel logout, which only the provider's pages may embed
    /// (OpenID Connect Front-Channel Logout section 2).
    pub fn frontchannel(&self, end: FrontchannelOutcome) -> TaggedResponse {
        let status = match end.outcome {
            FRONT_CHANNEL | NO_SESSION => StatusCode::OK,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut response = text_response(status, "text/plain; charset=utf-8", String::new());
        let ancestors = if end.ancestors.is_empty() {
            "'none'".to_owned()
        } else {
            end.ancestors.join(" ")
        };
        let policy = format!("default-src 'none'; frame-ancestors {ancestors}");
        insert(
            response.headers_mut(),
            header::CONTENT_SECURITY_POLICY,
            &policy,
        );
        TaggedResponse {
            code: end.outcome,
            response,
        }
        .with_cookies(end.set_cookies)
    }

    /// The response to a webhook. FusionAuth retries after any status other than 2xx.
    pub fn webhook(
        &self,
        received: &Result<WebhookOutcome, WebhookError>,
        code: &'static str,
    ) -> TaggedResponse {
        let Err(error) = received else {
            return TaggedResponse {
                code,
                response: text_response(StatusCode::OK, "text/plain; charset=utf-8", String::new()),
            };
        };
        let status = match error {
            WebhookError::Sender(_) => StatusCode::UNAUTHORIZED,
            WebhookError::Unreadable
            | WebhookError::Event(_)
            | WebhookError::TooOld
            | WebhookError::InFuture => StatusCode::BAD_REQUEST,
            WebhookError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = json!({ "error": error.code() });
        let mut response = text_response(status, "application/json", body.to_string());
        if status == StatusCode::UNAUTHORIZED {
            insert(
                response.headers_mut(),
                header::WWW_AUTHENTICATE,
                "Basic realm=\"doorward webhooks\"",
            );
        }
        TaggedResponse {
            code: error.code(),
            response,
        }
    }
}
