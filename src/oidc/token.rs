//! Responses of the token endpoint (RFC 6749 sections 4.1.3, 5 and 6). PURE.
//!
//! A rejected grant ends a session. Everything else does not: a configuration error, an outage, an
//! invalid response.

use std::time::Duration;

use super::error::ProviderError;
use super::http::ProviderResponse;
use super::json;
use crate::types::oauth::{AccessToken, IdToken, KeyFingerprint, ProviderSid, RefreshToken};
use serde_json::{Map, Value};

/// Maximum token lifetime: ten years. Longer ones are capped.
const MAX_LIFETIME: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// A successful token response (RFC 6749 section 5.1).
#[derive(Clone, Debug)]
pub struct TokenResponse {
    /// `access_token`.
    pub access_token: AccessToken,
    /// `token_type`.
    pub token_type: TokenType,
    /// `expires_in`.
    pub expires_in: Option<Duration>,
    /// `refresh_token`. If a refresh returns none, the previous one stays valid.
    pub refresh_token: Option<RefreshToken>,
    /// `id_token`.
    pub id_token: Option<IdToken>,
    /// `scope`, if it differs from the requested one.
    pub scope: Option<String>,
    /// `refresh_token_id`, with FusionAuth only: the identifier of the refresh token and its
    /// successors.
    pub refresh_token_id: Option<ProviderSid>,
    /// The client's key that the tokens are bound to (RFC 9449).
    pub dpop_key: Option<KeyFingerprint>,
}

/// `token_type`, compared case-insensitively.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// RFC 6750.
    Bearer,
    /// RFC 9449.
    DPoP,
}

/// Why there are no tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The grant is invalid: the code or refresh token was used, revoked or expired, or the user is
    /// not allowed.
    #[error("the provider rejected the grant: `{error}`{}", described(description.as_deref()))]
    GrantRejected {
        /// `error`, or `http_` and the status if there was none.
        error: String,
        /// `error_description`, safe to display.
        description: Option<String>,
        /// The code of a dialect's known, more specific reason.
        reason: Option<&'static str>,
    },
    /// The provider does not accept this client or this kind of request, or its `error` is unknown.
    /// Never ends a session.
    #[error(
        "the provider rejected the client{}: `{error}`{}",
        method.map_or_else(String::new, |method| format!(" ({method})")),
        described(description.as_deref())
    )]
    ClientRejected {
        /// The method of client authentication.
        method: Option<&'static str>,
        /// `error`, or `http_` and the status if there was none.
        error: String,
        /// `error_description`, safe to display.
        description: Option<String>,
        /// The code of a dialect's known, more specific reason.
        reason: Option<&'static str>,
    },
    /// The provider is unavailable: 5xx, 408, 425, 429, `temporarily_unavailable`, or a redirect or
    /// page of a gateway in front of it. The grant can be retried later.
    #[error("the provider is unavailable (status {status}){}", described(description.as_deref()))]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// `error` and `error_description`, safe to display.
        description: Option<String>,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Nothing was sent, so the grant was not used.
    #[error(transparent)]
    Unreachable(ProviderError),
    /// It is unknown whether the grant was used.
    #[error(transparent)]
    OutcomeUnknown(ProviderError),
    /// The response does not follow the standard.
    #[error("the provider's token response is invalid: {0}")]
    BadResponse(&'static str),
}

fn described(description: Option<&str>) -> String {
    description.map_or_else(String::new, |description| format!(" ({description})"))
}

impl TokenError {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::GrantRejected {
                reason: Some(reason),
                ..
            }
            | Self::ClientRejected {
                reason: Some(reason),
                ..
            } => reason,
            Self::GrantRejected { reason: None, .. } => "grant_rejected",
            Self::ClientRejected { reason: None, .. } => "client_rejected",
            Self::Unavailable { .. } => "provider_unavailable",
            Self::Unreachable(error) | Self::OutcomeUnknown(error) => error.code(),
            Self::BadResponse(_) => "token_response_malformed",
        }
    }

    /// The same error, with the method of client authentication.
    pub(super) fn with_client_auth(mut self, by: &'static str) -> Self {
        if let Self::ClientRejected { method, .. } = &mut self {
            *method = Some(by);
        }
        self
    }

    /// The same error, with the `Retry-After` of its response.
    pub(super) fn with_retry_after(mut self, response: Option<Duration>) -> Self {
        if let Self::Unavailable { retry_after, .. } = &mut self {
            *retry_after = response;
        }
        self
    }
}

