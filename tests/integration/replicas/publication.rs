//! A revocation that only one replica knows: it is said, kept and published later.

use serde_json::json;

use super::{CART, store, until_refused};
use crate::support::assertions::SOON;
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::process::Process;
use crate::support::redis::RedisServer;
use crate::support::replicas::Replicas;

/// `EX_TEMPFAIL` of sysexits.
const PENDING: i32 = 75;

async fn status(replicas: &Replicas, replica: usize, browser: &Browser) -> u16 {
    let mut browser = replicas.moved_to(replica, browser.clone());
    browser.step(&Replicas::store_url(CART)).await.status()
}

fn revoke(replicas: &Replicas, replica: usize) -> i32 {
    let admin = format!("127.0.0.1:{}", replicas.processes[replica].port("admin"));
    let ended = replicas.ended(&["revoke", "--admin", &admin, "--sub", "alice-id"]);
    let is_said = ended.said.contains("known here only, will be published");
    assert_eq!(is_said, ended.code == PENDING, "{}", ended.said);
    ended.code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoke_without_store_says_so_and_is_published_later() {
    let mut redis = RedisServer::start_persistent();
    let replicas = Replicas::start(2, Setup::plain().remembering(&store(&redis)));
    let alice = replicas.logged_in(0, "alice", CART).await;
    redis.stop();
    assert_eq!(revoke(&replicas, 0), PENDING);
    assert_eq!(status(&replicas, 0, &alice).await, 302);
    assert_eq!(status(&replicas, 1, &alice).await, 200, "it cannot know");
    redis.restart();
    eventually_async("the other replica knows", SOON, async || {
        status(&replicas, 1, &alice).await == 302
    })
    .await;
    replicas.processes[0].line_with("revocations_published");
    assert_eq!(revoke(&replicas, 1), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_beside_redis_keeps_unpublished_revocations() {
    let mut redis = RedisServer::start_persistent();
    let lines = format!("{}\njournal_file = \"pending.journal\"", store(&redis));
    let mut replicas = Replicas::start(1, Setup::plain().remembering(&lines));
    let alice = replicas.logged_in(0, "alice", CART).await;
    redis.stop();
    assert_eq!(revoke(&replicas, 0), PENDING);
    replicas.processes[0].kill();
    let process = Process::run(replicas.around.file.as_os_str(), &[]);
    replicas.processes.push(process);
    assert_eq!(status(&replicas, 1, &alice).await, 302, "without the store");
    redis.restart();
    replicas.processes[1].line_with("revocations_published");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_names_revocations_that_were_not_published() {
    let mut redis = RedisServer::start_persistent();
    let mut replicas = Replicas::start(1, Setup::plain().remembering(&store(&redis)));
    redis.stop();
    assert_eq!(revoke(&replicas, 0), PENDING);
    replicas.processes[0].terminate();
    let line = replicas.processes[0].line_with("revocations_not_published");
    assert!(line.contains("count=2"), "one for each app: {line}");
    assert!(replicas.processes[0].ended().success());
}

async fn logout_token(doorward: &Doorward, token: &str) -> Page {
    let url = doorward.store_url("/.doorward/backchannel-logout");
    let request = RequestSpec::new(Kind::Program, &url).method("POST").body(
        "application/x-www-form-urlencoded",
        format!("logout_token={token}"),
    );
    doorward.browser_of(0).send(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logout_token_without_store_is_not_confirmed_and_may_come_again() {
    let mut redis = RedisServer::start_persistent();
    let mut doorward = Setup::plain().remembering(&store(&redis)).start();
    doorward.add_replica();
    let mut alice = doorward.logged_in("alice", CART).await;
    let mut elsewhere = doorward.moved_to(1, alice.clone());
    let token = doorward
        .provider
        .logout_token("store", &json!({ "sub": "alice-id" }), &[]);
    redis.stop();
    let page = logout_token(&doorward, &token).await;
    assert_eq!(page.status(), 503, "{page}");
    assert!(page.text().contains("revocation_not_published"), "{page}");
    let page = alice.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 302, "it counts here: {page}");
    redis.restart();
    until_refused(&mut elsewhere, &doorward.store_url(CART)).await;
    let page = logout_token(&doorward, &token).await;
    assert_eq!(page.status(), 200, "{page}");
    let page = logout_token(&doorward, &token).await;
    assert_eq!(page.status(), 400, "now it is a replay: {page}");
}
