//! DPoP proof tests: every key type, and captured or forged proofs.

use serde_json::json;

use super::*;
use crate::oidc::testing::{Signer, b64, with};

const NOW: u64 = 1_800_000_000;
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const ATH: &str = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo";

fn base() -> Value {
    json!({"jti": "e1j3V_bKic8-LAEB", "htm": "GET", "htu": "https://store.example.com/orders/7", "iat": NOW, "ath": ATH})
}

fn header(signer: &Signer) -> Value {
    json!({"typ": "dpop+jwt", "alg": signer.algorithm.name(), "jwk": signer.jwk()})
}

fn proof_of(signer: &Signer, header: &Value, claims: &Value) -> String {
    signer.sign_raw(&header.to_string(), &claims.to_string())
}

fn validate_with(proof: &str, freshness: Freshness<'_>) -> Result<Proof, ProofError> {
    let origin = Origin::parse("https://store.example.com").unwrap();
    let access_token = Some(TOKEN);
    let expected = ProofExpectation {
        method: "GET",
        origin: &origin,
        path: "/orders/7",
        access_token,
        freshness,
    };
    verify(proof, expected, Timestamp::from_secs(NOW))
}

fn validate(proof: &str) -> Result<Proof, ProofError> {
    validate_with(proof, Freshness::IssuedAt)
}

fn with_claim(name: &str, value: Option<Value>) -> Result<Proof, ProofError> {
    let signer = Signer::es256("k");
    validate(&proof_of(
        &signer,
        &header(&signer),
        &with(&base(), name, value),
    ))
}

#[test]
fn verify_returns_the_thumbprint_for_every_key_type() {
    for algorithm in ALGORITHMS {
        let signer = Signer::new("k", algorithm);
        let proof = validate(&proof_of(&signer, &header(&signer), &base())).unwrap();
        assert_eq!(
            (proof.id.as_str(), proof.counts_until.secs()),
            ("e1j3V_bKic8-LAEB", NOW + 60)
        );
        assert_eq!(
            (Some(proof.key.clone()), proof.key.as_str().len()),
            (thumbprint(&signer.jwk()), 43)
        );
    }
}

#[test]
fn thumbprint_matches_rfc_examples() {
    // RFC 7638 section 3.1, RFC 8037 appendix A.3, RFC 9449 section 6.1.
    let rsa = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn\
               jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu\
               6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU\
               8awapJzKnqDKgw";
    let cases = [
        (
            json!({"kty": "RSA", "n": rsa, "e": "AQAB", "alg": "RS256"}),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        ),
        (
            json!({"kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
                   "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA", "kid": "not part of it"}),
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
        ),
    ];
    for (jwk, expected) in cases {
        assert_eq!(thumbprint(&jwk).unwrap().as_str(), expected);
    }
}

