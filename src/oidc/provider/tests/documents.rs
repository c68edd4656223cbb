//! Discovery document and keys: caching, refresh, rotation and verification.

use std::time::Instant;

use super::*;
use crate::oidc::algorithm::Algorithm;
use crate::oidc::cached::FAILURE_CACHE_TIME;
use crate::types::oauth::Nonce;

#[tokio::test]
async fn invalid_discovery_document_is_not_refetched_at_once() {
    let test = TestProvider::new().await;
    let cases: [Case; 5] = [
        (
            "discovery_not_json",
            Box::new(|| Reply::Json(200, String::from("<!doctype html>"))),
        ),
        (
            "provider_status",
            Box::new(|| Reply::Json(500, String::from("{}"))),
        ),
        (
            "provider_response_too_large",
            Box::new(|| Reply::Json(200, " ".repeat(1024 * 1024 + 1))),
        ),
        (
            "discovery_issuer_mismatch",
            Box::new(|| {
                Reply::Json(
                    200,
                    with(
                        &metadata("1"),
                        "issuer",
                        Some(json!("https://evil.example")),
                    )
                    .to_string(),
                )
            }),
        ),
        (
            "discovery_endpoint_insecure",
            Box::new(|| {
                Reply::Json(
                    200,
                    with(
                        &metadata("1"),
                        "jwks_uri",
                        Some(json!("http://192.0.2.1/keys")),
                    )
                    .to_string(),
                )
            }),
        ),
    ];
    for (number, (code, reply)) in cases.into_iter().enumerate() {
        test.on("/d", reply);
        for _ in 0..3 {
            assert_eq!(test.provider.metadata().await.unwrap_err().code(), code);
        }
        assert_eq!(test.server.count("/d"), number + 1, "{code}");
        test.clock.advance(Duration::from_secs(2));
    }
    *test.script.lock().unwrap() = Box::new(|_| None);
    assert_eq!(
        test.provider.metadata().await.unwrap().issuer.as_str(),
        ISSUER
    );
}

