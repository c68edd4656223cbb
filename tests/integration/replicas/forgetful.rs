//! A store that forgets: nobody is logged out, and what was revoked stays revoked.

use super::{CART, log_out, refreshes, until_refused};
use crate::support::assertions::SOON;
use crate::support::doorward::{Doorward, Setup};
use crate::support::faulty_store::FaultyStore;
use crate::support::{eventually, eventually_async};

fn three(store: &FaultyStore) -> Doorward {
    let mut doorward = Setup::plain().remembering(&store.lines()).start();
    doorward.add_replica();
    doorward.add_replica();
    doorward
}

fn successors(store: &FaultyStore) -> usize {
    let keys = store
        .redis
        .command(&["--scan", "--pattern", "*:successor/*"]);
    keys.lines().filter(|key| !key.is_empty()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_refreshed_tokens_are_restored_by_their_replica() {
    let store = FaultyStore::start();
    let doorward = three(&store);
    let browser = doorward.logged_in("alice", CART).await;
    // In the last fifth of the JWT's life it is refreshed beside the request. This response is lost.
    doorward.advance_secs(250);
    let page = browser.clone().step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    eventually("the new tokens are stored", || successors(&store) == 1).await;
    store.forget();
    doorward.advance_secs(60);
    let mut elsewhere = doorward.moved_to(1, browser);
    let page = elsewhere.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(refreshes(&doorward.provider), 1);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
    eventually_async("the loss is counted", SOON, async || {
        doorward.metric("doorward_store_data_losses_total").await >= 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumed_token_is_not_sent_by_the_replica_that_knows() {
    let store = FaultyStore::start();
    let doorward = three(&store);
    let mut browser = doorward.logged_in("alice", CART).await;
    let late = browser.clone();
    doorward.advance_secs(301);
    for _ in 0..2 {
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "{page}");
    }
    store.forget();
    // Within the grace period the old cookies get the new tokens, from memory.
    let page = late.clone().step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    doorward.advance_secs(31);
    // After that, old cookies are reuse, as this process knows without the store.
    let page = late.clone().step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 302, "{page}");
    assert_eq!(refreshes(&doorward.provider), 1);
    doorward.provider.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_log_is_noticed_and_filled_again() {
    let store = FaultyStore::start();
    let mut doorward = three(&store);
    let browser = doorward.logged_in("alice", CART).await;
    let mut thief = doorward.moved_to(1, browser.clone());
    log_out(&doorward, browser.clone()).await;
    until_refused(&mut thief, &doorward.store_url(CART)).await;
    // An attacker removes the entries, and leaves no other trace.
    let stream = store.redis.command(&["--scan", "--pattern", "*:items"]);
    let state = stream.replace(":items", ":state");
    let info = store.redis.command(&["XINFO", "STREAM", &stream]);
    let mut words = info.lines().skip_while(|line| *line != "last-generated-id");
    let last = words.nth(1).expect("the last ID").to_owned();
    store.redis.command(&["HSET", &state, "floor", &last]);
    store.redis.command(&["XTRIM", &stream, "MAXLEN", "0"]);
    eventually("the log is filled again", || {
        store.redis.command(&["XLEN", &stream]) != "0"
    })
    .await;
    let newcomer = doorward.add_replica();
    let mut thief = doorward.moved_to(newcomer, browser);
    let page = thief.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 302, "{page}");
}
