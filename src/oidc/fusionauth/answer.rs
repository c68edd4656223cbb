//! What FusionAuth answers to a code or a refresh token, at both of its endpoints. PURE.

use serde_json::{Map, Value};

use super::reason::{self, Meaning};
use crate::oidc::json;
use crate::oidc::token::{self, Grant, TokenError, TokenResponse, TokenType};
use crate::types::oauth::{AccessToken, ProviderSid, RefreshToken};

/// What `/oauth2/token` means. Where there is an `error_reason` that is known, it counts for more than `error`.
///
/// # Errors
/// Everything but tokens.
pub(in crate::oidc) fn parse(
    grant: Grant,
    status: u16,
    body: &[u8],
) -> Result<TokenResponse, TokenError> {
    let answer = json::object(body);
    match token::parse_response(grant, status, body) {
        Ok(tokens) => {
            let refresh_token_id = text(answer.as_ref(), "refresh_token_id").map(ProviderSid::new);
            Ok(TokenResponse {
                refresh_token_id,
                ..tokens
            })
        }
        Err(
            error @ (TokenError::Unavailable { .. }
            | TokenError::Unreachable(_)
            | TokenError::TargetError(_)),
        ) => Err(error),
        Err(error @ TokenError::BadResponse(_)) => match (grant, status) {
            (Grant::Refresh, 404) if is_own(body) => Err(gone(status, answer.as_ref())),
            (Grant::Refresh | Grant::Code | Grant::Password, _) => Err(error),
        },
        Err(TokenError::Refused {
            error, description, ..
        }) => Err(refined(error, description, Meaning::Gone, answer.as_ref())),
        Err(TokenError::ClientRejected {
            error, description, ..
        }) => Err(refined(
            error,
            description,
            Meaning::Registration,
            answer.as_ref(),
        )),
    }
}

/// What `POST /api/jwt/refresh` means: 400 and 404 that are FusionAuth's own say that the token is gone. There is no
/// lifetime beside the JWT, which has its `exp`.
///
/// # Errors
/// Everything but tokens.
pub(in crate::oidc) fn parse_jwt_refresh(
    status: u16,
    body: &[u8],
) -> Result<TokenResponse, TokenError> {
    let answer = json::object(body);
    match status {
        200..=299 => {
            let answer = answer
                .as_ref()
                .ok_or(TokenError::BadResponse("not a JSON object"))?;
            let token = text(Some(answer), "token").ok_or(TokenError::BadResponse("no `token`"))?;
            Ok(TokenResponse {
                access_token: AccessToken::new(token),
                token_type: TokenType::Bearer,
                expires_in: None,
                refresh_token: text(Some(answer), "refreshToken").map(RefreshToken::new),
                id_token: None,
                scope: None,
                refresh_token_id: text(Some(answer), "refreshTokenId").map(ProviderSid::new),
            })
        }
        400 | 404 if is_own(body) => Err(gone(status, answer.as_ref())),
        401 | 403 => Err(TokenError::ClientRejected {
            error: format!("http_{status}"),
            description: None,
            reason: None,
        }),
        429 | 500.. => Err(TokenError::Unavailable { status }),
        _ => Err(TokenError::BadResponse(
            "neither tokens nor errors of FusionAuth",
        )),
    }
}

fn refined(
    error: String,
    description: Option<String>,
    by_error: Meaning,
    answer: Option<&Map<String, Value>>,
) -> TokenError {
    let known = text(answer, "error_reason").and_then(reason::named);
    let reason = known.map(|known| known.word);
    let by_reason = known
        .map(|known| known.meaning)
        .filter(|meaning| *meaning != Meaning::AsTheErrorSays);
    match by_reason.unwrap_or(by_error) {
        Meaning::Gone | Meaning::AsTheErrorSays => TokenError::Refused {
            error,
            description,
            reason,
        },
        Meaning::Registration => TokenError::ClientRejected {
            error,
            description,
            reason,
        },
    }
}

/// Nothing at all, or the form that errors of the API have: not what some gateway says in FusionAuth's place.
fn is_own(body: &[u8]) -> bool {
    const MEMBERS: [&str; 3] = ["fieldErrors", "generalErrors", "error"];
    body.trim_ascii().is_empty()
        || json::object(body).is_some_and(|errors| {
            errors.is_empty() || MEMBERS.iter().any(|member| errors.contains_key(*member))
        })
}

