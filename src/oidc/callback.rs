//! Authorization response: the query of the callback (RFC 6749 section 4.1.2, RFC 9207), or a JWT in it
//! (JWT Secured Authorization Response Mode for OAuth 2.0, JARM). PURE.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::claims::{ClaimError, Claims};
use super::client::ClientSettings;
use super::error::TokenRejected;
use super::json;
use super::jws::{JwsError, Signed};
use crate::types::oauth::{AuthorizationCode, Issuer, State};
use crate::types::time::Timestamp;

/// Maximum size of the query in bytes.
const MAX_QUERY_BYTES: usize = 16 * 1024;

/// A valid authorization response of the expected issuer.
#[derive(Debug)]
pub struct Callback {
    /// `state`, which must be verified before anything else is trusted.
    pub state: State,
    outcome: Outcome,
    /// `aud` of a signed response.
    signed_for: Option<Vec<String>>,
}

/// The result of the login at the provider.
#[derive(Debug)]
pub enum Outcome {
    /// The user signed in.
    Code(AuthorizationCode),
    /// The provider rejected the login.
    Refused(AuthorizationError),
}

/// The provider's reason for a rejected login (RFC 6749 section 4.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationError {
    /// `error`, safe to display.
    pub error: String,
    /// `error_description`, safe to display.
    pub description: Option<String>,
    /// `error_reason`, which some providers add, unchanged.
    pub reason: Option<String>,
}

/// Why a callback is not a valid authorization response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// It exceeds the maximum size.
    #[error("the provider's response is too long")]
    TooLong,
    /// A parameter occurs more than once.
    #[error("`{0}` occurs more than once in the provider's response")]
    Repeated(&'static str),
    /// There is no `state`.
    #[error("the provider's response has no `state`")]
    NoState,
    /// There is neither `code` nor `error`, or both.
    #[error("the provider's response does not have exactly one of `code` and `error`")]
    NoOutcome,
    /// `iss` is missing although the metadata announce it.
    #[error("the provider's response has no `iss`, which its metadata announce")]
    NoIssuer,
    /// `iss` is another provider: a mix-up attack (RFC 9207 section 2.4).
    #[error("the response is from another provider")]
    IssuerMismatch,
    /// It is not signed although the client requested that, or the reverse.
    #[error("the provider's response is not in the requested `response_mode`")]
    ModeMismatch,
    /// The provider did not sign the JWT of a signed response.
    #[error("the provider's signed response was rejected: {0}")]
    Signature(#[from] JwsError),
    /// A claim of a signed response is not acceptable.
    #[error("the provider's signed response was rejected: {0}")]
    Claim(#[from] ClaimError),
    /// A signed response could not be verified.
    #[error("the provider's keys could not be fetched")]
    KeysUnavailable,
}

impl CallbackError {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "callback_too_long",
            Self::Repeated(_) => "callback_parameter_repeated",
            Self::NoState => "callback_state_missing",
            Self::NoOutcome => "callback_malformed",
            Self::NoIssuer => "callback_issuer_missing",
            Self::IssuerMismatch => "callback_issuer_mismatch",
            Self::ModeMismatch => "callback_mode_mismatch",
            Self::Signature(error) => error.code(),
            Self::Claim(error) => error.code(),
            Self::KeysUnavailable => "provider_keys_unavailable",
        }
    }

    /// Whether the provider is unavailable and the response may be valid.
    pub const fn is_outage(self) -> bool {
        matches!(self, Self::KeysUnavailable)
    }
}

impl From<TokenRejected> for CallbackError {
    fn from(rejected: TokenRejected) -> Self {
        match rejected {
            TokenRejected::KeysUnavailable(_) => Self::KeysUnavailable,
            TokenRejected::Signature(error) => Self::Signature(error),
            TokenRejected::Claim(error) => Self::Claim(error),
        }
    }
}

#[derive(Default)]
struct Parameters<'q> {
    code: Option<Cow<'q, str>>,
    state: Option<Cow<'q, str>>,
    iss: Option<Cow<'q, str>>,
    error: Option<Cow<'q, str>>,
    description: Option<Cow<'q, str>>,
    reason: Option<Cow<'q, str>>,
}

impl Callback {
    /// Parses a callback's query (without `?`). `iss_required` is the metadata's
    /// `authorization_response_iss_parameter_supported`. Unknown parameters are ignored, since
    /// providers add their own.
    ///
    /// # Errors
    /// It is not a valid response, or from another issuer.
    pub fn parse(query: &str, issuer: &Issuer, iss_required: bool) -> Result<Self, CallbackError> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(CallbackError::TooLong);
        }
        let found = Parameters::read(query)?;
        match found.iss.as_deref() {
            None if iss_required => return Err(CallbackError::NoIssuer),
            Some(iss) if iss != issuer.as_str() => return Err(CallbackError::IssuerMismatch),
            None | Some(_) => {}
        }
        found.into_callback(None)
    }

    /// Checks the claims of a signed response.
    pub(super) fn of_signed(
        signed: &Signed,
        issuer: &Issuer,
        leeway: Duration,
        now: Timestamp,
    ) -> Result<Self, CallbackError> {
        let claims = Claims::new(&signed.claims);
        claims.check_issuer(issuer).map_err(|error| {
            if error == ClaimError::IssuerMismatch {
                CallbackError::IssuerMismatch
            } else {
                CallbackError::Claim(error)
            }
        })?;
        claims.check_times(now, leeway)?;
        let audiences = claims.audiences()?;
        let audiences = audiences.into_iter().map(str::to_owned).collect();
        Parameters::of_claims(claims)?.into_callback(Some(audiences))
    }

    /// The result of the login, if the response is for `client` and in its response mode.
    ///
    /// # Errors
    /// It is not.
    pub fn outcome(self, client: &ClientSettings) -> Result<Outcome, CallbackError> {
        if self.signed_for.is_some() != client.response_mode.is_signed() {
            return Err(CallbackError::ModeMismatch);
        }
        let is_other = |audiences: &Vec<String>| {
            let mut audiences = audiences.iter();
            !audiences.any(|audience| audience == client.client_id.as_str())
        };
        if self.signed_for.as_ref().is_some_and(is_other) {
            return Err(CallbackError::Claim(ClaimError::AudienceMismatch));
        }
        Ok(self.outcome)
    }
}

