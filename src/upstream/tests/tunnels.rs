//! WebSocket tunnels: valid upgrades, forwarded frames, and the end from either side or from
//! Doorward.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::support::{TestProxy, eventually, read_until_idle, start_proxy};

const UPGRADE: &str = "Host: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\
                       Sec-WebSocket-Version: 13\r\n";

#[tokio::test]
async fn websocket_forwards_bytes_and_ends_with_the_client() {
    let proxy = start_proxy(|_| {}).await;
    let mut stream = proxy.connect().await;
    stream
        .write_all(format!("GET /ws HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes())
        .await
        .unwrap();
    let response = read_until_idle(&mut stream).await;
    assert!(
        response.starts_with("HTTP/1.1 101") && response.contains("sec-websocket-accept: s"),
        "{response}"
    );
    assert!(
        response.contains("connection: upgrade") && response.contains("upgrade: websocket"),
        "{response}"
    );
    assert!(!response.contains("doorward"), "{response}");
    for text in ["one", "two"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(read_until_idle(&mut stream).await, text);
    }
    let request = &proxy.backend.received()[0];
    assert_eq!(
        (request.field("upgrade"), request.field("connection")),
        (vec!["websocket"], vec!["upgrade"])
    );
    assert_eq!(request.field("x-forwarded-user"), ["alice"]);
    assert_eq!(
        (
            proxy.tunnels.open(),
            proxy.metrics.upgraded_connections.get()
        ),
        (1, 1)
    );
    drop(stream);
    eventually(|| proxy.tunnels.open() == 0 && proxy.metrics.upgraded_connections.get() == 0).await;
}

#[tokio::test]
async fn websocket_ends_when_idle_or_aborted() {
    let proxy =
        start_proxy(|settings| settings.tunnel_idle_timeout = Duration::from_millis(400)).await;
    let request = format!("GET /ws HTTP/1.1\r\n{UPGRADE}\r\n");
    let mut silent = proxy.connect().await;
    silent.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let start_time = Instant::now();
    let _ = silent.read_to_end(&mut all).await;
    assert!(start_time.elapsed() >= Duration::from_millis(400));
    assert!(
        all.ends_with(b"\x88\x13\x03\xe9idle for too long"),
        "{}",
        all.escape_ascii()
    );

    let mut aborted = proxy.connect().await;
    aborted.write_all(request.as_bytes()).await.unwrap();
    assert!(
        read_until_idle(&mut aborted)
            .await
            .starts_with("HTTP/1.1 101")
    );
    proxy.tunnels.abort_all();
    proxy.tunnels.all_ended().await;
    assert_eq!(read_until_idle(&mut aborted).await, "");
}

#[tokio::test]
async fn upgrade_needs_a_valid_request_and_a_101() {
    let proxy = start_proxy(|_| {}).await;
    // Rejected by the backend: its connection is not reused, whatever else it sent.
    let response = proxy
        .send(&format!("GET /ws-no HTTP/1.1\r\n{UPGRADE}\r\n"))
        .await;
    assert!(
        response.starts_with("HTTP/1.1 403") && response.ends_with("\r\n\r\nno"),
        "{response}"
    );
    assert!(proxy.get("/a").await.contains("200 OK"));
    assert_eq!(proxy.backend.connections.load(Ordering::SeqCst), 2);
    for request in [
        format!("POST /x HTTP/1.1\r\n{UPGRADE}Content-Length: 0\r\n\r\n"),
        format!("GET /x HTTP/1.0\r\n{UPGRADE}\r\n"),
        format!("GET /x HTTP/1.1\r\n{UPGRADE}Content-Length: 2\r\n\r\nhi"),
        format!("GET /x HTTP/1.1\r\n{UPGRADE}Upgrade: h2c\r\n\r\n"),
        "GET /x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".to_owned(),
        "GET /x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n".to_owned(),
    ] {
        proxy.send(&request).await;
        let received = proxy.backend.received().pop().unwrap();
        assert!(
            received.head.contains(" /x ") && received.field("upgrade").is_empty(),
            "{request}\n{}",
            received.head
        );
    }
    // An unsolicited protocol switch.
    assert!(proxy.get("/ws").await.contains("upstream_bad_response"));
    assert_eq!(proxy.tunnels.open(), 0);
}

/// A client may send more before it knows whether the upgrade succeeded.
#[tokio::test]
async fn bytes_after_rejected_upgrade_are_a_new_request() {
    let proxy = start_proxy(|_| {}).await;
    let next =
        "GET /next HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: mallory\r\nConnection: close\r\n\r\n";
    proxy
        .send(&format!("GET /ws-no HTTP/1.1\r\n{UPGRADE}\r\n{next}"))
        .await;
    let request = proxy.backend.received();
    assert_eq!(
        (request.len(), request[1].field("x-forwarded-user")),
        (2, vec!["alice"])
    );
    assert_ne!(request[0].connection, request[1].connection);
    proxy
        .send(&format!(
            "GET /ws-no HTTP/1.1\r\n{UPGRADE}\r\n\u{1}\u{5}frame"
        ))
        .await;
    let request = proxy.backend.received();
    assert!(
        request.len() == 3
            && request
                .iter()
                .all(|request| !request.head.contains("frame")),
        "{request:?}"
    );
    assert!(proxy.backend.tunnelled.lock().unwrap().is_empty());
}

const SESSION_ENDED: &[u8] = b"\x88\x0f\x03\xf0session ended";
const GOING_AWAY: &[u8] = b"\x88\x13\x03\xe9server going away";

/// A WebSocket whose backend echoes every byte, also of an incomplete frame.
struct EchoSocket {
    stream: TcpStream,
    received: Vec<u8>,
}

impl EchoSocket {
    async fn open(proxy: &TestProxy) -> Self {
        let mut stream = proxy.connect().await;
        stream
            .write_all(format!("GET /ws HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes())
            .await
            .unwrap();
        assert!(
            read_until_idle(&mut stream)
                .await
                .starts_with("HTTP/1.1 101")
        );
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Sends, and waits until `total` bytes were received.
    async fn send(&mut self, bytes: &[u8], total: usize) {
        self.stream.write_all(bytes).await.unwrap();
        let enough = async {
            while self.received.len() < total {
                assert_ne!(self.stream.read_buf(&mut self.received).await.unwrap(), 0);
            }
        };
        timeout(Duration::from_secs(10), enough).await.unwrap();
    }

    /// All received bytes, once the other side has closed or `more` bytes have arrived.
    async fn read_more(&mut self, more: usize) -> &[u8] {
        let goal = self.received.len() + more;
        let rest = async {
            while self.received.len() < goal
                && self.stream.read_buf(&mut self.received).await.unwrap_or(0) > 0
            {}
        };
        timeout(Duration::from_secs(10), rest).await.unwrap();
        &self.received
    }
}

fn ended_count(proxy: &TestProxy, reason: &str) -> u64 {
    proxy
        .metrics
        .upgraded_connections_ended
        .with_label_values(&["store", reason])
        .get()
}

#[tokio::test]
async fn session_end_sends_close_frames_at_frame_boundaries() {
    let proxy = start_proxy(|_| {}).await;
    let mut socket = EchoSocket::open(&proxy).await;
    socket.send(b"\x82\x02ab\x81\x81\0\0\0\0c", 11).await;
    proxy.session_valid.store(false, Ordering::SeqCst);
    assert_eq!(
        &socket.read_more(SESSION_ENDED.len()).await[11..],
        SESSION_ENDED
    );
    // The client answers with a close frame, and sends more, which is ignored.
    socket
        .stream
        .write_all(b"\x88\x80\0\0\0\0\x82\x01x")
        .await
        .unwrap();
    assert_eq!(
        socket.read_more(usize::MAX / 2).await.len(),
        11 + SESSION_ENDED.len()
    );
    eventually(|| proxy.tunnels.open() == 0 && ended_count(&proxy, "session_over") == 1).await;
    let backend = proxy.backend.tunnelled.lock().unwrap().clone();
    let [0x88, 0x8f, one, two, three, four, payload @ ..] = &backend[11..] else {
        panic!("{backend:x?}")
    };
    let mask = [*one, *two, *three, *four];
    let plain: Vec<u8> = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    assert_eq!(plain, SESSION_ENDED[2..], "masked with {mask:?}");
}

#[tokio::test]
async fn shutdown_finishes_the_current_frame() {
    let proxy = start_proxy(|_| {}).await;
    let mut socket = EchoSocket::open(&proxy).await;
    socket.send(b"\x82\x06abc", 5).await;
    proxy.tunnels.close_all();
    socket.send(b"def\x82\x01x", 8).await;
    assert_eq!(
        &socket.read_more(GOING_AWAY.len()).await[..8],
        b"\x82\x06abcdef"
    );
    assert_eq!(&socket.read_more(usize::MAX / 2).await[8..], GOING_AWAY);
    eventually(|| proxy.tunnels.open() == 0 && ended_count(&proxy, "shutting_down") == 1).await;
    let backend = proxy.backend.tunnelled.lock().unwrap().clone();
    assert!(
        backend.starts_with(b"\x82\x06abcdef\x88\x93"),
        "{backend:x?}"
    );
}

#[tokio::test]
async fn incomplete_frame_is_aborted() {
    let proxy = start_proxy(|_| {}).await;
    let mut revoked = EchoSocket::open(&proxy).await;
    let mut drained = EchoSocket::open(&proxy).await;
    for socket in [&mut revoked, &mut drained] {
        socket.send(b"\x82\xff\0\0\0\0\0\xff\0\0half", 14).await;
    }
    proxy.tunnels.close_all();
    proxy.tunnels.abort_all();
    assert_eq!(
        drained.read_more(1).await.len(),
        14,
        "a close frame was inserted within a frame"
    );
    proxy.tunnels.all_ended().await;
    assert_eq!(revoked.read_more(1).await.len(), 14);

    let proxy = start_proxy(|_| {}).await;
    let mut revoked = EchoSocket::open(&proxy).await;
    revoked.send(b"\x82\x7f\0\0\0\0\0\xff\0\0half", 14).await;
    proxy.session_valid.store(false, Ordering::SeqCst);
    assert_eq!(revoked.read_more(1).await.len(), 14);
    eventually(|| proxy.tunnels.open() == 0 && ended_count(&proxy, "session_over") == 1).await;
}

#[tokio::test]
async fn close_frame_is_not_sent_twice() {
    let proxy = start_proxy(|_| {}).await;
    let mut socket = EchoSocket::open(&proxy).await;
    socket.send(b"\x88\x02\x03\xe8", 4).await;
    proxy.session_valid.store(false, Ordering::SeqCst);
    assert_eq!(socket.read_more(1).await.len(), 4);
    assert_eq!(proxy.backend.tunnelled.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn websocket_ends_at_max_age() {
    let proxy =
        start_proxy(|settings| settings.stream_max_age = Some(Duration::from_millis(300))).await;
    let mut socket = EchoSocket::open(&proxy).await;
    assert_eq!(
        socket.read_more(usize::MAX / 2).await,
        b"\x88\x14\x03\xe9connection too old"
    );
    eventually(|| ended_count(&proxy, "stream_max_age") == 1).await;
}
