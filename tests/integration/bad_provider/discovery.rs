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
        let mut doorward = Setup::plain().without_provider().start();
        doorward.provider.fault(Endpoint::Discovery, fault);
        doorward.provider.restart();
        doorward.sign_in("alice");
        // The earlier connection error is cached for two seconds of this clock.
        doorward.advance_secs(3);
        let page = doorward.browser().visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 503, "{what}: {page}");
        assert_error_page(&page, 503, code);
        assert!(page.header("retry-after").is_some(), "{what}");
        assert_problem(
            &fetched(&mut doorward.browser(), &doorward.store_url(CART)).await,
            401,
            "no_session",
        );
        assert_eq!(
            doorward
                .browser()
                .visit(&doorward.store_url("/public/page"))
                .await
                .status(),
            200,
            "{what}"
        );
        doorward.provider.heal(Endpoint::Discovery);
        doorward.advance_secs(3);
        assert_eq!(
            doorward
                .browser()
                .visit(&doorward.store_url(CART))
                .await
                .status(),
            200,
            "{what}: healed"
        );
    }
}

#[tokio::test]
async fn discovery_issuer_mismatch_is_rejected() {
    let mut doorward = Setup::plain().without_provider().start();
    doorward.provider.behave(|provider| {
        provider.discovery_issuer = Some("https://somebody.else.test".to_owned())
    });
    doorward.provider.restart();
    doorward.advance_secs(3);
    let page = doorward.browser().visit(&doorward.store_url(CART)).await;
    assert_error_page(&page, 503, "discovery_issuer_mismatch");
}

#[tokio::test]
async fn callback_issuer_mismatch_or_absence_is_rejected() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    doorward
        .provider
        .behave(|provider| provider.iss_parameter = IssParameter::Wrong);
    assert_login_fails(&doorward, "wrong", 400, "callback_issuer_mismatch").await;
    assert_eq!(
        doorward.provider.calls(Endpoint::Token),
        0,
        "the code stays here"
    );
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    doorward
        .provider
        .behave(|provider| provider.iss_parameter = IssParameter::Missing);
    assert_login_fails(&doorward, "missing", 400, "callback_issuer_missing").await;
    assert_eq!(
        doorward.provider.calls(Endpoint::Token),
        0,
        "the code stays here"
    );
}

#[tokio::test]
async fn missing_keys_are_an_outage_and_one_bad_key_is_skipped() {
    let doorward = Setup::plain().start();
    eventually("the keys are known", || {
        doorward.provider.calls(Endpoint::Jwks) > 0
    })
    .await;
    alice(&doorward).await;
    let mut doorward = Setup::plain().without_provider().start();
    doorward.provider.fault(Endpoint::Jwks, Fault::Status(500));
    doorward.provider.restart();
    doorward.sign_in("alice");
    doorward.advance_secs(3);
    let page = doorward.browser().visit(&doorward.store_url(CART)).await;
    assert_error_page(&page, 503, "provider_keys_unavailable");
    doorward.provider.heal(Endpoint::Jwks);
    doorward
        .provider
        .behave(|provider| provider.junk_in_jwks = true);
    doorward.advance_secs(3);
    assert_eq!(
        doorward
            .browser()
            .visit(&doorward.store_url(CART))
            .await
            .status(),
        200
    );
}
