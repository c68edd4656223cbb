//! Request and connection limits: excess is rejected or closed, and other clients are still served.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::assertions::{
    CART, Dialogue, Reply, alice, assert_error_page, assert_problem, metric_reaches,
};
use crate::support::backend::{Answer, Content};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;
use crate::support::websocket::WebSocket;

const HOST: &str = "Host: store.localhost:8080\r\n";

async fn dialogue(doorward: &Doorward) -> Dialogue {
    Dialogue::with(&doorward.browser(), &doorward.site().store).await
}

fn get(more: &str) -> String {
    format!("GET /public/x HTTP/1.1\r\n{HOST}{more}\r\n")
}

async fn asked(doorward: &Doorward, more: &str) -> Reply {
    dialogue(doorward).await.request("GET", get(more)).await
}

#[tokio::test]
async fn oversized_header_yields_431() {
    let doorward = Setup::plain().start();
    let fitting = format!("X-Long: {}\r\n", "x".repeat(60_000));
    assert_eq!(asked(&doorward, &fitting).await.status(), 200);
    let reached = doorward.store.count();
    let long = format!("X-Long: {}\r\n", "x".repeat(70_000));
    let many: String = (0..20)
        .map(|number| format!("X-{number}: {}\r\n", "x".repeat(4_000)))
        .collect();
    let cookies = format!("Cookie: {}\r\n", "a=b; ".repeat(15_000));
    for more in [long, many, cookies] {
        let mut dialogue = dialogue(&doorward).await;
        assert_eq!(dialogue.request("GET", get(&more)).await.status(), 431);
        dialogue.hear_end().await;
    }
    assert_eq!(doorward.store.count(), reached);
    metric_reaches(
        &doorward,
        r#"doorward_connection_errors_total{reason="header_too_large"}"#,
        3.0,
    )
    .await;
}

#[tokio::test]
async fn too_many_header_fields_yield_431() {
    let doorward = Setup::plain().start();
    let fields = |count: usize| {
        (0..count)
            .map(|number| format!("X-{number}: 1\r\n"))
            .collect::<String>()
    };
    assert_eq!(asked(&doorward, &fields(90)).await.status(), 200);
    assert_eq!(asked(&doorward, &fields(150)).await.status(), 431);
}

#[tokio::test]
async fn header_limits_can_be_configured() {
    let doorward = Setup::plain()
        .server("max_header_bytes = 16384\nmax_header_count = 30")
        .start();
    let fields = |count: usize| {
        (0..count)
            .map(|number| format!("X-{number}: 1\r\n"))
            .collect::<String>()
    };
    let long = |bytes: usize| format!("X-Long: {}\r\n", "x".repeat(bytes));
    for (more, status) in [
        (fields(25), 200),
        (fields(35), 431),
        (long(15_000), 200),
        (long(20_000), 431),
    ] {
        assert_eq!(
            asked(&doorward, &more).await.status(),
            status,
            "{} bytes",
            more.len()
        );
    }
}

#[tokio::test]
async fn oversized_target_is_refused() {
    let doorward = Setup::plain().start();
    for (length, accepted) in [(8_000, true), (20_000, false), (100_000, false)] {
        let request = format!("GET /public/{} HTTP/1.1\r\n{HOST}\r\n", "x".repeat(length));
        let status = dialogue(&doorward)
            .await
            .request("GET", request)
            .await
            .status();
        assert!(
            if accepted {
                status == 200
            } else {
                matches!(status, 414 | 431)
            },
            "{length}: {status}"
        );
    }
    assert_eq!(doorward.store.count(), 1);
    metric_reaches(
        &doorward,
        r#"doorward_requests_total{app="",decision="target_too_long",status_class="4xx"}"#,
        1.0,
    )
    .await;
}

#[tokio::test]
async fn invalid_http_yields_400_and_close() {
    let doorward = Setup::plain().start();
    let cases = [
        "hello\r\n\r\n",
        "GET /public/x\r\n\r\n",
        "GET /public/x HTTP/1.1\r\nHost : store.localhost:8080\r\n\r\n",
        "GET /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\nX: a\r\n b\r\n\r\n",
        "GET /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\nX: a\0b\r\n\r\n",
        "GET /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\n: x\r\n\r\n",
        "GET /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\nContent-Length: +1\r\n\r\na",
        "POST /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\nContent-Length: -1\r\n\r\na",
        "POST /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "POST /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "GET /public/x HTTP/1.1\r\n\r\n",
        "GET /public/x HTTP/9.9\r\nHost: store.localhost:8080\r\n\r\n",
    ];
    for bytes in cases {
        let mut dialogue = dialogue(&doorward).await;
        dialogue.say(bytes).await;
        if let Some(reply) = dialogue.try_hear("GET").await {
            assert!(
                matches!(reply.status(), 400 | 501 | 505),
                "{bytes:?}: {:?}",
                reply.head.start
            );
        }
        dialogue.hear_end().await;
        assert_eq!(doorward.store.count(), 0, "{bytes:?} reached the app");
    }
    assert_eq!(asked(&doorward, "").await.status(), 200);
}

