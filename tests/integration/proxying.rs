//! Request and response forwarding: streaming in both directions, re-framing, hop-by-hop headers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::assertions::{CART, Dialogue, SOON, alice, assert_problem};
use crate::support::backend::{Answer, Content};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;
use crate::support::listening::Listening;

const HOST: &str = "Host: store.localhost:8080\r\n";

/// The size offered before the receiver stops reading: far more than all buffers on the way.
const OFFERED: usize = 256 * 1024 * 1024;
/// More than the socket buffers of four sockets, and far less than the offered size.
const HELD_AT_MOST: usize = 48 * 1024 * 1024;

#[tokio::test]
async fn response_streams_before_backend_completes() {
    let doorward = Setup::plain().start();
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
    let asked = browser.stream(
        RequestSpec::new(Kind::Fetch, &doorward.store_url("/events"))
            .header("Accept", "text/event-stream"),
    );
    let mut response = timeout(SOON, asked)
        .await
        .expect("a head in time")
        .expect("an answer");
    assert_eq!(
        response.head.header("content-type"),
        Some("text/event-stream")
    );
    let first = timeout(SOON, response.next())
        .await
        .expect("an event in time")
        .expect("an event");
    assert_eq!(first.as_deref(), Some(&b"data: 0\n\n"[..]));
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let every = Duration::from_millis(30);
    doorward.store.response(
        "/events",
        Answer {
            body: Content::Events { count: 5, every },
            ..Answer::default()
        },
    );
    let mut response = browser
        .stream(RequestSpec::new(
            Kind::Fetch,
            &doorward.store_url("/events"),
        ))
        .await
        .expect("an answer");
    let mut events = Vec::new();
    while let Some(part) = response.next().await.expect("the rest") {
        events.push(String::from_utf8(part).expect("text"));
    }
    assert_eq!(
        events.concat(),
        "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n"
    );
    assert!(events.len() > 1, "all came in one piece");
}

#[tokio::test]
async fn upload_streams_before_client_completes() {
    let doorward = Setup::plain().start();
    let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    dialogue
        .say(format!(
            "POST /public/up HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        ))
        .await;
    eventually("the first part is there", || {
        doorward
            .store
            .received()
            .iter()
            .any(|one| one.body == b"first")
    })
    .await;
    let reply = dialogue.request("POST", "5\r\n then\r\n0\r\n\r\n").await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let seen = doorward.store.last();
    assert_eq!(seen.body, b"first then");
    assert_eq!(
        (
            seen.header("transfer-encoding"),
            seen.header("content-length")
        ),
        (Some("chunked"), None)
    );
}

/// A third app whose backend is this listener.
fn with_app_at(listener: &Listening) -> Doorward {
    let app = format!(
        "[apps.raw]\nprovider = \"login\"\npublic_url = \"http://raw.localhost:8080\"\nclient_id = \"raw\"\n\
         upstream = \"http://127.0.0.1:{}\"\n[[apps.raw.rules]]\npaths = [\"/**\"]\nallow = \"public\"\n",
        listener.port()
    );
    Setup::plain().more(&app).start()
}

/// Waits until `moved` no longer changes and returns its value.
async fn stands_still(moved: &AtomicUsize) -> usize {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = moved.load(Ordering::Relaxed);
        if now > 0 && now == before {
            return now;
        }
        before = now;
    }
}

#[tokio::test]
async fn slow_client_applies_backpressure_to_backend() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let backend = Listening::start(0, move |mut stream| {
        let sent = Arc::clone(&counter);
        async move {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream
                .write_all(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {OFFERED}\r\n\r\n").as_bytes(),
                )
                .await;
            while let Ok(count @ 1..) = stream.write(&[b'x'; 65536]).await {
                sent.fetch_add(count, Ordering::Relaxed);
            }
        }
    });
    let doorward = with_app_at(&backend);
    let mut dialogue = Dialogue::with(&doorward.browser(), "http://raw.localhost:8080").await;
    dialogue
        .say("GET / HTTP/1.1\r\nHost: raw.localhost:8080\r\n\r\n")
        .await;
    let head = dialogue
        .0
        .read_head()
        .await
        .expect("an answer")
        .expect("a head");
    assert_eq!(
        head.header("content-length"),
        Some(OFFERED.to_string().as_str())
    );
    let held = timeout(SOON, stands_still(&sent))
        .await
        .expect("the backend has to wait");
    assert!(
        held < HELD_AT_MOST,
        "{held} bytes were taken for a client that reads none"
    );
}

