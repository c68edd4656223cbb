//! The password grant (RFC 6749 section 4.3): what a provider's refusal means, in words of ours that an app can act on.
//! PURE. The standard knows one word for all of it, `invalid_grant`; what is finer comes from the habits of providers,
//! and is only ever one of the words below, never a text from outside.

use serde_json::{Map, Value, json};

use super::json;
use super::token::{TokenError, TokenResponse};

/// Why nobody was logged in.
#[derive(Clone, Debug, PartialEq)]
pub enum PasswordError {
    /// The provider judged the person, and said no.
    Refused(Refusal),
    /// The provider judged nothing: an outage, or a mistake of the operator.
    Failed(TokenError),
}

/// What the provider said, and what it gave the app to go on with.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Why.
    pub why: WhyRefused,
    /// Members to be passed on as they are: `two_factor_id`, `two_factor_methods`, `change_password_id`.
    pub go_on_with: Map<String, Value>,
}

/// Why a person was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyRefused {
    /// No such account, or another password: never told apart.
    WrongCredentials,
    /// A second factor is asked for.
    TwoFactorRequired,
    /// The password has to be changed first.
    ChangePasswordRequired,
    /// An address, a number or the registration is not verified yet.
    VerificationRequired,
    /// The person is not registered for this app.
    RegistrationRequired,
    /// The account is locked or disabled.
    AccountLocked,
    /// The account has expired.
    AccountExpired,
    /// An administrator or a rule of the provider's prevents it.
    LoginPrevented,
    /// The person has to agree to something, or to do something else in a browser.
    InteractionRequired,
}

impl WhyRefused {
    /// The stable word for logs, metrics and answers.
    pub const fn code(self) -> &'static str {
        match self {
            Self::WrongCredentials => "wrong_credentials",
            Self::TwoFactorRequired => "two_factor_required",
            Self::ChangePasswordRequired => "change_password_required",
            Self::VerificationRequired => "verification_required",
            Self::RegistrationRequired => "registration_required",
            Self::AccountLocked => "account_locked",
            Self::AccountExpired => "account_expired",
            Self::LoginPrevented => "login_prevented",
            Self::InteractionRequired => "interaction_required",
        }
    }
}

/// FusionAuth's `error_reason`, and the `error`s of it and of others.
const BY_WORD: [(&str, WhyRefused); 31] = [
    ("invalid_user_credentials", WhyRefused::WrongCredentials),
    ("user_not_found", WhyRefused::WrongCredentials),
    ("two_factor_required", WhyRefused::TwoFactorRequired),
    (
        "multi_factor_challenge_required",
        WhyRefused::TwoFactorRequired,
    ),
    ("mfa_required", WhyRefused::TwoFactorRequired),
    ("mfa_registration_required", WhyRefused::TwoFactorRequired),
    ("association_required", WhyRefused::TwoFactorRequired),
    (
        "change_password_required",
        WhyRefused::ChangePasswordRequired,
    ),
    (
        "change_password_administrative",
        WhyRefused::ChangePasswordRequired,
    ),
    (
        "change_password_breached",
        WhyRefused::ChangePasswordRequired,
    ),
    (
        "change_password_expired",
        WhyRefused::ChangePasswordRequired,
    ),
    (
        "change_password_validation",
        WhyRefused::ChangePasswordRequired,
    ),
    ("password_expired", WhyRefused::ChangePasswordRequired),
    ("password_leaked", WhyRefused::ChangePasswordRequired),
    (
        "password_change_required",
        WhyRefused::ChangePasswordRequired,
    ),
    (
        "email_verification_required",
        WhyRefused::VerificationRequired,
    ),
    (
        "phone_verification_required",
        WhyRefused::VerificationRequired,
    ),
    (
        "registration_verification_required",
        WhyRefused::VerificationRequired,
    ),
    ("email_not_verified", WhyRefused::VerificationRequired),
    ("registration_required", WhyRefused::RegistrationRequired),
    ("user_locked", WhyRefused::AccountLocked),
    ("account_locked", WhyRefused::AccountLocked),
    ("account_disabled", WhyRefused::AccountLocked),
    ("user_expired", WhyRefused::AccountExpired),
    ("account_expired", WhyRefused::AccountExpired),
    ("login_prevented", WhyRefused::LoginPrevented),
    ("access_denied", WhyRefused::LoginPrevented),
    ("unauthorized", WhyRefused::LoginPrevented),
    ("interaction_required", WhyRefused::InteractionRequired),
    ("consent_required", WhyRefused::InteractionRequired),
    ("login_required", WhyRefused::InteractionRequired),
];

