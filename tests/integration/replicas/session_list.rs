//! The session list of replicas that share a store.

use doorward::auth::session_list::query::{SessionEntry, SessionQuery, SessionReport};
use doorward::server;

use super::{CART, store};
use crate::support::assertions::SOON;
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::redis::RedisServer;

async fn report(doorward: &Doorward, replica: usize) -> SessionReport {
    let query = SessionQuery {
        given_at: doorward.now(),
        ..SessionQuery::default()
    };
    let message = server::session_query(&doorward.config(), &query).expect("keys");
    let url = format!("http://{}/sessions", doorward.admin_address_of(replica));
    let request = RequestSpec::new(Kind::Program, &url)
        .method("POST")
        .body("text/plain", message.expect("a message"));
    let page = Browser::new(doorward.clock.clone()).send(request).await;
    assert_eq!(page.status(), 200, "{page}");
    serde_json::from_str(&page.text()).expect("a report")
}

/// The apps of the sessions in a replica's list.
async fn hosts(doorward: &Doorward, replica: usize) -> Vec<String> {
    let sessions = report(doorward, replica).await.sessions.into_iter();
    sessions.map(|SessionEntry { host, .. }| host).collect()
}

async fn count_is(doorward: &Doorward, replica: usize, count: usize) {
    eventually_async("the other replica lists it", SOON, async || {
        hosts(doorward, replica).await.len() == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_list_and_end_the_sessions_of_each_other() {
    let redis = RedisServer::start();
    let mut doorward = Setup::plain().remembering(&store(&redis)).start();
    doorward.add_replica();
    let mut alice = doorward.logged_in("alice", CART).await;
    count_is(&doorward, 1, 1).await;
    let here = report(&doorward, 0).await;
    let there = report(&doorward, 1).await;
    assert!(here.is_shared && there.is_shared);
    assert_eq!(here.sessions, there.sessions);
    let keys = redis.command(&["--scan", "--pattern", "*session-list*"]);
    for key in keys.lines() {
        let ttl: i64 = redis.command(&["TTL", key]).parse().expect("a number");
        assert!((1..=2 * 1800 + 300).contains(&ttl), "{key}: {ttl}");
    }
    let entries = redis.command(&["XRANGE", "doorward:session-list:{feed}:items", "-", "+"]);
    assert!(!entries.is_empty());
    for personal in ["alice", "store", "127.0.0"] {
        assert!(!entries.contains(personal), "sealed: {entries}");
    }

    // A replica that joins later reads what was published before.
    let joined = doorward.add_replica();
    count_is(&doorward, joined, 1).await;

    // The user sees it and ends it from another replica.
    let mut elsewhere = doorward.moved_to(1, doorward.logged_in("alice", CART).await);
    let url = doorward.store_url("/.doorward/sessions");
    let mut page = elsewhere.step(&url).await;
    eventually_async("both sessions are listed", SOON, async || {
        page = elsewhere.step(&url).await;
        page.text().contains("End this session")
    })
    .await;
    let text = page.text();
    let name = text
        .split("value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let form = RequestSpec::new(Kind::Navigation, &url)
        .method("POST")
        .from(&page.url)
        .body(
            "application/x-www-form-urlencoded",
            format!("session={}", name.expect("a name")),
        );
    assert_eq!(elsewhere.send(form).await.status(), 303);
    eventually_async("her session here is over", SOON, async || {
        alice.step(&doorward.store_url(CART)).await.status() == 302
    })
    .await;
    count_is(&doorward, 0, 1).await;
    assert_eq!(
        elsewhere.step(&doorward.store_url(CART)).await.status(),
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_outage_is_told_and_repaired() {
    let mut redis = RedisServer::start_persistent();
    let mut doorward = Setup::plain().remembering(&store(&redis)).start();
    doorward.add_replica();
    let _alice = doorward.logged_in("alice", CART).await;
    count_is(&doorward, 1, 1).await;
    eventually_async("the list is complete", SOON, async || {
        report(&doorward, 0).await.is_complete
    })
    .await;
    redis.stop();
    eventually_async("the list says that it is not", SOON, async || {
        !report(&doorward, 0).await.is_complete
    })
    .await;
    assert_eq!(hosts(&doorward, 0).await.len(), 1, "what it has seen");
    redis.restart();
    eventually_async("the list is complete again", SOON, async || {
        report(&doorward, 0).await.is_complete && report(&doorward, 1).await.is_complete
    })
    .await;
    // The store has lost everything: a replica that joins learns it from the others.
    redis.command(&["FLUSHALL"]);
    let joined = doorward.add_replica();
    count_is(&doorward, joined, 1).await;
}
