//! A joining replica reads what was revoked before it serves a session.

use super::{CART, log_out};
use crate::support::assertions::SOON;
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::faulty_store::{FaultyStore, StoreFault};
use crate::support::gate::Gate;

async fn readiness(doorward: &Doorward, replica: usize) -> (u16, String) {
    let url = format!("http://{}/readyz", doorward.admin_address_of(replica));
    let page = Browser::new(doorward.clock.clone()).visit(&url).await;
    (page.status(), page.text())
}

async fn status(doorward: &Doorward, replica: usize, browser: &Browser) -> u16 {
    let mut browser = doorward.moved_to(replica, browser.clone());
    browser.step(&doorward.store_url(CART)).await.status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_replica_serves_no_session_before_catch_up() {
    let store = FaultyStore::start();
    let lines = format!("{}\nredis = {{ timeout = \"5s\" }}", store.lines());
    let mut doorward = Setup::plain().remembering(&lines).start();
    let bob = doorward.logged_in("bob", CART).await;
    let alice = doorward.logged_in("alice", CART).await;
    log_out(&doorward, alice.clone()).await;
    let published = r#"doorward_store_calls_total{call="publish",outcome="ok"}"#;
    eventually_async("the logout is published", SOON, async || {
        doorward.metric(published).await >= 1.0
    })
    .await;

    let gate = Gate::default();
    store.fault(StoreFault::Held(gate.clone()));
    let newcomer = doorward.add_replica();
    let (ready, missing) = readiness(&doorward, newcomer).await;
    assert!(ready == 503 && missing.contains("revocations"), "{missing}");
    for browser in [&alice, &bob] {
        assert_eq!(status(&doorward, newcomer, browser).await, 503);
    }
    let mut anonymous = doorward.browser_of(newcomer);
    let page = anonymous.step(&doorward.store_url("/public/page")).await;
    assert_eq!(page.status(), 200, "{page}");
    gate.open();
    eventually_async("the replica is ready", SOON, async || {
        readiness(&doorward, newcomer).await.0 == 200
    })
    .await;
    assert_eq!(status(&doorward, newcomer, &alice).await, 302);
    assert_eq!(status(&doorward, newcomer, &bob).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_replica_without_store_is_ready() {
    let store = FaultyStore::start();
    let mut doorward = Setup::plain().remembering(&store.lines()).start();
    let alice = doorward.logged_in("alice", CART).await;
    store.fault(StoreFault::Refused);
    let newcomer = doorward.add_replica();
    eventually_async("the replica is ready", SOON, async || {
        readiness(&doorward, newcomer).await.0 == 200
    })
    .await;
    assert_eq!(status(&doorward, newcomer, &alice).await, 200, "fail-open");
}