/// The JWT of a signed response (`response`). `None`: the response is not signed.
///
/// # Errors
/// The query is too long, or has several.
pub fn signed_response(query: &str) -> Result<Option<String>, CallbackError> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(CallbackError::TooLong);
    }
    let mut tokens = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "response")
        .map(|(_, token)| token.into_owned());
    let token = tokens.next();
    if tokens.next().is_some() {
        return Err(CallbackError::Repeated("response"));
    }
    Ok(token)
}

impl<'q> Parameters<'q> {
    fn of_claims(claims: Claims<'q>) -> Result<Self, CallbackError> {
        let text = |name| match claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(Cow::Borrowed(text.as_str()))),
            Some(_) => Err(CallbackError::NoOutcome),
        };
        Ok(Self {
            code: text("code")?,
            state: text("state")?,
            iss: None,
            error: text("error")?,
            description: text("error_description")?,
            reason: text("error_reason")?,
        })
    }

    fn into_callback(self, signed_for: Option<Vec<String>>) -> Result<Callback, CallbackError> {
        let state = self.state.filter(|state| !state.is_empty());
        let state = State::new(state.ok_or(CallbackError::NoState)?);
        let outcome = match (self.code, self.error) {
            (Some(code), None) if !code.is_empty() => Outcome::Code(AuthorizationCode::new(code)),
            (None, Some(error)) => Outcome::Refused(AuthorizationError {
                error: json::printable(&error, 80),
                description: self.description.map(|text| json::printable(&text, 300)),
                reason: self.reason.map(Cow::into_owned),
            }),
            _ => return Err(CallbackError::NoOutcome),
        };
        Ok(Callback {
            state,
            outcome,
            signed_for,
        })
    }

    fn read(query: &'q str) -> Result<Self, CallbackError> {
        let mut found = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let (slot, name) = match name.as_ref() {
                "code" => (&mut found.code, "code"),
                "state" => (&mut found.state, "state"),
                "iss" => (&mut found.iss, "iss"),
                "error" => (&mut found.error, "error"),
                "error_description" => (&mut found.description, "error_description"),
                "error_reason" => (&mut found.reason, "error_reason"),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(CallbackError::Repeated(name));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str, iss_required: bool) -> Result<Callback, CallbackError> {
        Callback::parse(
            query,
            &Issuer::new("https://login.example.com"),
            iss_required,
        )
    }

    #[test]
    fn parse_ignores_unknown_parameters() {
        // FusionAuth adds `locale` and `userState`.
        let query = "code=a%2Bb&state=s&iss=https%3A%2F%2Flogin.example.com&locale=en&userState=Authenticated&locale=de";
        let callback = parse(query, true).unwrap();
        assert_eq!(callback.state.expose(), "s");
        assert!(matches!(callback.outcome, Outcome::Code(code) if code.expose() == "a+b"));
    }

    #[test]
    fn parse_makes_errors_safe_to_display() {
        let query = format!(
            "error=access%00_denied&error_description={}%0d%0a%1b[31mx&state=s",
            "y".repeat(400)
        );
        let Outcome::Refused(refused) = parse(&query, false).unwrap().outcome else {
            panic!()
        };
        assert_eq!(
            (refused.error.as_str(), refused.description.unwrap().len()),
            ("access_denied", 300)
        );
    }

    #[test]
    fn parse_rejects_invalid_responses() {
        let cases = [
            ("", CallbackError::NoState),
            ("code=a", CallbackError::NoState),
            ("code=a&state=", CallbackError::NoState),
            ("state=s", CallbackError::NoOutcome),
            ("state=s&code=", CallbackError::NoOutcome),
            ("state=s&code=a&error=b", CallbackError::NoOutcome),
            ("state=s&code=a&code=a", CallbackError::Repeated("code")),
            ("state=s&code=a&%63ode=b", CallbackError::Repeated("code")),
            ("state=s&state=t&code=a", CallbackError::Repeated("state")),
            ("state=s&code=a&iss=x&iss=x", CallbackError::Repeated("iss")),
            ("state=s&error=a&error=b", CallbackError::Repeated("error")),
            (
                "state=s&code=a&iss=https://evil.example",
                CallbackError::IssuerMismatch,
            ),
            (
                "state=s&code=a&iss=https://login.example.com/",
                CallbackError::IssuerMismatch,
            ),
            ("state=s&code=a&iss=", CallbackError::IssuerMismatch),
            (
                "state=s&error=a&iss=https://evil.example",
                CallbackError::IssuerMismatch,
            ),
        ];
        for (query, error) in cases {
            assert_eq!(parse(query, false).unwrap_err(), error, "{query}");
        }
        assert_eq!(
            parse("state=s&code=a", true).unwrap_err(),
            CallbackError::NoIssuer
        );
        assert_eq!(
            parse(&"x".repeat(MAX_QUERY_BYTES + 1), false).unwrap_err(),
            CallbackError::TooLong
        );
    }
}
