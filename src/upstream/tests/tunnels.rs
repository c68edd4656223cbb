//! WebSockets through `forward`: what makes one, what passes, and how it ends from either side and from here.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::support::{Front, front, heard, soon};

const UPGRADE: &str = "Host: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\
                       Sec-WebSocket-Version: 13\r\n";

#[tokio::test]
async fn a_websocket_echoes_and_ends_with_either_side() {
    let front = front(|_| {}).await;
    let mut stream = front.connect().await;
    stream
        .write_all(format!("GET /ws HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes())
        .await
        .unwrap();
    let answer = heard(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.contains("sec-websocket-accept: s"),
        "{answer}"
    );
    assert!(
        answer.contains("connection: upgrade") && answer.contains("upgrade: websocket"),
        "{answer}"
    );
    assert!(!answer.contains("doorward"), "{answer}");
    for text in ["one", "two"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(heard(&mut stream).await, text);
    }
    let got = &front.backend.got()[0];
    assert_eq!(
        (got.field("upgrade"), got.field("connection")),
        (vec!["websocket"], vec!["upgrade"])
    );
    assert_eq!(got.field("x-forwarded-user"), ["alice"]);
    assert_eq!(
        (
            front.tunnels.open(),
            front.metrics.upgraded_connections.get()
        ),
        (1, 1)
    );
    drop(stream);
    soon(|| front.tunnels.open() == 0 && front.metrics.upgraded_connections.get() == 0).await;
}

#[tokio::test]
async fn a_websocket_ends_when_it_is_told_or_silent() {
    let front = front(|settings| settings.tunnel_idle_timeout = Duration::from_millis(400)).await;
    let request = format!("GET /ws HTTP/1.1\r\n{UPGRADE}\r\n");
    let mut silent = front.connect().await;
    silent.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let began = Instant::now();
    let _ = silent.read_to_end(&mut all).await;
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert!(
        all.ends_with(b"\x88\x13\x03\xe9idle for too long"),
        "{}",
        all.escape_ascii()
    );

    let mut told = front.connect().await;
    told.write_all(request.as_bytes()).await.unwrap();
    assert!(heard(&mut told).await.starts_with("HTTP/1.1 101"));
    front.tunnels.cut();
    front.tunnels.all_ended().await;
    assert_eq!(heard(&mut told).await, "");
}

#[tokio::test]
async fn nothing_is_a_tunnel_that_is_not_properly_asked_for_and_agreed() {
    let front = front(|_| {}).await;
    // Refused by the backend: its connection is not used again, whatever else it sent.
    let answer = front
        .say(&format!("GET /ws-no HTTP/1.1\r\n{UPGRADE}\r\n"))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.ends_with("\r\n\r\nno"),
        "{answer}"
    );
    assert!(front.get("/a").await.contains("200 OK"));
    assert_eq!(front.backend.connections.load(Ordering::SeqCst), 2);
    for request in [
        format!("POST /x HTTP/1.1\r\n{UPGRADE}Content-Length: 0\r\n\r\n"),
        format!("GET /x HTTP/1.0\r\n{UPGRADE}\r\n"),
        format!("GET /x HTTP/1.1\r\n{UPGRADE}Content-Length: 2\r\n\r\nhi"),
        format!("GET /x HTTP/1.1\r\n{UPGRADE}Upgrade: h2c\r\n\r\n"),
        "GET /x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".to_owned(),
        "GET /x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n".to_owned(),
    ] {
        front.say(&request).await;
        let got = front.backend.got().pop().unwrap();
        assert!(
            got.head.contains(" /x ") && got.field("upgrade").is_empty(),
            "{request}\n{}",
            got.head
        );
    }
    // A switch that nobody asked for.
    assert!(front.get("/ws").await.contains("upstream_bad_response"));
    assert_eq!(front.tunnels.open(), 0);
}

/// A client may send more before it knows whether the protocols were switched.
#[tokio::test]
async fn what_follows_a_refused_switch_is_a_request_of_its_own_or_nothing() {
    let front = front(|_| {}).await;
    let next =
        "GET /next HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: mallory\r\nConnection: close\r\n\r\n";
    front
        .say(&format!("GET /ws-no HTTP/1.1\r\n{UPGRADE}\r\n{next}"))
        .await;
    let got = front.backend.got();
    assert_eq!(
        (got.len(), got[1].field("x-forwarded-user")),
        (2, vec!["alice"])
    );
    assert_ne!(got[0].connection, got[1].connection);
    front
        .say(&format!(
            "GET /ws-no HTTP/1.1\r\n{UPGRADE}\r\n\u{1}\u{5}frame"
        ))
        .await;
    let got = front.backend.got();
    assert!(
        got.len() == 3 && got.iter().all(|got| !got.head.contains("frame")),
        "{got:?}"
    );
    assert!(front.backend.tunnelled.lock().unwrap().is_empty());
}

const SESSION_ENDED: &[u8] = b"\x88\x0f\x03\xf0session ended";
const GOING_AWAY: &[u8] = b"\x88\x13\x03\xe9server going away";

/// A WebSocket whose backend sends back every byte as it came: what is sent as half a frame comes as half a frame.
struct Mirror {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Mirror {
    async fn open(front: &Front) -> Self {
        let mut stream = front.connect().await;
        stream
            .write_all(format!("GET /ws HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes())
            .await
            .unwrap();
        assert!(heard(&mut stream).await.starts_with("HTTP/1.1 101"));
        Self {
            stream,
            seen: Vec::new(),
        }
    }

    /// Sends, and waits until so much came back in all.
    async fn say(&mut self, bytes: &[u8], back: usize) {
        self.stream.write_all(bytes).await.unwrap();
        let enough = async {
            while self.seen.len() < back {
                assert_ne!(self.stream.read_buf(&mut self.seen).await.unwrap(), 0);
            }
        };
        timeout(Duration::from_secs(10), enough).await.unwrap();
    }

    /// All that came, once the other side has closed or this many bytes more are there.
    async fn rest(&mut self, more: usize) -> &[u8] {
        let goal = self.seen.len() + more;
        let rest = async {
            while self.seen.len() < goal
                && self.stream.read_buf(&mut self.seen).await.unwrap_or(0) > 0
            {}
        };
        timeout(Duration::from_secs(10), rest).await.unwrap();
        &self.seen
    }
}

fn ended(front: &Front, reason: &str) -> u64 {
    front
        .metrics
        .upgraded_connections_ended
        .with_label_values(&["store", reason])
        .get()
}

#[tokio::test]
async fn the_end_of_a_session_is_said_to_both_sides_between_two_frames() {
    let front = front(|_| {}).await;
    let mut mirror = Mirror::open(&front).await;
    mirror.say(b"\x82\x02ab\x81\x81\0\0\0\0c", 11).await;
    front.holds.store(false, Ordering::SeqCst);
    assert_eq!(&mirror.rest(SESSION_ENDED.len()).await[11..], SESSION_ENDED);
    // The client answers, and says more that leads nowhere.
    mirror
        .stream
        .write_all(b"\x88\x80\0\0\0\0\x82\x01x")
        .await
        .unwrap();
    assert_eq!(
        mirror.rest(usize::MAX / 2).await.len(),
        11 + SESSION_ENDED.len()
    );
    soon(|| front.tunnels.open() == 0 && ended(&front, "session_over") == 1).await;
    let backend = front.backend.tunnelled.lock().unwrap().clone();
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
async fn a_frame_under_way_is_finished_and_no_other_begun() {
    let front = front(|_| {}).await;
    let mut mirror = Mirror::open(&front).await;
    mirror.say(b"\x82\x06abc", 5).await;
    front.tunnels.go_away();
    mirror.say(b"def\x82\x01x", 8).await;
    assert_eq!(&mirror.rest(GOING_AWAY.len()).await[..8], b"\x82\x06abcdef");
    assert_eq!(&mirror.rest(usize::MAX / 2).await[8..], GOING_AWAY);
    soon(|| front.tunnels.open() == 0 && ended(&front, "shutting_down") == 1).await;
    let backend = front.backend.tunnelled.lock().unwrap().clone();
    assert!(
        backend.starts_with(b"\x82\x06abcdef\x88\x93"),
        "{backend:x?}"
    );
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_cut() {
    let front = front(|_| {}).await;
    let (mut revoked, mut drained) = (Mirror::open(&front).await, Mirror::open(&front).await);
    for mirror in [&mut revoked, &mut drained] {
        mirror.say(b"\x82\xff\0\0\0\0\0\xff\0\0half", 14).await;
    }
    front.tunnels.go_away();
    front.tunnels.cut();
    assert_eq!(
        drained.rest(1).await.len(),
        14,
        "nothing of ours stands within a frame"
    );
    front.tunnels.all_ended().await;
    assert_eq!(revoked.rest(1).await.len(), 14);

    let front = super::front(|_| {}).await;
    let mut revoked = Mirror::open(&front).await;
    revoked.say(b"\x82\x7f\0\0\0\0\0\xff\0\0half", 14).await;
    front.holds.store(false, Ordering::SeqCst);
    assert_eq!(revoked.rest(1).await.len(), 14);
    soon(|| front.tunnels.open() == 0 && ended(&front, "session_over") == 1).await;
}

#[tokio::test]
async fn a_side_that_said_goodbye_hears_it_once() {
    let front = front(|_| {}).await;
    let mut mirror = Mirror::open(&front).await;
    mirror.say(b"\x88\x02\x03\xe8", 4).await;
    front.holds.store(false, Ordering::SeqCst);
    assert_eq!(mirror.rest(1).await.len(), 4);
    assert_eq!(front.backend.tunnelled.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_websocket_ends_at_its_greatest_age() {
    let front = front(|settings| settings.stream_max_age = Some(Duration::from_millis(300))).await;
    let mut mirror = Mirror::open(&front).await;
    assert_eq!(
        mirror.rest(usize::MAX / 2).await,
        b"\x88\x14\x03\xe9connection too old"
    );
    soon(|| ended(&front, "stream_max_age") == 1).await;
}
