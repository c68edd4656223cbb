//! JWT access token validation (RFC 9068 and its predecessors): the claims of a token whose
//! signature was verified. PURE.

use std::time::Duration;

use serde_json::Value;

use super::claims::{ClaimError, Claims, media_subtype};
use super::jws::Signed;
use super::verified::VerifiedToken;
use crate::types::oauth::Issuer;
use crate::types::time::Timestamp;

/// The accepted issuer and audiences, and the leeway.
#[derive(Clone, Copy, Debug)]
pub struct AccessTokenProfile<'p> {
    /// The provider.
    pub issuer: &'p Issuer,
    /// Accepted `aud` values.
    pub audiences: &'p [String],
    /// Accepted clock difference.
    pub leeway: Duration,
}

/// Checks the claims of an access token.
///
/// # Errors
/// The first claim that is not acceptable.
pub fn check(
    signed: Signed,
    profile: AccessTokenProfile<'_>,
    now: Timestamp,
) -> Result<VerifiedToken, ClaimError> {
    let claims = Claims::new(&signed.claims);
    check_kind(claims, signed.typ.as_deref())?;
    claims.check_issuer(profile.issuer)?;
    let audiences = claims.audiences()?;
    if !profile
        .audiences
        .iter()
        .any(|accepted| audiences.contains(&accepted.as_str()))
    {
        return Err(ClaimError::AudienceMismatch);
    }
    claims.check_times(now, profile.leeway)?;
    claims.subject()?;
    VerifiedToken::from_checked(signed)
}

/// Checks that this is an access token. `typ` is `at+jwt`, or with older providers `JWT` or absent;
/// some have a claim for the kind. If nothing identifies it as an access token, claims that only ID
/// tokens have exclude it.
///
/// Returns whether the token identifies itself as an access token.
pub(super) fn check_kind(claims: Claims<'_>, typ: Option<&str>) -> Result<bool, ClaimError> {
    let by_header = match media_subtype(typ).as_deref() {
        Some("at+jwt") => true,
        Some("jwt") | None => false,
        Some(_) => return Err(ClaimError::WrongKind),
    };
    let by_claim = match ["typ", "token_use"]
        .iter()
        .find_map(|name| claims.get(name)?.as_str())
    {
        Some(kind)
            if ["bearer", "dpop", "access", "at+jwt"]
                .iter()
                .any(|own| own.eq_ignore_ascii_case(kind)) =>
        {
            true
        }
        Some(kind) if kind.eq_ignore_ascii_case("jwt") => false,
        Some(_) => return Err(ClaimError::WrongKind),
        None => is_access_by_tty(claims),
    };
    let looks_like_id_token = ["nonce", "at_hash", "c_hash", "s_hash"]
        .iter()
        .any(|name| claims.has(name));
    if claims.has("events") || (looks_like_id_token && !by_header && !by_claim) {
        return Err(ClaimError::WrongKind);
    }
    Ok(by_header || by_claim)
}