#[tokio::test]
async fn invalid_body_never_affects_another_request() {
    let doorward = Setup::plain().start();
    let bodies = [
        "zz\r\nbody\r\n0\r\n\r\n",
        "4\nbody\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nbody\r\n0\r\n\r\n",
        "4\r\nbodyX\r\n0\r\n\r\n",
        "-4\r\nbody\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let mut dialogue = dialogue(&doorward).await;
        dialogue
            .say(format!(
                "POST /public/x HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{body}"
            ))
            .await;
        if let Some(reply) = dialogue.try_hear("POST").await {
            assert_eq!(reply.status(), 400, "{body:?}: {}", reply.text());
        }
        assert_eq!(asked(&doorward, "").await.status(), 200, "after {body:?}");
        let received = doorward.store.received();
        let gets: Vec<_> = received.iter().filter(|one| one.method == "GET").collect();
        assert!(
            gets.iter()
                .all(|one| one.target == "/public/x" && one.body.is_empty()),
            "after {body:?}: {gets:?}"
        );
    }
}

#[tokio::test]
async fn slow_header_is_cut() {
    let times =
        "first_byte_timeout = \"1s\"\nheader_read_timeout = \"2s\"\nkeep_alive_timeout = \"1s\"";
    let doorward = Setup::plain().server(times).start();
    let (mut silent, mut slow, mut idle) = (
        dialogue(&doorward).await,
        dialogue(&doorward).await,
        dialogue(&doorward).await,
    );
    slow.say(format!("GET /public/x HTTP/1.1\r\n{HOST}X-Slow: "))
        .await;
    assert_eq!(idle.request("GET", get("")).await.status(), 200);
    assert_eq!(
        asked(&doorward, "").await.status(),
        200,
        "everybody else is served meanwhile"
    );
    let (one, two, three) = tokio::join!(silent.hear_end(), slow.hear_end(), idle.hear_end());
    for rest in [one, two, three] {
        assert!(
            rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"),
            "{:?}",
            String::from_utf8_lossy(&rest)
        );
    }
    assert_eq!(doorward.store.count(), 2);
}

/// An idle keep-alive connection hibernates and continues unchanged, and so does its session.
#[tokio::test]
async fn idle_connection_hibernates_and_continues_its_session() {
    let doorward = Setup::plain()
        .server("header_read_timeout = \"1s\"")
        .start();
    let browser = alice(&doorward).await;
    let page = RequestSpec::new(Kind::Fetch, &doorward.store_url(CART))
        .from(&doorward.store_url("/").parse().expect("an URL"));
    let mut dialogue = dialogue(&doorward).await;
    for _ in 0..2 {
        let reply = dialogue
            .request("GET", browser.request_bytes(&page, &[]))
            .await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        assert_eq!(
            doorward.store.last().header("x-forwarded-user"),
            Some("alice-id")
        );
        metric_reaches(&doorward, "doorward_connections_hibernating", 1.0).await;
    }
    assert_eq!(asked(&doorward, "").await.status(), 200);
    drop(dialogue);
    metric_reaches(&doorward, "doorward_connections_hibernating", 0.0).await;
}

#[tokio::test]
async fn connection_limit_queues_clients_and_spares_admin() {
    let doorward = Setup::plain().server("max_connections = 2").start();
    let (gate, mut held) = hold(&doorward, 2).await;
    let mut third = dialogue(&doorward).await;
    third.say(get("X-Third: 1\r\n")).await;
    let early = timeout(Duration::from_millis(300), third.0.read_head()).await;
    assert!(early.is_err(), "a third connection was served: {early:?}");
    assert_eq!(
        doorward.metric("doorward_connections").await,
        3.0,
        "two of the apps', one of the operator's own"
    );
    assert!(doorward.metric("doorward_accept_pauses_total").await >= 1.0);
    gate.open();
    for dialogue in &mut held {
        assert_eq!(
            dialogue.poll("GET").await.status(),
            200,
            "who is in is served"
        );
    }
    // One of the two is idle now and makes space.
    assert_eq!(third.poll("GET").await.status(), 200);
    assert_eq!(doorward.store.last().header("x-third"), Some("1"));
    metric_reaches(&doorward, "doorward_connections_evicted_total", 1.0).await;
}

