//! Rejected access tokens: each flaw has its own code, and no request reaches the
//! app.

use serde_json::{Value, json};

use super::{
    CART, ORDERS, PROFILE, assert_no_token_reached_the_app, challenges, doorward, request_with,
    sent, setup, token, with_token,
};
use crate::support::assertions::{Dialogue, alice, assert_problem};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Doorward;
use crate::support::provider::{Endpoint, Fault, Flaw, User};

async fn assert_refused(doorward: &Doorward, token: &str, code: &str) {
    let response = with_token(doorward, CART, token).await;
    assert_problem(&response, 401, code);
    let challenges = challenges(&response);
    let told = format!(
        r#"Bearer realm="store.localhost", error="invalid_token", error_description="{code}""#
    );
    assert_eq!(
        (challenges.len(), challenges[0].as_str()),
        (3, told.as_str()),
        "{response}"
    );
    assert_eq!(
        response.json().get("login_url"),
        None,
        "a login helps no program: {response}"
    );
    assert!(response.head.all("set-cookie").is_empty(), "{response}");
}

#[tokio::test]
async fn flawed_token_is_rejected() {
    let doorward = doorward();
    let typ = |typ: &str| Flaw::Header("typ", json!(typ));
    let claim = |name, value: Value| Flaw::Claim(name, value);
    let now = doorward.now().secs();
    let cases = [
        (Flaw::WrongIssuer, "token_issuer_mismatch"),
        (Flaw::WrongAudience, "token_audience_mismatch"),
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::AlgNone, "token_malformed"),
        (
            Flaw::Header("alg", json!("none")),
            "token_algorithm_not_allowed",
        ),
        (Flaw::HmacWithPublicKey, "token_algorithm_not_allowed"),
        (Flaw::KeyMissing, "token_key_unknown"),
        (Flaw::Expired, "token_expired"),
        (Flaw::Without("exp"), "token_exp_missing"),
        (Flaw::Without("iat"), "token_iat_missing"),
        (Flaw::Without("aud"), "token_aud_missing"),
        (Flaw::Without("iss"), "token_iss_missing"),
        (claim("exp", json!("tomorrow")), "token_exp_malformed"),
        (claim("aud", json!(["store", 7])), "token_aud_malformed"),
        (claim("sub", json!(7)), "token_sub_malformed"),
        (claim("nbf", json!(now + 31)), "token_not_yet_valid"),
        (claim("iat", json!(now + 31)), "token_issued_in_future"),
        (
            claim("cnf", json!({ "x5t#S256": "x" })),
            "token_cnf_malformed",
        ),
        (claim("events", json!({})), "token_kind_mismatch"),
        (typ("logout+jwt"), "token_kind_mismatch"),
        (typ("dpop+jwt"), "token_kind_mismatch"),
        (typ("secevent+jwt"), "token_kind_mismatch"),
        (Flaw::Header("crit", json!(["exp"])), "token_extension"),
    ];
    for (flaw, code) in cases {
        let token = doorward.provider.access_token(&json!({}), &[flaw]);
        assert_refused(&doorward, &token, code).await;
    }
    assert_eq!(doorward.store.count(), 0, "a request reached the app");
}

#[tokio::test]
async fn id_token_is_no_access_token() {
    let doorward = doorward();
    alice(&doorward).await;
    let id_tokens = doorward
        .provider
        .secrets()
        .into_iter()
        .filter(|secret| secret.matches('.').count() == 2);
    let reached = doorward.store.count();
    let mut refused = 0;
    for token in id_tokens {
        let response = with_token(&doorward, PROFILE, &token).await;
        // The access token of the same login is accepted.
        refused += usize::from(response.status() == 401);
        assert!(matches!(response.status(), 200 | 401), "{response}");
    }
    assert_eq!((refused, doorward.store.count()), (1, reached + 1));
    // An ID token from a refresh has neither nonce nor hash, and is rejected too. Some have the
    // scope and the client.
    for claims in [json!({ "client_id": null, "scope": null }), json!({})] {
        let refreshed = doorward
            .provider
            .access_token(&claims, &[Flaw::Header("typ", json!("JWT"))]);
        assert_refused(&doorward, &refreshed, "token_kind_mismatch").await;
    }
}

#[tokio::test]
async fn configured_claim_tells_access_tokens_from_id_tokens() {
    let doorward = setup("access_token_claim = \"use=access\"").start();
    let plain = [Flaw::Header("typ", json!("JWT"))];
    let marked = doorward
        .provider
        .access_token(&json!({ "use": "access" }), &plain);
    assert_eq!(with_token(&doorward, PROFILE, &marked).await.status(), 200);
    let other = doorward
        .provider
        .access_token(&json!({ "use": "id" }), &plain);
    assert_refused(&doorward, &other, "token_kind_mismatch").await;
}

