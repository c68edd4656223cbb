//! A provider that is down at startup: existing sessions and public pages are served, and discovery
//! is retried automatically.

use super::{CART, is_sent_to_log_in, load, shown};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::eventually;
use crate::support::provider::{Endpoint, Fault};

#[tokio::test]
async fn valid_sessions_and_public_paths_survive_provider_outage() {
    let mut doorward = Setup::plain().start();
    let browser = doorward.logged_in("alice", CART).await;
    doorward.provider.stop();
    let replica = doorward.add_replica();
    let mut browser = doorward.moved_to(replica, browser);
    load(&doorward, &mut browser, "alice").await;
    let mut stranger = doorward.browser_of(replica);
    let page = stranger.step(&doorward.store_url("/public/x")).await;
    assert_eq!((page.status(), shown(&page)), (200, None), "{page}");
    let page = stranger.step(&doorward.store_url(CART)).await;
    assert_eq!(
        (page.status(), page.head.all("set-cookie").len()),
        (503, 0),
        "{page}"
    );
    assert!(page.header("retry-after").is_some(), "{page}");
    let from = url::Url::parse(&doorward.store_url("/")).unwrap();
    let page = stranger
        .send(RequestSpec::new(Kind::Fetch, &doorward.store_url(CART)).from(&from))
        .await;
    assert_eq!(
        page.status(),
        401,
        "a script is told where to log in without the provider: {page}"
    );
}

#[tokio::test]
async fn expired_jwt_during_outage_yields_503_and_keeps_session() {
    let mut doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.provider.stop();
    doorward.advance_secs(300);
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(
        (page.status(), page.head.all("set-cookie").len()),
        (503, 0),
        "{page}"
    );
    doorward.provider.restart();
    doorward.advance_secs(5);
    load(&doorward, &mut browser, "alice").await;
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn provider_returning_with_new_key_is_followed() {
    for grace in ["0s", "1h"] {
        let mut doorward = Setup::plain()
            .store(&format!("outage_grace = \"{grace}\""))
            .start();
        let (mut alice, mut bob) = (
            doorward.logged_in("alice", CART).await,
            doorward.logged_in("bob", CART).await,
        );
        doorward.provider.stop();
        doorward.advance_secs(300);
        let status = alice.step(&doorward.store_url(CART)).await.status();
        assert_eq!(status, if grace == "0s" { 503 } else { 200 });
        doorward.provider.rotate_keys(false);
        doorward.provider.restart();
        doorward.advance_secs(60);
        load(&doorward, &mut bob, "bob").await;
        load(&doorward, &mut alice, "alice").await;
        doorward.advance_secs(1);
        load(&doorward, &mut alice, "alice").await;
        assert_eq!(doorward.provider.grants("authorization_code"), 2);
        doorward.provider.assert_no_dead_refresh_token_was_sent();
    }
}

#[tokio::test]
async fn known_keys_count_while_jwks_is_unavailable() {
    let doorward = Setup::plain().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    doorward.provider.fault(Endpoint::Jwks, Fault::Status(500));
    load(&doorward, &mut doorward.logged_in("bob", CART).await, "bob").await;
    doorward.advance_secs(300);
    load(&doorward, &mut alice, "alice").await;
    // A key that cannot be fetched: the JWT cannot be verified, and the session is not lost.
    doorward.provider.rotate_keys(false);
    doorward.advance_secs(300);
    assert_eq!(alice.step(&doorward.store_url(CART)).await.status(), 503);
    doorward.provider.heal(Endpoint::Jwks);
    doorward.advance_secs(5);
    load(&doorward, &mut alice, "alice").await;
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn provider_down_at_start_is_discovered_later() {
    let mut doorward = Setup::plain().without_provider().start();
    let page = doorward.browser().step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 503, "{page}");
    doorward.provider.restart();
    eventually("the keys are fetched", || {
        doorward.provider.calls(Endpoint::Jwks) > 0
    })
    .await;
    is_sent_to_log_in(&doorward, &mut doorward.browser()).await;
    let mut browser = doorward.logged_in("alice", CART).await;
    load(&doorward, &mut browser, "alice").await;
}
