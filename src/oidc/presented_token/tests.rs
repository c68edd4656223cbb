//! Bearer token tests: claims, kinds of tokens, subjects and bindings.

use serde_json::json;

use super::*;
use crate::oidc::testing::{signed, with};

const NOW: u64 = 1_800_000_000;

fn base() -> Value {
    json!({
        "iss": "https://login.example.com", "sub": "alice", "aud": ["api", "store"], "client_id": "phone", "scope": "read",
        "exp": NOW + 60, "iat": NOW, "sid": "s-1",
    })
}

fn validate_as(claims: &Value, typ: Option<&str>) -> Result<PresentedToken, ClaimError> {
    validate_marked(claims, typ, None)
}

fn validate_marked(
    claims: &Value,
    typ: Option<&str>,
    mark: Option<&AccessTokenClaim>,
) -> Result<PresentedToken, ClaimError> {
    let issuer = Issuer::new("https://login.example.com");
    let client_id = ClientId::new("store");
    let audiences = [String::from("store"), String::from("https://api.example")];
    let leeway = Duration::from_secs(30);
    let profile = PresentedTokenProfile {
        issuer: &issuer,
        audiences: &audiences,
        client_id: &client_id,
        mark,
        leeway,
    };
    check(signed(claims, typ), profile, Timestamp::from_secs(NOW))
}

fn validate(claims: &Value) -> Result<PresentedToken, ClaimError> {
    validate_as(claims, Some("at+jwt"))
}

fn without(names: &[&str]) -> Value {
    names
        .iter()
        .fold(base(), |claims, name| with(&claims, name, None))
}

#[test]
fn check_returns_subject_expiry_and_key() {
    let token = validate(&base()).unwrap();
    assert_eq!(token.subject(), &TokenSubject::User(Subject::new("alice")));
    assert_eq!(
        (
            token.expires_at().unwrap().secs(),
            token.issued_at().unwrap().secs()
        ),
        (NOW + 90, NOW)
    );
    assert_eq!(
        (token.sid().unwrap().as_str(), token.key().is_some()),
        ("s-1", true)
    );
    assert_eq!(
        (
            token.bound_to(),
            token.claims().get("scope").unwrap().as_str()
        ),
        (None, Some("read"))
    );
}

#[test]
fn check_rejects_missing_and_mistyped_required_claims() {
    for claim in [Claim::Iss, Claim::Aud, Claim::Exp] {
        let name = claim.name();
        assert_eq!(
            validate(&with(&base(), name, None)).unwrap_err(),
            ClaimError::Missing(claim)
        );
        for wrong in [Value::Null, json!(false), json!({}), json!([]), json!("")] {
            let claims = with(&base(), name, Some(wrong.clone()));
            assert_eq!(
                validate(&claims).unwrap_err(),
                ClaimError::Malformed(claim),
                "{name} {wrong}"
            );
        }
    }
    assert_eq!(
        validate(&with(&base(), "iat", None)).unwrap_err(),
        ClaimError::Missing(Claim::Iat)
    );
    assert!(validate(&without(&["iat", "sub"])).is_ok(), "of a client");
    for claim in [
        Claim::Sub,
        Claim::ClientId,
        Claim::Azp,
        Claim::Iat,
        Claim::Nbf,
        Claim::Sid,
    ] {
        for wrong in [json!(false), json!({}), json!([1]), json!("")] {
            let claims = with(&base(), claim.name(), Some(wrong.clone()));
            assert_eq!(
                validate(&claims).unwrap_err(),
                ClaimError::Malformed(claim),
                "{claim:?} {wrong}"
            );
        }
    }
    for claim in [Claim::Sub, Claim::Iat] {
        let claims = with(&base(), claim.name(), Some(Value::Null));
        let error = validate(&claims).unwrap_err();
        assert_eq!(error, ClaimError::Malformed(claim));
    }
}

