//! Clients that leave, close one half of their connection, or stop reading: the log says which, and
//! what was requested is in it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::assertions::{CART, Dialogue, SOON, alice, metric_reaches};
use crate::support::backend::{Answer, Content};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;

const HOST: &str = "Host: store.localhost:8080\r\n";

async fn dialogue(doorward: &Doorward) -> Dialogue {
    Dialogue::with(&doorward.browser(), &doorward.site().store).await
}

/// The store's backend holds the responses of this path.
fn held(doorward: &Doorward, path: &str) -> Gate {
    let gate = Gate::default();
    let response = Answer {
        gate: Some(gate.clone()),
        ..Answer::default()
    };
    doorward.store.response(path, response);
    gate
}

/// The app has carried the request out, so it is in the log and the metrics.
#[tokio::test]
async fn request_of_a_client_that_left_is_logged_and_counted() {
    let doorward = Setup::plain().server("half_close_timeout = \"0s\"").start();
    let gate = held(&doorward, "/pay");
    let browser = alice(&doorward).await;
    let spec = RequestSpec::new(Kind::Fetch, &doorward.store_url("/pay"))
        .method("POST")
        .header("Origin", &doorward.site().store)
        .body("text/plain", "body");
    let mut client = dialogue(&doorward).await;
    client.say(browser.request_bytes(&spec, &[])).await;
    gate.reached(1).await;
    drop(client);
    let line = doorward.log.line("/pay", "client_disconnected").await;
    assert_eq!(line["status"], 499);
    assert_eq!(
        (&line["method"], &line["bytes_in"]),
        (&"POST".into(), &4.into())
    );
    assert!(line["session"].is_string(), "{line}");
    assert!(line["upstream_ms"].is_number(), "{line}");
    metric_reaches(
        &doorward,
        r#"doorward_requests_total{app="store",decision="client_disconnected",status_class="4xx"}"#,
        1.0,
    )
    .await;
    metric_reaches(&doorward, "doorward_server_requests_in_flight", 0.0).await;
}

/// Over HTTP/2 a client cancels a request by a reset of its stream.
#[tokio::test]
async fn cancelled_http_2_request_is_logged() {
    let doorward = Setup::plain().start();
    let gate = held(&doorward, "/public/held");
    let stream = TcpStream::connect(doorward.address())
        .await
        .expect("a port");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("http://store.localhost:8080/public/held")
        .body(())
        .expect("a request");
    let mut client = client.ready().await.expect("a stream");
    let (response, mut sender) = client.send_request(request, true).expect("sent");
    gate.reached(1).await;
    sender.send_reset(h2::Reason::CANCEL);
    drop(response);
    let line = doorward
        .log
        .line("/public/held", "client_disconnected")
        .await;
    assert_eq!(line["status"], 499);
}

#[tokio::test]
async fn half_closed_request_is_answered() {
    let doorward = Setup::plain().start();
    let gate = held(&doorward, "/public/held");
    for (turn, (method, body)) in [("GET", ""), ("POST", "hello")].into_iter().enumerate() {
        gate.close();
        let framing = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let mut client = dialogue(&doorward).await;
        let request = format!("{method} /public/held HTTP/1.1\r\n{HOST}{framing}\r\n{body}");
        client.say(request).await;
        client.0.shut().await.expect("a half-close");
        gate.reached(turn + 1).await;
        gate.open();
        let reply = client.poll(method).await;
        assert_eq!(reply.status(), 200, "{method}");
        assert_eq!(doorward.store.last().body, body.as_bytes());
        assert!(client.hear_end().await.is_empty(), "the connection ends");
    }
}

