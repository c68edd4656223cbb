//! The fake backend records requests byte for byte and fails as configured.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorward::types::time::SystemClock;

use crate::support::backend::{Answer, Backend, Content, Cut};
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::gate::Gate;
use crate::support::websocket::WebSocket;

fn browser() -> Browser {
    Browser::new(Arc::new(SystemClock))
}

#[tokio::test]
async fn heads_and_bodies_are_recorded_as_sent() {
    let backend = Backend::start();
    let request =
        RequestSpec::new(Kind::Program, &format!("{}/a%20b?c=1", backend.url())).method("POST");
    let page = browser()
        .send(request.header("X-oDD", "1").body("text/plain", "héllo"))
        .await;
    assert_eq!(page.json()["target"], "/a%20b?c=1");
    let last = backend.last();
    assert!(
        String::from_utf8(last.head.raw.clone())
            .unwrap()
            .contains("\r\nX-oDD: 1\r\n")
    );
    assert_eq!(last.body, "héllo".as_bytes());
    assert_eq!(
        (last.method.as_str(), last.header("content-length")),
        ("POST", Some("6"))
    );
    backend.assert_never_saw(&["X-Forwarded-User"]);
}

#[tokio::test]
async fn chunked_requests_arrive_whole_over_one_connection() {
    let backend = Backend::start();
    let url = url::Url::parse(&backend.url()).unwrap();
    let mut wire = browser().connect(&url).await.unwrap();
    for _ in 0..2 {
        wire.write(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(wire.read_head().await.unwrap().unwrap().status(), 100);
        wire.write(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
            .await
            .unwrap();
        let head = wire.read_head().await.unwrap().unwrap();
        wire.read_body(head.answer_framing("PUT")).await.unwrap();
        assert_eq!(backend.last().body, b"abcde");
    }
    assert_eq!(
        (
            backend.count(),
            backend.connections(),
            backend.last().connection
        ),
        (2, 1, 0)
    );
}

#[tokio::test]
async fn canary_is_found_in_any_encoding() {
    let backend = Backend::start();
    browser()
        .visit(&format!("{}/?token=se%3Dcret", backend.url()))
        .await;
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        backend.assert_never_saw(&["SE=cret"])
    }));
    assert!(found.is_err());
}

#[tokio::test]
async fn gate_holds_response_until_opened() {
    let backend = Backend::start();
    let gate = Gate::default();
    backend.response(
        "/late",
        Answer {
            gate: Some(gate.clone()),
            ..Answer::default()
        },
    );
    let url = backend.url();
    let late = tokio::spawn(async move { browser().visit(&format!("{url}/late")).await });
    gate.reached(1).await;
    assert_eq!(browser().visit(&backend.url()).await.status(), 200);
    assert!(!late.is_finished());
    gate.open();
    assert_eq!(late.await.unwrap().status(), 200);
    gate.close();
}

#[tokio::test]
async fn slow_aborted_and_down_behave_as_told() {
    let mut backend = Backend::start();
    let wait = Duration::from_millis(30);
    backend.response(
        "/slow",
        Answer {
            head_delay: wait,
            body_delay: wait,
            ..Answer::default()
        },
    );
    backend.response(
        "/cut",
        Answer {
            cut: Some(Cut::BeforeHead),
            ..Answer::default()
        },
    );
    let half = Answer {
        cut: Some(Cut::InsideBody),
        body: Content::Bytes(b"12345678".to_vec()),
        ..Answer::default()
    };
    backend.response("/half", half.clone());
    backend.response(
        "/half-stream",
        Answer {
            body: Content::Big(1000),
            ..half
        },
    );
    let begun = Instant::now();
    browser().visit(&format!("{}/slow", backend.url())).await;
    assert!(begun.elapsed() >= 2 * wait);
    for path in ["/cut", "/half", "/half-stream"] {
        let broken = browser()
            .try_send(RequestSpec::new(
                Kind::Fetch,
                &format!("{}{path}", backend.url()),
            ))
            .await;
        assert_eq!(
            broken.unwrap_err().kind(),
            ErrorKind::UnexpectedEof,
            "{path}"
        );
    }
    backend.stop();
    let refused = browser()
        .try_send(RequestSpec::new(Kind::Fetch, &backend.url()))
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    backend.restart();
    assert_eq!(browser().visit(&backend.url()).await.status(), 200);
}

#[tokio::test]
async fn streaming_works() {
    let backend = Backend::start();
    backend.respond_to_all(Answer {
        body: Content::Big(200_000),
        ..Answer::default()
    });
    assert_eq!(browser().visit(&backend.url()).await.body.len(), 200_000);
    let every = Duration::from_millis(5);
    backend.response(
        "/events",
        Answer {
            body: Content::Events { count: 3, every },
            ..Answer::default()
        },
    );
    let mut events = browser()
        .stream(RequestSpec::new(
            Kind::Fetch,
            &format!("{}/events", backend.url()),
        ))
        .await
        .unwrap();
    assert_eq!(
        events.head.header("content-type"),
        Some("text/event-stream")
    );
    let mut heard = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        heard.extend(event);
    }
    assert_eq!(heard, b"data: 0\n\ndata: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn websocket_echo_works_for_every_length() {
    let backend = Backend::start();
    let request = RequestSpec::new(Kind::Fetch, &format!("{}/socket", backend.url()));
    let mut socket = WebSocket::open(&mut browser(), request.clone())
        .await
        .unwrap();
    for length in [0, 1, 125, 126, 65_535, 65_536] {
        let text = "w".repeat(length);
        socket.say(&text).await.unwrap();
        assert_eq!(socket.poll().await.unwrap(), Some(text));
    }
    backend.assert_never_saw(&["not said"]);
    backend.response(
        "/socket",
        Answer {
            cut: Some(Cut::BeforeHead),
            ..Answer::default()
        },
    );
    assert!(browser().try_send(request).await.is_err());
}

#[tokio::test]
async fn closed_backend_ends_the_websocket() {
    let mut backend = Backend::start();
    let request = RequestSpec::new(Kind::Fetch, &backend.url());
    let mut socket = WebSocket::open(&mut browser(), request).await.unwrap();
    socket.say("there?").await.unwrap();
    assert_eq!(socket.poll().await.unwrap().as_deref(), Some("there?"));
    backend.stop();
    assert!(!matches!(socket.poll().await, Ok(Some(_))));
}

#[tokio::test]
async fn refused_upgrade_is_a_response() {
    let backend = Backend::start();
    let plain = RequestSpec::new(Kind::Fetch, &backend.url());
    let over_tls = crate::support::tls::Authority::fresh();
    let mut stranger = browser().trusting(&over_tls).with_port(80, 1);
    assert!(
        stranger
            .try_send(RequestSpec::new(Kind::Fetch, "http://store.test/"))
            .await
            .is_err()
    );
    let provider = crate::support::provider::FakeProvider::start(Arc::new(SystemClock));
    let request = RequestSpec::new(Kind::Fetch, &format!("{}/nowhere", provider.issuer()));
    let refused = WebSocket::open(&mut browser(), request).await;
    assert_eq!(refused.err().map(|head| head.status()), Some(404));
    assert_eq!(browser().send(plain).await.status(), 200);
}
