//! The token endpoint (RFC 6749 sections 3.2, 4.1.3 and 6): what is sent, and what an answer means. PURE.
//!
//! The difference that matters is between *this grant is gone*, which ends a session, and everything else,
//! which does not: a mistake of the operator, an outage, an answer that makes no sense.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::error::{Endpoint, ProviderError};
use super::json;
use super::settings::{ClientAuth, ClientSettings};
use crate::types::oauth::{AccessToken, IdToken, ProviderSid, RefreshToken};

/// The longest life of a token that is believed: ten years.
const MAX_LIFE: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// A successful answer (RFC 6749 section 5.1).
#[derive(Clone, Debug)]
pub struct TokenResponse {
    /// `access_token`.
    pub access_token: AccessToken,
    /// `token_type`.
    pub token_type: TokenType,
    /// `expires_in`.
    pub expires_in: Option<Duration>,
    /// `refresh_token`; where a refresh brings none, the old one stays.
    pub refresh_token: Option<RefreshToken>,
    /// `id_token`.
    pub id_token: Option<IdToken>,
    /// `scope`, if it was granted otherwise than asked.
    pub scope: Option<String>,
    /// `refresh_token_id`, with FusionAuth only: the name that the refresh token and its successors bear.
    pub refresh_token_id: Option<ProviderSid>,
}

/// `token_type`, in whatever case the provider writes it.
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
    /// The code or refresh token is used up, revoked or expired, or the person may not go on: the grant is gone.
    #[error("the provider refused the grant: `{error}`")]
    Refused {
        /// `error`, or `http_` and the status where there was none.
        error: String,
        /// `error_description`, fit to be shown.
        description: Option<String>,
        /// Where a dialect has finer ones: a known reason, as our stable word.
        reason: Option<&'static str>,
    },
    /// The provider does not accept this client or this kind of request: the operator's mistake, which never ends
    /// a session.
    #[error("the provider rejected the client: `{error}`")]
    ClientRejected {
        /// `error`, or `http_` and the status where there was none.
        error: String,
        /// `error_description`, fit to be shown.
        description: Option<String>,
        /// Where a dialect has finer ones: a known reason, as our stable word.
        reason: Option<&'static str>,
    },
    /// The provider says that it is in trouble (5xx, 429, `temporarily_unavailable`): the grant may be tried later.
    #[error("the provider cannot answer now (status {status})")]
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
    /// Nothing was sent, so the grant is as it was.
    #[error(transparent)]
    Unreachable(ProviderError),
    /// It is not known whether the grant was used.
    #[error(transparent)]
    TargetError(ProviderError),
    /// An answer, but none that is in the standard.
    #[error("the provider's token answer is not usable: {0}")]
    BadResponse(&'static str),
}

impl TokenError {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused {
                reason: Some(reason),
                ..
            }
            | Self::ClientRejected {
                reason: Some(reason),
                ..
            } => reason,
            Self::Refused { reason: None, .. } => "grant_rejected",
            Self::ClientRejected { reason: None, .. } => "client_rejected",
            Self::Unavailable { .. } => "provider_unavailable",
            Self::Unreachable(error) | Self::TargetError(error) => error.code(),
            Self::BadResponse(_) => "token_response_malformed",
        }
    }
}

impl From<ProviderError> for TokenError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::TargetError { .. } => Self::TargetError(error),
            ProviderError::TooLarge { .. } => Self::BadResponse("larger than the limit"),
            ProviderError::Setup(_)
            | ProviderError::Insecure { .. }
            | ProviderError::Unreachable { .. }
            | ProviderError::Status { .. }
            | ProviderError::NotJson { .. }
            | ProviderError::Metadata(_)
            | ProviderError::Keys(_)
            | ProviderError::NotOffered { endpoint: _ }
            | ProviderError::OtherSubject
            | ProviderError::NoVerdict(_) => Self::Unreachable(error),
        }
    }
}

/// Which grant an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// `authorization_code`.
    Code,
    /// `refresh_token`.
    Refresh,
    /// `password`.
    Password,
}

/// How a client shows who it is: form parameters, or a field of its own.
pub(super) struct ClientProof<'c> {
    pub(super) parameters: Vec<(&'static str, &'c str)>,
    pub(super) authorization: Option<Zeroizing<String>>,
}

/// The client's part of a request to the token or revocation endpoint.
pub(super) fn client_proof(client: &ClientSettings) -> ClientProof<'_> {
    let id = client.client_id.as_str();
    match &client.token_auth {
        ClientAuth::Basic(secret) => ClientProof {
            parameters: Vec::new(),
            authorization: Some(basic(id, secret.expose())),
        },
        ClientAuth::Post(secret) => ClientProof {
            parameters: vec![("client_id", id), ("client_secret", secret.expose())],
            authorization: None,
        },
        ClientAuth::None => ClientProof {
            parameters: vec![("client_id", id)],
            authorization: None,
        },
    }
}

/// `Basic`, of id and secret each form-encoded first (RFC 6749 section 2.3.1), so that a `:` or `%` survives.
fn basic(id: &str, secret: &str) -> Zeroizing<String> {
    let encode =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encode(id), encode(secret)));
    Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
}

