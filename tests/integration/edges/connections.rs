//! WebSockets and HTTP/2 clients at every edge.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::edge::{Edge, Kind};
use super::{FORGED, assert_identity, browser, doorward};
use crate::decisions::check::cookies;
use crate::support::assertions::SOON;
use crate::support::browser::{Browser, Kind as RequestKind, RequestSpec};
use crate::support::doorward::Doorward;
use crate::support::provider::User;
use crate::support::websocket::WebSocket;

const STORE: &str = "http://store.localhost:8080";

async fn alice(doorward: &Doorward, edge: &Edge) -> Browser {
    doorward.provider.sign_in(User::new("alice", &[]));
    let mut browser = browser(doorward, edge);
    let page = browser.visit(&doorward.store_url("/page")).await;
    assert_eq!(page.status(), 200, "{page}");
    browser
}

fn socket(doorward: &Doorward, origin: &str) -> RequestSpec {
    let url = doorward.store_url("/chat?room=1");
    RequestSpec::new(RequestKind::Fetch, &url).header("Origin", origin)
}

fn status_of(opened: Result<WebSocket, crate::support::wire::Head>) -> u16 {
    opened.err().map_or(101, |head| head.status())
}

#[tokio::test]
async fn every_edge_passes_websockets_of_a_session_on() {
    for kind in Kind::ALL {
        let doorward = doorward();
        let edge = Edge::start(kind, &doorward).await;
        let mut alice = alice(&doorward, &edge).await;
        let own = doorward.site().store;
        let mut forged = socket(&doorward, &own);
        for name in FORGED {
            forged = forged.header(name, "forged");
        }
        let opened = WebSocket::open(&mut alice, forged).await;
        let mut chat = opened.unwrap_or_else(|head| panic!("{kind:?}: {head:?}"));
        assert_eq!(doorward.store.last().target, "/chat?room=1", "{kind:?}");
        assert_identity(&doorward, Some("alice-id"), kind);
        chat.say("hello").await.expect("sent");
        let heard = timeout(SOON, chat.poll()).await.expect("an echo in time");
        assert_eq!(
            heard.expect("an echo").as_deref(),
            Some("hello"),
            "{kind:?}"
        );

        let count = doorward.store.count();
        let evil = "https://evil.example.test";
        let refused = WebSocket::open(&mut alice, socket(&doorward, evil)).await;
        assert_eq!(status_of(refused), 403, "{kind:?}");
        let mut anonymous = browser(&doorward, &edge);
        let refused = WebSocket::open(&mut anonymous, socket(&doorward, &own)).await;
        assert_eq!(status_of(refused), 401, "{kind:?}");
        assert_eq!(doorward.store.count(), count, "{kind:?}");
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

/// An HTTP/2 client of the edge, with prior knowledge (RFC 9113 section 3.3).
async fn connect(edge: &Edge) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(("127.0.0.1", edge.port)).await;
    let handshake = h2::client::handshake(stream.expect("a port")).await;
    let (client, connection) = handshake.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

/// Sends a request, with a body of undeclared length if there is one.
async fn send(client: &SendRequest<Bytes>, request: Request<()>, body: &'static str) -> Answer {
    let mut client = client.clone().ready().await.expect("a connection");
    let sent = client.send_request(request, body.is_empty());
    let (response, mut stream) = sent.expect("a stream");
    if !body.is_empty() {
        stream.send_data(body.into(), true).expect("sent");
    }
    let (head, mut received) = response.await.expect("a response").into_parts();
    let mut all = Vec::new();
    while let Some(part) = received.data().await {
        let part = part.expect("a part");
        let _ = received.flow_control().release_capacity(part.len());
        all.extend_from_slice(&part);
    }
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8_lossy(&all).into_owned(),
    }
}

fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{STORE}{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

#[tokio::test]
async fn every_edge_decides_about_http2_requests_like_others() {
    for kind in Kind::ALL {
        let doorward = doorward();
        // The session is one of Doorward's own listener: its cookies are the same.
        let session = doorward.logged_in("alice", "/page").await;
        let session = cookies(&doorward, &session);
        let edge = Edge::over_http2(kind, &doorward).await;
        let client = connect(&edge).await;
        // A cookie for each field, as browsers send them (RFC 9113 section 8.2.3).
        let mut fields: Vec<_> = session.split("; ").map(|pair| ("cookie", pair)).collect();
        fields.push(("cookie", "theme=dark"));
        fields.extend(FORGED.map(|name| (name, "forged")));
        let answer = send(&client, request("GET", "/page?a=b", &fields), "").await;
        assert_eq!(answer.status, 200, "{kind:?} {}", answer.body);
        assert_identity(&doorward, Some("alice-id"), kind);
        let seen = doorward.store.last();
        assert_eq!(seen.target, "/page?a=b", "{kind:?}");
        assert_eq!(seen.head.all("cookie"), ["theme=dark"], "{kind:?}");

        let answer = send(&client, request("POST", "/page", &fields), "text").await;
        assert_eq!(answer.status, 200, "{kind:?} {}", answer.body);
        let seen = doorward.store.last();
        assert_eq!(
            (seen.method.as_str(), &seen.body[..]),
            ("POST", &b"text"[..]),
            "{kind:?}"
        );

        let count = doorward.store.count();
        let fields = [
            ("accept", "application/json"),
            ("cookie", "doorward_jwt=forged"),
        ];
        let answer = send(&client, request("GET", "/page", &fields), "").await;
        assert_eq!(answer.status, 401, "{kind:?} {}", answer.body);
        assert!(
            answer.body.contains("login_url"),
            "{kind:?} {}",
            answer.body
        );
        assert!(answer.headers.contains_key("www-authenticate"), "{kind:?}");
        let answer = send(
            &client,
            request("GET", "/admin/x", &[("cookie", &session)]),
            "",
        )
        .await;
        assert_eq!(answer.status, 403, "{kind:?} {}", answer.body);
        assert_eq!(doorward.store.count(), count, "{kind:?}");
    }
}