/// Keycloak says it in `error_description` only; these texts have been the same for years.
const BY_DESCRIPTION: [(&str, WhyRefused); 3] = [
    ("Account disabled", WhyRefused::AccountLocked),
    ("Account temporarily disabled", WhyRefused::AccountLocked),
    (
        "Account is not fully set up",
        WhyRefused::InteractionRequired,
    ),
];

/// Microsoft's identity platform has numbers, in `error_codes`.
const BY_NUMBER: [(u64, WhyRefused); 9] = [
    (50_053, WhyRefused::AccountLocked),
    (50_055, WhyRefused::ChangePasswordRequired),
    (50_057, WhyRefused::AccountLocked),
    (50_072, WhyRefused::TwoFactorRequired),
    (50_074, WhyRefused::TwoFactorRequired),
    (50_076, WhyRefused::TwoFactorRequired),
    (50_079, WhyRefused::TwoFactorRequired),
    (50_144, WhyRefused::ChangePasswordRequired),
    (65_001, WhyRefused::InteractionRequired),
];

/// Longest text and most methods that are passed on.
const LONGEST: usize = 256;
const MAX_METHODS: usize = 16;

/// What the token endpoint's answer to a password means; `parsed` is what it is to any grant.
///
/// # Errors
/// See [`PasswordError`].
pub fn read_password_answer(
    parsed: Result<TokenResponse, TokenError>,
    body: &[u8],
) -> Result<TokenResponse, PasswordError> {
    let error = match parsed {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    let answer = json::object(body).unwrap_or_default();
    // A provider in trouble judges nobody, whatever it says of it.
    if matches!(error, TokenError::Unavailable { .. }) {
        return Err(PasswordError::Failed(error));
    }
    match (why(&answer), error) {
        (Some(why), _) => Err(PasswordError::Refused(Refusal {
            why,
            go_on_with: go_on_with(&answer),
        })),
        (None, TokenError::Refused { .. }) => {
            let why = WhyRefused::WrongCredentials;
            Err(PasswordError::Refused(Refusal {
                why,
                go_on_with: Map::new(),
            }))
        }
        (None, error) => Err(PasswordError::Failed(error)),
    }
}

/// The finer reason comes first: which `error` goes with it differs from provider to provider.
fn why(answer: &Map<String, Value>) -> Option<WhyRefused> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let by_word = |name| {
        BY_WORD
            .iter()
            .find(|(word, _)| Some(*word) == text(name))
            .map(|(_, why)| *why)
    };
    let by_description = || {
        let description = text("error_description")?;
        BY_DESCRIPTION
            .iter()
            .find(|(known, _)| *known == description)
            .map(|(_, why)| *why)
    };
    let by_number = || {
        let numbers = answer.get("error_codes")?.as_array()?;
        let known = |number: &u64| {
            BY_NUMBER
                .iter()
                .find(|(known, _)| known == number)
                .map(|(_, why)| *why)
        };
        numbers
            .iter()
            .filter_map(Value::as_u64)
            .find_map(|number| known(&number))
    };
    by_word("error_reason")
        .or_else(by_number)
        .or_else(|| by_word("error"))
        .or_else(by_description)
}