/// What the token endpoint's answer to `grant` means.
///
/// # Errors
/// Everything but tokens.
pub fn parse_response(grant: Grant, status: u16, body: &[u8]) -> Result<TokenResponse, TokenError> {
    if status >= 500 || status == 429 {
        return Err(TokenError::Unavailable { status });
    }
    let is_empty = body.trim_ascii().is_empty();
    let answer = json::object(body);
    match (status, &answer) {
        // Some providers report errors with 200.
        (200..=299, Some(answer)) if !answer.contains_key("error") => read_tokens(answer),
        (200..=299, None) => Err(TokenError::BadResponse("not a JSON object")),
        (200..=299 | 400..=499, Some(answer)) => Err(read_error(grant, status, answer)),
        (400..=499, None) if is_empty => Err(read_error(grant, status, &Map::new())),
        _ => Err(TokenError::BadResponse(
            "neither tokens nor an error as of RFC 6749",
        )),
    }
}

fn read_tokens(answer: &Map<String, Value>) -> Result<TokenResponse, TokenError> {
    let token = |name, problem| match answer.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.as_str()).filter(|token| !token.is_empty())),
        Some(_) => Err(TokenError::BadResponse(problem)),
    };
    let access_token = token("access_token", "`access_token` is not a string")?;
    let access_token = access_token.ok_or(TokenError::BadResponse("no `access_token`"))?;
    let token_type = match token("token_type", "`token_type` is not a string")? {
        Some(word) if word.eq_ignore_ascii_case("bearer") => TokenType::Bearer,
        Some(word) if word.eq_ignore_ascii_case("dpop") => TokenType::DPoP,
        Some(_) => return Err(TokenError::BadResponse("unknown `token_type`")),
        None => return Err(TokenError::BadResponse("no `token_type`")),
    };
    Ok(TokenResponse {
        access_token: AccessToken::new(access_token),
        token_type,
        expires_in: lifetime(answer.get("expires_in"))?,
        refresh_token: token("refresh_token", "`refresh_token` is not a string")?
            .map(RefreshToken::new),
        id_token: token("id_token", "`id_token` is not a string")?.map(IdToken::new),
        scope: scope(answer.get("scope"))?,
        refresh_token_id: None,
    })
}

/// `expires_in`: seconds, as a number or, with some providers, as a string of digits.
fn lifetime(value: Option<&Value>) -> Result<Option<Duration>, TokenError> {
    let seconds = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse::<u64>().ok().map(|seconds| seconds as f64),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
    };
    let seconds = seconds.filter(|seconds| *seconds >= 0.0);
    let seconds = seconds.ok_or(TokenError::BadResponse(
        "`expires_in` is not a number of seconds",
    ))?;
    Ok(Some(
        Duration::try_from_secs_f64(seconds.floor())
            .unwrap_or(MAX_LIFE)
            .min(MAX_LIFE),
    ))
}

/// `scope`: words with blanks between, or, with some providers, a list of words.
fn scope(value: Option<&Value>) -> Result<Option<String>, TokenError> {
    let malformed = TokenError::BadResponse("`scope` is not a string");
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(scope)) => Ok(Some(scope.clone())),
        Some(Value::Array(words)) => {
            let words: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
            words.map(|words| Some(words.join(" "))).ok_or(malformed)
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(malformed),
    }
}

/// An error answer (RFC 6749 section 5.2), and what providers send in its place. Without an `error` it is a refusal
/// only where no gateway would say the same: 400, and 403 without a word.
fn read_error(grant: Grant, status: u16, answer: &Map<String, Value>) -> TokenError {
    let text = |name| {
        answer
            .get(name)
            .and_then(Value::as_str)
            .map(|text| json::printable(text, 300))
    };
    let (description, reason) = (text("error_description"), None);
    let named = text("error")
        .map(|error| json::printable(&error, 80))
        .filter(|error| !error.is_empty());
    let Some(error) = named else {
        let error = format!("http_{status}");
        return match (grant, status) {
            (_, 401) => TokenError::ClientRejected {
                error,
                description,
                reason,
            },
            (Grant::Refresh, 400) => TokenError::Refused {
                error,
                description,
                reason,
            },
            (Grant::Refresh, 403) if answer.is_empty() => TokenError::Refused {
                error,
                description,
                reason,
            },
            (Grant::Refresh | Grant::Code | Grant::Password, _) => {
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
            error,
            description,
            reason,
        },
        "temporarily_unavailable" | "server_error" | "slow_down" => {
            TokenError::Unavailable { status }
        }
        _ => TokenError::Refused {
            error,
            description,
            reason,
        },
    }
}

/// Whether a 200 is all that a revocation needs, and what else means that there is nothing to be revoked with.
pub(super) fn revocation_outcome(status: u16, body: &[u8]) -> Result<Revoked, ProviderError> {
    let unsupported = json::object(body).is_some_and(|answer| {
        answer
            .get("error")
            .is_some_and(|e| e == "unsupported_token_type")
    });
    match status {
        200..=299 => Ok(Revoked::Done),
        400 | 503 if unsupported => Ok(Revoked::NotOffered),
        _ => Err(ProviderError::Status {
            endpoint: Endpoint::Revocation,
            status,
        }),
    }
}

/// What became of a revocation (RFC 7009).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The provider says that the token is of no use any more.
    Done,
    /// The provider has no revocation, or none for refresh tokens.
    NotOffered,
}

#[cfg(test)]
mod tests;
