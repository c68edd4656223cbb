//! Logins and revocations are ordered by the store, whatever the clocks of the replicas say.

use std::sync::Arc;
use std::time::Duration;

use doorward::auth::revocation::command::RevocationTarget;
use doorward::server;
use doorward::types::oauth::Subject;
use doorward::types::time::{Clock as _, ManualClock};

use super::{BOUND, CART, store, until_refused};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::redis::RedisServer;

async fn revoke(doorward: &Doorward) {
    let apps = server::apps(&doorward.config()).expect("apps");
    let store = apps.iter().find(|app| app.app.name.as_str() == "store");
    let command = RevocationTarget::Subject(Subject::new("alice-id"))
        .sealed_commands(store.expect("the store"), doorward.now())
        .expect("a command");
    let url = format!("http://{}/revoke", doorward.admin_address());
    let request = RequestSpec::new(Kind::Program, &url)
        .method("POST")
        .body("text/plain", command);
    let page = Browser::new(doorward.clock.clone()).send(request).await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_of_a_replica_whose_clock_is_ahead_is_revoked() {
    let redis = RedisServer::start();
    let mut doorward = Setup::plain().remembering(&store(&redis)).start();
    let ahead = ManualClock::starting_at(doorward.clock.now());
    ahead.advance(Duration::from_secs(5));
    let replica = doorward.add_replica_by(Arc::new(ahead));
    doorward.sign_in("alice");
    let mut alice = doorward.browser_of(replica);
    let page = alice.visit(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
    revoke(&doorward).await;
    let mut here = doorward.moved_to(0, alice.clone());
    let page = here.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 302, "{page}");
    assert!(until_refused(&mut alice, &doorward.store_url(CART)).await < BOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_in_the_second_of_a_revocation_is_accepted() {
    let redis = RedisServer::start();
    for lines in [String::new(), store(&redis)] {
        let doorward = Setup::plain().remembering(&lines).start();
        let mut before = doorward.logged_in("alice", CART).await;
        revoke(&doorward).await;
        let mut after = doorward.logged_in("alice", CART).await;
        let url = doorward.store_url(CART);
        assert_eq!(before.step(&url).await.status(), 302);
        assert_eq!(after.step(&url).await.status(), 200);
    }
}