/// The first of the errors names what is wrong.
fn gone(status: u16, errors: Option<&Map<String, Value>>) -> TokenError {
    let fields = errors
        .and_then(|errors| errors.get("fieldErrors"))
        .and_then(Value::as_object);
    let of_fields = fields
        .and_then(|fields| fields.values().next())
        .and_then(Value::as_array);
    let general = errors
        .and_then(|errors| errors.get("generalErrors"))
        .and_then(Value::as_array);
    let first = of_fields
        .or(general)
        .and_then(|errors| errors.first())
        .and_then(Value::as_object);
    let word = text(first, "code").map(|code| json::printable(code, 80));
    let description = text(first, "message").map(|message| json::printable(message, 300));
    TokenError::Refused {
        error: word.unwrap_or_else(|| format!("http_{status}")),
        description,
        reason: None,
    }
}

fn text<'a>(answer: Option<&'a Map<String, Value>>, name: &str) -> Option<&'a str> {
    answer?.get(name)?.as_str().filter(|text| !text.is_empty())
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
            TokenError::Refused { .. } => "gone",
            TokenError::ClientRejected { .. } => "registration",
            TokenError::Unavailable { .. } => "unavailable",
            TokenError::BadResponse(_) => "nonsense",
            TokenError::Unreachable(_) | TokenError::TargetError(_) => "no answer",
        }
    }

    const OWN: &str =
        r#"{"fieldErrors":{"refreshToken":[{"code":"[invalid]refreshToken","message":"gone\n"}]}}"#;

    #[test]
    fn the_reason_counts_for_more_than_the_error() {
        for (status, body, verdict, code) in [
            (
                400,
                r#"{"error":"invalid_request","error_reason":"refresh_token_not_found"}"#,
                "gone",
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
                "gone",
                "grant_rejected",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_reason":7}"#,
                "gone",
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
                (verdict, code),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn not_found_is_gone_where_fusionauth_says_so_and_not_some_gateway() {
        for (status, body) in [(404, ""), (404, "{}"), (404, OWN), (400, OWN), (400, "")] {
            assert_eq!(kind(&at_token(status, body)), "gone", "{status} {body}");
            assert_eq!(kind(&at_refresh(status, body)), "gone", "{status} {body}");
        }
        for (status, body) in [
            (404, r#"{"message":"no route"}"#),
            (404, "<html>"),
            (403, r#"{"message":"no"}"#),
            (405, ""),
        ] {
            assert_ne!(kind(&at_token(status, body)), "gone", "{status} {body}");
            assert_ne!(kind(&at_refresh(status, body)), "gone", "{status} {body}");
        }
        assert_eq!(kind(&parse(Grant::Code, 404, b"").unwrap_err()), "nonsense");
        let TokenError::Refused {
            error, description, ..
        } = at_refresh(400, OWN)
        else {
            panic!("gone")
        };
        assert_eq!(
            (error.as_str(), description.as_deref()),
            ("[invalid]refreshToken", Some("gone"))
        );
    }

    #[test]
    fn trouble_at_the_refresh_api_ends_nothing() {
        for (status, body, verdict) in [
            (200, "<html>", "nonsense"),
            (200, "{}", "nonsense"),
            (200, r#"{"token":7}"#, "nonsense"),
            (302, "", "nonsense"),
            (401, "", "registration"),
            (403, "", "registration"),
            (429, "", "unavailable"),
            (500, OWN, "unavailable"),
        ] {
            assert_eq!(kind(&at_refresh(status, body)), verdict, "{status} {body}");
        }
    }

    #[test]
    fn tokens_are_read_from_both_endpoints_with_the_refresh_tokens_id() {
        let body = r#"{"access_token":"at","token_type":"Bearer","expires_in":60,"refresh_token":"rt",
            "refresh_token_id":"id","userId":"u"}"#;
        let answer = parse(Grant::Code, 200, body.as_bytes()).unwrap();
        assert_eq!(answer.refresh_token_id.unwrap().as_str(), "id");
        let body = r#"{"token":"a.b.c","refreshToken":"rt","refreshTokenId":"id"}"#;
        let answer = parse_jwt_refresh(200, body.as_bytes()).unwrap();
        assert_eq!(
            (answer.access_token.expose(), answer.expires_in),
            ("a.b.c", None)
        );
        assert_eq!(
            (
                answer.refresh_token.unwrap().expose(),
                answer.refresh_token_id.unwrap().as_str()
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
