//! Valid tokens verify with the published key; flawed tokens have exactly their flaw.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::flow::{Flow, claims, header};
use super::provider::{log_in, start};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::provider::{Endpoint, FakeProvider, Flaw};

/// Whether the signature is valid under the published key with the token's `kid`.
async fn verifies(provider: &FakeProvider, jwt: &Value) -> bool {
    let mut browser = Browser::new(std::sync::Arc::new(doorward::types::time::SystemClock));
    let set = browser
        .send(RequestSpec::new(
            Kind::Program,
            &provider.url(Endpoint::Jwks),
        ))
        .await
        .json();
    let keys = set["keys"].as_array().unwrap();
    let Some(key) = keys.iter().find(|key| key["kid"] == header(jwt)["kid"]) else {
        return false;
    };
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let point = [
        vec![4],
        decoded(key["x"].as_str().unwrap()),
        decoded(key["y"].as_str().unwrap()),
    ]
    .concat();
    let (message, signature) = jwt.as_str().unwrap().rsplit_once('.').unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(message.as_bytes(), &decoded(signature))
        .is_ok()
}

async fn flawed(provider: &FakeProvider, flow: &Flow, flaw: Flaw) -> Value {
    provider.behave(|b| {
        b.id_token_flaws = vec![flaw.clone()];
        b.access_token_flaws = vec![flaw];
    });
    log_in(flow).await["id_token"].clone()
}

#[tokio::test]
async fn unflawed_tokens_verify() {
    let (provider, flow) = start();
    let tokens = log_in(&flow).await;
    assert!(verifies(&provider, &tokens["id_token"]).await);
    assert!(verifies(&provider, &tokens["access_token"]).await);
    assert_eq!(header(&tokens["access_token"])["typ"], "at+jwt");
    provider.rotate_keys(true);
    assert!(
        verifies(&provider, &tokens["id_token"]).await,
        "the old key is kept"
    );
    provider.rotate_keys(false);
    assert!(
        !verifies(&provider, &tokens["id_token"]).await,
        "the old key is gone"
    );
}

#[tokio::test]
async fn claim_flaws_keep_a_valid_signature() {
    let (provider, flow) = start();
    let now = 1_800_000_000;
    let cases = [
        (
            Flaw::WrongIssuer,
            "iss",
            Some(json!("https://somebody.else.test")),
        ),
        (Flaw::WrongAudience, "aud", Some(json!("somebody-else"))),
        (Flaw::Expired, "exp", Some(json!(now - 3600))),
        (Flaw::Without("exp"), "exp", None),
        (Flaw::Without("nonce"), "nonce", None),
        (
            Flaw::Claim("exp", json!("soon")),
            "exp",
            Some(json!("soon")),
        ),
    ];
    for (flaw, name, value) in cases {
        let token = flawed(&provider, &flow, flaw.clone()).await;
        assert_eq!(claims(&token).get(name), value.as_ref(), "{flaw:?}");
        assert!(verifies(&provider, &token).await, "{flaw:?}");
    }
    let token = flawed(&provider, &flow, Flaw::WrongNonce).await;
    assert_ne!(claims(&token)["nonce"], "the-nonce");
    let token = flawed(&provider, &flow, Flaw::Header("crit", json!(["x"]))).await;
    assert_eq!(header(&token)["crit"], json!(["x"]));
}

#[tokio::test]
async fn signature_flaws_fail_verification() {
    let (provider, flow) = start();
    let cases = [
        (Flaw::WrongSignature, "ES256"),
        (Flaw::AlgNone, "none"),
        (Flaw::HmacWithPublicKey, "HS256"),
        (Flaw::KeyMissing, "ES256"),
    ];
    for (flaw, alg) in cases {
        let token = flawed(&provider, &flow, flaw.clone()).await;
        assert_eq!(header(&token)["alg"], alg);
        assert!(!verifies(&provider, &token).await, "{flaw:?}");
    }
}
