//! Authentication of webhooks: signatures, shared secrets, Basic and headers.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::{
    PATH, SIGNATURE, assert_refused, assert_session_valid, event, is_over, outcomes, sent, setup,
    signed, told, webhook,
};
use crate::support::assertions::{CART, alice, metric_reaches};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::provider::Flaw;

#[tokio::test]
async fn invalid_signature_ends_nothing() {
    let doorward = signed();
    let mut browser = alice(&doorward).await;
    let store = doorward.site().store;
    let event = event(
        &doorward,
        "user.delete",
        json!({ "user": { "id": "alice-id" } }),
    );
    let body = json!({ "event": event }).to_string();
    let post = || {
        RequestSpec::new(Kind::Program, &format!("{store}{PATH}"))
            .method("POST")
            .body("application/json", body.clone())
    };
    assert_refused(
        &sent(&doorward, post()).await,
        401,
        "webhook_signature_missing",
    );
    let cases = [
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::AlgNone, "token_malformed"),
        (Flaw::HmacWithPublicKey, "token_algorithm_not_allowed"),
        (Flaw::KeyMissing, "token_key_unknown"),
        (
            Flaw::Without("request_body_sha256"),
            "webhook_body_hash_missing",
        ),
        (
            Flaw::Claim("request_body_sha256", json!(STANDARD.encode([7; 32]))),
            "webhook_body_mismatch",
        ),
    ];
    for (flaw, code) in cases {
        let signature = doorward
            .provider
            .webhook_signature(&body, std::slice::from_ref(&flaw));
        let response = sent(&doorward, post().header(SIGNATURE, &signature)).await;
        assert_refused(&response, 401, code);
        assert!(response.header("www-authenticate").is_some(), "{response}");
        assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
    }
    let other_body =
        webhook(&doorward, &store, &event).body("application/json", body.replace("alice", "alicf"));
    let response = sent(
        &doorward,
        RequestSpec {
            headers: webhook(&doorward, &store, &event).headers,
            ..other_body
        },
    )
    .await;
    assert_refused(&response, 401, "webhook_body_mismatch");
    // A user's JWT is signed with the same key.
    let jwts: Vec<String> = doorward
        .provider
        .secrets()
        .into_iter()
        .filter(|secret| secret.starts_with("eyJ"))
        .collect();
    for jwt in jwts {
        assert_refused(
            &sent(&doorward, post().header(SIGNATURE, &jwt)).await,
            401,
            "webhook_body_hash_missing",
        );
    }
    assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
    metric_reaches(
        &doorward,
        &outcomes("store", "webhook_signature_missing"),
        1.0,
    )
    .await;
    told(&doorward, &store, &event).await;
    is_over(&doorward, &mut browser, &doorward.store_url(CART)).await;
}

#[tokio::test]
async fn shared_secret_basic_and_header_proofs_are_accepted() {
    let hmac = |secret: &str, body: &str| {
        let hash = STANDARD.encode(aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            body.as_bytes(),
        ));
        let parts = [
            json!({ "alg": "HS256", "typ": "JWT" }),
            json!({ "request_body_sha256": hash }),
        ];
        let message = parts
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            message.as_bytes(),
        );
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("hook:{password}")));
    // The secret files are those of the apps: `store-secret`.
    let secret = "store-secret";
    type Proof<'a> = Box<dyn Fn(&str, &str) -> (&'static str, String) + 'a>;
    let cases: Vec<(&str, Proof<'_>, &str)> = vec![
        (
            "signature = \"hmac\"\nsignature_secret_file = \"store.secret\"",
            Box::new(|secret, body| (SIGNATURE, hmac(secret, body))),
            "webhook_signature_invalid",
        ),
        (
            "username = \"hook\"\npassword_file = \"store.secret\"",
            Box::new(|secret, _| ("authorization", basic(secret))),
            "webhook_basic_wrong",
        ),
        (
            "header = \"X-Webhook-Key\"\nheader_secret_file = \"store.secret\"",
            Box::new(|secret, _| ("x-webhook-key", secret.to_owned())),
            "webhook_header_wrong",
        ),
    ];
    for (proofs, proof, code) in cases {
        let doorward = setup(proofs).start();
        let mut browser = alice(&doorward).await;
        let event = event(
            &doorward,
            "user.delete",
            json!({ "user": { "id": "alice-id" } }),
        );
        let body = json!({ "event": event }).to_string();
        let post = |(name, value): (&str, String)| {
            let request =
                RequestSpec::new(Kind::Program, &format!("{}{PATH}", doorward.site().store))
                    .method("POST");
            request
                .header(name, &value)
                .body("application/json", body.clone())
        };
        for wrong in [
            proof("store-secreT", &body),
            proof("", &body),
            ("x-other", secret.to_owned()),
        ] {
            let response = sent(&doorward, post(wrong.clone())).await;
            let missing = if code == "webhook_signature_invalid" && wrong.0 == "x-other" {
                "webhook_signature_missing"
            } else {
                code
            };
            assert_refused(&response, 401, missing);
            assert_session_valid(&mut browser, &doorward.store_url(CART)).await;
        }
        // The provider's key is of another family, and invalid where a shared secret is configured.
        let by_key = (SIGNATURE, doorward.provider.webhook_signature(&body, &[]));
        assert_eq!(sent(&doorward, post(by_key)).await.status(), 401);
        assert_eq!(
            sent(&doorward, post(proof(secret, &body))).await.status(),
            200,
            "{proofs}"
        );
        is_over(&doorward, &mut browser, &doorward.store_url(CART)).await;
    }
}
