//! A revocation at one replica takes effect at all replicas within a second.

use serde_json::json;

use super::{BOUND, CART, store, until_refused};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::redis::RedisServer;
use crate::support::websocket::WebSocket;

fn two(redis: &RedisServer) -> Doorward {
    let mut doorward = Setup::plain().remembering(&store(redis)).start();
    doorward.add_replica();
    doorward
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logout_reaches_other_replica_within_a_second() {
    let redis = RedisServer::start();
    let doorward = two(&redis);
    let browser = doorward.logged_in("alice", CART).await;
    let mut thief = doorward.moved_to(1, browser.clone());
    assert_eq!(thief.step(&doorward.store_url(CART)).await.status(), 200);
    super::log_out(&doorward, browser).await;
    assert!(until_refused(&mut thief, &doorward.store_url(CART)).await < BOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backchannel_logout_reaches_other_replica_within_a_second() {
    let redis = RedisServer::start();
    let doorward = two(&redis);
    let mut browser = doorward.logged_in("alice", CART).await;
    let mut elsewhere = doorward.moved_to(1, browser.clone());
    let token = doorward
        .provider
        .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
    for (replica, status) in [(1, 200), (0, 400)] {
        let url = doorward.store_url("/.doorward/backchannel-logout");
        let body = format!("logout_token={token}");
        let request = RequestSpec::new(Kind::Program, &url)
            .method("POST")
            .body("application/x-www-form-urlencoded", body);
        let page = doorward.browser_of(replica).send(request).await;
        assert_eq!(
            page.status(),
            status,
            "its `jti` counts once, at whichever replica: {page}"
        );
    }
    assert!(until_refused(&mut elsewhere, &doorward.store_url(CART)).await < BOUND);
    assert!(until_refused(&mut browser, &doorward.store_url(CART)).await < BOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhook_reaches_other_replica_and_counts_once() {
    let redis = RedisServer::start();
    let fusionauth = "kind = \"fusionauth\"\nrequire_registration = false\n\
                      [providers.login.webhooks]\nsignature = \"jwks\"\n";
    let mut doorward = Setup::plain()
        .provider(fusionauth)
        .remembering(&store(&redis))
        .start();
    doorward.add_replica();
    let browser = doorward.logged_in("alice", CART).await;
    let mut elsewhere = doorward.moved_to(1, browser.clone());
    let event = json!({
        "type": "user.password.update", "id": "e502168a-b469-45d9-a079-fd45f83e0406",
        "createInstant": doorward.now().secs() * 1000, "user": { "id": "alice-id" },
    });
    let body = json!({ "event": event }).to_string();
    let signature = doorward.provider.webhook_signature(&body, &[]);
    let told = async |replica| {
        let url = doorward.forum_url("/.doorward/webhooks/fusionauth");
        let request = RequestSpec::new(Kind::Program, &url)
            .method("POST")
            .header("x-fusionauth-signature-jwt", &signature);
        let page = doorward
            .browser_of(replica)
            .send(request.body("application/json", body.clone()))
            .await;
        assert_eq!(page.status(), 200, "{page}");
    };
    told(0).await;
    assert!(until_refused(&mut elsewhere, &doorward.store_url(CART)).await < BOUND);
    doorward.advance_secs(1);
    let mut again = doorward.logged_in("alice", CART).await;
    told(1).await;
    assert_eq!(
        again.step(&doorward.store_url(CART)).await.status(),
        200,
        "what came before ends nothing new"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_closes_within_a_second_of_logout_elsewhere() {
    let redis = RedisServer::start();
    let doorward = two(&redis);
    let browser = doorward.logged_in("alice", CART).await;
    let mut elsewhere = doorward.moved_to(1, browser.clone());
    let request = RequestSpec::new(Kind::Program, &doorward.store_url("/socket"));
    let mut socket = WebSocket::open(&mut elsewhere, request)
        .await
        .expect("a socket");
    let begun = std::time::Instant::now();
    super::log_out(&doorward, browser).await;
    assert!(
        !matches!(socket.poll().await, Ok(Some(_))),
        "nothing more is heard"
    );
    assert!(begun.elapsed() < BOUND * 2, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_replica_learns_earlier_revocations() {
    let redis = RedisServer::start();
    let mut doorward = two(&redis);
    let browser = doorward.logged_in("alice", CART).await;
    let mut thief = doorward.moved_to(1, browser.clone());
    super::log_out(&doorward, browser).await;
    until_refused(&mut thief, &doorward.store_url(CART)).await;
    let newcomer = doorward.add_replica();
    let mut thief = doorward.moved_to(newcomer, thief);
    assert_eq!(
        thief.step(&doorward.store_url(CART)).await.status(),
        302,
        "at its first answer"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_are_republished_to_a_store_that_forgot() {
    let redis = RedisServer::start();
    let mut doorward = two(&redis);
    let browser = doorward.logged_in("alice", CART).await;
    let mut thief = doorward.moved_to(1, browser.clone());
    super::log_out(&doorward, browser).await;
    until_refused(&mut thief, &doorward.store_url(CART)).await;
    redis.command(&["FLUSHALL"]);
    crate::support::eventually("the store knows again", || {
        redis.command(&["DBSIZE"]) != "0"
    })
    .await;
    let newcomer = doorward.add_replica();
    let mut thief = doorward.moved_to(newcomer, thief);
    assert!(until_refused(&mut thief, &doorward.store_url(CART)).await < BOUND);
}
