//! WebSockets over HTTP/2 (RFC 8441): the same decisions as over HTTP/1.1, and an upgrade toward the app.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::assertions::{SOON, alice, metric_reaches};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;
use crate::support::journey;
use crate::support::listening::Listening;
use crate::support::websocket::WebSocket;
use crate::support::wire::Wire;

const STORE: &str = "http://store.localhost:8080";

/// An HTTP/2 connection of a client.
struct Client {
    requests: SendRequest<Empty<Bytes>>,
}

/// A response that opened no WebSocket.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    body: String,
}

impl Client {
    /// Connects, and waits for the server's settings.
    async fn connect(doorward: &Doorward) -> Self {
        let stream = TcpStream::connect(doorward.address())
            .await
            .expect("a port");
        let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        let mut client = Self { requests };
        let first = Self::request("GET", "/public/first", &[]);
        let first = client.requests.send_request(first).await;
        first
            .expect("a response")
            .into_body()
            .collect()
            .await
            .expect("its body");
        client
    }

    fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<Empty<Bytes>> {
        let uri = format!("{STORE}{path}");
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(Empty::new()).expect("a request")
    }

    async fn open(
        &mut self,
        protocol: &'static str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<(WebSocket, HeaderMap), Refusal> {
        let mut request = Self::request("CONNECT", path, fields);
        request
            .extensions_mut()
            .insert(Protocol::from_static(protocol));
        let mut response = self
            .requests
            .send_request(request)
            .await
            .expect("a response");
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            let body = response.into_body().collect().await.expect("a body");
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            return Err(Refusal { status, body });
        }
        let upgraded = hyper::upgrade::on(&mut response).await.expect("a tunnel");
        let wire = Wire::new(TokioIo::new(upgraded));
        Ok((WebSocket::over(wire), headers))
    }

    /// The refusal of a WebSocket.
    async fn refused(&mut self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let opened = self.open("websocket", path, fields).await;
        let refusal = opened.err().expect("no socket");
        (refusal.status.as_u16(), refusal.body)
    }
}

/// What a page of the store sends, with the session of `browser`.
fn fields(cookies: &str) -> [(&str, &str); 4] {
    [
        ("cookie", cookies),
        ("origin", STORE),
        ("sec-websocket-version", "13"),
        ("x-forwarded-user", "mallory"),
    ]
}

fn cookies(doorward: &Doorward, browser: &Browser) -> String {
    let pairs = ["jwt", "refresh", "activity"].map(|kind| {
        let value = doorward.cookie(browser, kind).expect("a cookie");
        format!("{}={value}", doorward.cookie_name(kind))
    });
    pairs.join("; ")
}

#[tokio::test]
async fn http2_websocket_reaches_the_app_as_an_upgrade() {
    let doorward = Setup::plain().start();
    let cookies = cookies(&doorward, &alice(&doorward).await);
    let mut client = Client::connect(&doorward).await;
    let page = fields(&cookies);
    let opened = client.open("websocket", "/chat?room=1", &page).await;
    let (mut talk, headers) = opened.expect("a socket");
    for name in [
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "set-cookie",
    ] {
        assert!(!headers.contains_key(name), "{name}");
    }
    let seen = doorward.store.last();
    assert_eq!(seen.head.start, "GET /chat?room=1 HTTP/1.1");
    assert_eq!(seen.head.all("upgrade"), ["websocket"]);
    assert_eq!(seen.head.all("connection"), ["upgrade"]);
    assert_eq!(seen.head.all("sec-websocket-key").len(), 1);
    assert_eq!(seen.head.all("x-forwarded-user"), ["alice-id"]);
    assert_eq!(seen.header("cookie"), None);
    let long = "x".repeat(300_000);
    for text in ["hello", "", "Grüße ✓", &long] {
        talk.say(text).await.expect("sent");
        let heard = tokio::time::timeout(SOON, talk.poll()).await;
        let heard = heard.expect("an echo in time").expect("an echo");
        assert!(heard.as_deref() == Some(text), "{} bytes", text.len());
    }
    assert_eq!(doorward.metric("doorward_upgraded_connections").await, 1.0);
    let line = doorward.log.line("/chat", "forward").await;
    assert_eq!(
        (&line["method"], &line["status"]),
        (&"GET".into(), &101.into())
    );
    // The stream is reset, not ended.
    drop(talk);
    metric_reaches(&doorward, "doorward_upgraded_connections", 0.0).await;
    metric_reaches(&doorward, "doorward_http2_streams", 0.0).await;
}

