//! Failing discovery, issuer mismatch, missing keys.

use super::assert_login_fails;
use crate::support::assertions::{CART, alice, assert_error_page, assert_problem, fetched};
use crate::support::doorward::Setup;
use crate::support::eventually;
use crate::support::provider::{Endpoint, Fault, IssParameter};

#[tokio::test]
async fn failed_discovery_blocks_logins_only() {
    let cases: [(Fault, &str); 5] = [
        (Fault::Html, "discovery_not_json"),
        (Fault::BrokenJson, "discovery_not_json"),
        (Fault::Huge(8_000_000), "provider_response_too_large"),
        (Fault::Status(500), "provider_status"),
        (Fault::CutBefore, "provider_no_response"),
    ];
    for (fault, code) in cases {
        let what = format!("{fault:?}");
        let mut door = Setup::plain().without_provider().start();
        door.provider.fault(Endpoint::Discovery, fault);
        door.provider.restart();
        door.sign_in("alice");
        // The earlier connection error is cached for two seconds of this clock.
        door.advance_secs(3);
        let page = door.browser().visit(&door.store_url(CART)).await;
        assert_eq!(page.status(), 503, "{what}: {page}");
        assert_error_page(&page, 503, code);
        assert!(page.header("retry-after").is_some(), "{what}");
        assert_problem(
            &fetched(&mut door.browser(), &door.store_url(CART)).await,
            401,
            "no_session",
        );
        assert_eq!(
            door.browser()
                .visit(&door.store_url("/public/page"))
                .await
                .status(),
            200,
            "{what}"
        );
        door.provider.heal(Endpoint::Discovery);
        door.advance_secs(3);
        assert_eq!(
            door.browser().visit(&door.store_url(CART)).await.status(),
            200,
            "{what}: healed"
        );
    }
}

#[tokio::test]
async fn discovery_issuer_mismatch_is_rejected() {
    let mut door = Setup::plain().without_provider().start();
    door.provider.behave(|provider| {
        provider.discovery_issuer = Some("https://somebody.else.test".to_owned())
    });
    door.provider.restart();
    door.advance_secs(3);
    let page = door.browser().visit(&door.store_url(CART)).await;
    assert_error_page(&page, 503, "discovery_issuer_mismatch");
}

#[tokio::test]
async fn callback_issuer_mismatch_or_absence_is_rejected() {
    let door = Setup::plain().start();
    door.sign_in("alice");
    door.provider
        .behave(|provider| provider.iss_parameter = IssParameter::Wrong);
    assert_login_fails(&door, "wrong", 400, "callback_issuer_mismatch").await;
    assert_eq!(
        door.provider.calls(Endpoint::Token),
        0,
        "the code stays here"
    );
    let door = Setup::plain().start();
    door.sign_in("alice");
    door.provider
        .behave(|provider| provider.iss_parameter = IssParameter::Missing);
    assert_login_fails(&door, "missing", 400, "callback_issuer_missing").await;
    assert_eq!(
        door.provider.calls(Endpoint::Token),
        0,
        "the code stays here"
    );
}

#[tokio::test]
async fn missing_keys_are_an_outage_and_one_bad_key_is_skipped() {
    let door = Setup::plain().start();
    eventually("the keys are known", || {
        door.provider.calls(Endpoint::Jwks) > 0
    })
    .await;
    alice(&door).await;
    let mut door = Setup::plain().without_provider().start();
    door.provider.fault(Endpoint::Jwks, Fault::Status(500));
    door.provider.restart();
    door.sign_in("alice");
    door.advance_secs(3);
    let page = door.browser().visit(&door.store_url(CART)).await;
    assert_error_page(&page, 503, "provider_keys_unavailable");
    door.provider.heal(Endpoint::Jwks);
    door.provider
        .behave(|provider| provider.junk_in_jwks = true);
    door.advance_secs(3);
    assert_eq!(
        door.browser().visit(&door.store_url(CART)).await.status(),
        200
    );
}
