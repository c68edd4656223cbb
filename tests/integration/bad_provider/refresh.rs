//! A failing refresh: the session is kept and the first response is 503, unless the provider rejects
//! the grant.

use super::secrets;
use crate::client_authentication::key_pem;
use crate::support::assertions::{
    CART, alice, assert_error_page, assert_login_starts, assert_problem, fetched,
};
use crate::support::doorward::Setup;
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault, Flaw, RefreshRefusal};

/// How long a session is not refreshed again after a failure, in seconds.
const BACKOFF: u64 = 5;

#[tokio::test]
async fn failed_refresh_keeps_session_and_yields_503() {
    let cases = [
        (Fault::Html, "provider_unavailable"),
        (Fault::BrokenJson, "provider_unavailable"),
        (Fault::Huge(8_000_000), "token_response_malformed"),
        (Fault::Status(302), "provider_unavailable"),
        (Fault::Page(400), "token_response_malformed"),
        (Fault::Page(403), "token_response_malformed"),
        (Fault::Page(404), "token_response_malformed"),
        (
            Fault::Json(403, r#"{"message":"blocked by policy"}"#),
            "token_response_malformed",
        ),
        (
            Fault::Json(404, r#"{"message":"no route matched"}"#),
            "token_response_malformed",
        ),
        (Fault::Json(404, ""), "token_response_malformed"),
        (Fault::Page(500), "provider_unavailable"),
        (Fault::Status(503), "provider_unavailable"),
        (Fault::CutBefore, "provider_no_response"),
    ];
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    for (fault, code) in cases {
        let what = format!("{fault:?}");
        doorward.advance_secs(301);
        doorward.provider.fault(Endpoint::Token, fault);
        let (before, authorized, reached) = (
            secrets(&browser, &doorward),
            doorward.provider.calls(Endpoint::Authorize),
            doorward.store.count(),
        );
        let page = browser.visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 503, "{what}: {page}");
        let reference = assert_error_page(&page, 503, code);
        assert!(page.header("retry-after").is_some(), "{what}");
        assert!(
            page.chain[0].set_cookies.is_empty(),
            "{what}: {:?}",
            page.chain[0].set_cookies
        );
        let response = fetched(&mut browser, &doorward.store_url(CART)).await;
        assert_problem(&response, 503, code);
        assert!(response.header("retry-after").is_some(), "{what}");
        assert_eq!(
            secrets(&browser, &doorward),
            before,
            "{what}: the session stays"
        );
        assert_eq!(
            doorward.provider.calls(Endpoint::Authorize),
            authorized,
            "{what}: no login is begun"
        );
        assert_eq!(
            doorward.store.count(),
            reached,
            "{what}: a request reached the app"
        );
        eventually("the log has the page's reference", || {
            doorward.log.text().contains(&reference)
        })
        .await;
        assert_eq!(
            browser
                .step(&doorward.store_url("/public/page"))
                .await
                .status(),
            200,
            "{what}: public pages go on"
        );
        doorward.provider.heal(Endpoint::Token);
        doorward.advance_secs(BACKOFF);
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "{what}: healed: {page}");
    }
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn invalid_token_at_refresh_keeps_session() {
    let cases = [
        (Flaw::WrongIssuer, "token_issuer_mismatch"),
        (Flaw::WrongAudience, "token_audience_mismatch"),
        (Flaw::WrongSignature, "token_signature_invalid"),
        (Flaw::AlgNone, "token_malformed"),
        (Flaw::Expired, "token_expired"),
        (Flaw::Without("exp"), "token_exp_missing"),
    ];
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    for (flaw, code) in cases {
        doorward.advance_secs(301);
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws = vec![flaw.clone()]);
        let page = browser.visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 503, "{flaw:?}: {page}");
        assert_error_page(&page, 503, code);
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws.clear());
        doorward.advance_secs(BACKOFF);
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_eq!(
            page.status(),
            200,
            "{flaw:?}: the new refresh token was not lost: {page}"
        );
    }
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn slow_refresh_times_out_and_completes_in_background() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(301);
    let gate = Gate::default();
    doorward
        .provider
        .fault(Endpoint::Token, Fault::Held(gate.clone()));
    let (mut user, mut script) = (browser.clone(), browser.clone());
    let (url, same) = (doorward.store_url(CART), doorward.store_url(CART));
    let (page, response) = tokio::join!(user.step(&url), fetched(&mut script, &same));
    assert_error_page(&page, 503, "refresh_too_slow");
    assert_problem(&response, 503, "refresh_too_slow");
    assert!(page.header("retry-after").is_some() && response.header("retry-after").is_some());
    gate.open();
    doorward.provider.heal(Endpoint::Token);
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    assert_eq!(
        doorward.provider.grants("refresh_token"),
        1,
        "the late answer was not lost"
    );
}

#[tokio::test]
async fn refused_grant_ends_session_and_client_error_does_not() {
    let doorward = Setup::plain().start();
    let refused = |status, error| Some(RefreshRefusal { status, error });
    for refusal in [
        refused(400, Some("invalid_grant")),
        refused(403, Some("invalid_grant")),
        refused(400, None),
    ] {
        let browser = alice(&doorward).await;
        doorward.advance_secs(301);
        doorward
            .provider
            .behave(|provider| provider.refresh_refusal = refusal);
        let mut script = browser.clone();
        let response = fetched(&mut script, &doorward.store_url(CART)).await;
        assert_problem(&response, 401, "refresh_rejected");
        assert_eq!(secrets(&script, &doorward), [None, None], "{refusal:?}");
        let page = browser.clone().step(&doorward.store_url(CART)).await;
        assert_login_starts(&doorward, &page);
        doorward
            .provider
            .behave(|provider| provider.refresh_refusal = None);
    }
    for refusal in [
        refused(401, Some("invalid_client")),
        refused(400, Some("invalid_scope")),
        refused(401, None),
    ] {
        let mut browser = alice(&doorward).await;
        doorward.advance_secs(301);
        let before = secrets(&browser, &doorward);
        doorward
            .provider
            .behave(|provider| provider.refresh_refusal = refusal);
        assert_error_page(
            &browser.step(&doorward.store_url(CART)).await,
            503,
            "client_rejected",
        );
        assert_eq!(secrets(&browser, &doorward), before, "{refusal:?}");
        doorward
            .provider
            .behave(|provider| provider.refresh_refusal = None);
        doorward.advance_secs(BACKOFF);
        assert_eq!(
            browser.step(&doorward.store_url(CART)).await.status(),
            200,
            "{refusal:?}"
        );
    }
}

#[tokio::test]
async fn tokens_that_are_not_bound_at_refresh_keep_the_session() {
    let setup = Setup::plain().file("dpop.pem", &key_pem());
    let setup = setup.store("dpop_key_files = [\"dpop.pem\"]");
    let doorward = setup.start();
    let token_type = |name: &'static str| {
        doorward.provider.behave(|provider| {
            provider.token_response_members = vec![("token_type", name.into())];
        });
    };
    token_type("DPoP");
    let mut browser = alice(&doorward).await;
    token_type("Bearer");
    doorward.advance_secs(301);
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_error_page(&page, 503, "tokens_not_bound");
    token_type("DPoP");
    doorward.advance_secs(BACKOFF);
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "the new refresh token was kept: {page}");
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}
