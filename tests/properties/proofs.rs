//! DPoP proofs: a proof is accepted exactly for its key, request and time.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward::oidc::dpop::{Freshness, ProofExpectation, verify};
use doorward::oidc::install_crypto;
use doorward::types::net::Origin;
use doorward::types::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::checks;

const NOW: u64 = 1_800_000_000;
const HERE: &str = "https://store.example.com/orders/7";

static KEY: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());

fn jwk() -> Value {
    let (x, y) = KEY.public_key().as_ref()[1..].split_at(32);
    json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
}

fn signed(header: &Value, claims: &Value) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let signature = KEY.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Mostly correct for the request.
fn mostly<T: Clone + std::fmt::Debug + 'static>(
    right: T,
    others: Vec<T>,
) -> impl Strategy<Value = T> {
    prop_oneof![4 => Just(right), 1 => select(others)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn proof_is_accepted_only_if_all_parts_match(
        method in mostly("GET", vec!["POST", "get", "HEAD"]),
        htu in mostly(HERE, vec!["https://forum.example.com/orders/7", "https://store.example.com/orders", "http://store.example.com/orders/7"]),
        query in select(vec!["", "?", "?a=b", "#c", "?a=https://evil.example/#"]),
        age in -200_i64..200,
        typ in mostly("dpop+jwt", vec!["JWT", "at+jwt"]),
        alg in mostly("ES256", vec!["none", "ES384", "HS256"]),
        brings_private_part in prop::bool::weighted(0.1),
        spoilt in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        install_crypto();
        let mut jwk = jwk();
        if brings_private_part {
            jwk["d"] = json!("AQ");
        }
        let issued_at = NOW.checked_add_signed(-age).unwrap();
        let claims = json!({"jti": "j", "htm": method, "htu": format!("{htu}{query}"), "iat": issued_at});
        let mut proof = signed(&json!({"typ": typ, "alg": alg, "jwk": jwk}), &claims);
        if let Some(index) = spoilt {
            let at = index.index(proof.len());
            let other = if proof.as_bytes()[at] == b'A' { "B" } else { "A" };
            proof.replace_range(at..=at, other);
        }
        let origin = Origin::parse("https://store.example.com").unwrap();
        let (path, freshness) = ("/orders/7", Freshness::IssuedAt);
        let expected = ProofExpectation { method: "GET", origin: &origin, path, access_token: None, freshness };
        let right = method == "GET" && htu == HERE && (-30..60).contains(&age) && typ == "dpop+jwt" && alg == "ES256"
            && !brings_private_part && spoilt.is_none();
        let verdict = verify(&proof, expected, Timestamp::from_secs(NOW));
        prop_assert_eq!(verdict.is_ok(), right, "{:?}", verdict);
    }

    #[test]
    fn arbitrary_text_does_not_panic(
        text in prop_oneof![any::<String>(), "[A-Za-z0-9_=-]{0,20}(\\.[A-Za-z0-9_-]{0,20}){0,5}"],
        bytes in vec(any::<u8>(), 0..300),
    ) {
        checks::dpop::check(&text);
        let header = URL_SAFE_NO_PAD.encode(json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk()}).to_string());
        checks::dpop::check(&format!("{header}.{}.AAAA", URL_SAFE_NO_PAD.encode(&bytes)));
    }
}