/// Junk from a client makes the keys be fetched again, and then not for ten seconds.
#[tokio::test]
async fn junk_key_ids_do_not_delay_a_login_after_a_key_rotation() {
    let doorward = doorward();
    doorward.logged_in("alice", CART).await;
    doorward.advance_secs(10);
    let junk = doorward
        .provider
        .access_token(&json!({}), &[Flaw::KeyMissing]);
    let fetched = doorward.provider.calls(Endpoint::Jwks);
    for _ in 0..3 {
        assert_refused(&doorward, &junk, "token_key_unknown").await;
    }
    assert_eq!(doorward.provider.calls(Endpoint::Jwks), fetched + 1);
    doorward.provider.rotate_keys(false);
    doorward.logged_in("bob", CART).await;
    doorward.provider.rotate_keys(false);
    doorward.logged_in("carol", CART).await;
    assert_eq!(doorward.provider.calls(Endpoint::Jwks), fetched + 3);
}

#[tokio::test]
async fn malformed_token_is_rejected_without_provider_call() {
    let doorward = doorward();
    let good = token(&doorward, json!({}));
    assert_eq!(with_token(&doorward, CART, &good).await.status(), 200);
    let asked = doorward.provider.calls(Endpoint::Jwks);
    let long = "a".repeat(12 * 1024);
    let two = format!("{good}, {good}");
    for nonsense in [
        "",
        "opaque",
        "a b",
        "..",
        "\"x\"",
        &two,
        good.split_at(1).1,
        &long,
    ] {
        let response = with_token(&doorward, CART, nonsense).await;
        assert_eq!(response.status(), 401, "{nonsense:.20}: {response}");
        assert!(
            challenges(&response)[0].contains(r#"error="invalid_token""#),
            "{response}"
        );
    }
    assert_eq!(
        (
            doorward.provider.calls(Endpoint::Jwks),
            doorward.provider.calls(Endpoint::Introspection)
        ),
        (asked, 0)
    );
    assert_eq!(doorward.store.count(), 1);
}

#[tokio::test]
async fn key_in_token_header_is_ignored() {
    let doorward = doorward();
    let evil = doorward.forum.url();
    for header in ["jku", "x5u"] {
        let flaws = [
            Flaw::KeyMissing,
            Flaw::Header(header, json!(format!("{evil}/keys"))),
        ];
        assert_refused(
            &doorward,
            &doorward.provider.access_token(&json!({}), &flaws),
            "token_key_unknown",
        )
        .await;
    }
    assert_eq!(doorward.forum.count(), 0, "nothing was fetched from there");
}

#[tokio::test]
async fn two_authorization_fields_are_rejected() {
    let doorward = doorward();
    let (good, cookie) = (token(&doorward, json!({})), alice(&doorward).await);
    let reached = doorward.store.count();
    let second = format!("Authorization: Bearer {good}\r\n");
    for first in [
        "Authorization: Basic eDp5\r\n",
        "authorization: Bearer x\r\n",
        second.as_str(),
    ] {
        for browser in [&doorward.browser(), &cookie] {
            let mut dialogue = Dialogue::with(browser, &doorward.site().store).await;
            let request =
                format!("GET {CART} HTTP/1.1\r\nHost: store.localhost:8080\r\n{first}{second}\r\n");
            assert_eq!(
                dialogue.request("GET", request).await.status(),
                400,
                "{first}"
            );
        }
    }
    assert_eq!(doorward.store.count(), reached);
}

#[tokio::test]
async fn missing_token_is_challenged() {
    let doorward = doorward();
    let ways = |page| challenges(page);
    let algorithms = r#"algs="ES256 ES384 EdDSA PS256 RS256""#;
    let bearer = r#"Bearer realm="store.localhost""#;
    let dpop = format!(r#"DPoP realm="store.localhost", {algorithms}"#);
    let response = sent(
        &mut doorward.browser(),
        RequestSpec::new(Kind::Program, &doorward.store_url(CART)),
    )
    .await;
    assert_problem(&response, 401, "no_session");
    assert_eq!(
        ways(&response),
        [bearer, &dpop, r#"Cookie realm="doorward""#]
    );
    let response = sent(
        &mut doorward.browser(),
        RequestSpec::new(Kind::Program, &doorward.store_url(ORDERS)),
    )
    .await;
    assert_problem(&response, 401, "token_missing");
    let scoped = |way: &str| format!(r#"{way}, scope="orders:read""#);
    assert_eq!(ways(&response), [scoped(bearer), scoped(&dpop)]);
    assert_eq!(response.json().get("login_url"), None, "{response}");
    // An app without bearer tokens sends no challenge.
    let forum = RequestSpec::new(Kind::Program, &doorward.forum_url("/posts"))
        .header("Authorization", "Bearer x");
    assert_eq!(
        ways(&sent(&mut doorward.browser(), forum).await),
        [r#"Cookie realm="doorward""#]
    );
    assert_eq!(doorward.store.count(), 0);
}

#[tokio::test]
async fn bearer_request_never_starts_a_login() {
    let doorward = doorward();
    for (name, value) in [
        ("Accept", "text/html"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ] {
        let request_with = request_with(&doorward, CART, "Bearer x").header(name, value);
        assert_problem(
            &sent(&mut doorward.browser(), request_with).await,
            401,
            "token_malformed",
        );
    }
    // A browser at a bearer-only path gets a page, not a login.
    let page = doorward.browser().step(&doorward.store_url(PROFILE)).await;
    assert_eq!(page.status(), 401, "{page}");
    assert!(
        page.words().contains("access token")
            && !page.links().iter().any(|(href, _)| href.contains("login")),
        "{page}"
    );
}

#[tokio::test]
async fn missing_provider_keys_yield_503() {
    let mut doorward = setup("").without_provider().start();
    let good = token(&doorward, json!({}));
    let unknown = with_token(&doorward, CART, &good).await;
    assert_eq!(
        (unknown.status(), unknown.header("retry-after")),
        (503, Some("5")),
        "{unknown}"
    );
    assert!(challenges(&unknown).is_empty(), "{unknown}");
    assert_eq!(
        with_token(&doorward, "/public/news", &good).await.status(),
        200
    );
    assert_eq!(
        (
            doorward.store.count(),
            doorward.store.last().header("x-forwarded-user")
        ),
        (1, None)
    );
    doorward.provider.restart();
    doorward.advance_secs(3);
    assert_eq!(with_token(&doorward, CART, &good).await.status(), 200);
    // Cached keys serve while the provider is unavailable.
    doorward.provider.stop();
    assert_eq!(
        with_token(&doorward, CART, &token(&doorward, super::of_bob()))
            .await
            .status(),
        200
    );
    assert_no_token_reached_the_app(&doorward);
}

#[tokio::test]
async fn new_key_is_fetched_and_withdrawn_key_is_rejected() {
    let doorward = doorward();
    let old = token(&doorward, json!({}));
    assert_eq!(with_token(&doorward, CART, &old).await.status(), 200);
    doorward.advance_secs(11);
    doorward.provider.rotate_keys(true);
    assert_eq!(
        with_token(&doorward, CART, &token(&doorward, json!({})))
            .await
            .status(),
        200,
        "of the new key"
    );
    assert_eq!(
        with_token(&doorward, CART, &old).await.status(),
        200,
        "the old key is still there"
    );
    doorward.advance_secs(11);
    doorward.provider.rotate_keys(false);
    let newest = token(&doorward, json!({}));
    doorward
        .provider
        .fault_once(Endpoint::Jwks, Fault::Status(500));
    assert_eq!(
        with_token(&doorward, CART, &newest).await.status(),
        503,
        "it may yet be good"
    );
    doorward.advance_secs(11);
    assert_eq!(with_token(&doorward, CART, &newest).await.status(), 200);
    assert_refused(&doorward, &old, "token_key_unknown").await;
}

#[tokio::test]
async fn claims_come_from_the_token_alone() {
    let doorward = doorward();
    // Bob's session has the role admin; the access token of his phone does not.
    doorward.provider.sign_in(User::new("bob", &["admin"]));
    let phone = token(&doorward, super::of_bob());
    assert_problem(
        &with_token(&doorward, "/admin", &phone).await,
        403,
        "forbidden",
    );
}

#[tokio::test]
async fn unregistered_fusionauth_user_is_rejected() {
    let doorward = setup("opaque_tokens = \"introspect\"").provider("kind = \"fusionauth\"");
    let doorward = doorward
        .store("session_jwt = \"access\"")
        .forum("session_jwt = \"access\"")
        .start();
    let typ = [Flaw::Header("typ", json!("JWT"))];
    let registered = json!({ "client_id": null, "applicationId": "store" });
    for claims in [
        json!({ "client_id": null, "tty": "at" }),
        json!({ "client_id": null, "applicationId": "forum" }),
    ] {
        let jwt = doorward.provider.access_token(&claims, &typ);
        assert_refused(&doorward, &jwt, "not_registered").await;
        assert_refused(
            &doorward,
            &doorward.provider.opaque_token(&claims),
            "not_registered",
        )
        .await;
    }
    assert_eq!(doorward.store.count(), 0);
    let jwt = doorward.provider.access_token(&registered, &typ);
    assert_eq!(with_token(&doorward, CART, &jwt).await.status(), 200);
    assert_eq!(
        with_token(
            &doorward,
            CART,
            &doorward.provider.opaque_token(&registered)
        )
        .await
        .status(),
        200
    );
}
