//! ID token validation (OpenID Connect Core section 3.1.3.7): the claims of a token whose signature
//! was verified. PURE.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::claims::{Claim, ClaimError, Claims, media_subtype};
use super::jws::Signed;
use super::verified::VerifiedToken;
use crate::types::oauth::{AccessToken, ClientId, Issuer, Nonce, Subject};
use crate::types::secret::same_bytes;
use crate::types::time::Timestamp;

/// The values that an ID token must match.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdTokenExpectation<'e> {
    /// At login, the nonce of the attempt. At a refresh, `None`.
    pub nonce: Option<&'e Nonce>,
    /// The access token of the same response, for `at_hash`.
    pub access_token: Option<&'e AccessToken>,
    /// At a refresh, the subject of the session (section 12.2).
    pub subject: Option<&'e Subject>,
}

/// The accepted issuer and client, and the leeway.
#[derive(Clone, Copy, Debug)]
pub struct IdTokenProfile<'p> {
    /// The provider.
    pub issuer: &'p Issuer,
    /// The app's registration.
    pub client_id: &'p ClientId,
    /// Accepted clock difference.
    pub leeway: Duration,
}

/// Checks the claims of an ID token.
///
/// # Errors
/// The first claim that is not acceptable.
pub fn check(
    signed: Signed,
    profile: IdTokenProfile<'_>,
    expected: IdTokenExpectation<'_>,
    now: Timestamp,
) -> Result<VerifiedToken, ClaimError> {
    let claims = Claims::new(&signed.claims);
    check_kind(claims, signed.typ.as_deref())?;
    claims.check_issuer(profile.issuer)?;
    check_audience(claims, profile.client_id)?;
    claims.check_times(now, profile.leeway)?;
    claims.required_date(Claim::Iat)?;
    claims.date(Claim::AuthTime)?;
    check_nonce(claims, expected.nonce)?;
    check_access_token(claims, signed.algorithm, expected.access_token)?;
    let subject = claims.subject()?;
    if expected
        .subject
        .is_some_and(|expected| expected.as_str() != subject)
    {
        return Err(ClaimError::SubjectMismatch);
    }
    VerifiedToken::from_checked(signed)
}

/// Checks that this is an ID token: `typ` is JWT or absent, there is no `events` (logout tokens),
/// and a claim for the kind, which some providers add, does not contradict.
fn check_kind(claims: Claims<'_>, typ: Option<&str>) -> Result<(), ClaimError> {
    let is_plain = media_subtype(typ).is_none_or(|kind| kind == "jwt");
    let is_event = claims.has("events");
    let contradicts = ["typ", "token_use"].iter().any(|name| {
        claims
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|kind| !is_one_of(kind, &["id", "jwt"]))
    });
    if is_plain && !is_event && !contradicts {
        Ok(())
    } else {
        Err(ClaimError::WrongKind)
    }
}

fn is_one_of(value: &str, accepted: &[&str]) -> bool {
    accepted
        .iter()
        .any(|accepted| accepted.eq_ignore_ascii_case(value))
}

fn check_audience(claims: Claims<'_>, client_id: &ClientId) -> Result<(), ClaimError> {
    let audiences = claims.audiences()?;
    if !audiences.contains(&client_id.as_str()) {
        return Err(ClaimError::AudienceMismatch);
    }
    match claims.text(Claim::Azp)? {
        Some(party) if party != client_id.as_str() => Err(ClaimError::PartyMismatch),
        None if audiences.len() > 1 => Err(ClaimError::PartyMismatch),
        _ => Ok(()),
    }
}

fn check_nonce(claims: Claims<'_>, expected: Option<&Nonce>) -> Result<(), ClaimError> {
    let found = claims.text(Claim::Nonce)?;
    let Some(expected) = expected else {
        return Ok(());
    };
    let found = found.ok_or(ClaimError::Missing(Claim::Nonce))?;
    if expected.matches(found) {
        Ok(())
    } else {
        Err(ClaimError::NonceMismatch)
    }
}

fn check_access_token(
    claims: Claims<'_>,
    algorithm: Algorithm,
    access_token: Option<&AccessToken>,
) -> Result<(), ClaimError> {
    let (Some(found), Some(token)) = (claims.text(Claim::AtHash)?, access_token) else {
        return Ok(());
    };
    let expected = half_hash(algorithm, token.expose());
    if same_bytes(found.as_bytes(), expected.as_bytes()) {
        Ok(())
    } else {
        Err(ClaimError::AccessTokenMismatch)
    }
}

