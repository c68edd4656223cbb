//! Key set tests: sets with every kind of invalid key.

use serde_json::json;

use super::*;
use crate::oidc::testing::{Signer, b64, jwks, with};

#[test]
fn parse_skips_invalid_keys_with_reasons() {
    let ec = Signer::es256("ec").jwk();
    let rsa = Signer::new("rsa", Algorithm::Rs256).jwk();
    let ed = Signer::new("ed", Algorithm::EdDsa).jwk();
    let mut small = vec![0xff; 128];
    small[127] = 1;
    let bad = [
        (json!(7), SkipReason::Malformed),
        (json!({}), SkipReason::Malformed),
        (
            json!({"kty": "oct", "kid": "h", "k": "c2VjcmV0"}),
            SkipReason::Symmetric,
        ),
        (with(&ec, "d", Some(json!("AQ"))), SkipReason::Private),
        (
            with(&ec, "use", Some(json!("enc"))),
            SkipReason::NotForSignatures,
        ),
        (
            with(&ec, "key_ops", Some(json!(["encrypt"]))),
            SkipReason::NotForSignatures,
        ),
        (
            with(&ec, "key_ops", Some(json!("verify"))),
            SkipReason::Malformed,
        ),
        (
            with(&ec, "crv", Some(json!("P-521"))),
            SkipReason::Unsupported,
        ),
        (
            with(&ec, "crv", Some(json!("P-384"))),
            SkipReason::Malformed,
        ),
        (with(&ec, "y", Some(ec["x"].clone())), SkipReason::Malformed),
        (with(&ec, "x", None), SkipReason::Malformed),
        (with(&ec, "kid", Some(json!(1))), SkipReason::Malformed),
        (
            with(&ec, "alg", Some(json!("ECDH-ES"))),
            SkipReason::Unsupported,
        ),
        (
            with(&ec, "alg", Some(json!("RS256"))),
            SkipReason::Unsupported,
        ),
        (
            with(&rsa, "alg", Some(json!("HS256"))),
            SkipReason::Unsupported,
        ),
        (with(&rsa, "n", Some(json!(b64(small)))), SkipReason::Weak),
        (
            with(&rsa, "n", Some(json!(b64(vec![0xff; 1025])))),
            SkipReason::TooLarge,
        ),
        (with(&rsa, "e", Some(json!("AQ"))), SkipReason::Weak),
        (with(&rsa, "e", Some(json!("Ag"))), SkipReason::Weak),
        (with(&rsa, "e", Some(json!(""))), SkipReason::Weak),
        (with(&rsa, "n", Some(json!("a+b="))), SkipReason::Malformed),
        (with(&ed, "x", Some(json!("AAAA"))), SkipReason::Malformed),
        (
            with(&ed, "crv", Some(json!("X25519"))),
            SkipReason::Unsupported,
        ),
    ];
    for (key, reason) in bad {
        let set =
            KeySet::parse(jwks(&[key.clone(), ec.clone(), rsa.clone(), ed.clone()]).as_bytes())
                .unwrap();
        assert_eq!(set.usable(), 3, "{key}");
        assert_eq!(
            set.skipped()
                .iter()
                .map(|skipped| skipped.reason)
                .collect::<Vec<_>>(),
            [reason],
            "{key}"
        );
        assert!(set.has_kid("ec") && set.has_kid("rsa") && !set.has_kid("h"));
        assert_eq!(
            KeySet::parse(jwks(&[key]).as_bytes()).unwrap_err(),
            KeysError::NoUsableKey
        );
    }
}

#[test]
fn parse_accepts_provider_variations() {
    let rsa = Signer::new("rsa", Algorithm::Rs256).jwk();
    let modulus = URL_SAFE_NO_PAD.decode(rsa["n"].as_str().unwrap()).unwrap();
    for key in [
        with(&rsa, "use", Some(json!("sig"))),
        with(&rsa, "key_ops", Some(json!(["verify"]))),
        with(&rsa, "x5c", Some(json!(["MIIB"]))),
        with(&rsa, "kid", None),
        with(
            &rsa,
            "n",
            Some(json!(b64([&[0], modulus.as_slice()].concat()))),
        ),
    ] {
        assert_eq!(
            KeySet::parse(jwks(std::slice::from_ref(&key)).as_bytes())
                .unwrap()
                .usable(),
            1,
            "{key}"
        );
    }
    let same = |key: &Value| Key::parse(key).unwrap().fingerprint();
    assert_eq!(same(&rsa), same(&with(&rsa, "kid", Some(json!("renamed")))));
    assert_ne!(same(&rsa), same(&Signer::es256("rsa").jwk()));
}

#[test]
fn parse_limits_the_number_of_keys() {
    let ec = Signer::es256("ec").jwk();
    let many = KeySet::parse(jwks(&vec![ec; MAX_KEYS + 5]).as_bytes()).unwrap();
    assert_eq!((many.usable(), many.skipped().len()), (MAX_KEYS, 1));
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        "<html>",
    ] {
        assert_eq!(
            KeySet::parse(bad.as_bytes()).unwrap_err(),
            KeysError::NotAKeySet,
            "{bad}"
        );
    }
}

#[test]
fn key_is_parsed_for_each_algorithm_that_it_allows() {
    let rsa = Signer::new("rsa", Algorithm::Rs256).jwk();
    let fitting = |key: &Value| -> Vec<&str> {
        let key = Key::parse(key).unwrap();
        let algorithms = Algorithm::ALL.into_iter();
        let fitting = algorithms.filter(|algorithm| key.fits(*algorithm));
        fitting.map(Algorithm::name).collect()
    };
    let all = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    assert_eq!(fitting(&rsa), all);
    assert_eq!(fitting(&with(&rsa, "alg", Some(json!("PS384")))), ["PS384"]);
    assert_eq!(fitting(&Signer::es256("ec").jwk()), ["ES256"]);
    let ed25519 = Signer::new("ed", Algorithm::EdDsa).jwk();
    assert_eq!(fitting(&ed25519), ["EdDSA"]);
}