#[tokio::test]
async fn concurrent_metadata_calls_make_one_fetch() {
    let test = TestProvider::new().await;
    let calls = (0..20).map(|_| {
        let provider = Arc::clone(&test.provider);
        tokio::spawn(async move { provider.metadata().await.is_ok() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap());
    }
    assert_eq!(test.server.count("/d"), 1);
}

#[tokio::test]
async fn unknown_kid_from_a_client_triggers_rate_limited_key_fetches() {
    let test = TestProvider::new().await;
    let old = Signer::es256("old");
    let new = Signer::es256("new");
    test.publish(&[&old]);
    test.verify_presented(&old.sign(&claims())).await.unwrap();
    let at_first = test.provider.keys().unwrap();
    test.publish(&[&old, &new]);
    test.clock.advance(Duration::from_secs(10));
    let token = test.verify_presented(&new.sign(&claims())).await.unwrap();
    let key = token.key().unwrap();
    assert_eq!(test.server.count("/keys"), 2);
    assert!(!at_first.contains(&key) && test.provider.keys().unwrap().contains(&key));
    for number in 0..50 {
        let unknown = Signer::es256(&format!("unknown-{number}"));
        let rejected = test.verify_presented(&unknown.sign(&claims())).await;
        assert_eq!(
            rejected.unwrap_err(),
            TokenRejected::Signature(JwsError::UnknownKey)
        );
    }
    assert_eq!(test.server.count("/keys"), 2, "rate-limited");
    test.clock.advance(Duration::from_secs(10));
    for _ in 0..2 {
        let unknown = Signer::es256("unknown").sign(&claims());
        test.verify_presented(&unknown).await.unwrap_err();
    }
    assert_eq!(test.server.count("/keys"), 3);
}

/// Junk that clients send must not delay a login after a key rotation.
#[tokio::test]
async fn unknown_kid_from_the_provider_triggers_a_key_fetch_at_once() {
    let test = TestProvider::new().await;
    let [first, second, third] = ["first", "second", "third"].map(Signer::es256);
    test.publish(&[&first]);
    test.verify(&first.sign(&claims())).await.unwrap();
    let junk = Signer::es256("junk").sign(&claims());
    test.verify_presented(&junk).await.unwrap_err();
    for signer in [&second, &third] {
        test.publish(&[signer]);
        test.verify(&signer.sign(&claims())).await.unwrap();
    }
    assert_eq!(test.server.count("/keys"), 3);
    test.verify_presented(&junk).await.unwrap_err();
    assert_eq!(test.server.count("/keys"), 3);
}

#[tokio::test]
async fn last_valid_keys_are_kept_after_a_failed_fetch() {
    let test = TestProvider::new().await;
    let good = Signer::es256("good");
    test.publish(&[&good]);
    test.verify(&good.sign(&claims())).await.unwrap();
    for (status, reply) in [
        (200, "<html>"),
        (200, r#"{"keys":[]}"#),
        (200, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#),
        (500, r#"{"keys":[]}"#),
        (503, "down"),
    ] {
        test.on("/keys", move || Reply::Json(status, String::from(reply)));
        test.clock.advance(Duration::from_secs(10));
        let unknown = test
            .verify(&Signer::es256("unknown").sign(&claims()))
            .await
            .unwrap_err();
        assert!(unknown.is_outage(), "{unknown}");
        assert!(
            test.verify(&good.sign(&with(&claims(), "exp", Some(json!(NOW + 600)))))
                .await
                .is_ok()
        );
    }
}

#[tokio::test]
async fn new_key_is_used_after_an_outage() {
    let test = TestProvider::new().await;
    let old = Signer::es256("old");
    let new = Signer::es256("new");
    test.publish(&[&old]);
    test.verify(&old.sign(&claims())).await.unwrap();
    test.publish(&[&new]);
    test.on("/keys", || Reply::Json(503, String::new()));
    test.clock.advance(Duration::from_secs(10));
    assert!(
        test.verify(&new.sign(&claims()))
            .await
            .unwrap_err()
            .is_outage()
    );
    *test.script.lock().unwrap() = Box::new(|_| None);
    assert!(
        test.verify(&new.sign(&claims()))
            .await
            .unwrap_err()
            .is_outage(),
        "a failed fetch was repeated at once"
    );
    test.clock.advance(FAILURE_CACHE_TIME);
    let token = test.verify(&new.sign(&claims())).await.unwrap();
    assert_eq!(
        test.verify(&old.sign(&claims())).await.unwrap_err().code(),
        "token_key_unknown"
    );
    assert!(test.provider.keys().unwrap().contains(&token.key()));
}

#[tokio::test]
async fn keys_and_metadata_are_refreshed_independently() {
    let test = TestProvider::new().await;
    let old = Signer::es256("old");
    let new = Signer::es256("new");
    test.publish(&[&old]);
    test.provider.refresh_documents().await.unwrap();
    test.on("/d", || Reply::Json(500, String::new()));
    test.publish(&[&new]);
    assert_eq!(
        test.provider.refresh_documents().await.unwrap_err().code(),
        "provider_status"
    );
    assert!(
        test.provider.keys().unwrap().has_kid("new") && test.provider.known_metadata().is_some()
    );
    test.on("/keys", || Reply::Json(500, String::new()));
    let before = test.server.count("/d");
    assert_eq!(
        test.provider.refresh_documents().await.unwrap_err().code(),
        "provider_status"
    );
    assert!(test.provider.keys().unwrap().has_kid("new") && test.server.count("/d") == before + 1);
}

#[tokio::test]
async fn invalid_keys_do_not_affect_valid_ones() {
    let test = TestProvider::new().await;
    let good = Signer::new("good", Algorithm::Rs256);
    let bad = [
        json!({"kty": "oct", "k": "AAAA", "kid": "good"}),
        json!(null),
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
    ];
    *test.keys.lock().unwrap() = jwks(&[&bad[..], &[good.jwk()]].concat());
    test.verify(&good.sign(&claims())).await.unwrap();
    assert_eq!(test.provider.keys().unwrap().skipped().len(), 3);
}

#[tokio::test]
async fn id_token_is_verified_for_one_login_and_client() {
    let test = TestProvider::new().await;
    let signer = Signer::es256("k");
    test.publish(&[&signer]);
    let token = IdToken::new(signer.sign(&with(&claims(), "nonce", Some(json!("n")))));
    let right = Nonce::new("n");
    let wrong = Nonce::new("m");
    let expect = |nonce| IdTokenExpectation {
        nonce: Some(nonce),
        ..Default::default()
    };
    let client = test.client();
    assert!(
        test.provider
            .verify_id_token(&client, &token, expect(&right))
            .await
            .is_ok()
    );
    let rejected = test
        .provider
        .verify_id_token(&client, &token, expect(&wrong))
        .await
        .unwrap_err();
    assert_eq!(
        (rejected.code(), rejected.is_outage()),
        ("token_nonce_mismatch", false)
    );
    // `audiences` applies to access tokens only: the audience of an ID token must be the client.
    let mut other = test.client();
    other.client_id = ClientId::new("forum");
    other.audiences = vec![String::from("store")];
    let rejected = test
        .provider
        .verify_id_token(&other, &token, expect(&right))
        .await
        .unwrap_err();
    assert_eq!(rejected.code(), "token_audience_mismatch");
    test.clock.advance(Duration::from_secs(90));
    let rejected = test
        .provider
        .verify_id_token(&client, &token, expect(&right))
        .await
        .unwrap_err();
    assert_eq!(rejected.code(), "token_expired");
}

#[tokio::test]
async fn keep_fresh_recovers_after_an_outage() {
    let test = TestProvider::new().await;
    test.on("/d", || Reply::Json(503, String::new()));
    let task = tokio::spawn(Arc::clone(&test.provider).keep_fresh());
    let until = |condition: fn(&TestProvider) -> bool| {
        let test = &test;
        async move {
            let start_time = Instant::now();
            while !condition(test) && start_time.elapsed() < Duration::from_secs(10) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            condition(test)
        }
    };
    assert!(until(|test| test.server.count("/d") >= 1).await);
    assert!(test.provider.keys().is_none() && test.provider.known_metadata().is_none());
    *test.script.lock().unwrap() = Box::new(|_| None);
    assert!(until(|test| test.provider.keys().is_some()).await);
    task.abort();
}

#[tokio::test]
async fn unusable_optional_member_is_logged_once_and_not_offered() {
    let log = LogCapture::start();
    let test = TestProvider::new().await;
    let port = test.server.address.port().to_string();
    let documents = [
        (json!(""), 1),
        (json!(""), 1),
        (json!("https://login.example.com/end"), 1),
        (json!("/end"), 2),
    ];
    for (value, logged) in documents {
        let document = with(
            &metadata(&port),
            "end_session_endpoint",
            Some(value.clone()),
        );
        test.on("/d", move || Reply::Json(200, document.to_string()));
        test.provider.refresh_documents().await.unwrap();
        let offered = test
            .provider
            .known_metadata()
            .unwrap()
            .end_session_endpoint
            .clone();
        assert_eq!(offered.is_some(), logged == 1 && value != "", "{value}");
        let text = log.text();
        assert_eq!(
            text.matches("provider_member_ignored").count(),
            logged,
            "{text}"
        );
        assert!(text.contains("`end_session_endpoint`"), "{text}");
    }
}
