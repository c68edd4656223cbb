//! Revocations and their replication continue across reloads.

use crate::support::assertions::{CART, SOON};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::redis::RedisServer;
use crate::support::{eventually_async, journey};

const FORUM: &str = "[apps.forum]";

async fn is_over(doorward: &Doorward, browser: &mut Browser, url: &str) {
    eventually_async("the session is over", SOON, async || {
        browser.step(url).await.status() == 302
    })
    .await;
    assert!(doorward.servers[0].all_workers_alive());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_of_another_replica_arrives_after_a_reload() {
    let redis = RedisServer::start();
    let store = format!("url = \"{}\"", redis.url());
    let mut doorward = Setup::plain().remembering(&store).start();
    let other = doorward.add_replica();
    let mut alice = doorward.logged_in("alice", CART).await;
    let mut bob = doorward.logged_in("bob", CART).await;
    doorward.edit("[session]", "[session]\nidle_timeout = \"50m\"");
    doorward.reload_changes().await;
    let mut elsewhere = doorward.moved_to(other, alice.clone());
    journey::log_out(&mut elsewhere, &doorward.site().store).await;
    is_over(&doorward, &mut alice, &doorward.store_url(CART)).await;
    // And the other way round.
    let mut elsewhere = doorward.moved_to(other, bob.clone());
    journey::log_out(&mut bob, &doorward.site().store).await;
    is_over(&doorward, &mut elsewhere, &doorward.store_url(CART)).await;
}

#[tokio::test]
async fn renamed_app_knows_what_was_revoked() {
    let doorward = Setup::plain().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let mut thief = alice.clone();
    let mut bob = doorward.logged_in("bob", CART).await;
    journey::log_out(&mut alice, &doorward.site().store).await;
    let text = std::fs::read_to_string(doorward.file()).expect("the file");
    doorward.rewrite(&text.replace("apps.store", "apps.shop"));
    doorward.reload_changes().await;
    let url = doorward.store_url(CART);
    assert_eq!(bob.step(&url).await.status(), 200);
    assert_eq!(thief.step(&url).await.status(), 302);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_that_comes_back_knows_what_was_revoked() {
    let redis = RedisServer::start();
    let store = format!("url = \"{}\"", redis.url());
    let mut doorward = Setup::plain().remembering(&store).start();
    let other = doorward.add_replica();
    doorward.sign_in("alice");
    let mut alice = doorward.browser();
    let url = doorward.forum_url("/");
    let page = alice.visit(&url).await;
    assert_eq!(page.status(), 200, "{page}");
    let text = std::fs::read_to_string(doorward.file()).expect("the file");
    let (without, _) = text.split_once(FORUM).expect("the forum is last");
    doorward.rewrite(without);
    doorward.reload_changes().await;
    let mut elsewhere = doorward.moved_to(other, alice.clone());
    journey::log_out(&mut elsewhere, &doorward.site().forum).await;
    doorward.rewrite(&text);
    doorward.reload_changes().await;
    is_over(&doorward, &mut alice, &url).await;
}