#[test]
fn verify_accepts_the_rfc_example() {
    // RFC 9449 section 7.1.
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    let origin = Origin::parse("https://resource.example.org").unwrap();
    let expected = ProofExpectation {
        method: "GET",
        origin: &origin,
        path: "/protectedresource",
        access_token: Some(TOKEN),
        freshness: Freshness::IssuedAt,
    };
    let proof = verify(proof, expected, Timestamp::from_secs(1_562_262_618)).unwrap();
    assert_eq!(
        proof.key.as_str(),
        "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    );
}

/// Anybody can choose the key, and verification must stay cheap.
#[test]
fn verify_rejects_costly_rsa_keys_before_the_signature() {
    let signer = Signer::new("k", Algorithm::Ps256);
    let with_key = |bytes: usize, exponent: &[u8]| {
        let mut header = header(&signer);
        header["jwk"]["n"] = b64(vec![0xff; bytes]).into();
        header["jwk"]["e"] = b64(exponent).into();
        validate(&proof_of(&signer, &header, &base())).unwrap_err()
    };
    for exponent in [&[3][..], &[1, 0, 1], &[0, 0, 1, 0, 1]] {
        let error = with_key(512, exponent);
        assert_eq!(error, ProofError::BadSignature, "{exponent:?}");
    }
    for (bytes, exponent) in [
        (513, &[1, 0, 1][..]),
        (1024, &[3]),
        (512, &[1, 0, 3]),
        (256, &[1, 1, 1]),
        (256, &[1, 0, 0, 1]),
        (256, &[0xff; 256]),
    ] {
        let error = with_key(bytes, exponent);
        assert_eq!(error, ProofError::KeyError, "{bytes} bytes, {exponent:?}");
    }
}

#[test]
fn verify_requires_method_and_url() {
    for other in ["POST", "get", "HEAD", "", " GET"] {
        assert_eq!(
            with_claim("htm", Some(json!(other))),
            Err(ProofError::MethodMismatch),
            "{other}"
        );
    }
    for same in [
        "https://store.example.com/orders/7?page=2#top",
        "HTTPS://STORE.example.COM:443/orders/7",
        "https://store.example.com/%6frders/7",
    ] {
        assert!(with_claim("htu", Some(json!(same))).is_ok(), "{same}");
    }
    for other in [
        "https://store.example.com/orders/8",
        "https://store.example.com/orders/7/",
        "https://store.example.com/Orders/7",
        "https://store.example.com/orders%2F7",
        "https://store.example.com/x/../orders/7",
        "https://store.example.com/orders\\7",
        "https://store.example.com",
        "https://forum.example.com/orders/7",
        "https://store.example.com.evil.example/orders/7",
        "https://u@store.example.com/orders/7",
        "https://store.example.com:8443/orders/7",
        "http://store.example.com/orders/7",
        "https:/store.example.com/orders/7",
        "https://store.example.com\t/orders/7",
        "//store.example.com/orders/7",
        "/orders/7",
        "",
    ] {
        assert_eq!(
            with_claim("htu", Some(json!(other))),
            Err(ProofError::UrlMismatch),
            "{other}"
        );
    }
}

#[test]
fn verify_limits_age_by_iat() {
    for (iat, result) in [
        (json!(NOW - 59), None),
        (json!(NOW - 60), Some(ProofError::TooOld)),
        (json!(0), Some(ProofError::TooOld)),
        (json!(NOW + 30), None),
        (json!(NOW as f64 + 0.9), None),
        (json!(NOW + 31), Some(ProofError::IssuedInFuture)),
        (json!(NOW * 1000), Some(ProofError::Malformed)),
        (json!(NOW.to_string()), Some(ProofError::Malformed)),
        (json!(-1), Some(ProofError::Malformed)),
        (Value::Null, Some(ProofError::Malformed)),
    ] {
        assert_eq!(with_claim("iat", Some(iat.clone())).err(), result, "{iat}");
    }
}

#[test]
fn verify_with_nonce_ignores_the_client_clock() {
    let signer = Signer::es256("k");
    let validate = |claims: &Value| {
        let ours = |nonce: &str| (nonce == "n-1").then(|| Timestamp::from_secs(NOW + 7));
        validate_with(
            &proof_of(&signer, &header(&signer), claims),
            Freshness::Nonce(&ours),
        )
    };
    let claims = with(&base(), "nonce", Some(json!("n-1")));
    for iat in [0, NOW, NOW + 100_000] {
        let proof = validate(&with(&claims, "iat", Some(json!(iat)))).unwrap();
        assert_eq!(proof.counts_until.secs(), NOW + 7, "as long as the nonce");
    }
    assert_eq!(
        validate(&with(&claims, "iat", None)),
        Err(ProofError::Malformed)
    );
    assert_eq!(validate(&base()), Err(ProofError::NonceRequired));
    assert_eq!(
        validate(&with(&claims, "nonce", Some(json!("n-2")))),
        Err(ProofError::NonceRequired)
    );
    assert_eq!(
        validate(&with(&claims, "nonce", Some(json!(7)))),
        Err(ProofError::Malformed)
    );
}

#[test]
fn verify_requires_the_access_token_hash() {
    for wrong in [
        None,
        Some(json!("")),
        Some(json!(TOKEN)),
        Some(json!(ATH.to_lowercase())),
        Some(json!([ATH])),
    ] {
        assert_eq!(
            with_claim("ath", wrong.clone()),
            Err(ProofError::AccessTokenMismatch),
            "{wrong:?}"
        );
    }
    let signer = Signer::es256("k");
    let origin = Origin::parse("https://store.example.com").unwrap();
    let expected = ProofExpectation {
        method: "GET",
        origin: &origin,
        path: "/orders/7",
        access_token: None,
        freshness: Freshness::IssuedAt,
    };
    let without = proof_of(&signer, &header(&signer), &with(&base(), "ath", None));
    assert!(verify(&without, expected, Timestamp::from_secs(NOW)).is_ok());
}

#[test]
fn verify_rejects_missing_and_mistyped_claims() {
    for name in ["htm", "htu", "jti", "iat"] {
        for wrong in [
            None,
            Some(Value::Null),
            Some(json!(true)),
            Some(json!(["GET"])),
            Some(json!({})),
        ] {
            assert_eq!(
                with_claim(name, wrong.clone()),
                Err(ProofError::Malformed),
                "{name} {wrong:?}"
            );
        }
    }
    for id in [String::new(), "x".repeat(MAX_ID_BYTES + 1)] {
        assert_eq!(
            with_claim("jti", Some(json!(id))),
            Err(ProofError::Malformed)
        );
    }
    assert!(with_claim("jti", Some(json!("x".repeat(MAX_ID_BYTES)))).is_ok());
}

#[test]
fn verify_requires_a_signature_by_the_contained_key() {
    let mine = Signer::es256("k");
    let other = Signer::es256("k");
    let jwk = |value: Option<Value>| with(&header(&mine), "jwk", value);
    let judge_header = |header: Value| validate(&proof_of(&mine, &header, &base()));
    assert!(judge_header(jwk(Some(mine.jwk()))).is_ok());
    assert_eq!(
        judge_header(jwk(Some(other.jwk()))),
        Err(ProofError::BadSignature)
    );
    let private = |name: &str| Some(with(&mine.jwk(), name, Some(json!("AQ"))));
    let unusable = [
        None,
        Some(Value::Null),
        Some(json!("{}")),
        Some(json!([mine.jwk()])),
        Some(json!({})),
        Some(json!({"kty": "oct", "k": b64("secret")})),
        Some(with(&mine.jwk(), "crv", Some(json!("P-521")))),
        Some(with(&mine.jwk(), "y", Some(mine.jwk()["x"].clone()))),
        Some(with(&mine.jwk(), "use", Some(json!("enc")))),
        Some(with(&mine.jwk(), "key_ops", Some(json!(["sign"])))),
        private("d"),
        private("p"),
        private("k"),
    ];
    for jwk_of in unusable {
        assert_eq!(
            judge_header(jwk(jwk_of.clone())),
            Err(ProofError::KeyError),
            "{jwk_of:?}"
        );
    }
    for (name, value) in [
        ("ext", json!(true)),
        ("key_ops", json!(["verify"])),
        ("kid", json!("x")),
    ] {
        assert!(
            judge_header(jwk(Some(with(&mine.jwk(), name, Some(value))))).is_ok(),
            "as browsers export keys"
        );
    }
    let ed = Signer::new("k", Algorithm::EdDsa);
    assert_eq!(
        judge_header(jwk(Some(ed.jwk()))),
        Err(ProofError::AlgorithmNotAllowed)
    );
}

#[test]
fn verify_rejects_other_tokens_and_algorithms() {
    let signer = Signer::es256("k");
    for typ in [Some("JWT"), Some("at+jwt"), Some("dpop"), Some(""), None] {
        let header = with(&header(&signer), "typ", typ.map(|typ| json!(typ)));
        assert_eq!(
            validate(&proof_of(&signer, &header, &base())),
            Err(ProofError::Malformed),
            "{typ:?}"
        );
    }
    for alg in ["none", "HS256", "RS512", "ES512", "es256", ""] {
        let header = with(&header(&signer), "alg", Some(json!(alg)));
        let proof = proof_of(&signer, &header, &base());
        assert_eq!(
            validate(&proof),
            Err(ProofError::AlgorithmNotAllowed),
            "{alg}"
        );
        let unsigned = proof
            .rsplit_once('.')
            .map(|(signed, _)| format!("{signed}."))
            .unwrap();
        assert!(validate(&unsigned).is_err(), "{alg}");
    }
    let header = with(&header(&signer), "crit", Some(json!(["htm"])));
    assert_eq!(
        validate(&proof_of(&signer, &header, &base())),
        Err(ProofError::Malformed)
    );
}

#[test]
fn verify_rejects_malformed_and_oversized_proofs() {
    let signer = Signer::es256("k");
    let good = proof_of(&signer, &header(&signer), &base());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let changed = format!("{head}.{first}{}", signature.split_at(1).1);
    assert_eq!(validate(&changed), Err(ProofError::BadSignature));
    for malformed in [
        String::new(),
        head.to_owned(),
        format!("{good}, {good}"),
        format!("{good}."),
        "a.b.c".into(),
    ] {
        assert_eq!(
            validate(&malformed),
            Err(ProofError::Malformed),
            "{malformed:.40}"
        );
    }
    let large = with(&base(), "more", Some(json!("x".repeat(MAX_PROOF_BYTES))));
    assert_eq!(
        validate(&proof_of(&signer, &header(&signer), &large)),
        Err(ProofError::TooLarge)
    );
}
