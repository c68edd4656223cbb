//! Owners of sessions whose network or browser changes.

use std::net::Ipv4Addr;

use super::{
    CHROME, CHROME_UPDATED, FIREFOX, OTHER_NETWORK, SAME_NETWORK, assert_changes, assert_no_change,
    assert_shown, enforcing, logged_in, prompts,
};
use crate::support::assertions::{CART, assert_error_page, fetched};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;

const FORM: &str = "application/x-www-form-urlencoded";

/// A request to the provider to show no page.
fn silent() -> Option<String> {
    Some("none".to_owned())
}

#[tokio::test]
async fn update_and_address_in_the_same_network_are_no_change() {
    let doorward = enforcing();
    let mut browser = logged_in(&doorward, "alice").await;
    let url = doorward.store_url(CART);
    browser = browser
        .from_address(SAME_NETWORK)
        .sending("user-agent", CHROME_UPDATED);
    assert_shown(&browser.step(&url).await);
    let headless = browser.clone().sending("user-agent", "");
    assert_shown(&headless.clone().step(&url).await);
    assert_eq!(prompts(&doorward), [None]);
    assert_no_change(&doorward).await;
}

#[tokio::test]
async fn default_records_each_change_once_and_refuses_nothing() {
    let doorward = Setup::over_tls().start();
    let mut browser = logged_in(&doorward, "alice").await;
    let url = doorward.store_url(CART);
    browser = browser.from_address(OTHER_NETWORK);
    for _ in 0..3 {
        assert_shown(&browser.step(&url).await);
        assert_eq!(fetched(&mut browser, &url).await.status(), 200);
    }
    // Refreshed sessions keep their client.
    doorward.advance_secs(400);
    assert_shown(&browser.step(&url).await);
    assert_changes(&doorward, "network_observed", 1).await;
    let mut other = browser.clone().sending("user-agent", FIREFOX);
    assert_shown(&other.step(&url).await);
    assert_changes(&doorward, "browser_observed", 1).await;
    let mut third = browser.from_address(Ipv4Addr::new(127, 0, 10, 1));
    assert_shown(&third.step(&url).await);
    assert_changes(&doorward, "network_observed", 2).await;
    assert_eq!(prompts(&doorward), [None]);
}

#[tokio::test]
async fn off_records_nothing() {
    let doorward = Setup::over_tls()
        .store("unbound_sessions = { client_change = \"off\" }")
        .start();
    let mut browser = logged_in(&doorward, "alice").await;
    browser = browser
        .from_address(OTHER_NETWORK)
        .sending("user-agent", FIREFOX);
    assert_shown(&browser.step(&doorward.store_url(CART)).await);
    assert_no_change(&doorward).await;
}

