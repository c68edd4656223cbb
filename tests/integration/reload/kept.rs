//! A reload preserves connections, streams, logins in progress, refreshes, providers and
//! connections to apps.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::assertions::{CART, SOON, alice};
use crate::support::backend::Answer;
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;
use crate::support::journey;
use crate::support::provider::Endpoint;
use crate::support::websocket::WebSocket;

/// Any change of the store.
fn change_anything(doorward: &Doorward) {
    doorward.edit(
        "[apps.store]",
        "[apps.store.response_headers]\nset = { X-Changed = \"yes\" }\n[apps.store]",
    );
}

async fn chat(doorward: &Doorward, browser: &mut Browser, url: &str, origin: &str) -> WebSocket {
    let request = RequestSpec::new(Kind::Fetch, url).header("Origin", origin);
    let mut socket = WebSocket::open(browser, request).await.expect("a socket");
    has_response(&mut socket).await;
    assert!(doorward.servers[0].all_workers_alive());
    socket
}

async fn has_response(socket: &mut WebSocket) {
    socket.say("still here").await.expect("sent");
    let heard = timeout(SOON, socket.poll()).await.expect("an echo in time");
    assert_eq!(heard.expect("an echo").as_deref(), Some("still here"));
}

#[tokio::test]
async fn websocket_survives_and_ends_with_its_session() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let origin = doorward.site().store;
    let url = doorward.store_url("/chat");
    let mut socket = chat(&doorward, &mut browser, &url, &origin).await;
    change_anything(&doorward);
    doorward.reload_changes().await;
    has_response(&mut socket).await;
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.header("x-changed"), Some("yes"), "{page}");
    journey::log_out(&mut browser, &origin).await;
    let close = timeout(SOON, socket.hear_close()).await.expect("in time");
    assert_eq!(close.expect("a close frame").0, 1008);
}

#[tokio::test]
async fn websocket_of_a_removed_app_is_closed() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    browser.visit(&doorward.forum_url("/")).await;
    let origin = doorward.site().forum;
    let mut socket = chat(
        &doorward,
        &mut browser,
        &doorward.forum_url("/chat"),
        &origin,
    )
    .await;
    let text = std::fs::read_to_string(doorward.file()).expect("the file");
    let (without, _) = text.split_once("[apps.forum]").expect("the forum is last");
    doorward.rewrite(without);
    doorward.reload_changes().await;
    let close = timeout(SOON, socket.hear_close()).await.expect("in time");
    assert_eq!(close.expect("a close frame").0, 1008);
    let page = browser.step(&doorward.forum_url("/")).await;
    assert_eq!(page.status(), 421, "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_in_flight_ends_in_the_configuration_that_it_began_with() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let gate = Gate::default();
    let slow = Answer {
        gate: Some(gate.clone()),
        ..Answer::default()
    };
    doorward.store.response("/slow", slow);
    let url = doorward.store_url("/slow");
    let mut waiting = browser.clone();
    let slow = tokio::spawn(async move { waiting.step(&url).await });
    doorward.clicked(1).await;
    change_anything(&doorward);
    doorward.reload_changes().await;
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.header("x-changed"), Some("yes"), "{page}");
    gate.open();
    let page = slow.await.expect("a response");
    assert_eq!(
        (page.status(), page.header("x-changed")),
        (200, None),
        "{page}"
    );
}

#[tokio::test]
async fn unchanged_provider_and_upstream_are_kept() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let calls = || {
        let provider = &doorward.provider;
        (
            provider.calls(Endpoint::Discovery),
            provider.calls(Endpoint::Jwks),
        )
    };
    let before = calls();
    let mut connections = Vec::new();
    for round in 0..20 {
        if round == 10 {
            change_anything(&doorward);
            doorward.reload_changes().await;
        }
        assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
        connections.push(doorward.store.connections());
    }
    assert_eq!(calls(), before);
    assert_eq!(connections[9], connections[19], "{connections:?}");

    doorward.edit("[providers.login]", "[providers.login]\nleeway = \"20s\"");
    doorward.reload_changes().await;
    crate::support::eventually("the new provider is discovered", || calls().0 > before.0).await;
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn new_provider_is_awaited_only_until_the_first_readiness() {
    let mut doorward = Setup::plain().without_provider().start();
    let leeway = |seconds: u32| format!("[providers.login]\nleeway = \"{seconds}s\"");
    doorward.edit("[providers.login]", &leeway(20));
    doorward.reload_changes().await;
    let (status, report) = doorward.readiness_of(0).await;
    assert_eq!(
        (status, &report["unmet"][0]),
        (503, &"provider:login".into())
    );
    doorward.provider.restart();
    crate::support::eventually_async("the provider is reached", SOON, async || {
        doorward.readiness_of(0).await.0 == 200
    })
    .await;
    doorward.provider.stop();
    doorward.edit(&leeway(20), &leeway(10));
    doorward.reload_changes().await;
    let (status, report) = doorward.readiness_of(0).await;
    assert_eq!(status, 200);
    let provider = &report["providers"]["login"];
    assert_eq!(
        (&provider["reached"], &provider["awaited"]),
        (&false.into(), &false.into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrency_limit_counts_requests_of_before() {
    let limits = "max_in_flight_requests = 1";
    let doorward = Setup::plain()
        .server("max_queued_requests = 0")
        .store(limits)
        .start();
    let mut browser = alice(&doorward).await;
    let gate = Gate::default();
    let slow = Answer {
        gate: Some(gate.clone()),
        ..Answer::default()
    };
    doorward.store.response("/slow", slow);
    let url = doorward.store_url("/slow");
    let mut waiting = browser.clone();
    let slow = tokio::spawn(async move { waiting.step(&url).await });
    doorward.clicked(1).await;
    change_anything(&doorward);
    doorward.reload_changes().await;
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 503, "{page}");
    doorward.edit(limits, "max_in_flight_requests = 2");
    doorward.reload_changes().await;
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    gate.open();
    assert_eq!(slow.await.expect("a response").status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_in_flight_is_joined_in_the_new_configuration() {
    let doorward = Setup::plain().start();
    let browser = alice(&doorward).await;
    doorward.advance_secs(301);
    let gate = Gate::default();
    doorward.provider.fault_once(
        Endpoint::Token,
        crate::support::provider::Fault::Held(gate.clone()),
    );
    let url = doorward.store_url(CART);
    let step = |mut browser: Browser| {
        let url = url.clone();
        tokio::spawn(async move { browser.step(&url).await })
    };
    let first = step(browser.clone());
    crate::support::eventually("the refresh is in flight", || {
        doorward.provider.grants("refresh_token") == 1
    })
    .await;
    change_anything(&doorward);
    doorward.reload_changes().await;
    let second = step(browser);
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.open();
    for page in [first, second] {
        let page = page.await.expect("a response");
        assert_eq!(page.status(), 200, "{page}");
    }
    assert_eq!(doorward.provider.grants("refresh_token"), 1);
    // Both were told by one refresh. Another would have found the new tokens in the store.
    let renewed = r#"doorward_refreshes_total{app="store",outcome="renewed",provider="login"}"#;
    assert_eq!(doorward.metric(renewed).await, 1.0);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}