/// Whether FusionAuth's `tty` names an access token. Its other values are not documented.
fn is_access_by_tty(claims: Claims<'_>) -> bool {
    claims
        .get("tty")
        .and_then(Value::as_str)
        .is_some_and(|kind| matches!(kind, "at" | "access" | "access_token" | "at+jwt"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oidc::claims::Claim;
    use crate::oidc::testing::{malformed_values, signed, with};

    const NOW: u64 = 1_800_000_000;

    fn base() -> Value {
        json!({"iss": "https://login.example.com", "sub": "alice", "aud": ["api", "store"], "exp": NOW + 60, "iat": NOW})
    }

    fn validate_as(claims: &Value, typ: Option<&str>) -> Result<VerifiedToken, ClaimError> {
        let issuer = Issuer::new("https://login.example.com");
        let audiences = [String::from("store")];
        let leeway = Duration::from_secs(30);
        let profile = AccessTokenProfile {
            issuer: &issuer,
            audiences: &audiences,
            leeway,
        };
        check(signed(claims, typ), profile, Timestamp::from_secs(NOW))
    }

    fn validate(claims: &Value) -> Result<VerifiedToken, ClaimError> {
        validate_as(claims, Some("at+jwt"))
    }

    #[test]
    fn check_rejects_missing_and_mistyped_required_claims() {
        for claim in [Claim::Iss, Claim::Sub, Claim::Aud, Claim::Exp] {
            let name = claim.name();
            assert_eq!(
                validate(&with(&base(), name, None)).unwrap_err(),
                ClaimError::Missing(claim)
            );
            for wrong in malformed_values(claim == Claim::Exp) {
                let claims = with(&base(), name, Some(wrong.clone()));
                assert_eq!(
                    validate(&claims).unwrap_err(),
                    ClaimError::Malformed(claim),
                    "{name} {wrong}"
                );
            }
        }
        assert_eq!(
            validate(&with(&base(), "iat", None)).unwrap().issued_at(),
            None
        );
    }

    #[test]
    fn check_rejects_wrong_values() {
        let cases = [
            (
                "iss",
                json!("https://evil.example"),
                ClaimError::IssuerMismatch,
            ),
            ("aud", json!("api"), ClaimError::AudienceMismatch),
            ("aud", json!(["api", "forum"]), ClaimError::AudienceMismatch),
            (
                "aud",
                json!(["store", null]),
                ClaimError::Malformed(Claim::Aud),
            ),
            ("exp", json!(NOW - 30), ClaimError::Expired),
            ("nbf", json!(NOW + 31), ClaimError::NotYetValid),
            ("nbf", json!("now"), ClaimError::Malformed(Claim::Nbf)),
            ("iat", json!(NOW + 31), ClaimError::IssuedInFuture),
            ("iat", json!("now"), ClaimError::Malformed(Claim::Iat)),
            ("sid", json!(7), ClaimError::Malformed(Claim::Sid)),
            ("events", json!({}), ClaimError::WrongKind),
            ("typ", json!("ID"), ClaimError::WrongKind),
            ("typ", json!("Refresh"), ClaimError::WrongKind),
            ("token_use", json!("id"), ClaimError::WrongKind),
        ];
        for (name, value, error) in cases {
            assert_eq!(
                validate(&with(&base(), name, Some(value.clone()))).unwrap_err(),
                error,
                "{name} {value}"
            );
        }
    }

    #[test]
    fn check_rejects_id_tokens() {
        for typ in [
            None,
            Some("JWT"),
            Some("at+jwt"),
            Some("application/at+jwt"),
            Some("AT+JWT"),
        ] {
            assert!(validate_as(&base(), typ).is_ok(), "{typ:?}");
        }
        for typ in ["logout+jwt", "dpop+jwt", "id_token", ""] {
            assert_eq!(
                validate_as(&base(), Some(typ)).unwrap_err(),
                ClaimError::WrongKind,
                "{typ}"
            );
        }
        for claim in ["nonce", "at_hash", "c_hash"] {
            let claims = with(&base(), claim, Some(json!("x")));
            assert_eq!(
                validate_as(&claims, Some("JWT")).unwrap_err(),
                ClaimError::WrongKind,
                "{claim}"
            );
            // Older Keycloak copies the nonce into a token that it names an access token otherwise.
            assert!(
                validate_as(&with(&claims, "typ", Some(json!("Bearer"))), Some("JWT")).is_ok(),
                "{claim}"
            );
        }
    }

    #[test]
    fn check_accepts_fusionauth_access_tokens() {
        let issuer = Issuer::new("acme.example");
        let audiences = [String::from("3c219e58-ed0e-4b18-ad48-f4f92793ae32")];
        let claims = json!({
            "aud": audiences[0], "exp": NOW + 60, "iat": NOW, "iss": "acme.example", "jti": "5b4f",
            "sub": "4c0a7b3e-0000-4000-8000-000000000001", "applicationId": audiences[0], "roles": ["admin"],
            "authenticationType": "PASSWORD", "auth_time": NOW, "email": "a@example.com", "email_verified": true,
            "preferred_username": "a", "scope": "openid offline_access", "sid": "9d1e", "tid": "7f3c",
        });
        let profile = AccessTokenProfile {
            issuer: &issuer,
            audiences: &audiences,
            leeway: Duration::ZERO,
        };
        let token = check(
            signed(&claims, Some("JWT")),
            profile,
            Timestamp::from_secs(NOW),
        )
        .unwrap();
        assert_eq!(token.sid().unwrap().as_str(), "9d1e");
        let id_token = with(&claims, "nonce", Some(json!("n")));
        assert!(
            check(
                signed(&id_token, Some("JWT")),
                profile,
                Timestamp::from_secs(NOW)
            )
            .is_err()
        );
    }
}
