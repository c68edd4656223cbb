//! The events that the owner's bound session survives: outages of the provider and the store, and a restart
//! of all replicas.

use super::{assert_shown, bound, is_bound, offering, refreshes};
use crate::support::assertions::CART;
use crate::support::doorward::Setup;
use crate::support::provider::{Endpoint, Fault};
use crate::support::redis::RedisServer;

#[tokio::test]
async fn session_continues_after_an_hour_of_sleep() {
    let doorward = Setup::over_tls()
        .session("idle_timeout = \"2h\"")
        .store("device_binding = { mode = \"offer\" }")
        .start();
    let mut owner = bound(&doorward).await;
    let logins = doorward.provider.calls(Endpoint::Authorize);
    for _ in 0..2 {
        doorward.advance_secs(3_600);
        assert_shown(&owner.visit(&doorward.store_url(CART)).await);
    }
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), logins);
}

#[tokio::test]
async fn session_continues_after_a_provider_outage() {
    let doorward = offering();
    let mut owner = bound(&doorward).await;
    let url = doorward.store_url(CART);
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    // Proofs need no provider. The JWT is valid for 300 s.
    for _ in 0..5 {
        doorward.advance_secs(50);
        assert_shown(&owner.fetch("GET", &url).await);
    }
    doorward.advance_secs(60);
    let page = owner.fetch("GET", &url).await;
    assert_eq!(page.status(), 503, "{page}");
    doorward.provider.heal(Endpoint::Token);
    doorward.advance_secs(60);
    assert_shown(&owner.fetch("GET", &url).await);
    assert!(is_bound(&doorward, &mut owner).await);
}

#[tokio::test]
async fn session_continues_during_and_after_a_store_outage() {
    let mut redis = RedisServer::start();
    let url = format!("url = \"{}\"", redis.url());
    let doorward = Setup::over_tls()
        .remembering(&url)
        .store("device_binding = { mode = \"offer\" }")
        .start();
    let mut owner = bound(&doorward).await;
    let url = doorward.store_url(CART);
    redis.stop();
    for _ in 0..4 {
        doorward.advance_secs(50);
        assert_shown(&owner.fetch("GET", &url).await);
    }
    redis.restart();
    doorward.advance_secs(50);
    assert_shown(&owner.fetch("GET", &url).await);
    assert!(is_bound(&doorward, &mut owner).await);
}

#[tokio::test]
async fn session_continues_at_three_replicas_that_restart_one_by_one() {
    let redis = RedisServer::start();
    let url = format!("url = \"{}\"", redis.url());
    let mut doorward = Setup::over_tls()
        .remembering(&url)
        .store("device_binding = { mode = \"offer\" }")
        .start();
    let mut running = [0, doorward.add_replica(), doorward.add_replica()];
    let mut owner = bound(&doorward).await;
    let before = refreshes(&doorward);
    for restarted in 0..3 {
        running[restarted] = doorward.add_replica();
        for step in 0..6 {
            let replica = running[(restarted + step) % 3];
            owner.browser = doorward.moved_to(replica, owner.browser.clone());
            doorward.advance_secs(23);
            assert_shown(&owner.fetch("GET", &doorward.store_url(CART)).await);
        }
    }
    assert!(refreshes(&doorward) > before);
    assert!(owner.signatures <= 5, "{} signatures", owner.signatures);
    assert!(is_bound(&doorward, &mut owner).await);
}