/// What FusionAuth gives an app to go on with, in so far as it is short and plain.
fn go_on_with(answer: &Map<String, Value>) -> Map<String, Value> {
    let plain = |value: &Value| {
        value
            .as_str()
            .filter(|text| is_plain(text))
            .map(|text| json!(text))
    };
    let mut members = Map::new();
    for name in ["two_factor_id", "change_password_id"] {
        members.extend(
            answer
                .get(name)
                .and_then(plain)
                .map(|value| (name.to_owned(), value)),
        );
    }
    if let Some(methods) = answer.get("two_factor_methods").and_then(Value::as_array) {
        let method = |method: &Value| {
            let members = ["id", "method"]
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), plain(method.get(name)?)?)));
            Value::Object(members.collect())
        };
        let methods: Vec<Value> = methods.iter().take(MAX_METHODS).map(method).collect();
        members.insert("two_factor_methods".to_owned(), json!(methods));
    }
    members
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::super::token::{Grant, parse_response};
    use super::*;

    fn read(status: u16, body: &str) -> Result<TokenResponse, PasswordError> {
        read_password_answer(
            parse_response(Grant::Password, status, body.as_bytes()),
            body.as_bytes(),
        )
    }

    fn parse(status: u16, body: &Value) -> Result<TokenResponse, PasswordError> {
        read(status, &body.to_string())
    }

    fn refused(status: u16, body: &Value) -> Refusal {
        match parse(status, body) {
            Err(PasswordError::Refused(refusal)) => refusal,
            other => panic!("{body}: {other:?}"),
        }
    }

    /// FUSIONAUTH, the password grant's answers: which `error` comes with a reason is open.
    #[test]
    fn the_reasons_of_fusionauth_count_whatever_error_they_come_with() {
        let cases = [
            ("invalid_user_credentials", "wrong_credentials"),
            ("user_not_found", "wrong_credentials"),
            ("change_password_breached", "change_password_required"),
            ("change_password_validation", "change_password_required"),
            ("email_verification_required", "verification_required"),
            (
                "registration_verification_required",
                "verification_required",
            ),
            ("registration_required", "registration_required"),
            ("user_locked", "account_locked"),
            ("user_expired", "account_expired"),
            ("login_prevented", "login_prevented"),
            ("two_factor_required", "two_factor_required"),
        ];
        for (reason, code) in cases {
            for (status, error) in [
                (400, "invalid_grant"),
                (401, "invalid_request"),
                (400, "access_denied"),
            ] {
                let body =
                    json!({"error": error, "error_reason": reason, "error_description": "text"});
                assert_eq!(refused(status, &body).why.code(), code, "{error} {reason}");
            }
        }
    }

    #[test]
    fn what_an_app_goes_on_with_is_passed_on_and_nothing_else() {
        let body = json!({
            "error": "two_factor_required", "error_description": "x", "two_factor_id": "YkQY5Gsy",
            "two_factor_methods": [{"id": "XYZ4", "method": "email", "email": "alice@example.com"}, 7],
            "change_password_id": "a\nb", "access_token": "s3cret",
        });
        let expected = json!({"two_factor_id": "YkQY5Gsy", "two_factor_methods": [{"id": "XYZ4", "method": "email"}, {}]});
        assert_eq!(Value::Object(refused(400, &body).go_on_with), expected);
        let body = json!({"error": "change_password_required", "change_password_id": "gIMrXt", "two_factor_id": "x".repeat(257)});
        assert_eq!(
            Value::Object(refused(400, &body).go_on_with),
            json!({"change_password_id": "gIMrXt"})
        );
    }

    #[test]
    fn other_providers_habits_are_known() {
        let cases = [
            (400, json!({"error": "invalid_grant"}), "wrong_credentials"),
            (
                401,
                json!({"error": "invalid_grant", "error_description": "Invalid user credentials"}),
                "wrong_credentials",
            ),
            (
                400,
                json!({"error": "invalid_grant", "error_description": "Account disabled"}),
                "account_locked",
            ),
            (
                400,
                json!({"error": "invalid_grant", "error_description": "Account is not fully set up"}),
                "interaction_required",
            ),
            (
                403,
                json!({"error": "mfa_required", "mfa_token": "t"}),
                "two_factor_required",
            ),
            (
                400,
                json!({"error": "interaction_required", "error_codes": [50076]}),
                "two_factor_required",
            ),
            (
                400,
                json!({"error": "invalid_grant", "error_codes": [50126, 50053]}),
                "account_locked",
            ),
            (
                400,
                json!({"error": "invalid_grant", "error_codes": [50126]}),
                "wrong_credentials",
            ),
            (403, json!({"error": "access_denied"}), "login_prevented"),
        ];
        for (status, body, code) in cases {
            let refusal = refused(status, &body);
            assert_eq!(
                (refusal.why.code(), refusal.go_on_with.len()),
                (code, 0),
                "{body}"
            );
        }
    }

    #[test]
    fn an_outage_or_a_mistake_of_the_operator_is_nobodys_wrong_password() {
        let failed = [
            (
                503,
                json!({"error": "invalid_grant", "error_reason": "user_locked"}),
            ),
            (429, json!({"error": "too_many_attempts"})),
            (401, json!({"error": "invalid_client"})),
            (400, json!({"error": "unauthorized_client"})),
            (
                400,
                json!({"error": "unsupported_grant_type", "error_reason": "grant_type_disabled"}),
            ),
            (400, json!({"error": "invalid_scope"})),
            (200, json!({"token_type": "Bearer"})),
            (404, json!({"generalErrors": []})),
            (302, json!({})),
        ];
        for (status, body) in failed {
            assert!(
                matches!(parse(status, &body), Err(PasswordError::Failed(_))),
                "{status} {body}"
            );
        }
        for (status, body) in [(200, "<html>"), (403, "<html>"), (404, ""), (401, "")] {
            let answer = read(status, body);
            assert!(
                matches!(answer, Err(PasswordError::Failed(_))),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn tokens_are_tokens() {
        let body =
            json!({"access_token": "a", "token_type": "Bearer", "error_reason": "user_locked"});
        assert!(parse(200, &body).is_ok());
    }
}
