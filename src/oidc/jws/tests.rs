//! JWS tests: the attacks of RFC 8725, and malformed tokens.

use aws_lc_rs::hmac;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::oidc::testing::{Signer, b64, jwks, key_set};

fn validate(token: &str, keys: &KeySet) -> Result<Signed, JwsError> {
    Jws::parse(token, &Algorithm::ALL)?.verify(keys)
}

#[test]
fn verify_accepts_every_key_type_and_rejects_changes() {
    for algorithm in [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ] {
        let signer = Signer::new("k", algorithm);
        let keys = key_set(&[&signer]);
        let token = signer.sign(&json!({"sub": "a"}));
        let signed = validate(&token, &keys).unwrap();
        assert_eq!(
            (signed.algorithm, signed.kid.as_deref()),
            (algorithm, Some("k"))
        );
        assert_eq!(signed.claims.get("sub").unwrap(), "a");
        assert!(keys.contains(&signed.key));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        let other = format!("{header}.{}.{signature}", b64(r#"{"sub":"b"}"#));
        assert_eq!(
            validate(&other, &keys).unwrap_err(),
            JwsError::BadSignature,
            "{algorithm:?}"
        );
    }
}

#[test]
fn parse_accepts_listed_algorithms_only() {
    // RFC 8725 section 2.1, CVE-2015-9235 and its many cousins.
    let signer = Signer::es256("k");
    let keys = key_set(&[&signer]);
    for alg in [
        "none", "None", "NONE", "nOnE", "", " ES256", "es256", "hs256", "HS256", "HS512", "ES256K",
        "ES512", "RSA-OAEP",
    ] {
        let header = json!({"alg": alg, "kid": "k"}).to_string();
        let token = signer.sign_raw(&header, "{}");
        let error = validate(&token, &keys).unwrap_err();
        let expected = if alg.starts_with("HS") {
            JwsError::Symmetric
        } else {
            JwsError::AlgorithmNotAllowed
        };
        assert_eq!(
            (error, error.code()),
            (expected, "token_algorithm_not_allowed"),
            "{alg}"
        );
        let unsigned = format!("{}.{}.", b64(&header), b64("{}"));
        assert!(validate(&unsigned, &keys).is_err(), "{alg}");
    }
    for header in [
        r#"{"kid":"k"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["ES256"]}"#,
        r#"{"alg":7}"#,
    ] {
        assert_eq!(
            validate(&signer.sign_raw(header, "{}"), &keys).unwrap_err(),
            JwsError::AlgorithmNotAllowed,
            "{header}"
        );
    }
    let good = signer.sign(&json!({}));
    assert_eq!(
        Jws::parse(&good, &[Algorithm::Rs256]).unwrap_err(),
        JwsError::AlgorithmNotAllowed
    );
}

#[test]
fn verify_never_uses_a_public_key_as_hmac_secret() {
    let signer = Signer::new("k", Algorithm::Rs256);
    let keys = key_set(&[&signer]);
    let jwk = signer.jwk();
    for secret in [jwk["n"].as_str().unwrap().to_owned(), jwk.to_string()] {
        let input = format!("{}.{}", b64(r#"{"alg":"HS256","kid":"k"}"#), b64("{}"));
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            input.as_bytes(),
        );
        assert_eq!(
            validate(&format!("{input}.{}", b64(tag)), &keys).unwrap_err(),
            JwsError::Symmetric
        );
    }
}

#[test]
fn verify_requires_an_algorithm_that_fits_the_key() {
    let ec = Signer::es256("ec");
    let rsa = Signer::new("rsa", Algorithm::Rs256);
    let keys = key_set(&[&ec, &rsa]);
    let crossed = ec.sign_raw(r#"{"alg":"ES256","kid":"rsa"}"#, "{}");
    assert_eq!(
        validate(&crossed, &keys).unwrap_err(),
        JwsError::AlgorithmMismatch
    );
    let wider = ec.sign_raw(r#"{"alg":"ES384","kid":"ec"}"#, "{}");
    assert_eq!(
        validate(&wider, &keys).unwrap_err(),
        JwsError::AlgorithmMismatch
    );
    // A key that says RS256 verifies no PS256, although the family is the same.
    let mut jwk = rsa.jwk();
    jwk["alg"] = json!("RS256");
    let pss = Signer::new("rsa", Algorithm::Ps256).sign(&json!({}));
    let narrow = KeySet::parse(jwks(&[jwk]).as_bytes()).unwrap();
    assert_eq!(
        validate(&pss, &narrow).unwrap_err(),
        JwsError::AlgorithmMismatch
    );
    assert!(validate(&pss, &keys).is_ok());
}

#[test]
fn verify_ignores_keys_in_the_token() {
    // RFC 8725 section 3.10, CVE-2018-0114: verified by the set alone, so nothing is ever fetched.
    let provider = Signer::es256("k");
    let evil = Signer::es256("k");
    let keys = key_set(&[&provider]);
    let header = json!({
        "alg": "ES256", "kid": "k", "jwk": evil.jwk(), "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/cert", "x5c": ["MIIB"],
    });
    let claims = json!({"sub": "a"}).to_string();
    assert_eq!(
        validate(&evil.sign_raw(&header.to_string(), &claims), &keys).unwrap_err(),
        JwsError::BadSignature
    );
    assert!(validate(&provider.sign_raw(&header.to_string(), &claims), &keys).is_ok());
}

#[test]
fn parse_rejects_extensions() {
    let signer = Signer::es256("k");
    let keys = key_set(&[&signer]);
    for extra in [
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""crit":null"#,
        r#""b64":false"#,
        r#""b64":"true""#,
        r#""zip":"DEF""#,
        r#""cty":"JWT""#,
        r#""cty":"application/jwt""#,
        r#""cty":"at+jwt""#,
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"k",{extra}}}"#);
        assert_eq!(
            validate(&signer.sign_raw(&header, "{}"), &keys).unwrap_err(),
            JwsError::Extension,
            "{extra}"
        );
    }
}

#[test]
fn content_type_that_is_no_token_is_ignored() {
    let signer = Signer::es256("k");
    let keys = key_set(&[&signer]);
    for cty in [r#""json""#, r#""application/json""#, "null"] {
        let header = format!(r#"{{"alg":"ES256","kid":"k","cty":{cty}}}"#);
        assert!(
            validate(&signer.sign_raw(&header, "{}"), &keys).is_ok(),
            "{cty}"
        );
    }
}

#[test]
fn parse_requires_strict_compact_serialization() {
    let signer = Signer::es256("k");
    let keys = key_set(&[&signer]);
    let good = signer.sign(&json!({"sub": "a"}));
    let parts: Vec<&str> = good.split('.').collect();
    let head = parts[0];
    let payload = parts[1];
    let signature = parts[2];
    let malformed = [
        String::new(),
        String::from("."),
        String::from(".."),
        String::from("a.b"),
        format!("{head}.{payload}"),
        format!("{head}.{payload}."),
        format!("{head}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{good}.{signature}"),
        format!("{head}=.{payload}.{signature}"),
        format!("{head} .{payload}.{signature}"),
        format!("\u{e9}.{payload}.{signature}"),
        signer.sign_raw("[]", "{}"),
        signer.sign_raw(r#"{"alg":"none","alg":"ES256"}"#, "{}"),
        signer.sign_raw(r#"{"alg":"ES256","kid":7}"#, "{}"),
        signer.sign_raw(r#"{"alg":"ES256","kid":"k","typ":null}"#, "{}"),
        signer.sign_raw(r#"{"alg":"ES256","kid":"k"}"#, "[]"),
        signer.sign_raw(r#"{"alg":"ES256","kid":"k"}"#, r#"{"sub":"a","sub":"b"}"#),
        signer.sign_raw(r#"{"alg":"ES256","kid":"k"}"#, "not json"),
        ".".repeat(MAX_TOKEN_BYTES),
    ];
    for token in &malformed {
        assert_eq!(
            validate(token, &keys).unwrap_err(),
            JwsError::Malformed,
            "{token:.60}"
        );
    }
    // Padding and left-over bits in the signature are other spellings of the same bytes.
    assert!(validate(&format!("{good}=="), &keys).is_err());
    assert!(validate(&format!("{good}A"), &keys).is_err());
    assert_eq!(
        validate("a.b.c.d.e", &keys).unwrap_err(),
        JwsError::Encrypted
    );
    assert_eq!(
        validate(&"a".repeat(MAX_TOKEN_BYTES + 1), &keys).unwrap_err(),
        JwsError::TooLarge
    );
}

#[test]
fn is_jwt_recognizes_jwts_valid_or_not() {
    let header = b64(r#"{"alg":"none"}"#);
    for jwt in [
        Signer::es256("k").sign(&json!({})),
        format!("{header}.e30."),
        format!("{header}.."),
        format!("{header}.?.!"),
    ] {
        assert!(is_jwt(&jwt), "{jwt}");
    }
    for opaque in [
        "",
        ".",
        "..",
        "abc",
        "a.b.c",
        "e30",
        "e30.",
        "e30.x.y.z",
        "W10.x.y",
        "2YotnFZFEjr1zCsicMWpAA",
    ] {
        assert!(!is_jwt(opaque), "{opaque}");
    }
}

#[test]
fn verify_finds_keys_by_kid_or_by_trying() {
    let first = Signer::es256("1");
    let second = Signer::es256("2");
    let same = Signer::es256("1");
    let keys = key_set(&[&first, &second, &same]);
    for signer in [&first, &second, &same] {
        assert!(validate(&signer.sign(&json!({})), &keys).is_ok());
        assert!(validate(&signer.sign_raw(r#"{"alg":"ES256"}"#, "{}"), &keys).is_ok());
    }
    let stranger = Signer::es256("3");
    assert_eq!(
        validate(&stranger.sign(&json!({})), &keys).unwrap_err(),
        JwsError::UnknownKey
    );
    let unnamed = stranger.sign_raw(r#"{"alg":"ES256"}"#, "{}");
    assert_eq!(
        validate(&unnamed, &keys).unwrap_err(),
        JwsError::BadSignature
    );
    assert!(
        Jws::parse(&unnamed, &Algorithm::ALL)
            .unwrap()
            .may_need_new_keys(JwsError::BadSignature)
    );
    let named = first.sign(&json!({}));
    assert!(
        !Jws::parse(&named, &Algorithm::ALL)
            .unwrap()
            .may_need_new_keys(JwsError::BadSignature)
    );
}

proptest! {
    /// Payloads and signatures are decoded with vector instructions, headers one by one.
    #[test]
    fn both_decoders_accept_the_same_texts(text in "[A-Za-z0-9_-]{0,200}[A-Za-z0-9_=+/-]{0,3}") {
        let decoded = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(&text).ok();
        prop_assert_eq!(decoded, URL_SAFE_NO_PAD.decode(&text).ok());
    }
}