impl From<ProviderError> for TokenError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::OutcomeUnknown { .. } => Self::OutcomeUnknown(error),
            ProviderError::TooLarge { .. } => Self::BadResponse("larger than the limit"),
            ProviderError::Setup(_)
            | ProviderError::Insecure { .. }
            | ProviderError::ClientAssertion(_)
            | ProviderError::ClientKey(_)
            | ProviderError::Unreachable { .. }
            | ProviderError::CircuitOpen
            | ProviderError::Status { .. }
            | ProviderError::NotJson { .. }
            | ProviderError::Metadata { .. }
            | ProviderError::Keys { .. }
            | ProviderError::NotOffered { endpoint: _ }
            | ProviderError::OtherSubject { .. }
            | ProviderError::NoRequestUri { .. }
            | ProviderError::NoVerdict { .. } => Self::Unreachable(error),
        }
    }
}

/// The grant of a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// `authorization_code`.
    Code,
    /// `refresh_token`.
    Refresh,
    /// `password`.
    Password,
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    Exchange,
}

/// Parses a response of the token endpoint to `grant`.
///
/// # Errors
/// Any response without tokens.
pub fn parse_response(grant: Grant, status: u16, body: &[u8]) -> Result<TokenResponse, TokenError> {
    let is_empty = body.trim_ascii().is_empty();
    let response = json::object(body);
    if status >= 500 || matches!(status, 408 | 425 | 429) {
        let response = response.unwrap_or_default();
        return Err(unavailable(status, &response));
    }
    match (status, &response) {
        // Some providers report errors with 200, and some report none with an empty one.
        (200..=299, Some(response)) if !has_error(response) => read_tokens(response),
        (200..=299 | 400..=499, Some(response)) => Err(read_error(grant, status, response)),
        (400..=499, None) if is_empty => Err(read_error(grant, status, &Map::new())),
        (200..=399, _) if grant == Grant::Refresh => Err(gateway_response(status)),
        (200..=299, None) => Err(TokenError::BadResponse("not a JSON object")),
        _ => Err(TokenError::BadResponse(
            "neither tokens nor an error of RFC 6749",
        )),
    }
}

fn read_tokens(response: &Map<String, Value>) -> Result<TokenResponse, TokenError> {
    let token = |name, problem| match response.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.as_str()).filter(|token| !token.is_empty())),
        Some(_) => Err(TokenError::BadResponse(problem)),
    };
    let access_token = token("access_token", "`access_token` is not a string")?;
    let access_token = access_token.ok_or(TokenError::BadResponse("no `access_token`"))?;
    let token_type = match token("token_type", "`token_type` is not a string")? {
        Some(name) if name.eq_ignore_ascii_case("bearer") => TokenType::Bearer,
        Some(name) if name.eq_ignore_ascii_case("dpop") => TokenType::DPoP,
        Some(_) => return Err(TokenError::BadResponse("unknown `token_type`")),
        None => return Err(TokenError::BadResponse("no `token_type`")),
    };
    Ok(TokenResponse {
        access_token: AccessToken::new(access_token),
        token_type,
        expires_in: lifetime(response.get("expires_in")),
        refresh_token: token("refresh_token", "`refresh_token` is not a string")?
            .map(RefreshToken::new),
        id_token: token("id_token", "`id_token` is not a string")?.map(IdToken::new),
        scope: scope(response.get("scope"))?,
        refresh_token_id: None,
        dpop_key: None,
    })
}

fn has_error(response: &Map<String, Value>) -> bool {
    match response.get("error") {
        None | Some(Value::Null) => false,
        Some(Value::String(error)) => !error.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
    }
}

/// `expires_in`: seconds as a number, or, with some providers, as a string. It is optional, so
/// anything but a positive number of seconds counts as absent.
fn lifetime(value: Option<&Value>) -> Option<Duration> {
    let seconds = match value? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 1.0)?;
    let life = Duration::try_from_secs_f64(seconds.floor()).unwrap_or(MAX_LIFETIME);
    Some(life.min(MAX_LIFETIME))
}