/// The response may be longer than everything that fits into buffers.
#[tokio::test]
async fn long_response_reaches_a_half_closed_client() {
    let doorward = Setup::plain().start();
    let size = 20_000_000;
    let response = Answer {
        body: Content::Big(size),
        ..Answer::default()
    };
    doorward.store.response("/public/big", response);
    let mut client = dialogue(&doorward).await;
    client
        .say(format!("GET /public/big HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    client.0.shut().await.expect("a half-close");
    let reply = client.poll("GET").await;
    assert_eq!((reply.status(), reply.body.len()), (200, size));
    assert!(client.hear_end().await.is_empty());
}

#[tokio::test]
async fn pipelined_requests_before_a_half_close_are_answered() {
    let doorward = Setup::plain().start();
    let mut client = dialogue(&doorward).await;
    let one = |path: &str| format!("GET /public/{path} HTTP/1.1\r\n{HOST}\r\n");
    client.say([one("a"), one("b"), one("c")].concat()).await;
    client.0.shut().await.expect("a half-close");
    for path in ["a", "b", "c"] {
        let reply = client.poll("GET").await;
        assert!(reply.text().contains(&format!("/public/{path}\"")));
    }
    assert!(client.hear_end().await.is_empty());
}

#[tokio::test]
async fn half_close_of_an_unanswered_request_times_out() {
    let doorward = Setup::plain().server("half_close_timeout = \"1s\"").start();
    let gate = held(&doorward, "/public/held");
    let mut client = dialogue(&doorward).await;
    client
        .say(format!("GET /public/held HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    gate.reached(1).await;
    client.0.shut().await.expect("a half-close");
    assert!(client.hear_end().await.is_empty());
    let line = doorward
        .log
        .line("/public/held", "client_disconnected")
        .await;
    assert_eq!(line["status"], 499);
}

/// A body that ends too early is no half-close.
#[tokio::test]
async fn truncated_body_fails_at_once() {
    let doorward = Setup::plain().start();
    for request in [
        format!("POST /public/up HTTP/1.1\r\n{HOST}Content-Length: 10\r\n\r\nhello"),
        format!("POST /public/up HTTP/1.1\r\n{HOST}Content-Length: 10\r\n\r\n"),
        format!(
            "POST /public/up HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        ),
        format!("POST /public/up HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5"),
    ] {
        let mut client = dialogue(&doorward).await;
        client.say(&request).await;
        client.0.shut().await.expect("a half-close");
        let reply = client.poll("POST").await;
        assert_eq!(reply.status(), 400, "{request:?}");
    }
    doorward
        .log
        .line("/public/up", "request_body_aborted")
        .await;
}

#[tokio::test]
async fn client_that_stops_reading_is_logged_as_stalled() {
    let doorward = Setup::plain()
        .server("write_stall_timeout = \"1s\"")
        .start();
    let response = Answer {
        body: Content::Big(64 * 1024 * 1024),
        ..Answer::default()
    };
    doorward.store.response("/public/big", response);
    let mut http_1 = TcpStream::connect(doorward.address())
        .await
        .expect("a port");
    let request = format!("GET /public/big HTTP/1.1\r\n{HOST}\r\n");
    http_1.write_all(request.as_bytes()).await.expect("sent");
    let line = doorward.log.line("/public/big", "client_stalled").await;
    assert_eq!(line["status"], 200);
    metric_reaches(
        &doorward,
        r#"doorward_connection_errors_total{reason="client_stalled"}"#,
        1.0,
    )
    .await;

    let stream = TcpStream::connect(doorward.address())
        .await
        .expect("a port");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("http://store.localhost:8080/public/big?2")
        .body(())
        .expect("a request");
    let mut client = client.ready().await.expect("a stream");
    // The window is never opened again.
    let (response, _sender) = client.send_request(request, true).expect("sent");
    let _answer = response.await.expect("a head");
    metric_reaches(
        &doorward,
        r#"doorward_requests_total{app="store",decision="client_stalled",status_class="2xx"}"#,
        2.0,
    )
    .await;
}

/// hyper responds to them by itself, without a page.
#[tokio::test]
async fn malformed_request_has_an_access_log_entry() {
    let doorward = Setup::plain().start();
    let long = format!("X-Long: {}\r\n", "x".repeat(70_000));
    for (request, status, code) in [
        (
            format!("GET /<x> HTTP/1.1\r\n{HOST}\r\n"),
            400,
            "malformed_request",
        ),
        (
            format!("GET /x?<y> HTTP/1.1\r\n{HOST}\r\n"),
            400,
            "malformed_request",
        ),
        (
            format!("GET / HTTP/1.1\r\n{HOST}{long}\r\n"),
            431,
            "header_too_large",
        ),
    ] {
        let before = doorward.log.lines().len();
        let mut client = TcpStream::connect(doorward.address())
            .await
            .expect("a port");
        client.write_all(request.as_bytes()).await.expect("sent");
        let mut reply = Vec::new();
        let read = client.read_to_end(&mut reply);
        // A reset counts as a close.
        let _reset = timeout(SOON, read).await.expect("an end in time");
        assert!(reply.starts_with(format!("HTTP/1.1 {status}").as_bytes()));
        crate::support::eventually("a line", || doorward.log.lines().len() > before).await;
        let line = doorward.log.lines().pop().expect("a line");
        assert_eq!(
            (&line["status"], &line["decision"]),
            (&status.into(), &code.into())
        );
        assert_eq!(line["client_ip"], "127.0.0.1");
    }
    metric_reaches(
        &doorward,
        r#"doorward_requests_total{app="",decision="malformed_request",status_class="4xx"}"#,
        2.0,
    )
    .await;
}

/// A response that is cut at the end of a drain was not cut by its client.
#[tokio::test]
async fn request_cut_by_the_drain_is_logged_as_shutting_down() {
    let doorward = Setup::plain().start();
    let gate = held(&doorward, "/public/held");
    let mut client = dialogue(&doorward).await;
    client
        .say(format!("GET /public/held HTTP/1.1\r\n{HOST}\r\n"))
        .await;
    gate.reached(1).await;
    let log = doorward.log.clone();
    // `drain_timeout` is one second.
    tokio::task::spawn_blocking(move || drop(doorward))
        .await
        .expect("the server stops");
    let line = log.line("/public/held", "shutting_down").await;
    assert_eq!(line["status"], 499);
    assert!(client.hear_end().await.is_empty());
}

#[tokio::test]
async fn upload_ends_at_logout_and_revocation() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let page = doorward.store_url(CART).parse().expect("an URL");
    let spec = RequestSpec::new(Kind::Fetch, &doorward.store_url("/upload"))
        .method("POST")
        .from(&page)
        .header("Transfer-Encoding", "chunked");
    let head = browser.request_bytes(&spec, &[]);
    let text = String::from_utf8(head).expect("text");
    let text = text.replace("Content-Length: 0\r\n", "");
    let mut busy = dialogue(&doorward).await;
    let mut idle = dialogue(&doorward).await;
    for upload in [&mut busy, &mut idle] {
        upload.say(&text).await;
        upload.say("5\r\nfirst\r\n").await;
    }
    crate::support::eventually("both uploads arrive", || {
        let received = doorward.store.received();
        received.iter().filter(|one| one.body == b"first").count() == 2
    })
    .await;
    crate::support::journey::log_out(&mut browser, &doorward.site().store).await;
    let both_ended =
        r#"doorward_requests_total{app="store",decision="session_over",status_class="4xx"}"#;
    crate::support::eventually_async("both uploads end", SOON, async || {
        busy.say("4\r\nmore\r\n").await;
        doorward.metric(both_ended).await == 2.0
    })
    .await;
    for upload in [&mut busy, &mut idle] {
        let reply = upload.poll("POST").await;
        assert_eq!(reply.status(), 401, "{}", reply.text());
        assert!(reply.text().contains("session_over"), "{}", reply.text());
    }
    let uploads = || {
        let received = doorward.store.received();
        let bodies = received.into_iter().filter(|one| one.target == "/upload");
        bodies.map(|one| one.body.len()).collect::<Vec<_>>()
    };
    let before = uploads();
    busy.say("4\r\nmore\r\n").await;
    assert_eq!(uploads(), before, "nothing more reached the app");
}
