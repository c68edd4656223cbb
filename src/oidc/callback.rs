//! What a browser brings back from the provider (RFC 6749 section 4.1.2, RFC 9207). PURE.

use std::borrow::Cow;

use super::json;
use crate::types::oauth::{AuthorizationCode, Issuer, State};

/// The longest query that is read, in bytes.
const MAX_QUERY_BYTES: usize = 16 * 1024;

/// A well-formed authorization answer of the expected issuer.
#[derive(Debug)]
pub struct Callback {
    /// `state`, to be opened before anything else is believed.
    pub state: State,
    /// What the provider says.
    pub outcome: Outcome,
}

/// The two things that an authorization answer can be.
#[derive(Debug)]
pub enum Outcome {
    /// The person signed in.
    Code(AuthorizationCode),
    /// The provider declined.
    Refused {
        /// `error` (RFC 6749 section 4.1.2.1), fit to be shown.
        error: String,
        /// `error_description`, fit to be shown.
        description: Option<String>,
        /// `error_reason`, which some providers add, as it came.
        reason: Option<String>,
    },
}

/// Why a callback is not an authorization answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// More than is read.
    #[error("the answer from the provider is too long")]
    TooLong,
    /// A parameter comes twice.
    #[error("`{0}` comes more than once in the answer from the provider")]
    Repeated(&'static str),
    /// There is no `state`.
    #[error("the answer from the provider has no `state`")]
    NoState,
    /// There is neither `code` nor `error`, or there are both.
    #[error("the answer from the provider has not exactly one of `code` and `error`")]
    NoOutcome,
    /// The provider promises `iss` and it is not there.
    #[error("the answer from the provider has no `iss`, which its metadata promises")]
    NoIssuer,
    /// `iss` is another provider: a mix-up (RFC 9207 section 2.4).
    #[error("the answer is of another provider than was asked")]
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
    /// Reads a callback's query (without `?`). `issuer_promised` is the metadata's
    /// `authorization_response_iss_parameter_supported`. Unknown parameters are ignored: providers add their own.
    ///
    /// # Errors
    /// It is not an answer to anything, or not this issuer's.
    pub fn parse(
        query: &str,
        issuer: &Issuer,
        issuer_promised: bool,
    ) -> Result<Self, CallbackError> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(CallbackError::TooLong);
        }
        let found = Parameters::read(query)?;
        match found.iss.as_deref() {
            None if issuer_promised => return Err(CallbackError::NoIssuer),
            Some(iss) if iss != issuer.as_str() => return Err(CallbackError::IssuerMismatch),
            None | Some(_) => {}
        }
        let state = found
            .state
            .filter(|state| !state.is_empty())
            .ok_or(CallbackError::NoState)?;
        let outcome = match (found.code, found.error) {
            (Some(code), None) if !code.is_empty() => Outcome::Code(AuthorizationCode::new(code)),
            (None, Some(error)) => Outcome::Refused {
                error: json::printable(&error, 80),
                description: found.description.map(|text| json::printable(&text, 300)),
                reason: found.reason.map(Cow::into_owned),
            },
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

    fn parse(query: &str, issuer_promised: bool) -> Result<Callback, CallbackError> {
        Callback::parse(
            query,
            &Issuer::new("https://login.example.com"),
            issuer_promised,
        )
    }

    #[test]
    fn a_code_comes_with_whatever_else_the_provider_adds() {
        // FusionAuth adds `locale` and `userState`.
        let query = "code=a%2Bb&state=s&iss=https%3A%2F%2Flogin.example.com&locale=en&userState=Authenticated&locale=de";
        let callback = parse(query, true).unwrap();
        assert_eq!(callback.state.expose(), "s");
        assert!(matches!(callback.outcome, Outcome::Code(code) if code.expose() == "a+b"));
    }

    #[test]
    fn an_error_is_fit_to_be_shown() {
        let query = format!(
            "error=access%00_denied&error_description={}%0d%0a%1b[31mx&state=s",
            "y".repeat(400)
        );
        let Outcome::Refused {
            error, description, ..
        } = parse(&query, false).unwrap().outcome
        else {
            panic!()
        };
        assert_eq!(
            (error.as_str(), description.unwrap().len()),
            ("access_denied", 300)
        );
    }

    #[test]
    fn what_is_not_one_answer_of_this_provider_is_refused() {
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