#[tokio::test]
async fn owner_in_another_network_passes_a_round_trip_without_a_form() {
    let doorward = enforcing();
    let mut browser = logged_in(&doorward, "alice").await;
    let url = doorward.store_url(CART);
    browser = browser.from_address(OTHER_NETWORK);
    // A script is refused, and the next page repairs the session.
    let refused = fetched(&mut browser, &url).await;
    assert_eq!(refused.status(), 401, "{refused}");
    assert_eq!(refused.json()["code"], "network_changed", "{refused}");
    assert_shown(&browser.visit(&url).await);
    assert_eq!(doorward.provider.forms_shown(), 0);
    assert_eq!(prompts(&doorward), [None, silent()]);
    assert_changes(&doorward, "network_refused", 1).await;
    assert_changes(&doorward, "confirmed", 1).await;
    assert_eq!(fetched(&mut browser, &url).await.status(), 200);
    // Both networks are known from now on, and after a refresh.
    for second in [1, 400, 400] {
        doorward.advance_secs(second);
        for network in [SAME_NETWORK, OTHER_NETWORK] {
            browser = browser.from_address(network);
            assert_shown(&browser.step(&url).await);
        }
    }
    assert_eq!(prompts(&doorward).len(), 2);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn owner_without_a_session_at_the_provider_logs_in() {
    let doorward = enforcing();
    let mut browser = logged_in(&doorward, "alice").await;
    doorward.provider.sign_out();
    browser = browser.from_address(OTHER_NETWORK);
    let form = browser.visit(&doorward.store_url(CART)).await;
    assert_eq!(doorward.provider.forms_shown(), 1, "{form}");
    assert_eq!(prompts(&doorward), [None, silent(), None]);
    doorward.sign_in("alice");
    assert_shown(&browser.visit(&doorward.store_url(CART)).await);
}

#[tokio::test]
async fn configured_prompt_is_kept() {
    let doorward = Setup::over_tls()
        .store(super::ENFORCED)
        .store("extra_authorization_params = { prompt = \"consent\" }")
        .start();
    let mut browser = logged_in(&doorward, "alice").await;
    browser = browser.from_address(OTHER_NETWORK);
    assert_shown(&browser.visit(&doorward.store_url(CART)).await);
    let consent = || Some("consent".to_owned());
    assert_eq!(prompts(&doorward), [consent(), consent()]);
}

#[tokio::test]
async fn form_of_an_owner_in_another_network_is_preserved() {
    let doorward = enforcing();
    let mut browser = logged_in(&doorward, "alice").await;
    browser = browser.from_address(OTHER_NETWORK);
    let page = doorward.store_url("/orders/new").parse().expect("an URL");
    let form = RequestSpec::new(Kind::Navigation, &doorward.store_url("/orders"))
        .method("POST")
        .from(&page)
        .body(FORM, "item=7");
    let asked = browser.send(form.following()).await;
    assert_eq!(
        (asked.status(), asked.url.path()),
        (200, "/.doorward/form"),
        "{asked}"
    );
    assert_eq!(doorward.provider.forms_shown(), 0);
    let sent = browser.submit(&asked, &[]).await;
    assert_eq!(sent.status(), 200, "{sent}");
    let received = doorward.store.last();
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        ("POST", "/orders")
    );
    assert_eq!(received.body, b"item=7");
    assert_eq!(prompts(&doorward), [None, silent()]);
}

#[tokio::test]
async fn network_that_changes_after_each_login_is_told_to_the_user() {
    let doorward = enforcing();
    let mut browser = logged_in(&doorward, "alice").await;
    let url = doorward.store_url(CART);
    for attempt in 1..=3 {
        browser = browser.from_address(Ipv4Addr::new(127, 1, attempt, 1));
        let start = browser.step(&url).await;
        if start.status() != 302 {
            assert_error_page(&start, 403, "login_loop_client_changes");
            assert_eq!(attempt, 3);
            return;
        }
        browser = browser.from_address(Ipv4Addr::new(127, 2, attempt, 1));
        let at_provider = browser.next(&start).await;
        let callback = browser.next(&at_provider).await;
        assert_eq!(callback.status(), 302, "{callback}");
    }
    panic!("the logins loop");
}

#[tokio::test]
async fn next_user_of_the_browser_does_not_inherit_networks() {
    let doorward = enforcing();
    let mut browser = logged_in(&doorward, "alice").await;
    let url = doorward.store_url(CART);
    doorward.sign_in("bob");
    browser = browser.from_address(OTHER_NETWORK);
    let page = browser.visit(&url).await;
    assert!(page.text().contains("bob-id"), "{page}");
    browser = browser.from_address(SAME_NETWORK);
    assert_eq!(fetched(&mut browser, &url).await.status(), 401);
    assert_changes(&doorward, "confirmed", 0).await;
}

#[tokio::test]
async fn no_session_can_fill_the_audit_log() {
    let doorward = Setup::over_tls().start();
    let browser = logged_in(&doorward, "alice")
        .await
        .from_address(OTHER_NETWORK);
    let url = doorward.store_url(CART);
    for version in ["150", "151", "152"] {
        let agent = CHROME.replace("145", version);
        let mut updated = browser.clone().sending("user-agent", &agent);
        assert_shown(&fetched(&mut updated, &url).await);
    }
    assert_changes(&doorward, "network_observed", 1).await;
    for program in 'a'..='z' {
        let agent = format!("{program}tool/1.0");
        let mut other = browser.clone().sending("user-agent", &agent);
        assert_shown(&fetched(&mut other, &url).await);
    }
    assert_changes(&doorward, "browser_observed", 15).await;
}
