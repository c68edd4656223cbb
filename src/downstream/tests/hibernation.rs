//! Hibernation: idle connections release everything except their socket. No byte may be lost or
//! reordered, and every timeout still applies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::client::TlsStream;

use super::super::client_stream::{ClientStream, ConnectionSlot};
use super::super::connection_context::{ConnectionContext, ConnectionIds};
use super::super::connection_registry::ConnectionRegistry;
use super::super::deadline_timer::DeadlineTimer;
use super::super::{Certificates, ListenerSettings, drain, http1};
use super::support::{Echo, TestServer, read_until_idle, start};
use super::tls::{connect, issue};
use crate::limits::ByteBudget;
use crate::telemetry::metrics::Metrics;

const GET: &[u8] = b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n";

/// Connections hibernate as soon as they are idle.
fn hibernate_at_once() -> ListenerSettings {
    ListenerSettings {
        hibernate_after: Duration::ZERO,
        ..ListenerSettings::default()
    }
}

impl TestServer {
    fn hibernating(&self) -> i64 {
        self.metrics.connections_hibernating.get()
    }

    async fn wait_for_hibernating(&self, count: i64) {
        let reached = async {
            while self.hibernating() != count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), reached)
            .await
            .unwrap_or_else(|_| panic!("{} hibernating", self.hibernating()));
    }
}

/// Reads one response, with a body of `content-length` bytes.
async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    loop {
        text.push(
            timeout(Duration::from_secs(10), stream.read_u8())
                .await
                .unwrap()
                .unwrap(),
        );
        if text.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(text).unwrap();
    let length = head
        .split("content-length: ")
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let mut body = vec![0; length];
    timeout(Duration::from_secs(10), stream.read_exact(&mut body))
        .await
        .unwrap()
        .unwrap();
    head + str::from_utf8(&body).unwrap()
}

async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut rest))
        .await
        .is_ok_and(|end| end.is_ok())
        && rest.is_empty()
}

async fn over_tls(settings: ListenerSettings) -> (TestServer, TlsStream<TcpStream>) {
    let folder = tempfile::tempdir().unwrap();
    let (files, certificate) = issue(folder.path(), "one", "localhost");
    let server = start(
        settings,
        Some(
            Certificates::read(vec![files])
                .unwrap()
                .server_config()
                .unwrap(),
        ),
    );
    let stream = connect(&server, "localhost", &[&certificate])
        .await
        .unwrap();
    (server, stream)
}

#[tokio::test]
async fn idle_connection_hibernates_and_serves_the_next_request() {
    let server = start(ListenerSettings::default(), None);
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(GET).await.unwrap();
        assert!(read_response(&mut stream).await.contains("[GET /again"));
        assert_eq!(server.hibernating(), 0, "it hibernated too early");
        server.wait_for_hibernating(1).await;
        assert_eq!(
            server.metrics.connections.get(),
            1,
            "it lost its connection slot"
        );
    }
    drop(stream);
    server.wait_for_hibernating(0).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(server.metrics.connections.get(), 0);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn tls_session_survives_hibernation() {
    let (server, mut stream) = over_tls(hibernate_at_once()).await;
    for _ in 0..20 {
        server.wait_for_hibernating(1).await;
        stream.write_all(GET).await.unwrap();
        assert!(
            read_response(&mut stream)
                .await
                .contains("[GET /again body=]")
        );
    }
    // Several requests in one TLS record: data that is already decrypted does not make the socket
    // readable.
    for _ in 0..20 {
        server.wait_for_hibernating(1).await;
        stream.write_all(&GET.repeat(5)).await.unwrap();
        for _ in 0..5 {
            read_response(&mut stream).await;
        }
    }
    stream.shutdown().await.unwrap();
    server.wait_for_hibernating(0).await;
}

#[tokio::test]
async fn keep_alive_timeout_ends_hibernation() {
    let settings = ListenerSettings {
        keep_alive_timeout: Duration::from_millis(300),
        ..hibernate_at_once()
    };
    let server = start(settings.clone(), None);
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    read_response(&mut stream).await;
    server.wait_for_hibernating(1).await;
    assert!(closed(&mut stream).await);
    assert_eq!(
        (server.metrics.connections.get(), server.hibernating()),
        (0, 0)
    );
    assert_eq!(
        (
            server.error_count("header_timeout"),
            server.error_count("first_byte_timeout")
        ),
        (0, 0),
        "counted as an error"
    );

    // Over TLS a close_notify is sent, or the client could suspect a truncation attack.
    let (server, mut stream) = over_tls(settings).await;
    stream.write_all(GET).await.unwrap();
    read_response(&mut stream).await;
    server.wait_for_hibernating(1).await;
    assert!(closed(&mut stream).await);
}

#[tokio::test]
async fn keep_alive_timeout_is_not_the_header_timeout() {
    let settings = ListenerSettings {
        header_read_timeout: Duration::from_millis(200),
        first_byte_timeout: Duration::from_millis(200),
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(GET).await.unwrap();
        read_response(&mut stream).await;
        sleep(Duration::from_millis(900)).await;
    }
    assert_eq!(server.hibernating(), 1);
}