#[tokio::test]
async fn slow_backend_applies_backpressure_to_client() {
    let backend = Listening::start(0, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let doorward = with_app_at(&backend);
    let address = doorward.address();
    let mut client = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    let head =
        format!("PUT / HTTP/1.1\r\nHost: raw.localhost:8080\r\nContent-Length: {OFFERED}\r\n\r\n");
    client
        .write_all(head.as_bytes())
        .await
        .expect("the head goes out");
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        while let Ok(count @ 1..) = client.write(&[b'x'; 65536]).await {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    });
    let held = timeout(SOON, stands_still(&sent))
        .await
        .expect("the client has to wait");
    sending.abort();
    assert!(
        held < HELD_AT_MOST,
        "{held} bytes were taken for a backend that reads none"
    );
}

#[tokio::test]
async fn large_bodies_pass_intact_both_ways() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_be_bytes).collect();
    doorward.store.response(
        "/large",
        Answer {
            body: Content::Bytes(large.clone()),
            ..Answer::default()
        },
    );
    let request = RequestSpec::new(Kind::Fetch, &doorward.store_url("/large"))
        .method("PUT")
        .body("application/x", large.clone());
    let page = browser.send(request).await;
    assert_eq!(page.status(), 200);
    assert!(page.body == large, "the download came changed");
    let seen = doorward.store.last();
    assert!(seen.body == large, "the upload came changed");
    assert_eq!(
        seen.header("content-length"),
        Some(large.len().to_string().as_str())
    );
}

#[tokio::test]
async fn connections_are_reused_on_both_sides() {
    let doorward = Setup::plain().start();
    let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    for number in 0..5 {
        let reply = dialogue
            .request(
                "GET",
                format!("GET /public/{number} HTTP/1.1\r\n{HOST}\r\n"),
            )
            .await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        assert_eq!(doorward.store.last().target, format!("/public/{number}"));
    }
    assert_eq!(doorward.store.connections(), 1);
    let two = format!(
        "GET /public/a HTTP/1.1\r\n{HOST}\r\nGET /public/b HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"
    );
    dialogue.say(two).await;
    for path in ["/public/a", "/public/b"] {
        let body: serde_json::Value =
            serde_json::from_slice(&dialogue.poll("GET").await.body).expect("an echo");
        assert_eq!(body["target"], path);
    }
    assert!(dialogue.hear_end().await.is_empty());
}

