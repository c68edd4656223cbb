//! Concurrent requests with an expired JWT cause one refresh across replicas.

use super::{BOUND, CART, all_at_once, refreshes, store, until_refused};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, Fault};
use crate::support::redis::RedisServer;

fn three(redis: &RedisServer) -> Doorward {
    let mut doorward = Setup::plain().remembering(&store(redis)).start();
    doorward.add_replica();
    doorward.add_replica();
    doorward
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_requests_at_expiry_cause_one_refresh() {
    let redis = RedisServer::start();
    let doorward = three(&redis);
    let browser = doorward.logged_in("alice", CART).await;
    let mut newest = browser;
    for round in 1..=3 {
        doorward.advance_secs(300);
        let browsers: Vec<_> = (0..3)
            .map(|replica| doorward.moved_to(replica, newest.clone()))
            .collect();
        let (statuses, last) = all_at_once(&browsers, 500, &doorward.store_url(CART)).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert_eq!(refreshes(&doorward.provider), round);
        newest = last;
    }
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn lost_response_is_recovered_at_another_replica() {
    let redis = RedisServer::start();
    let doorward = three(&redis);
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    // This response is lost.
    assert_eq!(
        browser
            .clone()
            .step(&doorward.store_url(CART))
            .await
            .status(),
        200
    );
    doorward.advance_secs(240);
    browser = doorward.moved_to(1, browser);
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    assert_eq!(refreshes(&doorward.provider), 1);
    doorward.advance_secs(61);
    browser = doorward.moved_to(2, browser);
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    assert_eq!(refreshes(&doorward.provider), 2);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

/// The browser sends the first generation, and the store has the second one, which expired too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undelivered_tokens_that_expired_are_refreshed_by_one_replica() {
    let redis = RedisServer::start();
    let doorward = three(&redis);
    let url = doorward.store_url(CART);
    for round in 1..=8 {
        let before = doorward.logged_in("alice", CART).await;
        doorward.advance_secs(300);
        // A browser that has the second generation, and one that lost the response.
        let mut after = before.clone();
        assert_eq!(after.step(&url).await.status(), 200);
        doorward.advance_secs(300);
        let browsers: Vec<_> = if round % 2 == 0 {
            vec![before.clone(), before.clone(), before]
        } else {
            vec![before.clone(), after, before]
        };
        let browsers: Vec<_> = browsers
            .into_iter()
            .enumerate()
            .map(|(replica, browser)| doorward.moved_to(replica, browser))
            .collect();
        let (statuses, _) = all_at_once(&browsers, 6, &url).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert_eq!(refreshes(&doorward.provider), round * 2);
        doorward.provider.assert_no_dead_refresh_token_was_sent();
    }
}

#[tokio::test]
async fn reuse_at_another_replica_after_grace_is_theft() {
    let redis = RedisServer::start();
    let doorward = three(&redis);
    let mut browser = doorward.logged_in("alice", CART).await;
    let thief = browser.clone();
    doorward.advance_secs(300);
    for _ in 0..2 {
        assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    }
    let within = |replica| {
        let (doorward, thief) = (&doorward, &thief);
        async move {
            doorward
                .moved_to(replica, thief.clone())
                .step(&doorward.store_url(CART))
                .await
                .status()
        }
    };
    doorward.advance_secs(29);
    assert_eq!(within(1).await, 200);
    doorward.advance_secs(2);
    assert_eq!(within(2).await, 302);
    // The session ended for the owner and the thief.
    assert!(until_refused(&mut browser, &doorward.store_url(CART)).await < BOUND);
    assert_eq!(refreshes(&doorward.provider), 1);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn provider_503_for_ten_seconds_logs_nobody_out() {
    let redis = RedisServer::start();
    let doorward = three(&redis);
    let browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    let browsers: Vec<_> = (0..3)
        .map(|replica| doorward.moved_to(replica, browser.clone()))
        .collect();
    for _ in 0..10 {
        let (statuses, _) = all_at_once(&browsers, 30, &doorward.store_url(CART)).await;
        assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
        doorward.advance_secs(1);
    }
    doorward.provider.heal(Endpoint::Token);
    doorward.advance_secs(5);
    let (statuses, _) = all_at_once(&browsers, 60, &doorward.store_url(CART)).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_token_response_is_retried_once() {
    let redis = RedisServer::start();
    let doorward = three(&redis);
    doorward
        .provider
        .behave(|behaviour| behaviour.rotates_refresh_tokens = false);
    let browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    doorward
        .provider
        .fault_once(Endpoint::Token, Fault::CutAfter);
    let browsers: Vec<_> = (0..3)
        .map(|replica| doorward.moved_to(replica, browser.clone()))
        .collect();
    let (statuses, _) = all_at_once(&browsers, 60, &doorward.store_url(CART)).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(refreshes(&doorward.provider), 2);
}

/// As documented: without a shared store each replica refreshes on its own.
#[tokio::test]
async fn replicas_without_shared_store_are_independent() {
    let mut doorward = Setup::plain().start();
    let other = doorward.add_replica();
    let mut browser = doorward.logged_in("alice", CART).await;
    let mut elsewhere = doorward.moved_to(other, browser.clone());
    doorward.advance_secs(300);
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    // The provider sees a consumed token and ends the session, as for a thief.
    assert_eq!(
        elsewhere.step(&doorward.store_url(CART)).await.status(),
        302
    );
    assert_eq!(refreshes(&doorward.provider), 2);
}
