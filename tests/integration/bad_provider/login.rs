//! Invalid tokens and a failing token endpoint at login: an error page, no session, and the next
//! login succeeds.

use serde_json::{Value, json};

use super::{assert_login_fails, secrets};
use crate::support::assertions::{CART, alice, assert_error_page, signed_in};
use crate::support::doorward::Setup;
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::journey;
use crate::support::provider::{Endpoint, Fault, Flaw, User};

#[tokio::test]
async fn invalid_id_token_at_login_yields_page_naming_the_flaw() {
    let cases: Vec<(Flaw, &str)> = vec![
        (Flaw::WrongIssuer, "token_issuer_mismatch"),
        (Flaw::WrongAudience, "token_audience_mismatch"),
        (Flaw::WrongNonce, "token_nonce_mismatch"),
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::AlgNone, "token_malformed"),
        (Flaw::HmacWithPublicKey, "token_algorithm_not_allowed"),
        (Flaw::KeyMissing, "token_key_unknown"),
        (Flaw::Expired, "token_expired"),
        (Flaw::Without("exp"), "token_exp_missing"),
        (Flaw::Without("iss"), "token_iss_missing"),
        (Flaw::Without("aud"), "token_aud_missing"),
        (Flaw::Without("sub"), "token_sub_missing"),
        (Flaw::Without("nonce"), "token_nonce_missing"),
        (
            Flaw::Claim("exp", json!("9999999999")),
            "token_exp_malformed",
        ),
        (Flaw::Claim("exp", Value::Null), "token_exp_malformed"),
        (Flaw::Claim("sub", json!(7)), "token_sub_malformed"),
        (
            Flaw::Claim("sub", json!(["alice-id"])),
            "token_sub_malformed",
        ),
        (Flaw::Claim("sub", json!("")), "token_sub_malformed"),
        (
            Flaw::Claim("aud", json!(["store", "somebody"])),
            "token_azp_mismatch",
        ),
        (Flaw::Claim("azp", json!("somebody")), "token_azp_mismatch"),
        (
            Flaw::Claim("nbf", json!(1_900_000_000)),
            "token_not_yet_valid",
        ),
        (
            Flaw::Claim("iat", json!(1_900_000_000)),
            "token_issued_in_future",
        ),
        (
            Flaw::Claim("at_hash", json!("AAAA")),
            "token_at_hash_mismatch",
        ),
        (Flaw::Header("crit", json!(["exp"])), "token_extension"),
        (Flaw::Header("typ", json!("at+jwt")), "token_kind_mismatch"),
        (
            Flaw::Header("alg", json!("RS256")),
            "token_algorithm_mismatch",
        ),
        (Flaw::Header("alg", json!(7)), "token_algorithm_not_allowed"),
    ];
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut references = Vec::new();
    for (flaw, code) in cases {
        let mut browser = doorward.browser();
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws = vec![flaw.clone()]);
        let asked = doorward.provider.calls(Endpoint::Authorize);
        let page = browser.visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 502, "{flaw:?}: {page}");
        references.push((assert_error_page(&page, 502, code), code));
        assert_eq!(page.url.path(), "/.doorward/callback", "{flaw:?}");
        assert_eq!(
            doorward.provider.calls(Endpoint::Authorize),
            asked + 1,
            "{flaw:?}: the login ran in circles"
        );
        assert_eq!(secrets(&browser, &doorward), [None, None], "{flaw:?}");
        assert_eq!(
            doorward.store.count(),
            0,
            "{flaw:?}: a request reached the app"
        );
    }
    doorward
        .provider
        .behave(|provider| provider.id_token_flaws.clear());
    alice(&doorward).await;
    for (reference, code) in references {
        let logged =
            || {
                doorward.log.lines().iter().any(|line| {
                    line["request_id"] == reference.as_str() && line["decision"] == code
                })
            };
        eventually(&format!("a line {reference} with {code}"), logged).await;
    }
}

#[tokio::test]
async fn access_token_as_session_jwt_is_verified_equally() {
    let doorward = Setup::plain().store("session_jwt = \"access\"").start();
    doorward.sign_in("alice");
    let cases = [
        (Flaw::WrongIssuer, "token_issuer_mismatch"),
        (Flaw::WrongAudience, "token_audience_mismatch"),
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::AlgNone, "token_malformed"),
        (Flaw::HmacWithPublicKey, "token_algorithm_not_allowed"),
        (Flaw::Expired, "token_expired"),
        (Flaw::Without("exp"), "token_exp_missing"),
        (Flaw::Claim("sub", json!({})), "token_sub_malformed"),
        (Flaw::Claim("sub", json!("bob-id")), "subject_changed"),
    ];
    for (flaw, code) in cases {
        doorward
            .provider
            .behave(|provider| provider.access_token_flaws = vec![flaw.clone()]);
        let mut browser = doorward.browser();
        let page = browser.visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 502, "{flaw:?}: {page}");
        assert_error_page(&page, 502, code);
        assert_eq!(secrets(&browser, &doorward), [None, None], "{flaw:?}");
    }
    doorward
        .provider
        .behave(|provider| provider.access_token_flaws.clear());
    doorward
        .provider
        .behave(|provider| provider.opaque_access_token = true);
    assert_login_fails(
        &doorward,
        "an opaque access token",
        502,
        "access_token_not_a_jwt",
    )
    .await;
    doorward
        .provider
        .behave(|provider| provider.opaque_access_token = false);
    alice(&doorward).await;
}

