//! Refresh of an expired JWT: one call for all concurrent requests, and no lost tokens.

use super::{CART, load, refreshes, sets_session, shown};
use crate::support::assertions::metric_reaches;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault};

#[tokio::test]
async fn two_hundred_requests_at_expiry_cause_one_refresh() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    let gate = Gate::default();
    doorward
        .provider
        .fault_once(Endpoint::Token, Fault::Held(gate.clone()));
    let tabs: Vec<_> = (0..200)
        .map(|number| {
            let (mut tab, url) = (
                browser.clone(),
                doorward.store_url(&format!("/item/{number}")),
            );
            tokio::spawn(async move { tab.step(&url).await })
        })
        .collect();
    gate.reached(1).await;
    metric_reaches(&doorward, "doorward_server_requests_in_flight", 200.0).await;
    gate.open();
    for (number, tab) in tabs.into_iter().enumerate() {
        let page = tab.await.expect("an answer");
        assert_eq!(
            (page.status(), shown(&page).as_deref()),
            (200, Some("alice-id")),
            "{number}: {page}"
        );
        assert_eq!(page.json()["target"], format!("/item/{number}"));
        assert!(sets_session(&page), "{page}");
        super::arrive(&doorward, &mut browser, &page);
    }
    assert_eq!(refreshes(&doorward), 1);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
    load(&doorward, &mut browser, "alice").await;
    doorward.advance_secs(300);
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(refreshes(&doorward), 2);
}

#[tokio::test]
async fn lost_response_old_cookie_gets_successor() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    let lost = load(&doorward, &mut browser.clone(), "alice").await;
    assert!(sets_session(&lost));
    doorward.advance_secs(250);
    let page = load(&doorward, &mut browser, "alice").await;
    assert!(sets_session(&page), "{page}");
    doorward.provider.assert_no_dead_refresh_token_was_sent();
    load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn lost_response_with_expired_successor_uses_its_token() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    load(&doorward, &mut browser.clone(), "alice").await;
    doorward.advance_secs(400);
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(refreshes(&doorward), 2);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
    load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn client_disconnect_does_not_cancel_refresh() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    let gate = Gate::default();
    doorward
        .provider
        .fault_once(Endpoint::Token, Fault::Held(gate.clone()));
    let (mut tab, cart) = (browser.clone(), doorward.store_url(CART));
    let left = tokio::spawn(async move { tab.step(&cart).await });
    gate.reached(1).await;
    left.abort();
    assert!(left.await.is_err_and(|error| error.is_cancelled()));
    gate.open();
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(refreshes(&doorward), 1);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn provider_failure_keeps_session_and_starts_no_login() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    let cart = doorward.store_url(CART);
    let from = url::Url::parse(&cart).unwrap();
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Html,
        Fault::Status(429),
    ] {
        doorward.provider.fault(Endpoint::Token, fault.clone());
        for request in [
            RequestSpec::new(Kind::Navigation, &cart),
            RequestSpec::new(Kind::Fetch, &cart).from(&from),
        ] {
            let page = browser.send(request).await;
            assert_eq!(page.status(), 503, "{fault:?}: {page}");
            assert!(page.header("retry-after").is_some(), "{fault:?}: {page}");
            assert!(page.head.all("set-cookie").is_empty(), "{fault:?}: {page}");
        }
        doorward.provider.heal(Endpoint::Token);
        doorward.advance_secs(5);
    }
    load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn aborted_connection_is_retried_once() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    doorward
        .provider
        .fault_once(Endpoint::Token, Fault::CutBefore);
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(refreshes(&doorward), 2);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}