/// Slowloris: no byte extends the header timeout, in the first request or a later one.
#[tokio::test]
async fn slow_head_times_out() {
    for before in [0, 1, 3] {
        for hibernate_after in [Duration::ZERO, Duration::from_secs(10)] {
            let times = ListenerSettings {
                header_read_timeout: Duration::from_millis(300),
                ..hibernate_at_once()
            };
            let server = start(
                ListenerSettings {
                    hibernate_after,
                    ..times
                },
                None,
            );
            let mut stream = server.connect().await;
            for _ in 0..before {
                stream.write_all(GET).await.unwrap();
                read_response(&mut stream).await;
                sleep(Duration::from_millis(20)).await;
            }
            let start_time = Instant::now();
            while stream.write_all(b"G").await.is_ok()
                && start_time.elapsed() < Duration::from_secs(5)
            {
                sleep(Duration::from_millis(20)).await;
            }
            assert!(start_time.elapsed() < Duration::from_secs(5));
            assert_eq!(
                (server.error_count("header_timeout"), server.seen().len()),
                (1, before)
            );
        }
    }
}

/// The start of a head that arrives together with the previous request.
#[tokio::test]
async fn partial_pipelined_head_continues_or_times_out() {
    let times = ListenerSettings {
        header_read_timeout: Duration::from_millis(400),
        ..ListenerSettings::default()
    };
    for hibernate_after in [
        Duration::ZERO,
        Duration::from_millis(100),
        Duration::from_secs(10),
    ] {
        let keep_alive_timeout = Duration::from_millis(400);
        let server = start(
            ListenerSettings {
                hibernate_after,
                keep_alive_timeout,
                ..times.clone()
            },
            None,
        );
        let mut stream = server.connect().await;
        stream
            .write_all(&[GET, b"GET /again HTTP/1.1\r\nHo"].concat())
            .await
            .unwrap();
        read_response(&mut stream).await;
        sleep(Duration::from_millis(150)).await;
        stream
            .write_all(&[b"st: a\r\n\r\n", GET, b"GET /never"].concat())
            .await
            .unwrap();
        assert!(
            read_response(&mut stream).await.contains("[GET /again")
                && read_response(&mut stream).await.contains("[GET /again")
        );
        assert!(closed(&mut stream).await);
        assert_eq!(server.seen().len(), 3);
    }
}

#[tokio::test]
async fn first_byte_timeout_applies_after_tls_handshake() {
    let settings = ListenerSettings {
        first_byte_timeout: Duration::from_millis(300),
        ..ListenerSettings::default()
    };
    let (server, mut stream) = over_tls(settings).await;
    assert!(closed(&mut stream).await);
    assert_eq!(server.error_count("first_byte_timeout"), 1);
}