#[tokio::test]
async fn bodyless_responses_keep_the_connection_in_step() {
    let doorward = Setup::plain().start();
    doorward.store.response(
        "/public/none",
        Answer {
            status: 204,
            ..Answer::default()
        },
    );
    let not_modified = Answer {
        status: 304,
        ..Answer::default()
    }
    .with_header("ETag", "\"1\"");
    doorward.store.response("/public/same", not_modified);
    let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    let head = dialogue
        .request("HEAD", format!("HEAD /public/page HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    let length: usize = head
        .head
        .header("content-length")
        .expect("the length of the body")
        .parse()
        .expect("a number");
    assert!(
        head.status() == 200 && length > 0 && head.body.is_empty(),
        "{:?}",
        head.head
    );
    let none = dialogue
        .request("GET", format!("GET /public/none HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    assert_eq!(
        (none.status(), none.head.header("content-length")),
        (204, None),
        "{:?}",
        none.head
    );
    assert_eq!(none.head.header("transfer-encoding"), None);
    let same = dialogue
        .request(
            "GET",
            format!("GET /public/same HTTP/1.1\r\n{HOST}If-None-Match: \"1\"\r\n\r\n"),
        )
        .await;
    assert_eq!(
        (same.status(), same.head.header("etag")),
        (304, Some("\"1\""))
    );
    assert_eq!(doorward.store.last().header("if-none-match"), Some("\"1\""));
    assert_eq!(
        dialogue
            .request("GET", format!("GET /public/last HTTP/1.1\r\n{HOST}\r\n"))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn range_requests_pass() {
    let doorward = Setup::plain().start();
    let part = Answer {
        status: 206,
        body: Content::Bytes(b"cde".to_vec()),
        ..Answer::default()
    };
    let part = part
        .with_header("Content-Range", "bytes 2-4/26")
        .with_header("Accept-Ranges", "bytes");
    doorward.store.response("/public/file", part);
    let page = doorward
        .browser()
        .send(
            RequestSpec::new(Kind::Fetch, &doorward.store_url("/public/file"))
                .header("Range", "bytes=2-4")
                .header("If-Range", "\"1\""),
        )
        .await;
    assert_eq!(
        (
            page.status(),
            page.text().as_str(),
            page.header("content-range")
        ),
        (206, "cde", Some("bytes 2-4/26"))
    );
    let seen = doorward.store.last();
    assert_eq!(
        (seen.header("range"), seen.header("if-range")),
        (Some("bytes=2-4"), Some("\"1\""))
    );
}

#[tokio::test]
async fn every_method_passes_with_body() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.browser();
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY", "M-SEARCH",
    ] {
        let request = RequestSpec::new(Kind::Program, &doorward.store_url("/public/x"))
            .method(method)
            .body("text/plain", "body");
        let page = browser.send(request).await;
        assert_eq!(page.status(), 200, "{method}: {page}");
        let seen = doorward.store.last();
        assert_eq!(
            (seen.method.as_str(), seen.body.as_slice()),
            (method, &b"body"[..])
        );
        assert_eq!(seen.header("content-type"), Some("text/plain"), "{method}");
    }
    for method in ["TRACE", "CONNECT", "TRACK"] {
        let reached = doorward.store.count();
        let page = browser
            .send(RequestSpec::new(Kind::Program, &doorward.store_url("/public/x")).method(method))
            .await;
        assert!(matches!(page.status(), 400 | 405 | 501), "{method}: {page}");
        assert_eq!(doorward.store.count(), reached, "{method}");
    }
}

#[tokio::test]
async fn expect_continue_is_honoured() {
    let doorward = Setup::plain().start();
    let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    let expecting = |path: &str| {
        format!("POST {path} HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    };
    dialogue.say(expecting("/public/up")).await;
    let go_on = timeout(SOON, dialogue.0.read_head())
        .await
        .expect("word in time")
        .expect("word")
        .expect("a head");
    assert_eq!(go_on.status(), 100);
    assert_eq!(dialogue.request("POST", "body").await.status(), 200);
    let seen = doorward.store.last();
    assert_eq!(
        (seen.body.as_slice(), seen.header("expect")),
        (&b"body"[..], None)
    );

    let reached = doorward.store.count();
    dialogue.say(expecting(CART)).await;
    let refused = timeout(SOON, dialogue.0.read_head())
        .await
        .expect("word in time")
        .expect("word")
        .expect("a head");
    assert_eq!(
        refused.status(),
        401,
        "nobody asks for a body that will not be passed on"
    );
    let other =
        format!("POST /public/up HTTP/1.1\r\n{HOST}Expect: a-miracle\r\nContent-Length: 0\r\n\r\n");
    let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    assert_eq!(dialogue.request("POST", other).await.status(), 417);
    assert_eq!(doorward.store.count(), reached);
}

#[tokio::test]
async fn early_refusal_of_upload_is_delivered() {
    let doorward = Setup::plain().start();
    let body = vec![b'x'; 4_000_000];
    let request = RequestSpec::new(Kind::Program, &doorward.store_url(CART))
        .method("POST")
        .body("application/x", body);
    assert_problem(&doorward.browser().send(request).await, 401, "no_session");
    assert_eq!(doorward.store.count(), 0);
}

#[tokio::test]
async fn hop_by_hop_fields_are_removed() {
    let doorward = Setup::plain().start();
    let response = Answer::default()
        .with_header("Connection", "X-Private, keep-alive")
        .with_header("Keep-Alive", "timeout=5")
        .with_header("X-Private", "1")
        .with_header("Proxy-Authenticate", "Basic")
        .with_header("X-Public", "2");
    doorward.store.response("/public/hop", response);
    let mut request = RequestSpec::new(Kind::Program, &doorward.store_url("/public/hop"));
    let fields = [
        ("Connection", "keep-alive, X-Mine"),
        ("Connection", "x-second,TE , Cookie, Host"),
        ("X-Mine", "1"),
        ("X-Second", "1"),
        ("Keep-Alive", "timeout=9"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("TE", "trailers"),
        ("Trailer", "X-T"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQ"),
        ("Proxy", "http://evil.example"),
        ("Cookie", "mine=1"),
        ("X-Kept", "yes"),
    ];
    for (name, value) in fields {
        request = request.header(name, value);
    }
    let page = doorward.browser().send(request).await;
    let seen = doorward.store.last();
    for (name, _) in fields
        .iter()
        .filter(|(name, _)| !["X-Kept", "Cookie", "Connection"].contains(name))
    {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert!(
        seen.header("connection")
            .is_none_or(|value| value.eq_ignore_ascii_case("keep-alive"))
    );
    assert_eq!(
        (seen.header("x-kept"), seen.header("cookie")),
        (Some("yes"), Some("mine=1"))
    );
    assert_eq!(seen.header("host"), Some("store.localhost:8080"));
    for name in ["x-private", "keep-alive", "proxy-authenticate"] {
        assert_eq!(page.header(name), None, "{name}");
    }
    assert_eq!(page.header("x-public"), Some("2"));
}
