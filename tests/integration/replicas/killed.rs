//! A replica is killed during a refresh: the others take over, and nobody is logged out. (As
//! documented, a replica that dies before it has stored a response may lose that
//! session.)

use std::time::{Duration, Instant};

use super::{CART, refreshes, store};
use crate::support::backend::Answer;
use crate::support::browser::Browser;
use crate::support::doorward::Setup;
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault};
use crate::support::redis::RedisServer;
use crate::support::replicas::Replicas;

/// Longer than the lease of a dead replica, which is the refresh deadline and a margin.
const LEASE: Duration = Duration::from_secs(25);

/// A browser with an expired JWT in front of three replicas.
struct Expired {
    replicas: Replicas,
    browser: Browser,
    /// The refreshes of the login itself: a JWT of one second may expire before its first page.
    refreshed: usize,
}

impl Expired {
    /// The refreshes since the login.
    fn refreshes(&self) -> usize {
        refreshes(&self.replicas.around.provider) - self.refreshed
    }
}

async fn expired(redis: &RedisServer) -> Expired {
    let setup = Setup::plain()
        .provider("refresh_timeout = \"2s\"")
        .remembering(&store(redis));
    let replicas = Replicas::start(3, setup);
    replicas
        .around
        .provider
        .behave(|behaviour| behaviour.token_lifetime = Duration::from_secs(1));
    let browser = replicas.logged_in(0, "alice", CART).await;
    replicas
        .around
        .provider
        .behave(|behaviour| behaviour.token_lifetime = Duration::from_secs(300));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    Expired {
        refreshed: refreshes(&replicas.around.provider),
        replicas,
        browser,
    }
}

/// Loads the page at this replica until it responds with 200. Anything else but 503 is a failure.
async fn shown_at_last(replicas: &Replicas, replica: usize, browser: &Browser) -> Browser {
    let begun = Instant::now();
    loop {
        let mut browser = replicas.moved_to(replica, browser.clone());
        let page = browser.step(&Replicas::store_url(CART)).await;
        if page.status() == 200 {
            return browser;
        }
        assert_eq!(page.status(), 503, "{page}");
        assert!(begun.elapsed() < LEASE, "it never goes on: {page}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_killed_before_exchange_is_replaced_when_lease_ends() {
    let redis = RedisServer::start();
    let mut expired = expired(&redis).await;
    let replicas = &expired.replicas;
    // The refresh call hangs before the provider processes it, and the calling replica dies.
    let gate = Gate::default();
    replicas
        .around
        .provider
        .fault_once(Endpoint::Token, Fault::HeldBefore(gate.clone()));
    let (mut dying, url) = (
        replicas.moved_to(0, expired.browser.clone()),
        Replicas::store_url(CART),
    );
    let cut = tokio::spawn(async move { dying.step(&url).await.status() });
    gate.reached(1).await;
    expired.replicas.processes[0].kill();
    assert!(cut.await.is_err(), "nobody was answered");
    let replicas = &expired.replicas;
    let mut browser = shown_at_last(replicas, 1, &expired.browser).await;
    browser = replicas.moved_to(2, browser);
    assert_eq!(browser.step(&Replicas::store_url(CART)).await.status(), 200);
    assert_eq!(expired.refreshes(), 2, "the one that died, and one more");
    replicas
        .around
        .provider
        .assert_no_dead_refresh_token_was_sent();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_killed_after_write_leaves_its_result() {
    let redis = RedisServer::start();
    let mut expired = expired(&redis).await;
    let replicas = &expired.replicas;
    // The backend never responds, so the new cookies never reach the browser.
    let gate = Gate::default();
    replicas.around.store.response(
        CART,
        Answer {
            gate: Some(gate.clone()),
            ..Answer::default()
        },
    );
    let (mut dying, url) = (
        replicas.moved_to(0, expired.browser.clone()),
        Replicas::store_url(CART),
    );
    let cut = tokio::spawn(async move { dying.step(&url).await.status() });
    gate.reached(1).await;
    expired.replicas.processes[0].kill();
    assert!(cut.await.is_err(), "nobody was answered");
    gate.open();
    let replicas = &expired.replicas;
    shown_at_last(replicas, 1, &expired.browser).await;
    shown_at_last(replicas, 2, &expired.browser).await;
    assert_eq!(expired.refreshes(), 1);
    replicas
        .around
        .provider
        .assert_no_dead_refresh_token_was_sent();
}
