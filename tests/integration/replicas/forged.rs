//! An attacker who can write to Redis but has no sealing key gains no session by moving entries,
//! and ends none by unsealed revocation events.

use url::Url;

use super::{CART, store};
use crate::support::assertions::SOON;
use crate::support::doorward::Setup;
use crate::support::eventually_async;
use crate::support::redis::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_store_entries_are_rejected() {
    let redis = RedisServer::start();
    let mut doorward = Setup::plain().remembering(&store(&redis)).start();
    let other = doorward.add_replica();
    let mut bob = doorward.logged_in("bob", CART).await;
    let alice = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    assert_eq!(
        bob.clone().step(&doorward.store_url(CART)).await.status(),
        200
    );
    let of_bob = one(&redis, "*:successor/*");
    assert_eq!(
        alice.clone().step(&doorward.store_url(CART)).await.status(),
        200
    );
    let both = redis.command(&["--scan", "--pattern", "*:successor/*"]);
    let of_alice = both.lines().find(|key| *key != of_bob).expect("hers");
    assert_eq!(redis.command(&["COPY", &of_bob, of_alice, "REPLACE"]), "1");
    // Alice's entry is gone for the other replica, where she must log in again. She does not become
    // bob.
    let page = doorward
        .moved_to(other, alice.clone())
        .step(&doorward.store_url(CART))
        .await;
    assert_ne!(page.status(), 200, "{page}");
    assert_eq!(bob.step(&doorward.store_url(CART)).await.status(), 200);
    assert_eq!(doorward.store_saw().as_deref(), Some("bob-id"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_result_is_bound_to_its_attempt() {
    let redis = RedisServer::start();
    let doorward = Setup::plain().remembering(&store(&redis)).start();
    let _bob = doorward.logged_in("bob", CART).await;
    let of_bob = one(&redis, "*:attempt/*");
    let mut thief = doorward.browser();
    let page = thief.step(&doorward.store_url(CART)).await;
    let location = Url::parse(page.header("location").expect("a redirect")).expect("an URL");
    let state = location
        .query_pairs()
        .find(|(name, _)| name == "state")
        .expect("a state")
        .1
        .into_owned();
    let cookies = thief.jar.of(doorward.store_host());
    let attempt = cookies
        .iter()
        .find_map(|cookie| cookie.name.strip_prefix("doorward_login_"))
        .expect("an attempt");
    let (space, _) = of_bob.rsplit_once('/').expect("a key");
    assert_eq!(
        redis.command(&["COPY", &of_bob, &format!("{space}/{attempt}")]),
        "1"
    );
    let issuer = doorward.provider.issuer();
    let callback = doorward.store_url(&format!(
        "/.doorward/callback?code=made-up&state={state}&iss={issuer}"
    ));
    let page = thief.step(&callback).await;
    assert_eq!(page.status(), 400, "{page}");
    assert!(doorward.cookie(&thief, "jwt").is_none(), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsealed_revocation_events_are_ignored_and_counted() {
    let redis = RedisServer::start();
    let doorward = Setup::plain().remembering(&store(&redis)).start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let feed = one(&redis, "*{feed}:items");
    for junk in [
        "99999999999999999999",
        "00000000001900000000store AAAA",
        "00000000001900000000no seal at all",
    ] {
        redis.command(&["XADD", &feed, "*", "i", junk]);
    }
    // The store skips an invalid expiry time, and an unknown app may be another deployment.
    eventually_async("the invalid events are counted", SOON, async || {
        doorward
            .metric("doorward_revocation_events_invalid_total")
            .await
            >= 1.0
    })
    .await;
    assert_eq!(alice.step(&doorward.store_url(CART)).await.status(), 200);
    assert!(doorward.metric("doorward_revocation_sync_up").await > 0.5);
}

fn one(redis: &RedisServer, pattern: &str) -> String {
    let keys = redis.command(&["--scan", "--pattern", pattern]);
    assert_eq!(keys.lines().count(), 1, "{keys}");
    keys
}