#[tokio::test]
async fn opaque_access_token_is_accepted_with_id_token_sessions() {
    let doorward = Setup::plain().start();
    doorward
        .provider
        .behave(|provider| provider.opaque_access_token = true);
    alice(&doorward).await;
}

#[tokio::test]
async fn failing_token_endpoint_at_login_yields_page_without_session() {
    let cases = [
        (Fault::Html, 502, "token_response_malformed"),
        (Fault::BrokenJson, 502, "token_response_malformed"),
        (Fault::Huge(8_000_000), 502, "token_response_malformed"),
        (Fault::Status(404), 502, "token_response_malformed"),
        (Fault::Status(302), 502, "token_response_malformed"),
        (Fault::Status(500), 503, "provider_unavailable"),
        (Fault::Status(503), 503, "provider_unavailable"),
        (Fault::Status(429), 503, "provider_unavailable"),
        (Fault::CutBefore, 503, "provider_no_response"),
        (Fault::CutAfter, 503, "provider_no_response"),
    ];
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    for (fault, status, code) in cases {
        let what = format!("{fault:?}");
        let (asked, calls) = (
            doorward.provider.calls(Endpoint::Authorize),
            doorward.provider.calls(Endpoint::Token),
        );
        doorward.provider.fault(Endpoint::Token, fault);
        let mut browser = doorward.browser();
        let page = browser.visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), status, "{what}: {page}");
        assert_error_page(&page, status, code);
        assert_eq!(
            page.header("retry-after").is_some(),
            status == 503,
            "{what}"
        );
        assert_eq!(secrets(&browser, &doorward), [None, None], "{what}");
        assert_eq!(
            doorward.provider.calls(Endpoint::Authorize),
            asked + 1,
            "{what}: the login ran in circles"
        );
        assert_eq!(
            doorward.provider.calls(Endpoint::Token),
            calls + 1,
            "{what}: a code is sent once"
        );
        doorward.provider.heal(Endpoint::Token);
        assert_eq!(
            browser.visit(&doorward.store_url(CART)).await.status(),
            200,
            "{what}: the next login"
        );
    }
}

#[tokio::test]
async fn client_secret_does_not_follow_redirects() {
    let elsewhere = crate::support::backend::Backend::start();
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    for endpoint in [Endpoint::Token, Endpoint::Revocation, Endpoint::Userinfo] {
        doorward.provider.fault(
            endpoint,
            Fault::Redirect(format!("{}/token", elsewhere.url())),
        );
    }
    assert_error_page(
        &doorward.browser().visit(&doorward.store_url(CART)).await,
        502,
        "token_response_malformed",
    );
    doorward.advance_secs(301);
    assert_error_page(
        &browser.step(&doorward.store_url(CART)).await,
        503,
        "provider_unavailable",
    );
    journey::log_out(&mut browser, &doorward.site().store).await;
    assert_eq!(
        (elsewhere.connections(), elsewhere.count()),
        (0, 0),
        "somebody else was asked"
    );
}

#[tokio::test]
async fn slow_provider_at_login_times_out() {
    let doorward = Setup::plain().provider("request_timeout = \"1s\"").start();
    doorward.sign_in("alice");
    let gate = Gate::default();
    doorward
        .provider
        .fault(Endpoint::Token, Fault::Held(gate.clone()));
    let mut browser = doorward.browser();
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_error_page(&page, 503, "provider_no_response");
    gate.open();
    doorward.provider.heal(Endpoint::Token);
    assert_eq!(browser.visit(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn oversized_tokens_are_refused_at_login() {
    let doorward = Setup::plain().start();
    let much = "x".repeat(9000);
    doorward
        .provider
        .sign_in(User::new("alice", &[]).with_claim("portrait", json!(much)));
    assert_login_fails(&doorward, "a large claim", 502, "session_too_large").await;
    let fits = "x".repeat(3000);
    let mut browser = signed_in(
        &doorward,
        User::new("alice", &[]).with_claim("portrait", json!(fits)),
    )
    .await;
    let sent = browser
        .jar
        .of(doorward.store_host())
        .iter()
        .map(|one| one.name.len() + one.value.len() + 3)
        .sum::<usize>();
    assert!(sent <= 2 * 7 * 1024, "{sent} bytes of cookies");
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
}