#[tokio::test]
async fn http2_websocket_is_judged_like_an_upgrade() {
    let doorward = Setup::plain().start();
    let browser = alice(&doorward).await;
    let cookies = cookies(&doorward, &browser);
    let mut client = Client::connect(&doorward).await;
    let reached = doorward.store.count();
    let (status, body) = client.refused("/chat", &[]).await;
    assert!(
        status == 401 && body.contains("\"code\""),
        "{status} {body}"
    );
    let (status, _) = client.refused("/admin/feed", &fields(&cookies)).await;
    assert_eq!(status, 403);
    for path in ["/chat", "/public/chat"] {
        let foreign = [
            ("cookie", cookies.as_str()),
            ("origin", "https://evil.example"),
        ];
        let (status, body) = client.refused(path, &foreign).await;
        assert!(
            status == 403 && body.contains("cross_site"),
            "{status} {body}"
        );
    }
    let (status, _) = client.refused("/public/../chat", &fields(&cookies)).await;
    assert_eq!(status, 400);
    assert_eq!(doorward.store.count(), reached);
    // Its response cannot set cookies, so nothing is refreshed.
    doorward.advance_secs(301);
    let (status, _) = client.refused("/chat", &fields(&cookies)).await;
    assert_eq!(
        (status, doorward.provider.grants("refresh_token")),
        (401, 0)
    );
    let public = client.open("websocket", "/public/feed", &fields("")).await;
    public.expect("a public socket");
    assert_eq!(doorward.store.last().header("x-forwarded-user"), None);
}

#[tokio::test]
async fn extended_connect_for_anything_but_a_websocket_is_refused() {
    let doorward = Setup::plain().start();
    let cookies = cookies(&doorward, &alice(&doorward).await);
    let mut client = Client::connect(&doorward).await;
    let reached = doorward.store.count();
    for protocol in ["connect-udp", "connect-ip", "webtransport", "h2c"] {
        let opened = client.open(protocol, "/public/x", &fields(&cookies)).await;
        let refusal = opened.err().expect("no tunnel");
        assert_eq!(refusal.status, 501, "{protocol}");
        assert!(
            refusal.body.contains("unsupported_protocol"),
            "{}",
            refusal.body
        );
    }
    assert_eq!(doorward.store.count(), reached);
    // An endpoint of Doorward is no WebSocket, although its response is a success.
    let (status, body) = client
        .refused("/.doorward/session", &fields(&cookies))
        .await;
    assert!(
        status == 501 && body.contains("unsupported_protocol"),
        "{status} {body}"
    );
    let mut plain = Client::request("CONNECT", "", &[]);
    *plain.uri_mut() = "store.localhost:8080".parse().expect("an authority");
    let response = client
        .requests
        .send_request(plain)
        .await
        .expect("a response");
    assert_eq!(response.status(), 501);
}

/// An app that gives each request this response.
fn app_that_answers(head: &'static str) -> Listening {
    Listening::start(0, move |stream| async move {
        let mut wire = Wire::new(stream);
        if let Ok(Some(_)) = wire.read_head().await {
            let _ = wire.write(head.as_bytes()).await;
        }
    })
}

/// Over HTTP/1.1 the client sees that the status is not 101, or that the answer to its key is wrong.
#[tokio::test]
async fn app_that_does_not_switch_protocols_opens_no_http2_websocket() {
    let page = app_that_answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let switch = app_that_answers(
        "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    let forbidden = app_that_answers("HTTP/1.1 403 F\r\nContent-Length: 2\r\n\r\nno");
    let routes = [
        ("page", &page),
        ("switch", &switch),
        ("forbidden", &forbidden),
    ]
    .map(|(path, app)| {
        let port = app.port();
        format!(
            "[[apps.store.routes]]\npath = \"/{path}\"\nupstream = \"http://127.0.0.1:{port}\"\n"
        )
    });
    let doorward = Setup::plain().more(&routes.concat()).start();
    let cookies = cookies(&doorward, &alice(&doorward).await);
    let mut client = Client::connect(&doorward).await;
    for (path, status, text) in [
        ("/page", 501, "unsupported_protocol"),
        ("/switch", 502, "upstream_bad_response"),
        ("/forbidden", 403, "no"),
    ] {
        let (found, body) = client.refused(path, &fields(&cookies)).await;
        assert!(
            found == status && body.contains(text),
            "{path}: {found} {body}"
        );
    }
    assert_eq!(doorward.metric("doorward_upgraded_connections").await, 0.0);
}

#[tokio::test]
async fn http2_websocket_ends_with_its_session_and_its_app() {
    let mut doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let mut client = Client::connect(&doorward).await;
    let session = cookies(&doorward, &browser);
    let opened = client.open("websocket", "/chat", &fields(&session)).await;
    let (mut talk, _) = opened.expect("a socket");
    journey::log_out(&mut browser, &doorward.site().store).await;
    let end = tokio::time::timeout(SOON, talk.hear_close()).await;
    let end = end.expect("an end in time").expect("a close frame");
    assert_eq!(end, (1008, "session ended".to_owned()));
    metric_reaches(&doorward, "doorward_http2_streams", 0.0).await;

    let public = client.open("websocket", "/public/chat", &fields("")).await;
    let (mut talk, _) = public.expect("a socket");
    doorward.store.stop();
    let end = tokio::time::timeout(SOON, talk.poll()).await;
    let end = end.expect("an end in time");
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
    metric_reaches(&doorward, "doorward_upgraded_connections", 0.0).await;
    doorward.store.restart();
    eventually("the log has the sockets", || {
        let lines = doorward.log.lines();
        lines.iter().filter(|line| line["status"] == 101).count() == 2
    })
    .await;
}