/// The left half of the hash that belongs to `algorithm`, in base64url (section 3.1.3.6).
pub(super) fn half_hash(algorithm: Algorithm, text: &str) -> String {
    let hash = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => &digest::SHA256,
        Algorithm::Rs384 | Algorithm::Ps384 | Algorithm::Es384 => &digest::SHA384,
        Algorithm::Rs512 | Algorithm::Ps512 | Algorithm::EdDsa => &digest::SHA512,
    };
    let whole = digest::digest(hash, text.as_bytes());
    let half = whole.as_ref().iter().take(hash.output_len() / 2);
    URL_SAFE_NO_PAD.encode(half.copied().collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oidc::testing::{signed, with};

    const NOW: u64 = 1_800_000_000;

    fn base() -> Value {
        json!({
            "iss": "https://login.example.com", "sub": "alice", "aud": "store", "exp": NOW + 300, "iat": NOW,
            "nonce": "n-1", "sid": "s-1", "auth_time": NOW as f64 - 0.5, "email": "alice@example.com",
        })
    }

    fn validate_as(
        claims: &Value,
        typ: Option<&str>,
        expected: IdTokenExpectation<'_>,
    ) -> Result<VerifiedToken, ClaimError> {
        let issuer = Issuer::new("https://login.example.com");
        let client_id = ClientId::new("store");
        let profile = IdTokenProfile {
            issuer: &issuer,
            client_id: &client_id,
            leeway: Duration::from_secs(30),
        };
        check(
            signed(claims, typ),
            profile,
            expected,
            Timestamp::from_secs(NOW),
        )
    }

    fn validate(claims: &Value) -> Result<VerifiedToken, ClaimError> {
        let nonce = Nonce::new("n-1");
        validate_as(
            claims,
            Some("JWT"),
            IdTokenExpectation {
                nonce: Some(&nonce),
                ..Default::default()
            },
        )
    }

    #[test]
    fn check_accepts_a_valid_token() {
        let token = validate(&base()).unwrap();
        assert_eq!(
            (token.subject().as_str(), token.expires_at().secs()),
            ("alice", NOW + 300)
        );
        assert_eq!(
            (
                token.issued_at().unwrap().secs(),
                token.sid().unwrap().as_str()
            ),
            (NOW, "s-1")
        );
        assert_eq!(token.claims().get("email").unwrap(), "alice@example.com");
        assert_eq!(token.raw().split('.').count(), 3);
        let shown = format!("{token:?}");
        assert!(
            !shown.contains("alice") && !shown.contains(token.raw()),
            "{shown}"
        );
    }

    #[test]
    fn check_rejects_missing_and_mistyped_required_claims() {
        // jsonwebtoken CVE-2026-25537, mod_auth_openidc: a wrong type is not an absent claim.
        for claim in [
            Claim::Iss,
            Claim::Sub,
            Claim::Aud,
            Claim::Exp,
            Claim::Iat,
            Claim::Nonce,
        ] {
            let name = claim.name();
            assert_eq!(
                validate(&with(&base(), name, None)).unwrap_err(),
                ClaimError::Missing(claim)
            );
            let is_date = matches!(claim, Claim::Exp | Claim::Iat);
            let other_type = if is_date {
                json!("1800000300")
            } else {
                json!(7)
            };
            for wrong in [
                Value::Null,
                json!(true),
                json!({}),
                json!([]),
                json!(""),
                other_type,
            ] {
                let claims = with(&base(), name, Some(wrong.clone()));
                assert_eq!(
                    validate(&claims).unwrap_err(),
                    ClaimError::Malformed(claim),
                    "{name} {wrong}"
                );
            }
        }
    }

    #[test]
    fn check_rejects_mistyped_optional_claims() {
        for claim in [
            Claim::Nbf,
            Claim::Azp,
            Claim::AtHash,
            Claim::AuthTime,
            Claim::Sid,
        ] {
            for wrong in [Value::Null, json!(true), json!({}), json!([1]), json!("")] {
                let claims = with(&base(), claim.name(), Some(wrong.clone()));
                assert_eq!(
                    validate(&claims).unwrap_err(),
                    ClaimError::Malformed(claim),
                    "{claim:?} {wrong}"
                );
            }
        }
    }

    #[test]
    fn check_rejects_wrong_values() {
        let cases = [
            (
                "iss",
                json!("https://login.example.com/"),
                ClaimError::IssuerMismatch,
            ),
            (
                "iss",
                json!("https://LOGIN.example.com"),
                ClaimError::IssuerMismatch,
            ),
            (
                "iss",
                json!(["https://login.example.com"]),
                ClaimError::Malformed(Claim::Iss),
            ),
            (
                "sub",
                json!("x".repeat(256)),
                ClaimError::Malformed(Claim::Sub),
            ),
            ("aud", json!("forum"), ClaimError::AudienceMismatch),
            ("aud", json!("Store"), ClaimError::AudienceMismatch),
            ("aud", json!(["forum"]), ClaimError::AudienceMismatch),
            ("aud", json!(["store", "forum"]), ClaimError::PartyMismatch),
            (
                "aud",
                json!(["store", 7]),
                ClaimError::Malformed(Claim::Aud),
            ),
            (
                "aud",
                json!(["store", ""]),
                ClaimError::Malformed(Claim::Aud),
            ),
            (
                "aud",
                json!(["store", ["store"]]),
                ClaimError::Malformed(Claim::Aud),
            ),
            ("azp", json!("forum"), ClaimError::PartyMismatch),
            ("exp", json!(NOW - 31), ClaimError::Expired),
            ("exp", json!(NOW - 30), ClaimError::Expired),
            ("exp", json!(0), ClaimError::Expired),
            ("exp", json!(-1), ClaimError::Malformed(Claim::Exp)),
            (
                "exp",
                json!((NOW + 300) * 1000),
                ClaimError::Malformed(Claim::Exp),
            ),
            ("exp", json!(1e300), ClaimError::Malformed(Claim::Exp)),
            ("nbf", json!(NOW + 31), ClaimError::NotYetValid),
            ("iat", json!(NOW + 31), ClaimError::IssuedInFuture),
            ("nonce", json!("n-2"), ClaimError::NonceMismatch),
            ("nonce", json!("n-1 "), ClaimError::NonceMismatch),
            (
                "events",
                json!({"http://schemas.openid.net/event/backchannel-logout": {}}),
                ClaimError::WrongKind,
            ),
            ("typ", json!("Bearer"), ClaimError::WrongKind),
            ("typ", json!("Refresh"), ClaimError::WrongKind),
            ("token_use", json!("access"), ClaimError::WrongKind),
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
    fn check_accepts_what_the_standard_allows() {
        let cases = [
            ("aud", json!(["store"])),
            ("azp", json!("store")),
            ("exp", json!(NOW - 29)),
            ("exp", json!(NOW as f64 + 0.7)),
            ("nbf", json!(NOW + 30)),
            ("iat", json!(NOW as f64 + 29.9)),
            ("sub", json!("x".repeat(255))),
            ("typ", json!("ID")),
            ("token_use", json!("id")),
        ];
        for (name, value) in cases {
            assert!(
                validate(&with(&base(), name, Some(value.clone()))).is_ok(),
                "{name} {value}"
            );
        }
        let several = with(
            &with(&base(), "aud", Some(json!(["store", "api"]))),
            "azp",
            Some(json!("store")),
        );
        assert!(validate(&several).is_ok());
        let fraction = validate(&with(&base(), "exp", Some(json!(NOW as f64 + 0.7)))).unwrap();
        assert_eq!(fraction.expires_at().secs(), NOW, "rounded down");
    }

    #[test]
    fn check_rejects_other_kinds_by_typ() {
        for typ in [None, Some("JWT"), Some("jwt"), Some("application/jwt")] {
            assert!(
                validate_as(&base(), typ, IdTokenExpectation::default()).is_ok(),
                "{typ:?}"
            );
        }
        for typ in [
            "at+jwt",
            "AT+JWT",
            "application/at+jwt",
            "logout+jwt",
            "dpop+jwt",
            "secevent+jwt",
            "",
        ] {
            let result = validate_as(&base(), Some(typ), IdTokenExpectation::default());
            assert_eq!(result.unwrap_err(), ClaimError::WrongKind, "{typ}");
        }
    }

    #[test]
    fn check_at_refresh_requires_the_same_subject() {
        let alice = Subject::new("alice");
        let bob = Subject::new("bob");
        let without_nonce = with(&base(), "nonce", None);
        let expect = |subject| IdTokenExpectation {
            subject: Some(subject),
            ..Default::default()
        };
        assert!(validate_as(&without_nonce, None, expect(&alice)).is_ok());
        assert_eq!(
            validate_as(&without_nonce, None, expect(&bob)).unwrap_err(),
            ClaimError::SubjectMismatch
        );
    }

    #[test]
    fn check_compares_at_hash_with_the_access_token() {
        // OpenID Connect Core, appendix A.3.
        let known = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        let hash = "77QmUPtjPfzWtF2AnpK9RQ";
        assert_eq!(half_hash(Algorithm::Rs256, known), hash);
        assert_eq!(half_hash(Algorithm::EdDsa, known).len(), 43);
        let matching = AccessToken::new(known);
        let other = AccessToken::new("other");
        let claims = with(&base(), "at_hash", Some(json!(hash)));
        let expect = |token| IdTokenExpectation {
            access_token: Some(token),
            ..Default::default()
        };
        assert!(validate_as(&claims, None, expect(&matching)).is_ok());
        assert_eq!(
            validate_as(&claims, None, expect(&other)).unwrap_err(),
            ClaimError::AccessTokenMismatch
        );
        assert!(
            validate_as(&base(), None, expect(&other)).is_ok(),
            "at_hash is optional in the code flow"
        );
    }
}
