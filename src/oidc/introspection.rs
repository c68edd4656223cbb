//! Token introspection responses (RFC 7662). PURE.

use serde_json::{Map, Value};

use super::claims::ClaimError;
use super::json;
use super::presented_token::{PresentedToken, PresentedTokenProfile, check_introspected};
use crate::types::time::Timestamp;

/// A NumericDate from here on is in milliseconds, as some providers send. In seconds it would be
/// the year 5138.
const MIN_MILLISECONDS: f64 = 1e11;

/// The provider's result on a token.
#[derive(Clone, Debug)]
pub enum Introspected {
    /// The token is active and acceptable.
    Active(Box<PresentedToken>),
    /// The token is inactive: unknown, expired or revoked. A provider says no more.
    Inactive,
    /// The token is active, but its claims are not acceptable.
    Rejected(ClaimError),
}

/// The response is invalid, so nothing is known about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider's introspection response has no boolean `active`")]
pub struct NoVerdict;

/// Parses a response with status 200.
///
/// # Errors
/// [`NoVerdict`]: it is not a JSON object with unique members, or `active` is not a boolean.
pub fn parse(
    body: &[u8],
    profile: PresentedTokenProfile<'_>,
    now: Timestamp,
) -> Result<Introspected, NoVerdict> {
    let mut claims = json::object(body).ok_or(NoVerdict)?;
    match claims.remove("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(Introspected::Inactive),
        Some(_) | None => return Err(NoVerdict),
    }
    dates_in_seconds(&mut claims);
    Ok(match check_introspected(claims, profile, now) {
        Ok(token) => Introspected::Active(Box::new(token)),
        Err(error) => Introspected::Rejected(error),
    })
}

fn dates_in_seconds(claims: &mut Map<String, Value>) {
    for name in ["exp", "iat", "nbf", "auth_time"] {
        if let Some(date) = claims.get_mut(name)
            && let Some(milliseconds) = date.as_f64().filter(|number| *number >= MIN_MILLISECONDS)
        {
            *date = Value::from((milliseconds / 1000.0).floor());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::oidc::claims::Claim;
    use crate::oidc::presented_token::TokenSubject;
    use crate::oidc::testing::with;
    use crate::types::oauth::{ClientId, Issuer, JwkThumbprint, Subject};

    const NOW: u64 = 1_800_000_000;

    fn base() -> Value {
        json!({
            "active": true, "iss": "https://login.example.com", "sub": "alice", "aud": "store", "client_id": "app",
            "exp": NOW + 60, "iat": NOW, "scope": "read", "token_type": "Bearer",
        })
    }

    fn validate(response: &Value) -> Result<Introspected, NoVerdict> {
        let issuer = Issuer::new("https://login.example.com");
        let client_id = ClientId::new("store-client");
        let audiences = [String::from("store")];
        let leeway = Duration::from_secs(30);
        let profile = PresentedTokenProfile {
            issuer: &issuer,
            audiences: &audiences,
            client_id: &client_id,
            mark: None,
            leeway,
        };
        parse(
            response.to_string().as_bytes(),
            profile,
            Timestamp::from_secs(NOW),
        )
    }

    fn active(response: &Value) -> PresentedToken {
        match validate(response) {
            Ok(Introspected::Active(token)) => *token,
            other => panic!("{response}: {other:?}"),
        }
    }

    #[test]
    fn parse_accepts_only_boolean_active() {
        // RFC 7662 section 2.2; Casdoor CVE-2026-9097.
        assert!(matches!(validate(&base()), Ok(Introspected::Active(_))));
        assert!(matches!(
            validate(&json!({"active": false})),
            Ok(Introspected::Inactive)
        ));
        assert!(matches!(
            validate(&with(&base(), "active", Some(json!(false)))),
            Ok(Introspected::Inactive)
        ));
        for other in [
            None,
            Some(json!("true")),
            Some(json!(1)),
            Some(Value::Null),
            Some(json!([true])),
            Some(json!({})),
        ] {
            assert_eq!(
                validate(&with(&base(), "active", other.clone())).err(),
                Some(NoVerdict),
                "{other:?}"
            );
        }
        let issuer = Issuer::new("i");
        let client_id = ClientId::new("c");
        let leeway = Duration::ZERO;
        let profile = PresentedTokenProfile {
            issuer: &issuer,
            audiences: &[],
            client_id: &client_id,
            mark: None,
            leeway,
        };
        for body in [
            "",
            "true",
            "[]",
            r#"{"active":true"#,
            r#"{"active":false,"active":true}"#,
            "<html>",
        ] {
            assert!(
                parse(body.as_bytes(), profile, Timestamp::from_secs(NOW)).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn parse_checks_the_claims_of_active_tokens() {
        let cases = [
            (
                "iss",
                Some(json!("https://evil.example")),
                ClaimError::IssuerMismatch,
            ),
            ("aud", Some(json!("forum")), ClaimError::AudienceMismatch),
            (
                "aud",
                Some(json!(["forum", 7])),
                ClaimError::Malformed(Claim::Aud),
            ),
            ("aud", None, ClaimError::AudienceMismatch),
            ("aud", Some(json!([])), ClaimError::AudienceMismatch),
            ("exp", Some(json!(NOW - 30)), ClaimError::Expired),
            (
                "exp",
                Some(json!("soon")),
                ClaimError::Malformed(Claim::Exp),
            ),
            ("nbf", Some(json!(NOW + 31)), ClaimError::NotYetValid),
            (
                "token_type",
                Some(json!("refresh_token")),
                ClaimError::WrongKind,
            ),
            ("token_type", Some(json!(7)), ClaimError::WrongKind),
            ("typ", Some(json!("Refresh")), ClaimError::WrongKind),
            ("nonce", Some(json!("n")), ClaimError::WrongKind),
            ("sub", Some(json!(7)), ClaimError::Malformed(Claim::Sub)),
            (
                "cnf",
                Some(json!({"x5t#S256": "x"})),
                ClaimError::Malformed(Claim::Cnf),
            ),
        ];
        for (name, value, error) in cases {
            let result = validate(&with(&base(), name, value.clone()));
            assert!(
                matches!(result, Ok(Introspected::Rejected(found)) if found == error),
                "{name} {value:?}"
            );
        }
    }

    #[test]
    fn parse_accepts_provider_variations() {
        assert_eq!(
            active(&with(&base(), "iss", None)).subject(),
            &TokenSubject::User(Subject::new("alice"))
        );
        assert_eq!(active(&with(&base(), "exp", None)).expires_at(), None);
        let own = with(
            &with(&base(), "client_id", Some(json!("store-client"))),
            "aud",
            None,
        );
        assert!(
            matches!(active(&own).subject(), TokenSubject::User(_)),
            "what the app's own client obtained is for the app"
        );
        let milliseconds = with(&base(), "exp", Some(json!((NOW + 60) * 1000 + 500)));
        assert_eq!(active(&milliseconds).expires_at().unwrap().secs(), NOW + 90);
        let bound = with(
            &with(&base(), "token_type", Some(json!("DPoP"))),
            "cnf",
            Some(json!({"jkt": "k"})),
        );
        assert_eq!(active(&bound).bound_to(), Some(&JwkThumbprint::new("k")));
        // FusionAuth says no more than this of a refresh token.
        assert!(matches!(
            validate(&json!({"active": true, "exp": NOW + 60})),
            Ok(Introspected::Rejected(_))
        ));
    }
}
