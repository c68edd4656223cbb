//! Limits per client: rates and requests in flight, by address and by session. The rates of these tests are
//! so low that nothing is regained while a test runs.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::decisions::check::{Check, Dialect, cookies, decided_by};
use crate::support::assertions::{CART, assert_error_page, assert_problem, metric_reaches};
use crate::support::backend::{Answer, Content};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;
use crate::support::page::Page;
use crate::support::websocket::WebSocket;

/// Three requests at once, and one more in 100 seconds.
const BY_ADDRESS: &str = "client_limits.address = { requests_per_second = 0.01, burst = 3 }";
const BY_SESSION: &str = "client_limits.session = { requests_per_second = 0.01, burst = 3 }";
const ONE_AT_ONCE: &str = "client_limits.address = { max_in_flight_requests = 1 }";

async fn program(doorward: &Doorward, path: &str) -> Page {
    let spec = RequestSpec::new(Kind::Program, &doorward.store_url(path));
    doorward.browser().send(spec).await
}

#[tokio::test]
async fn rate_by_address_yields_429_with_the_quota() {
    let doorward = Setup::plain().store(BY_ADDRESS).start();
    for _ in 0..3 {
        assert_eq!(program(&doorward, "/public/x").await.status(), 200);
    }
    let page = program(&doorward, "/public/x").await;
    assert_problem(&page, 429, "address_rate_exceeded");
    let wait: u64 = page.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=100).contains(&wait), "{page}");
    assert_eq!(
        page.header("ratelimit-policy"),
        Some(r#""address";q=3;w=300"#)
    );
    let state = page.header("ratelimit").unwrap();
    assert!(state.starts_with(r#""address";r=0;t="#), "{page}");
    let navigation = RequestSpec::new(Kind::Navigation, &doorward.store_url("/public/x"));
    let page = doorward.browser().send(navigation).await;
    assert_error_page(&page, 429, "address_rate_exceeded");
    assert!(page.words().contains("Too many requests"), "{page}");
    assert_eq!(doorward.store.count(), 3);
    let line = doorward
        .log
        .line("/public/x", "address_rate_exceeded")
        .await;
    assert_eq!(line["status"], 429, "{line}");
    metric_reaches(
        &doorward,
        r#"doorward_requests_total{app="store",decision="address_rate_exceeded",status_class="4xx"}"#,
        2.0,
    )
    .await;
    let entries = r#"doorward_client_limit_entries{app="store",by="address"}"#;
    assert_eq!(doorward.metric(entries).await, 1.0);
}

#[tokio::test]
async fn rate_by_address_spares_other_clients_apps_and_the_provider() {
    let doorward = Setup::plain().store(BY_ADDRESS).start();
    for _ in 0..4 {
        program(&doorward, "/public/x").await;
    }
    let login = program(&doorward, "/.doorward/login").await;
    assert_problem(&login, 429, "address_rate_exceeded");
    let mut other = doorward.browser().from_address(Ipv4Addr::new(127, 0, 0, 2));
    let spec = RequestSpec::new(Kind::Program, &doorward.store_url("/public/x"));
    assert_eq!(other.send(spec).await.status(), 200);
    let forum = RequestSpec::new(Kind::Program, &doorward.forum_url("/"));
    assert_eq!(doorward.browser().send(forum).await.status(), 401);
    let logout = RequestSpec::new(
        Kind::Program,
        &doorward.store_url("/.doorward/backchannel-logout"),
    );
    let page = doorward.browser().send(logout.method("POST")).await;
    assert_eq!(page.status(), 400, "the provider is not limited: {page}");
}

#[tokio::test]
async fn rate_by_session_counts_each_session_and_nothing_else() {
    let doorward = Setup::plain().store(BY_SESSION).start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let mut bob = doorward.logged_in("bob", CART).await;
    let page = RequestSpec::new(Kind::Program, &doorward.store_url(CART));
    for _ in 0..2 {
        assert_eq!(alice.send(page.clone()).await.status(), 200);
    }
    let refused = alice.send(page.clone()).await;
    assert_problem(&refused, 429, "session_rate_exceeded");
    assert_eq!(
        refused.header("ratelimit-policy"),
        Some(r#""session";q=3;w=300"#)
    );
    assert_eq!(bob.send(page).await.status(), 200);
    for _ in 0..5 {
        assert_eq!(program(&doorward, "/public/x").await.status(), 200);
    }
    // Doorward's own endpoints are no requests to the app.
    let session = RequestSpec::new(Kind::Program, &doorward.store_url("/.doorward/session"));
    assert_eq!(alice.send(session).await.status(), 200);
}

#[tokio::test]
async fn request_in_flight_counts_until_its_response_head() {
    let doorward = Setup::plain().store(ONE_AT_ONCE).start();
    let gate = Gate::default();
    doorward.store.response(
        "/public/held",
        Answer {
            gate: Some(gate.clone()),
            body: Content::Events {
                count: 2,
                every: Duration::from_secs(3600),
            },
            ..Answer::default()
        },
    );
    let mut browser = doorward.browser();
    let held = RequestSpec::new(Kind::Program, &doorward.store_url("/public/held"));
    let held = tokio::spawn(async move { browser.stream(held).await });
    gate.reached(1).await;
    let page = program(&doorward, "/public/x").await;
    assert_problem(&page, 429, "address_in_flight_exceeded");
    assert_eq!(page.header("retry-after"), Some("1"));
    assert_eq!(
        page.header("ratelimit-policy"),
        Some(r#""address-in-flight";q=1;qu="concurrent-requests""#)
    );
    let mut other = doorward.browser().from_address(Ipv4Addr::new(127, 0, 0, 2));
    let spec = RequestSpec::new(Kind::Program, &doorward.store_url("/public/x"));
    assert_eq!(other.send(spec).await.status(), 200);
    gate.open();
    // The stream goes on, and holds no slot.
    let _stream = held.await.unwrap().expect("a stream");
    let mut browser = doorward.browser();
    let chat = RequestSpec::new(Kind::Fetch, &doorward.store_url("/public/chat"));
    let _socket = WebSocket::open(&mut browser, chat).await.expect("a socket");
    assert_eq!(program(&doorward, "/public/x").await.status(), 200);
}

#[tokio::test]
async fn decisions_for_edges_are_limited_alike() {
    let doorward = decided_by(Setup::plain().store(BY_SESSION)).start();
    let alice = doorward.logged_in("alice", CART).await;
    let cookies = cookies(&doorward, &alice);
    let check = |dialect| {
        Check::new(dialect, CART)
            .header("Cookie", &cookies)
            .header("X-Forwarded-For", "192.0.2.7")
            .request(&doorward)
    };
    for _ in 0..2 {
        assert_eq!(check(Dialect::ForwardAuth).await.status(), 200);
    }
    let refused = check(Dialect::ForwardAuth).await;
    assert_eq!(refused.status(), 429, "{}", refused.text());
    assert_eq!(
        refused.head.header("ratelimit-policy"),
        Some(r#""session";q=3;w=300"#)
    );
    assert_eq!(check(Dialect::ExtAuthz).await.status(), 429);
    assert_eq!(check(Dialect::AuthRequest).await.status(), 403);
}

#[tokio::test]
async fn reload_keeps_the_counts_of_an_equal_limit() {
    let doorward = Setup::plain().store(BY_ADDRESS).start();
    for _ in 0..3 {
        assert_eq!(program(&doorward, "/public/x").await.status(), 200);
    }
    doorward.edit("workers = 2", "workers = 2\nmax_header_count = 60");
    doorward.reload_changes().await;
    assert_eq!(program(&doorward, "/public/x").await.status(), 429);
    doorward.edit("burst = 3", "burst = 5");
    doorward.reload_changes().await;
    assert_eq!(program(&doorward, "/public/x").await.status(), 200);
}
