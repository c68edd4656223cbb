//! Password grant errors (RFC 6749 section 4.3): why a provider rejected a login, as stable codes
//! that an app can act on. PURE. The standard has only `invalid_grant`. More specific reasons are
//! provider-specific, and map to the codes below. Text from the provider is never passed on.

use serde_json::{Map, Value, json};

use super::json;
use super::token::{TokenError, TokenResponse};

/// Why a password login failed.
#[derive(Clone, Debug, PartialEq)]
pub enum PasswordError {
    /// The provider rejected the user.
    Rejected(PasswordRejection),
    /// The login was not decided: an outage, or a configuration error.
    Failed(TokenError),
}

/// A rejection by the provider.
#[derive(Clone, Debug, PartialEq)]
pub struct PasswordRejection {
    /// The reason.
    pub reason: RejectionReason,
    /// Members for the app to continue with, unchanged: `two_factor_id`, `two_factor_methods`,
    /// `change_password_id`.
    pub continuation: Map<String, Value>,
}

/// Why a user was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionReason {
    /// Unknown account or wrong password; not distinguished.
    WrongCredentials,
    /// A second factor is required.
    TwoFactorRequired,
    /// The password must be changed first.
    ChangePasswordRequired,
    /// An email address, a phone number or the registration is not verified.
    VerificationRequired,
    /// The user is not registered for this app.
    RegistrationRequired,
    /// The account is locked or disabled.
    AccountLocked,
    /// The account has expired.
    AccountExpired,
    /// An administrator or a policy of the provider prevents it.
    LoginPrevented,
    /// The user must give consent, or do something else in a browser.
    InteractionRequired,
}

