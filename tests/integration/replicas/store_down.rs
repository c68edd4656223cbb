//! Store outage: valid JWTs pass, expired ones get 503, nobody is logged out, and with
//! `revocation_mode = "fail-closed"` sessions get 503.

use super::{BOUND, CART, refreshes, store, until_refused};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::redis::RedisServer;

async fn status(doorward: &Doorward, browser: &mut Browser) -> u16 {
    let page = browser.step(&doorward.store_url(CART)).await;
    let deleted = page
        .head
        .all("set-cookie")
        .iter()
        .any(|line| line.contains("Max-Age=0"));
    assert!(
        !deleted,
        "no cookie is taken away because the store is: {page}"
    );
    assert!(
        page.status() != 503 || page.header("retry-after").is_some(),
        "{page}"
    );
    page.status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_outage_keeps_valid_jwts_and_logs_nobody_out() {
    let mut redis = RedisServer::start_persistent();
    let mut doorward = Setup::plain().remembering(&store(&redis)).start();
    doorward.add_replica();
    let mut alice = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(200);
    let mut bob = doorward.logged_in("bob", CART).await;
    redis.stop();
    assert_eq!(status(&doorward, &mut alice).await, 200);
    doorward.advance_secs(101);
    for replica in [0, 1] {
        alice = doorward.moved_to(replica, alice);
        bob = doorward.moved_to(replica, bob);
        assert_eq!(status(&doorward, &mut alice).await, 503, "her JWT is dead");
        assert_eq!(status(&doorward, &mut bob).await, 200, "his is not");
    }
    assert_eq!(refreshes(&doorward.provider), 0);
    redis.restart();
    let begun = std::time::Instant::now();
    while status(&doorward, &mut alice).await != 200 {
        assert!(begun.elapsed().as_secs() < 10, "it never comes back");
    }
    assert_eq!(status(&doorward, &mut bob).await, 200);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmation_that_the_store_missed_is_repeated() {
    let mut redis = RedisServer::start_persistent();
    let doorward = Setup::plain().remembering(&store(&redis)).start();
    let mut alice = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(301);
    assert_eq!(status(&doorward, &mut alice).await, 200);
    let key = redis.command(&["--scan", "--pattern", "*:successor/*"]);
    redis.stop();
    // The first request with the new cookies confirms them.
    assert_eq!(status(&doorward, &mut alice).await, 200);
    redis.restart();
    // Confirmed tokens are kept for 30 seconds, and five minutes for clocks that differ.
    let is_confirmed = || redis.command(&["TTL", &key]).parse::<u64>().unwrap() <= 330;
    let begun = std::time::Instant::now();
    while !is_confirmed() {
        assert!(begun.elapsed().as_secs() < 10, "it is not repeated");
        doorward.advance_secs(1);
        assert_eq!(status(&doorward, &mut alice).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_store_counts_as_unavailable() {
    let redis = RedisServer::start();
    let doorward = Setup::plain()
        .remembering(&format!(
            "{}\nredis = {{ timeout = \"1s\" }}",
            store(&redis)
        ))
        .start();
    let mut alice = doorward.logged_in("alice", CART).await;
    redis.pause();
    assert_eq!(status(&doorward, &mut alice).await, 200);
    doorward.advance_secs(300);
    assert_eq!(status(&doorward, &mut alice).await, 503);
    redis.resume();
    let begun = std::time::Instant::now();
    while status(&doorward, &mut alice).await != 200 {
        assert!(begun.elapsed().as_secs() < 10, "it never comes back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logout_during_store_outage_is_published_later() {
    let mut redis = RedisServer::start_persistent();
    let mut doorward = Setup::plain().remembering(&store(&redis)).start();
    doorward.add_replica();
    let browser = doorward.logged_in("alice", CART).await;
    let mut thief = doorward.moved_to(1, browser.clone());
    redis.stop();
    super::log_out(&doorward, browser).await;
    assert_eq!(
        doorward
            .moved_to(0, thief.clone())
            .step(&doorward.store_url(CART))
            .await
            .status(),
        302
    );
    assert_eq!(
        status(&doorward, &mut thief).await,
        200,
        "the other replica cannot know yet"
    );
    redis.restart();
    until_refused(&mut thief, &doorward.store_url(CART)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fail_closed_app_refuses_sessions_while_unsynced() {
    let mut redis = RedisServer::start_persistent();
    let setup = Setup::plain()
        .store("revocation_mode = \"fail-closed\"")
        .remembering(&store(&redis));
    let doorward = setup.start();
    let mut alice = doorward.logged_in("alice", CART).await;
    redis.stop();
    let begun = std::time::Instant::now();
    while status(&doorward, &mut alice).await == 200 {
        assert!(begun.elapsed().as_secs() < 10, "it never becomes strict");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(status(&doorward, &mut alice).await, 503);
    assert_eq!(
        alice
            .step(&doorward.store_url("/public/page"))
            .await
            .status(),
        200,
        "what is everybody's goes on"
    );
    assert_eq!(
        alice
            .clone()
            .visit(&doorward.forum_url("/posts"))
            .await
            .status(),
        503,
        "a code is redeemed once only"
    );
    assert!(doorward.metric("doorward_revocation_sync_up").await < 0.5);
    redis.restart();
    let begun = std::time::Instant::now();
    while status(&doorward, &mut alice).await != 200 {
        assert!(begun.elapsed() < BOUND * 10, "it never comes back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_lease_allows_refresh_during_store_outage() {
    let mut redis = RedisServer::start();
    let setup = Setup::plain()
        .provider("on_store_outage = \"local-lease\"")
        .remembering(&store(&redis));
    let doorward = setup.start();
    doorward
        .provider
        .behave(|behaviour| behaviour.rotates_refresh_tokens = false);
    let mut alice = doorward.logged_in("alice", CART).await;
    redis.stop();
    doorward.advance_secs(300);
    assert_eq!(status(&doorward, &mut alice).await, 200);
    assert_eq!(refreshes(&doorward.provider), 1);
    assert_eq!(status(&doorward, &mut alice).await, 200);
}
