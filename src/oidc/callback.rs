//! Authorization response: the query of the callback (RFC 6749 section 4.1.2, RFC 9207). PURE.

use std::borrow::Cow;

use super::json;
use crate::types::oauth::{AuthorizationCode, Issuer, State};

/// Maximum size of the query in bytes.
const MAX_QUERY_BYTES: usize = 16 * 1024;

/// A valid authorization response of the expected issuer.
#[derive(Debug)]
pub struct Callback {
    /// `state`, which must be verified before anything else is trusted.
    pub state: State,
    /// The result of the login.
    pub outcome: Outcome,
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
        let state = found
            .state
            .filter(|state| !state.is_empty())
            .ok_or(CallbackError::NoState)?;
        let outcome = match (found.code, found.error) {
            (Some(code), None) if !code.is_empty() => Outcome::Code(AuthorizationCode::new(code)),
            (None, Some(error)) => Outcome::Refused(AuthorizationError {
                error: json::printable(&error, 80),
                description: found.description.map(|text| json::printable(&text, 300)),
                reason: found.reason.map(Cow::into_owned),
            }),
            _ => return Err(CallbackError::NoOutcome),
        };
        Ok(Self {
            state: State::new(state),
            outcome,
        })
    }
}

impl<'q> Parameters<'q> {
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
