//! How long a checked password counts: until its lifetime or its JWT ends, or its session is revoked.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::{Client, PASSWORD, checks, started};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault, User};

/// Sends a logout token for alice to the store.
async fn log_out_alice(doorward: &Doorward) {
    let claims = json!({ "sub": "alice-id" });
    let token = doorward.provider.logout_token("store", &claims, &[]);
    let path = doorward.store_url("/.doorward/backchannel-logout");
    let spec = RequestSpec::new(Kind::Program, &path).method("POST").body(
        "application/x-www-form-urlencoded",
        format!("logout_token={token}"),
    );
    assert_eq!(doorward.browser().send(spec).await.status(), 200);
}

#[tokio::test]
async fn changed_password_dies_within_the_lifetime() {
    let doorward = started(Setup::plain());
    let mut old = Client::alice(&doorward);
    old.is_served("/dav/x").await;
    doorward
        .provider
        .add_user("alice", "new", User::new("alice", &[]));
    Client::new(&doorward, "alice", "new")
        .is_served("/dav/x")
        .await;
    doorward.advance_secs(299);
    old.is_served("/dav/x").await;
    assert_eq!(checks(&doorward), 2);
    doorward.advance_secs(1);
    old.is_refused("/dav/x", "wrong_credentials").await;
    Client::new(&doorward, "alice", "new")
        .is_served("/dav/x")
        .await;
}

#[tokio::test]
async fn lifetime_is_a_setting_and_ends_with_the_jwt() {
    let setup = Setup::plain().more("[apps.store.basic]\ncache_lifetime = \"15m\"\n");
    let doorward = started(setup);
    doorward
        .provider
        .behave(|behaviour| behaviour.token_lifetime = Duration::from_secs(700));
    let mut alice = Client::alice(&doorward);
    alice.is_served("/dav/x").await;
    doorward.advance_secs(600);
    alice.is_served("/dav/x").await;
    assert_eq!(checks(&doorward), 1);
    doorward.advance_secs(101);
    alice.is_served("/dav/x").await;
    assert_eq!(checks(&doorward), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_with_equal_passwords_are_one_check() {
    let doorward = Arc::new(started(Setup::plain()));
    for (password, status) in [(PASSWORD, 200), ("wrong", 401)] {
        let before = checks(&doorward);
        let gate = Gate::default();
        doorward
            .provider
            .fault(Endpoint::Token, Fault::Held(gate.clone()));
        let mut requests = JoinSet::new();
        for _ in 0..30 {
            let mut client = Client::new(&doorward, "alice", password);
            requests.spawn(async move { client.get("/dav/x").await.status() });
        }
        eventually("one is checked", || checks(&doorward) > before).await;
        let in_flight = "doorward_server_requests_in_flight";
        crate::support::assertions::metric_reaches(&doorward, in_flight, 30.0).await;
        doorward.provider.heal(Endpoint::Token);
        gate.open();
        let statuses = requests.join_all().await;
        assert!(
            statuses.iter().all(|found| *found == status),
            "{statuses:?}"
        );
        assert_eq!(checks(&doorward) - before, 1);
    }
}

#[tokio::test]
async fn backchannel_logout_ends_what_began_before() {
    let doorward = started(Setup::plain());
    let mut alice = Client::alice(&doorward);
    alice.is_served("/dav/x").await;
    doorward.advance_secs(1);
    log_out_alice(&doorward).await;
    doorward.advance_secs(1);
    // The provider decides whether the user may log in again.
    alice.is_served("/dav/x").await;
    assert_eq!(checks(&doorward), 2);
    log_out_alice(&doorward).await;
    doorward.provider.behave(|behaviour| {
        let response = json!({ "error": "invalid_grant" });
        behaviour.password_answer = Some((400, response));
    });
    doorward.advance_secs(1);
    alice.is_refused("/dav/x", "wrong_credentials").await;
}

#[tokio::test]
async fn outage_of_the_provider_is_503_and_checked_passwords_go_on() {
    let doorward = started(Setup::plain());
    let mut alice = Client::alice(&doorward);
    alice.is_served("/dav/x").await;
    doorward.provider.fault(Endpoint::Token, Fault::Status(503));
    alice.is_served("/dav/x").await;
    let page = Client::new(&doorward, "bob", "bob").get("/dav/x").await;
    assert_eq!(page.status(), 503, "{page}");
    assert!(page.header("retry-after").is_some(), "{page}");
    assert_eq!(page.header("www-authenticate"), None);
    doorward.provider.heal(Endpoint::Token);
    doorward.advance_secs(60);
    Client::new(&doorward, "bob", "bob")
        .is_served("/dav/x")
        .await;
}

#[tokio::test]
async fn blocked_user_is_refused_without_asking_the_provider_each_time() {
    let doorward = started(Setup::plain());
    let mut alice = Client::alice(&doorward);
    alice.is_served("/dav/x").await;
    let until = doorward.now().plus(Duration::from_secs(3600));
    super::block(&doorward, "alice-id", Some(until)).await;
    for _ in 0..5 {
        alice.is_refused("/dav/x", "session_revoked").await;
    }
    assert_eq!(checks(&doorward), 2);
    super::block(&doorward, "alice-id", None).await;
    doorward.advance_secs(300);
    alice.is_served("/dav/x").await;
}