#[test]
fn null_optional_claim_is_absent() {
    for name in [
        "client_id",
        "azp",
        "nbf",
        "sid",
        "auth_time",
        "nonce",
        "typ",
    ] {
        let token = validate(&with(&base(), name, Some(Value::Null))).unwrap();
        assert_eq!(token.subject(), &TokenSubject::User(Subject::new("alice")));
        assert!(name != "sid" || token.sid().is_none());
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
        ("aud", json!("api"), ClaimError::AudienceMismatch),
        (
            "aud",
            json!(["store", null]),
            ClaimError::Malformed(Claim::Aud),
        ),
        ("exp", json!(NOW - 30), ClaimError::Expired),
        ("nbf", json!(NOW + 31), ClaimError::NotYetValid),
        ("iat", json!(NOW + 31), ClaimError::IssuedInFuture),
        ("events", json!({}), ClaimError::WrongKind),
        ("typ", json!("ID"), ClaimError::WrongKind),
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
fn check_rejects_other_kinds_of_tokens() {
    // RFC 8725 section 3.12, RFC 9068 section 5.
    for typ in ["at+jwt", "application/at+jwt"] {
        assert!(validate_as(&base(), Some(typ)).is_ok(), "{typ}");
    }
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", "id_token", ""] {
        assert_eq!(
            validate_as(&base(), Some(typ)).unwrap_err(),
            ClaimError::WrongKind,
            "{typ}"
        );
    }
    let id_token = without(&["client_id", "scope"]);
    for telling in ["nonce", "at_hash", "c_hash"] {
        let claims = with(&base(), telling, Some(json!("x")));
        assert_eq!(
            validate_as(&claims, Some("JWT")).unwrap_err(),
            ClaimError::WrongKind,
            "{telling}"
        );
    }
    // One that a refresh brought has nothing that would give it away, but nothing of an access
    // token either.
    assert_eq!(
        validate_as(&id_token, Some("JWT")).unwrap_err(),
        ClaimError::WrongKind
    );
    assert_eq!(
        validate_as(&id_token, None).unwrap_err(),
        ClaimError::WrongKind
    );
    for own in [
        ("scp", json!(["read"])),
        ("applicationId", json!("x")),
        ("typ", json!("Bearer")),
        ("tty", json!("at")),
    ] {
        assert!(
            validate_as(&with(&id_token, own.0, Some(own.1.clone())), None).is_ok(),
            "{own:?}"
        );
    }
    // Some ID tokens have these.
    for other in [
        ("scope", json!("openid")),
        ("client_id", json!("store")),
        ("tty", json!("id")),
    ] {
        let claims = with(&id_token, other.0, Some(other.1.clone()));
        assert_eq!(
            validate_as(&claims, Some("JWT")).unwrap_err(),
            ClaimError::WrongKind,
            "{other:?}"
        );
    }
    // A token for another audience than the client cannot be an ID token.
    assert!(
        validate_as(
            &with(&id_token, "aud", Some(json!("https://api.example"))),
            None
        )
        .is_ok()
    );
}

#[test]
fn configured_mark_identifies_access_tokens() {
    let id_token = without(&["client_id", "scope"]);
    let mark = |value: Option<&str>| AccessTokenClaim {
        claim: "use".to_owned(),
        value: value.map(str::to_owned),
    };
    let marked = with(&id_token, "use", Some(json!("access")));
    for (claims, mark, is_accepted) in [
        (&marked, mark(None), true),
        (&marked, mark(Some("access")), true),
        (&marked, mark(Some("id")), false),
        (&id_token, mark(None), false),
    ] {
        let accepted = validate_marked(claims, Some("JWT"), Some(&mark)).is_ok();
        assert_eq!(accepted, is_accepted, "{claims} {mark:?}");
    }
}

#[test]
fn client_credentials_token_has_no_user() {
    let client = |claims: Value| validate(&claims).unwrap().subject().clone();
    let phone = TokenSubject::Client(ClientId::new("phone"));
    assert_eq!(client(without(&["sub"])), phone);
    assert_eq!(client(with(&base(), "sub", Some(json!("phone")))), phone);
    assert_eq!(
        client(with(
            &without(&["client_id", "sub"]),
            "azp",
            Some(json!("phone"))
        )),
        phone
    );
    let by_azp = with(&without(&["client_id"]), "azp", Some(json!("alice")));
    assert_eq!(client(by_azp), TokenSubject::Client(ClientId::new("alice")));
    let auth0 = with(
        &with(&base(), "sub", Some(json!("phone@clients"))),
        "gty",
        Some(json!("client-credentials")),
    );
    assert_eq!(client(auth0), phone);
    assert_eq!(client(with(&base(), "idtyp", Some(json!("app")))), phone);
    assert_eq!(
        client(with(&base(), "idtyp", Some(json!("user")))),
        TokenSubject::User(Subject::new("alice"))
    );
    assert_eq!(
        validate(&without(&["sub", "client_id"])).unwrap_err(),
        ClaimError::Missing(Claim::Sub)
    );
    assert_eq!(
        client(without(&["client_id"])),
        TokenSubject::User(Subject::new("alice"))
    );
}

#[test]
fn check_rejects_unsupported_bindings() {
    let bound =
        |cnf| validate(&with(&base(), "cnf", Some(cnf))).map(|token| token.bound_to().cloned());
    assert_eq!(
        bound(json!({"jkt": "k"})),
        Ok(Some(JwkThumbprint::new("k")))
    );
    for other in [
        Value::Null,
        json!("k"),
        json!({}),
        json!({"jkt": ""}),
        json!({"jkt": 7}),
        json!({"x5t#S256": "k"}),
        json!({"jkt": "k", "x5t#S256": "k"}),
        json!({"kid": "k"}),
    ] {
        assert_eq!(
            bound(other.clone()),
            Err(ClaimError::Malformed(Claim::Cnf)),
            "{other}"
        );
    }
}
