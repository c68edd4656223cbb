//! FusionAuth's token responses, of `/oauth2/token` and `/api/jwt/refresh`. PURE.

use serde_json::{Map, Value};

use super::error_reason::{self, Meaning};
use crate::oidc::json;
use crate::oidc::token::{self, Grant, TokenError, TokenResponse, TokenType};
use crate::types::oauth::{AccessToken, ProviderSid, RefreshToken};

/// Parses a response of `/oauth2/token`. A known `error_reason` takes precedence over `error`.
///
/// # Errors
/// Any response without tokens.
pub(in crate::oidc) fn parse(
    grant: Grant,
    status: u16,
    body: &[u8],
) -> Result<TokenResponse, TokenError> {
    let response = json::object(body);
    match token::parse_response(grant, status, body) {
        Ok(tokens) => {
            let refresh_token_id =
                text(response.as_ref(), "refresh_token_id").map(ProviderSid::new);
            Ok(TokenResponse {
                refresh_token_id,
                ..tokens
            })
        }
        Err(
            error @ (TokenError::Unavailable { .. }
            | TokenError::Unreachable(_)
            | TokenError::OutcomeUnknown(_)),
        ) => Err(error),
        Err(error @ TokenError::BadResponse(_)) => match (grant, status) {
            (Grant::Refresh, 404) if is_fusionauth_error(body) => {
                Err(grant_rejected(status, response.as_ref()))
            }
            (Grant::Refresh | Grant::Code | Grant::Password | Grant::Exchange, _) => Err(error),
        },
        Err(TokenError::GrantRejected {
            error, description, ..
        }) => Err(refined(
            error,
            description,
            Meaning::GrantRejected,
            response.as_ref(),
        )),
        Err(TokenError::ClientRejected {
            error, description, ..
        }) => Err(refined(
            error,
            description,
            Meaning::ClientRejected,
            response.as_ref(),
        )),
    }
}

/// Parses a response of `POST /api/jwt/refresh`. A 400 or 404 from FusionAuth itself means that the
/// token is invalid. The response has no lifetime; the JWT has `exp`.
///
/// # Errors
/// Any response without tokens.
pub(in crate::oidc) fn parse_jwt_refresh(
    status: u16,
    body: &[u8],
) -> Result<TokenResponse, TokenError> {
    let response = json::object(body);
    match status {
        200..=299 => {
            let response = response
                .as_ref()
                .ok_or_else(|| token::gateway_response(status))?;
            let token =
                text(Some(response), "token").ok_or(TokenError::BadResponse("no `token`"))?;
            Ok(TokenResponse {
                access_token: AccessToken::new(token),
                token_type: TokenType::Bearer,
                expires_in: None,
                refresh_token: text(Some(response), "refreshToken").map(RefreshToken::new),
                id_token: None,
                scope: None,
                refresh_token_id: text(Some(response), "refreshTokenId").map(ProviderSid::new),
                dpop_key: None,
            })
        }
        400 | 404 if is_fusionauth_error(body) => Err(grant_rejected(status, response.as_ref())),
        401 | 403 => Err(TokenError::ClientRejected {
            method: None,
            error: format!("http_{status}"),
            description: None,
            reason: None,
        }),
        300..=399 | 408 | 425 | 429 | 500.. => Err(token::gateway_response(status)),
        _ => Err(TokenError::BadResponse(
            "neither tokens nor an error of FusionAuth",
        )),
    }
}

fn refined(
    error: String,
    description: Option<String>,
    default: Meaning,
    response: Option<&Map<String, Value>>,
) -> TokenError {
    let known = text(response, "error_reason").and_then(error_reason::lookup);
    let reason = known.map(|known| known.code);
    let meaning = known
        .map(|known| known.meaning)
        .filter(|meaning| *meaning != Meaning::Unspecified);
    match meaning.unwrap_or(default) {
        Meaning::GrantRejected | Meaning::Unspecified => TokenError::GrantRejected {
            error,
            description,
            reason,
        },
        Meaning::ClientRejected => TokenError::ClientRejected {
            method: None,
            error,
            description,
            reason,
        },
    }
}

/// Whether an error body is empty or in the format of FusionAuth's API, and thus not from a gateway
/// in front of it.
fn is_fusionauth_error(body: &[u8]) -> bool {
    const MEMBERS: [&str; 3] = ["fieldErrors", "generalErrors", "error"];
    body.trim_ascii().is_empty()
        || json::object(body).is_some_and(|errors| {
            errors.is_empty() || MEMBERS.iter().any(|member| errors.contains_key(*member))
        })
}

/// The error for an invalid refresh token, described by the first entry of `errors`.
fn grant_rejected(status: u16, errors: Option<&Map<String, Value>>) -> TokenError {
    let fields = errors
        .and_then(|errors| errors.get("fieldErrors"))
        .and_then(Value::as_object);
    let field_errors = fields
        .and_then(|fields| fields.values().next())
        .and_then(Value::as_array);
    let general_errors = errors
        .and_then(|errors| errors.get("generalErrors"))
        .and_then(Value::as_array);
    let first = field_errors
        .or(general_errors)
        .and_then(|errors| errors.first())
        .and_then(Value::as_object);
    let code = text(first, "code").map(|code| json::printable(code, 80));
    let description = text(first, "message").map(|message| json::printable(message, 300));
    TokenError::GrantRejected {
        error: code.unwrap_or_else(|| format!("http_{status}")),
        description,
        reason: None,
    }
}