impl RejectionReason {
    /// The stable code for logs, metrics and responses.
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

/// Values of FusionAuth's `error_reason`, and of `error` with several providers.
const BY_CODE: [(&str, RejectionReason); 31] = [
    (
        "invalid_user_credentials",
        RejectionReason::WrongCredentials,
    ),
    ("user_not_found", RejectionReason::WrongCredentials),
    ("two_factor_required", RejectionReason::TwoFactorRequired),
    (
        "multi_factor_challenge_required",
        RejectionReason::TwoFactorRequired,
    ),
    ("mfa_required", RejectionReason::TwoFactorRequired),
    (
        "mfa_registration_required",
        RejectionReason::TwoFactorRequired,
    ),
    ("association_required", RejectionReason::TwoFactorRequired),
    (
        "change_password_required",
        RejectionReason::ChangePasswordRequired,
    ),
    (
        "change_password_administrative",
        RejectionReason::ChangePasswordRequired,
    ),
    (
        "change_password_breached",
        RejectionReason::ChangePasswordRequired,
    ),
    (
        "change_password_expired",
        RejectionReason::ChangePasswordRequired,
    ),
    (
        "change_password_validation",
        RejectionReason::ChangePasswordRequired,
    ),
    ("password_expired", RejectionReason::ChangePasswordRequired),
    ("password_leaked", RejectionReason::ChangePasswordRequired),
    (
        "password_change_required",
        RejectionReason::ChangePasswordRequired,
    ),
    (
        "email_verification_required",
        RejectionReason::VerificationRequired,
    ),
    (
        "phone_verification_required",
        RejectionReason::VerificationRequired,
    ),
    (
        "registration_verification_required",
        RejectionReason::VerificationRequired,
    ),
    ("email_not_verified", RejectionReason::VerificationRequired),
    (
        "registration_required",
        RejectionReason::RegistrationRequired,
    ),
    ("user_locked", RejectionReason::AccountLocked),
    ("account_locked", RejectionReason::AccountLocked),
    ("account_disabled", RejectionReason::AccountLocked),
    ("user_expired", RejectionReason::AccountExpired),
    ("account_expired", RejectionReason::AccountExpired),
    ("login_prevented", RejectionReason::LoginPrevented),
    ("access_denied", RejectionReason::LoginPrevented),
    ("unauthorized", RejectionReason::LoginPrevented),
    ("interaction_required", RejectionReason::InteractionRequired),
    ("consent_required", RejectionReason::InteractionRequired),
    ("login_required", RejectionReason::InteractionRequired),
];

/// Keycloak's `error_description`, its only specific reason. These texts have been stable for
/// years.
const BY_DESCRIPTION: [(&str, RejectionReason); 3] = [
    ("Account disabled", RejectionReason::AccountLocked),
    (
        "Account temporarily disabled",
        RejectionReason::AccountLocked,
    ),
    (
        "Account is not fully set up",
        RejectionReason::InteractionRequired,
    ),
];

/// Numbers of the Microsoft identity platform, in `error_codes`.
const BY_NUMBER: [(u64, RejectionReason); 9] = [
    (50_053, RejectionReason::AccountLocked),
    (50_055, RejectionReason::ChangePasswordRequired),
    (50_057, RejectionReason::AccountLocked),
    (50_072, RejectionReason::TwoFactorRequired),
    (50_074, RejectionReason::TwoFactorRequired),
    (50_076, RejectionReason::TwoFactorRequired),
    (50_079, RejectionReason::TwoFactorRequired),
    (50_144, RejectionReason::ChangePasswordRequired),
    (65_001, RejectionReason::InteractionRequired),
];

/// Maximum length of a text that is passed on.
const MAX_TEXT_LEN: usize = 256;
/// Maximum number of two-factor methods that are passed on.
const MAX_METHODS: usize = 16;

/// Refines a token response to a password grant. `parsed` is the result of the general parser.
///
/// # Errors
/// See [`PasswordError`].
pub fn refine_password_response(
    parsed: Result<TokenResponse, TokenError>,
    body: &[u8],
) -> Result<TokenResponse, PasswordError> {
    let error = match parsed {
        Ok(response) => return Ok(response),
        Err(error) => error,
    };
    let response = json::object(body).unwrap_or_default();
    // An unavailable provider decides nothing, whatever reason it gives.
    if matches!(error, TokenError::Unavailable { .. }) {
        return Err(PasswordError::Failed(error));
    }
    match (reason(&response), error) {
        (Some(reason), _) => Err(PasswordError::Rejected(PasswordRejection {
            reason,
            continuation: continuation(&response),
        })),
        (None, TokenError::GrantRejected { .. }) => {
            Err(PasswordError::Rejected(PasswordRejection {
                reason: RejectionReason::WrongCredentials,
                continuation: Map::new(),
            }))
        }
        (None, error) => Err(PasswordError::Failed(error)),
    }
}

/// The most specific reason. `error` comes late, because it varies between providers for the same
/// reason.
fn reason(response: &Map<String, Value>) -> Option<RejectionReason> {
    let text = |name: &str| response.get(name).and_then(Value::as_str);
    let by_code = |name| {
        BY_CODE
            .iter()
            .find(|(code, _)| Some(*code) == text(name))
            .map(|(_, reason)| *reason)
    };
    let by_description = || {
        let description = text("error_description")?;
        BY_DESCRIPTION
            .iter()
            .find(|(known, _)| *known == description)
            .map(|(_, reason)| *reason)
    };
    let by_number = || {
        let numbers = response.get("error_codes")?.as_array()?;
        let known = |number: &u64| {
            BY_NUMBER
                .iter()
                .find(|(known, _)| known == number)
                .map(|(_, reason)| *reason)
        };
        numbers
            .iter()
            .filter_map(Value::as_u64)
            .find_map(|number| known(&number))
    };
    by_code("error_reason")
        .or_else(by_number)
        .or_else(|| by_code("error"))
        .or_else(by_description)
}

/// FusionAuth's members for the app to continue with, if they are short printable ASCII.
fn continuation(response: &Map<String, Value>) -> Map<String, Value> {
    let plain = |value: &Value| {
        value
            .as_str()
            .filter(|text| is_plain(text))
            .map(|text| json!(text))
    };
    let mut members = Map::new();
    for name in ["two_factor_id", "change_password_id"] {
        members.extend(
            response
                .get(name)
                .and_then(plain)
                .map(|value| (name.to_owned(), value)),
        );
    }
    if let Some(methods) = response.get("two_factor_methods").and_then(Value::as_array) {
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
    !text.is_empty()
        && text.len() <= MAX_TEXT_LEN
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::super::token::{Grant, parse_response};
    use super::*;

    fn read(status: u16, body: &str) -> Result<TokenResponse, PasswordError> {
        refine_password_response(
            parse_response(Grant::Password, status, body.as_bytes()),
            body.as_bytes(),
        )
    }

    fn parse(status: u16, body: &Value) -> Result<TokenResponse, PasswordError> {
        read(status, &body.to_string())
    }

    fn rejected(status: u16, body: &Value) -> PasswordRejection {
        match parse(status, body) {
            Err(PasswordError::Rejected(rejection)) => rejection,
            other => panic!("{body}: {other:?}"),
        }
    }

    /// It is not documented which `error` accompanies a reason.
    #[test]
    fn fusionauth_reason_takes_precedence_over_error() {
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
                assert_eq!(
                    rejected(status, &body).reason.code(),
                    code,
                    "{error} {reason}"
                );
            }
        }
    }

    #[test]
    fn only_continuation_members_are_passed_on() {
        let body = json!({
            "error": "two_factor_required", "error_description": "x", "two_factor_id": "YkQY5Gsy",
            "two_factor_methods": [{"id": "XYZ4", "method": "email", "email": "alice@example.com"}, 7],
            "change_password_id": "a\nb", "access_token": "s3cret",
        });
        let expected = json!({"two_factor_id": "YkQY5Gsy", "two_factor_methods": [{"id": "XYZ4", "method": "email"}, {}]});
        assert_eq!(Value::Object(rejected(400, &body).continuation), expected);
        let body = json!({"error": "change_password_required", "change_password_id": "gIMrXt", "two_factor_id": "x".repeat(257)});
        assert_eq!(
            Value::Object(rejected(400, &body).continuation),
            json!({"change_password_id": "gIMrXt"})
        );
    }

    #[test]
    fn other_providers_reasons_are_recognized() {
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
            let rejection = rejected(status, &body);
            assert_eq!(
                (rejection.reason.code(), rejection.continuation.len()),
                (code, 0),
                "{body}"
            );
        }
    }

    #[test]
    fn outage_and_configuration_errors_are_not_rejections() {
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
            let response = read(status, body);
            assert!(
                matches!(response, Err(PasswordError::Failed(_))),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn successful_response_returns_tokens() {
        let body =
            json!({"access_token": "a", "token_type": "Bearer", "error_reason": "user_locked"});
        assert!(parse(200, &body).is_ok());
    }
}