/// `scope`: values separated by spaces, or, with some providers, an array.
fn scope(value: Option<&Value>) -> Result<Option<String>, TokenError> {
    let malformed = TokenError::BadResponse("`scope` is not a string");
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(scope)) => Ok(Some(scope.clone())),
        Some(Value::Array(values)) => {
            let values: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
            values.map(|values| Some(values.join(" "))).ok_or(malformed)
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(malformed),
    }
}

/// A response to a refresh that no token endpoint sends: a redirect, or a page in place of JSON. A
/// gateway in front of the provider sends it, for example during maintenance.
pub(super) const fn gateway_response(status: u16) -> TokenError {
    TokenError::Unavailable {
        status,
        description: None,
        retry_after: None,
    }
}

/// An error response (RFC 6749 section 5.2), or what some providers send instead. Without `error`
/// the grant counts as rejected only if no gateway would respond alike: 400, or 403 with an empty
/// body. An unknown `error` may be a gateway's, too.
fn read_error(grant: Grant, status: u16, response: &Map<String, Value>) -> TokenError {
    let description = text(response, "error_description");
    let reason = None;
    let named = text(response, "error")
        .map(|error| json::printable(&error, 80))
        .filter(|error| !error.is_empty());
    let Some(error) = named else {
        let error = format!("http_{status}");
        return match (grant, status) {
            (_, 401) => TokenError::ClientRejected {
                method: None,
                error,
                description,
                reason,
            },
            (Grant::Refresh, 400) => TokenError::GrantRejected {
                error,
                description,
                reason,
            },
            (Grant::Refresh, 403) if response.is_empty() => TokenError::GrantRejected {
                error,
                description,
                reason,
            },
            (Grant::Refresh | Grant::Code | Grant::Password | Grant::Exchange, _) => {
                TokenError::BadResponse("an error that is not of RFC 6749")
            }
        };
    };
    match error.as_str() {
        "invalid_client"
        | "unauthorized_client"
        | "unsupported_grant_type"
        | "invalid_request"
        | "invalid_scope"
        | "invalid_target"
        | "invalid_dpop_proof"
        | "use_dpop_nonce"
        | "not_licensed" => TokenError::ClientRejected {
            method: None,
            error,
            description,
            reason,
        },
        "temporarily_unavailable" | "server_error" | "slow_down" => unavailable(status, response),
        name if grant == Grant::Refresh && !ends_session(name) => TokenError::ClientRejected {
            method: None,
            error,
            description,
            reason,
        },
        _ => TokenError::GrantRejected {
            error,
            description,
            reason,
        },
    }
}

/// Whether this `error` of a refresh means that the token or the user's consent is gone.
fn ends_session(error: &str) -> bool {
    const ENDS: [&str; 8] = [
        "access_denied",
        "account_selection_required",
        "consent_required",
        "expired_token",
        "interaction_required",
        "invalid_grant",
        "invalid_token",
        "login_required",
    ];
    ENDS.contains(&error) || error.contains("refresh_token")
}

fn text(response: &Map<String, Value>, name: &str) -> Option<String> {
    let text = response.get(name).and_then(Value::as_str);
    text.map(|text| json::printable(text, 300))
}

fn unavailable(status: u16, response: &Map<String, Value>) -> TokenError {
    let texts = ["error", "error_description"].map(|name| text(response, name));
    let texts: Vec<String> = texts.into_iter().flatten().collect();
    TokenError::Unavailable {
        status,
        description: (!texts.is_empty()).then(|| texts.join(": ")),
        retry_after: None,
    }
}

/// Reads a revocation response. A 2xx means success; some errors mean that the provider cannot revoke
/// this token type.
pub(super) fn revocation_outcome(response: ProviderResponse) -> Result<Revoked, ProviderError> {
    let unsupported = json::object(&response.body).is_some_and(|body| {
        let error = body.get("error");
        error.is_some_and(|error| error == "unsupported_token_type")
    });
    match response.status {
        200..=299 => Ok(Revoked::Done),
        400 | 503 if unsupported => Ok(Revoked::NotOffered),
        _ => Err(response.unexpected_status()),
    }
}

/// The result of a revocation (RFC 7009).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The token is no longer valid.
    Done,
    /// The provider does not offer revocation, or not for refresh tokens.
    NotOffered,
}

#[cfg(test)]
mod tests;