fn text<'a>(response: Option<&'a Map<String, Value>>, name: &str) -> Option<&'a str> {
    response?
        .get(name)?
        .as_str()
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_token(status: u16, body: &str) -> TokenError {
        parse(Grant::Refresh, status, body.as_bytes()).unwrap_err()
    }

    fn at_refresh(status: u16, body: &str) -> TokenError {
        parse_jwt_refresh(status, body.as_bytes()).unwrap_err()
    }

    fn kind(error: &TokenError) -> &'static str {
        match error {
            TokenError::GrantRejected { .. } => "rejected",
            TokenError::ClientRejected { .. } => "registration",
            TokenError::Unavailable { .. } => "unavailable",
            TokenError::BadResponse(_) => "invalid",
            TokenError::Unreachable(_) | TokenError::OutcomeUnknown(_) => "no response",
        }
    }

    const FUSIONAUTH_ERROR: &str =
        r#"{"fieldErrors":{"refreshToken":[{"code":"[invalid]refreshToken","message":"gone\n"}]}}"#;

    #[test]
    fn known_error_reason_takes_precedence_over_error() {
        for (status, body, result, code) in [
            (
                400,
                r#"{"error":"invalid_request","error_reason":"refresh_token_not_found"}"#,
                "rejected",
                "refresh_token_not_found",
            ),
            (
                400,
                r#"{"error":"server_error","error_reason":"user_locked"}"#,
                "unavailable",
                "provider_unavailable",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_reason":"grant_type_disabled"}"#,
                "registration",
                "grant_type_disabled",
            ),
            (
                401,
                r#"{"error":"invalid_client","error_reason":"invalid_client_authentication"}"#,
                "registration",
                "invalid_client_authentication",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_reason":"unheard_of"}"#,
                "rejected",
                "grant_rejected",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_reason":7}"#,
                "rejected",
                "grant_rejected",
            ),
            (
                400,
                r#"{"error":"invalid_request","error_reason":"missing_code_verifier"}"#,
                "registration",
                "missing_code_verifier",
            ),
            (
                400,
                r#"{"error":"invalid_request"}"#,
                "registration",
                "client_rejected",
            ),
            (
                503,
                r#"{"error":"invalid_grant","error_reason":"user_locked"}"#,
                "unavailable",
                "provider_unavailable",
            ),
        ] {
            let error = at_token(status, body);
            assert_eq!(
                (kind(&error), error.code()),
                (result, code),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn not_found_from_fusionauth_rejects_the_grant() {
        for (status, body) in [
            (404, ""),
            (404, "{}"),
            (404, FUSIONAUTH_ERROR),
            (400, FUSIONAUTH_ERROR),
            (400, ""),
        ] {
            assert_eq!(kind(&at_token(status, body)), "rejected", "{status} {body}");
            assert_eq!(
                kind(&at_refresh(status, body)),
                "rejected",
                "{status} {body}"
            );
        }
        for (status, body) in [
            (404, r#"{"message":"no route"}"#),
            (404, "<html>"),
            (403, r#"{"message":"no"}"#),
            (405, ""),
        ] {
            assert_ne!(kind(&at_token(status, body)), "rejected", "{status} {body}");
            assert_ne!(
                kind(&at_refresh(status, body)),
                "rejected",
                "{status} {body}"
            );
        }
        assert_eq!(kind(&parse(Grant::Code, 404, b"").unwrap_err()), "invalid");
        let TokenError::GrantRejected {
            error, description, ..
        } = at_refresh(400, FUSIONAUTH_ERROR)
        else {
            panic!("rejected")
        };
        assert_eq!(
            (error.as_str(), description.as_deref()),
            ("[invalid]refreshToken", Some("gone"))
        );
    }

    #[test]
    fn refresh_api_outage_does_not_reject_the_grant() {
        for (status, body, result) in [
            (200, "<html>", "unavailable"),
            (200, "{}", "invalid"),
            (200, r#"{"token":7}"#, "invalid"),
            (302, "", "unavailable"),
            (401, "", "registration"),
            (403, "", "registration"),
            (408, "", "unavailable"),
            (425, "", "unavailable"),
            (429, "", "unavailable"),
            (500, FUSIONAUTH_ERROR, "unavailable"),
        ] {
            assert_eq!(kind(&at_refresh(status, body)), result, "{status} {body}");
        }
    }

    #[test]
    fn parse_returns_tokens_and_refresh_token_id() {
        let body = r#"{"access_token":"at","token_type":"Bearer","expires_in":60,"refresh_token":"rt",
            "refresh_token_id":"id","userId":"u"}"#;
        let response = parse(Grant::Code, 200, body.as_bytes()).unwrap();
        assert_eq!(response.refresh_token_id.unwrap().as_str(), "id");
        let body = r#"{"token":"a.b.c","refreshToken":"rt","refreshTokenId":"id"}"#;
        let response = parse_jwt_refresh(200, body.as_bytes()).unwrap();
        assert_eq!(
            (response.access_token.expose(), response.expires_in),
            ("a.b.c", None)
        );
        assert_eq!(
            (
                response.refresh_token.unwrap().expose(),
                response.refresh_token_id.unwrap().as_str()
            ),
            ("rt", "id")
        );
        let bare = parse_jwt_refresh(200, br#"{"token":"a.b.c"}"#).unwrap();
        assert!(
            bare.refresh_token.is_none()
                && bare.refresh_token_id.is_none()
                && bare.id_token.is_none()
        );
    }
}
