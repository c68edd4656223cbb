//! In the last fifth of the JWT's lifetime the refresh runs in the background.

use super::{CART, load, refreshes, sets_session};
use crate::support::backend::Answer;
use crate::support::doorward::Setup;
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault};

#[tokio::test]
async fn no_refresh_before_last_fifth_of_lifetime() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(239);
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(refreshes(&doorward), 0);
}

#[tokio::test]
async fn request_is_forwarded_while_proactive_refresh_runs() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(240);
    let gate = Gate::default();
    doorward
        .provider
        .fault_once(Endpoint::Token, Fault::Held(gate.clone()));
    let old = doorward.cookie(&browser, "refresh");
    load(&doorward, &mut browser, "alice").await;
    gate.reached(1).await;
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(doorward.cookie(&browser, "refresh"), old);
    gate.open();
    doorward.advance_secs(60);
    let page = load(&doorward, &mut browser, "alice").await;
    assert!(sets_session(&page), "{page}");
    assert_ne!(doorward.cookie(&browser, "refresh"), old);
    assert_eq!(refreshes(&doorward), 1);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn tokens_ready_before_response_head_are_set() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(240);
    let gate = Gate::default();
    doorward.store.response(
        "/slow",
        Answer {
            gate: Some(gate.clone()),
            ..Answer::default()
        },
    );
    let (mut tab, url) = (browser.clone(), doorward.store_url("/slow"));
    let late = tokio::spawn(async move { tab.step(&url).await });
    gate.reached(1).await;
    // Other tabs with the old cookies show when the refresh has completed.
    while !sets_session(&load(&doorward, &mut browser.clone(), "alice").await) {}
    gate.open();
    let page = late.await.expect("an answer");
    assert!(page.status() == 200 && sets_session(&page), "{page}");
    super::arrive(&doorward, &mut browser, &page);
    doorward.advance_secs(60);
    load(&doorward, &mut browser, "alice").await;
    assert_eq!(refreshes(&doorward), 1);
}

#[tokio::test]
async fn failed_proactive_refresh_is_harmless_while_jwt_is_valid() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(240);
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    load(&doorward, &mut browser, "alice").await;
    eventually("the refresh was tried", || refreshes(&doorward) > 0).await;
    load(&doorward, &mut browser, "alice").await;
    doorward.provider.heal(Endpoint::Token);
    doorward.advance_secs(60);
    load(&doorward, &mut browser, "alice").await;
}
