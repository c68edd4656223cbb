//! Tests of ID token validation: standard claims, and what a login and a refresh require.

use serde_json::json;

use super::*;
use crate::oidc::testing::{malformed_values, signed, with};

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
        for wrong in malformed_values(is_date) {
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
    for claim in [Claim::Nbf, Claim::Azp, Claim::AtHash, Claim::Sid] {
        for wrong in [json!(true), json!({}), json!([1]), json!("")] {
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
fn null_optional_claim_is_absent() {
    for name in [
        "nbf",
        "azp",
        "at_hash",
        "auth_time",
        "sid",
        "acr",
        "events",
        "typ",
        "token_use",
    ] {
        let claims = with(&base(), name, Some(Value::Null));
        let token = validate(&claims).unwrap();
        assert!(name != "sid" || token.sid().is_none());
    }
    let several = with(&base(), "aud", Some(json!(["store", "api"])));
    let without_party = with(&several, "azp", Some(Value::Null));
    assert_eq!(
        validate(&without_party).unwrap_err(),
        ClaimError::PartyMismatch
    );
}

#[test]
fn unused_claim_may_have_any_form() {
    for value in [json!("yesterday"), json!(-1), json!({}), json!(true)] {
        let claims = with(&base(), "auth_time", Some(value.clone()));
        let token = validate(&claims).unwrap();
        assert_eq!(token.auth_time(), None, "{value}");
    }
}

fn validate_requested(
    claims: &Value,
    max_age: Option<u64>,
    acr_values: Option<&str>,
) -> Result<VerifiedToken, ClaimError> {
    let acr_values = acr_values.unwrap_or_default().split_ascii_whitespace();
    let required = AuthenticationRequirement {
        acr_values: acr_values.map(str::to_owned).collect(),
        max_age: max_age.map(Duration::from_secs),
    };
    let requested = RequestedAuthentication {
        required: &required,
        requested_at: Timestamp::from_secs(NOW - 60),
    };
    let expected = IdTokenExpectation {
        authentication: Some(requested),
        ..Default::default()
    };
    validate_as(claims, None, expected)
}

#[test]
fn requested_max_age_is_required_of_auth_time() {
    let at = |time: u64| with(&base(), "auth_time", Some(json!(time)));
    let requested_at = NOW - 60;
    for (auth_time, max_age, is_accepted) in [
        (requested_at, 0, true),
        (NOW, 0, true),
        (requested_at - 30, 0, true),
        (requested_at - 31, 0, false),
        (requested_at - 330, 300, true),
        (requested_at - 331, 300, false),
        (0, u64::MAX, true),
    ] {
        let result = validate_requested(&at(auth_time), Some(max_age), None);
        let expected = if is_accepted {
            Ok(())
        } else {
            Err(ClaimError::AuthenticationTooOld)
        };
        assert_eq!(result.map(drop), expected, "{auth_time} {max_age}");
    }
    for (value, error) in [
        (None, ClaimError::Missing(Claim::AuthTime)),
        (Some(Value::Null), ClaimError::Malformed(Claim::AuthTime)),
        (Some(json!("now")), ClaimError::Malformed(Claim::AuthTime)),
    ] {
        let claims = with(&base(), "auth_time", value.clone());
        let result = validate_requested(&claims, Some(300), None);
        assert_eq!(result.unwrap_err(), error, "{value:?}");
    }
}

#[test]
fn requested_acr_values_are_required_of_acr() {
    for (acr, accepted) in [
        (json!("gold"), Ok(())),
        (json!("silver"), Ok(())),
        (json!("bronze"), Err(ClaimError::AcrMismatch)),
        (json!("gold silver"), Err(ClaimError::AcrMismatch)),
        (json!(0), Err(ClaimError::Malformed(Claim::Acr))),
        (Value::Null, Err(ClaimError::Malformed(Claim::Acr))),
    ] {
        let claims = with(&base(), "acr", Some(acr.clone()));
        let result = validate_requested(&claims, None, Some("gold silver"));
        assert_eq!(result.map(drop), accepted, "{acr}");
    }
    let result = validate_requested(&base(), None, Some("gold"));
    assert_eq!(result.unwrap_err(), ClaimError::Missing(Claim::Acr));
}

#[test]
fn refreshed_token_must_continue_the_login() {
    let nonce = Nonce::new("n-1");
    let known = LoginToken {
        nonce: Some(&nonce),
        auth_time: Some(Timestamp::from_secs(NOW - 1)),
        issued_at: Some(Timestamp::from_secs(NOW - 1)),
    };
    let unknown = LoginToken {
        nonce: None,
        auth_time: None,
        issued_at: None,
    };
    let validate = |claims: &Value, login| {
        let expected = IdTokenExpectation {
            login: Some(login),
            ..Default::default()
        };
        validate_as(claims, None, expected).map(drop)
    };
    assert_eq!(validate(&base(), known), Ok(()));
    for (name, value, error) in [
        ("nonce", json!("n-2"), ClaimError::NonceMismatch),
        ("nonce", json!(7), ClaimError::Malformed(Claim::Nonce)),
        ("auth_time", json!(NOW - 32), ClaimError::AuthTimeMismatch),
        ("iat", json!(NOW - 32), ClaimError::IssuedBeforeLogin),
    ] {
        let claims = with(&base(), name, Some(value.clone()));
        assert_eq!(validate(&claims, known), Err(error), "{name} {value}");
    }
    for (name, value) in [
        ("auth_time", json!(NOW - 31)),
        ("auth_time", json!(NOW + 100)),
        ("auth_time", json!("yesterday")),
        ("iat", json!(NOW - 31)),
    ] {
        let claims = with(&base(), name, Some(value.clone()));
        assert_eq!(validate(&claims, known), Ok(()), "{name} {value}");
    }
    let other = with(&base(), "nonce", Some(json!("n-2")));
    assert_eq!(validate(&other, unknown), Ok(()));
    for name in ["nonce", "auth_time"] {
        for absent in [None, Some(Value::Null)] {
            let claims = with(&base(), name, absent.clone());
            assert_eq!(validate(&claims, known), Ok(()), "{name} {absent:?}");
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