/// Connections without a request keep nobody out.
#[tokio::test]
async fn idle_connections_at_the_limit_make_space_for_others() {
    let doorward = Setup::plain().server("max_connections = 5").start();
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut one = dialogue(&doorward).await;
        assert_eq!(one.request("GET", get("")).await.status(), 200);
        idle.push(one);
    }
    assert!(doorward.metric("doorward_connections_evicted_total").await >= 15.0);
    assert_eq!(doorward.metric("doorward_accept_pauses_total").await, 0.0);
    idle[0].hear_end().await;
}

/// Holds this many requests at the store's backend. Returns the gate that releases them.
async fn hold(doorward: &Doorward, count: usize) -> (Gate, Vec<Dialogue>) {
    let gate = Gate::default();
    doorward.store.response(
        "/public/held",
        Answer {
            gate: Some(gate.clone()),
            ..Answer::default()
        },
    );
    let mut held = Vec::new();
    for _ in 0..count {
        let mut one = dialogue(doorward).await;
        one.say(get("").replace("/public/x", "/public/held")).await;
        held.push(one);
    }
    gate.reached(count).await;
    (gate, held)
}

#[tokio::test]
async fn in_flight_limit_queues_then_yields_503() {
    let doorward = Setup::plain()
        .server("max_in_flight_requests = 2\nmax_queued_requests = 1\nqueue_timeout = \"1h\"")
        .start();
    let (gate, held) = hold(&doorward, 2).await;
    let mut waiting = dialogue(&doorward).await;
    waiting.say(get("X-Waited: 1\r\n")).await;
    metric_reaches(&doorward, "doorward_server_requests_queued", 1.0).await;
    assert_eq!(
        doorward.metric("doorward_server_requests_in_flight").await,
        2.0
    );
    let reached = doorward.store.count();
    let forum = RequestSpec::new(Kind::Navigation, &doorward.forum_url("/"));
    let page = doorward.browser().send(forum).await;
    assert_error_page(&page, 503, "server_busy");
    assert_eq!(page.header("retry-after"), Some("1"));
    assert_eq!(doorward.store.count(), reached);
    gate.open();
    for mut held in held {
        assert_eq!(held.poll("GET").await.status(), 200);
    }
    assert_eq!(waiting.poll("GET").await.status(), 200);
    assert_eq!(doorward.store.last().header("x-waited"), Some("1"));
    metric_reaches(
        &doorward,
        r#"doorward_requests_total{app="forum",decision="server_busy",status_class="5xx"}"#,
        1.0,
    )
    .await;
    metric_reaches(&doorward, "doorward_server_requests_in_flight", 0.0).await;
}

#[tokio::test]
async fn app_limit_does_not_affect_other_apps() {
    let doorward = Setup::plain()
        .server("max_queued_requests = 5\nqueue_timeout = \"1s\"")
        .store("max_in_flight_requests = 1")
        .more("[[apps.forum.rules]]\npaths = [\"/**\"]\nallow = \"public\"")
        .start();
    let (gate, mut held) = hold(&doorward, 1).await;
    let program = RequestSpec::new(Kind::Program, &doorward.store_url("/public/x"));
    let page = doorward.browser().send(program).await;
    assert_problem(&page, 503, "app_busy");
    assert_eq!(
        doorward
            .metric(r#"doorward_requests_in_flight{app="store"}"#)
            .await,
        1.0
    );
    assert_eq!(
        doorward
            .browser()
            .step(&doorward.forum_url("/"))
            .await
            .status(),
        200
    );
    assert_ne!(
        doorward
            .browser()
            .step(&doorward.store_url("/.doorward/signed-out"))
            .await
            .status(),
        503,
        "a page of Doorward itself"
    );
    gate.open();
    assert_eq!(held[0].poll("GET").await.status(), 200);
    assert_eq!(asked(&doorward, "").await.status(), 200);
}

#[tokio::test]
async fn streams_do_not_hold_the_in_flight_limit() {
    let doorward = Setup::plain()
        .server("max_in_flight_requests = 1\nmax_queued_requests = 1")
        .start();
    let mut browser = alice(&doorward).await;
    let for_ever = Duration::from_secs(3600);
    doorward.store.response(
        "/events",
        Answer {
            body: Content::Events {
                count: 2,
                every: for_ever,
            },
            ..Answer::default()
        },
    );
    let mut events = browser
        .stream(RequestSpec::new(
            Kind::Fetch,
            &doorward.store_url("/events"),
        ))
        .await
        .expect("an answer");
    assert!(events.next().await.expect("an event").is_some());
    let spec = RequestSpec::new(Kind::Fetch, &doorward.store_url("/chat"));
    let mut talk = WebSocket::open(&mut browser, spec).await.expect("a socket");
    assert_eq!(asked(&doorward, "").await.status(), 200);
    talk.say("still here").await.expect("said");
    assert_eq!(
        talk.poll().await.expect("an echo").as_deref(),
        Some("still here")
    );
}