#[tokio::test]
async fn drain_closes_hibernating_connections_at_once() {
    let server = start(ListenerSettings::default(), None);
    let mut connections = Vec::new();
    for _ in 0..200 {
        let mut stream = server.connect().await;
        stream.write_all(GET).await.unwrap();
        read_response(&mut stream).await;
        connections.push(stream);
    }
    server.wait_for_hibernating(200).await;
    server.trigger.start();
    timeout(Duration::from_secs(1), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    for stream in &mut connections {
        assert!(closed(stream).await);
    }
    assert_eq!(server.metrics.connections_hibernating.get(), 0);
}

#[tokio::test]
async fn open_streams_and_upgrades_never_hibernate() {
    let server = start(hibernate_at_once(), None);
    let mut upload = server.connect().await;
    upload
        .write_all(b"POST /mirror HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        .await
        .unwrap();
    let mut early_response = server.connect().await;
    early_response
        .write_all(b"POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        .await
        .unwrap();
    let mut tunnel = server.connect().await;
    tunnel
        .write_all(
            b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        .await
        .unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(server.hibernating(), 0);
    tunnel.write_all(b"echo").await.unwrap();
    assert!(read_until_idle(&mut tunnel).await.0.ends_with("echo"));
    for stream in [&mut upload, &mut early_response] {
        stream.write_all(b"def").await.unwrap();
        stream.write_all(GET).await.unwrap();
    }
    assert!(read_until_idle(&mut upload).await.0.contains("[GET /again"));
    assert!(
        read_until_idle(&mut early_response)
            .await
            .0
            .contains("[GET /again")
    );
    assert!(
        server.seen().contains(&"abcdef was read later".to_owned()),
        "{:?}",
        server.seen()
    );
    server.wait_for_hibernating(2).await;
}

/// A response that the client has not read yet is not lost, although hyper already waits for the
/// next request.
#[tokio::test]
async fn unread_response_prevents_hibernation() {
    let server = start(hibernate_at_once(), None);
    let mut stream = server.connect().await;
    stream
        .write_all(&[b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", GET].concat())
        .await
        .unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(server.hibernating(), 0);
    let mut all = vec![0; 32 << 20];
    stream.read_exact(&mut all).await.unwrap();
    assert!(read_until_idle(&mut stream).await.0.contains("[GET /again"));
}

/// hyper reports a connection as idle at the end of the request body, even if the response is not
/// written yet.
#[tokio::test]
async fn response_before_the_end_of_its_request_is_not_lost() {
    let server = start(hibernate_at_once(), None);
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /later/big HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    stream.write_all(b"def").await.unwrap();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(server.hibernating(), 0);
    let mut all = vec![0; 32 << 20];
    stream.read_exact(&mut all).await.unwrap();
    stream.write_all(GET).await.unwrap();
    assert!(read_until_idle(&mut stream).await.0.contains("[GET /again"));
}

/// Many clients split their requests at random while connections hibernate whenever possible. Every
/// response belongs to its request, in order.
#[tokio::test]
async fn random_fragments_get_responses_in_order() {
    for hibernate_after in [Duration::ZERO, Duration::from_millis(1)] {
        let server = start(
            ListenerSettings {
                hibernate_after,
                ..ListenerSettings::default()
            },
            None,
        );
        let clients: Vec<_> = (1..=40)
            .map(|seed| tokio::spawn(connect_and_send(server.address, Random(seed))))
            .collect();
        let mut request_count = 0;
        for client in clients {
            request_count += timeout(Duration::from_secs(60), client)
                .await
                .unwrap()
                .unwrap();
        }
        assert_eq!(server.seen().len(), request_count);
        assert!(server.seen().iter().all(|line| line != "broken body"));
        server.wait_for_hibernating(0).await;
        for reason in [
            "malformed_request",
            "header_timeout",
            "body_aborted_by_client",
            "transport",
        ] {
            assert_eq!(server.error_count(reason), 0, "{reason}");
        }
    }
}

#[tokio::test]
async fn random_fragments_over_tls_get_responses_in_order() {
    let (_server, stream) = over_tls(hibernate_at_once()).await;
    send_fragments(stream, Random(7)).await;
}

async fn connect_and_send(address: SocketAddr, random: Random) -> usize {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    send_fragments(stream, random).await
}

/// Sends requests in fragments of random length with random pauses. Returns the number of requests.
async fn send_fragments(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    mut random: Random,
) -> usize {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for number in 0..60 {
        let body = "b".repeat(random.below(300));
        let head = match random.below(4) {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n"),
            1 => format!(
                "\r\nGET /{number} HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n",
                "x".repeat(random.below(20_000))
            ),
            2 => format!(
                "POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n",
                body.len()
            ),
            _ => format!("PUT /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"),
        };
        let method = head.trim_start().split(' ').next().unwrap().to_owned();
        let sent = match method.as_str() {
            "GET" => String::new(),
            "POST" => body.clone(),
            _ if body.is_empty() => "0\r\n\r\n".to_owned(),
            _ => format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        };
        let body = if method == "GET" { "" } else { &body };
        expected.push(format!("[{method} /{number} body={body}]"));
        bytes.extend_from_slice(format!("{head}\r\n{sent}").as_bytes());
    }
    let writing = tokio::spawn(async move {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = match random.below(3) {
                0 => 1,
                1 => 1 + random.below(40),
                _ => 1 + random.below(3000),
            };
            let (piece, more) = rest.split_at(length.min(rest.len()));
            write.write_all(piece).await.unwrap();
            write.flush().await.unwrap();
            rest = more;
            match random.below(40) {
                0 => sleep(Duration::from_millis(3)).await,
                1..10 => tokio::task::yield_now().await,
                _ => {}
            }
        }
        write
    });
    for expected in &expected {
        let response = read_response(&mut read).await;
        assert!(
            response.contains(expected.as_str()),
            "{response}\nis not the response to {expected}"
        );
    }
    drop(writing.await.unwrap());
    expected.len()
}

/// Memory of a hibernating connection's task, without its socket and TLS session.
#[tokio::test]
async fn hibernating_connection_is_small() {
    let settings = hibernate_at_once();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let (_trigger, drain) = drain();
    let context = Arc::new(ConnectionContext {
        parser: http1::parser(&settings),
        tls: None,
        deadline_timer: DeadlineTimer::start(&settings, drain.clone()),
        settings: Arc::new(settings),
        handler: Arc::new(Echo::default()),
        metrics: Arc::clone(&metrics),
        drain,
        registry: ConnectionRegistry::default(),
        bytes: Arc::new(ByteBudget::new(1 << 20)),
        ids: ConnectionIds::default(),
    });
    let permit = Arc::new(tokio::sync::Semaphore::new(1))
        .acquire_owned()
        .await
        .unwrap();
    let slot = ConnectionSlot::new(permit, &metrics.connections);
    let stream = ClientStream::new(stream, context.deadline_timer.watch(), slot);
    let connection = http1::serve(stream, context.connection_info(Some(peer)), context);
    assert!(
        size_of_val(&*connection) <= 400,
        "{} bytes",
        size_of_val(&*connection)
    );
}

/// A linear congruential generator with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}
