//! Connections that are idle and give everything back but their socket: nothing may be lost, mixed up, or kept too long.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::client::TlsStream;

use super::tls::{connect, issue};
use super::*;

const GET: &[u8] = b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n";

/// Rests whenever it may, and for ever.
fn restless() -> ListenerSettings {
    ListenerSettings {
        rest_after: Duration::ZERO,
        ..ListenerSettings::default()
    }
}

impl Running {
    fn hibernating(&self) -> i64 {
        self.metrics.connections_hibernating.get()
    }

    async fn until_at_rest(&self, count: i64) {
        let reached = async {
            while self.hibernating() != count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), reached)
            .await
            .unwrap_or_else(|_| panic!("{} rest", self.hibernating()));
    }
}

/// One answer with its body, by its `content-length`.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
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

async fn over_tls(settings: ListenerSettings) -> (Running, TlsStream<TcpStream>) {
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
async fn who_is_idle_rests_and_is_answered_when_it_comes_back() {
    let server = start(ListenerSettings::default(), None);
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(GET).await.unwrap();
        assert!(answer(&mut stream).await.contains("[GET /again"));
        assert_eq!(server.hibernating(), 0, "it rests only after a while");
        server.until_at_rest(1).await;
        assert_eq!(server.metrics.connections.get(), 1, "it keeps its place");
    }
    drop(stream);
    server.until_at_rest(0).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(server.metrics.connections.get(), 0);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_tls_session_outlives_the_rest() {
    let (server, mut stream) = over_tls(restless()).await;
    for _ in 0..20 {
        server.until_at_rest(1).await;
        stream.write_all(GET).await.unwrap();
        assert!(
            answer(&mut stream)
                .await
                .contains("[GET /again body= secure=true]")
        );
    }
    // Several requests in one record: what was decrypted already is not seen at the socket.
    for _ in 0..20 {
        server.until_at_rest(1).await;
        stream.write_all(&GET.repeat(5)).await.unwrap();
        for _ in 0..5 {
            answer(&mut stream).await;
        }
    }
    stream.shutdown().await.unwrap();
    server.until_at_rest(0).await;
}

#[tokio::test]
async fn a_rest_ends_with_the_time_for_the_next_request() {
    let settings = ListenerSettings {
        keep_alive_timeout: Duration::from_millis(300),
        ..restless()
    };
    let server = start(settings.clone(), None);
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    answer(&mut stream).await;
    server.until_at_rest(1).await;
    assert!(closed(&mut stream).await);
    assert_eq!(
        (server.metrics.connections.get(), server.hibernating()),
        (0, 0)
    );
    assert_eq!(
        (
            server.refused("header_timeout"),
            server.refused("first_byte_timeout")
        ),
        (0, 0),
        "nobody did wrong"
    );

    // Over TLS the end is said, or it could be somebody's cut.
    let (server, mut stream) = over_tls(settings).await;
    stream.write_all(GET).await.unwrap();
    answer(&mut stream).await;
    server.until_at_rest(1).await;
    assert!(closed(&mut stream).await);
}

#[tokio::test]
async fn the_time_for_the_next_request_is_not_that_for_a_head() {
    let settings = ListenerSettings {
        header_read_timeout: Duration::from_millis(200),
        first_byte_timeout: Duration::from_millis(200),
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(GET).await.unwrap();
        answer(&mut stream).await;
        sleep(Duration::from_millis(900)).await;
    }
    assert_eq!(server.hibernating(), 1);
}

/// Slowloris: each byte wakes it, but none gives it more time, whether it is the first head or a later one.
#[tokio::test]
async fn a_head_in_crumbs_is_cut_in_time() {
    for before in [0, 1, 3] {
        for rest_after in [Duration::ZERO, Duration::from_secs(10)] {
            let times = ListenerSettings {
                header_read_timeout: Duration::from_millis(300),
                ..restless()
            };
            let server = start(
                ListenerSettings {
                    rest_after,
                    ..times
                },
                None,
            );
            let mut stream = server.connect().await;
            for _ in 0..before {
                stream.write_all(GET).await.unwrap();
                answer(&mut stream).await;
                sleep(Duration::from_millis(20)).await;
            }
            let began = Instant::now();
            while stream.write_all(b"G").await.is_ok() && began.elapsed() < Duration::from_secs(5) {
                sleep(Duration::from_millis(20)).await;
            }
            assert!(began.elapsed() < Duration::from_secs(5));
            assert_eq!(
                (server.refused("header_timeout"), server.seen().len()),
                (1, before)
            );
        }
    }
}

/// The beginning of a head that came together with the request before it.
#[tokio::test]
async fn a_head_that_began_behind_another_is_cut_in_time_and_finished_if_it_goes_on() {
    let times = ListenerSettings {
        header_read_timeout: Duration::from_millis(400),
        ..ListenerSettings::default()
    };
    for rest_after in [
        Duration::ZERO,
        Duration::from_millis(100),
        Duration::from_secs(10),
    ] {
        let keep_alive_timeout = Duration::from_millis(400);
        let server = start(
            ListenerSettings {
                rest_after,
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
        answer(&mut stream).await;
        sleep(Duration::from_millis(150)).await;
        stream
            .write_all(&[b"st: a\r\n\r\n", GET, b"GET /never"].concat())
            .await
            .unwrap();
        assert!(
            answer(&mut stream).await.contains("[GET /again")
                && answer(&mut stream).await.contains("[GET /again")
        );
        assert!(closed(&mut stream).await);
        assert_eq!(server.seen().len(), 3);
    }
}

#[tokio::test]
async fn after_a_handshake_the_first_byte_has_its_time() {
    let settings = ListenerSettings {
        first_byte_timeout: Duration::from_millis(300),
        ..ListenerSettings::default()
    };
    let (server, mut stream) = over_tls(settings).await;
    assert!(closed(&mut stream).await);
    assert_eq!(server.refused("first_byte_timeout"), 1);
}

#[tokio::test]
async fn draining_reaches_who_rests_at_once() {
    let server = start(ListenerSettings::default(), None);
    let mut sleepers = Vec::new();
    for _ in 0..200 {
        let mut stream = server.connect().await;
        stream.write_all(GET).await.unwrap();
        answer(&mut stream).await;
        sleepers.push(stream);
    }
    server.until_at_rest(200).await;
    server.trigger.start();
    timeout(Duration::from_secs(1), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    for stream in &mut sleepers {
        assert!(closed(stream).await);
    }
    assert_eq!(server.metrics.connections_hibernating.get(), 0);
}

#[tokio::test]
async fn a_stream_in_either_direction_and_a_tunnel_never_rest() {
    let server = start(restless(), None);
    let mut upload = server.connect().await;
    upload
        .write_all(b"POST /mirror HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        .await
        .unwrap();
    let mut answer_first = server.connect().await;
    answer_first
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
    assert!(heard(&mut tunnel).await.0.ends_with("echo"));
    for stream in [&mut upload, &mut answer_first] {
        stream.write_all(b"def").await.unwrap();
        stream.write_all(GET).await.unwrap();
    }
    assert!(heard(&mut upload).await.0.contains("[GET /again"));
    assert!(heard(&mut answer_first).await.0.contains("[GET /again"));
    assert!(
        server.seen().contains(&"abcdef was read later".to_owned()),
        "{:?}",
        server.seen()
    );
    server.until_at_rest(2).await;
}

/// An answer that the client does not take yet is not lost, although hyper is between two requests already.
#[tokio::test]
async fn who_does_not_read_its_answer_does_not_rest() {
    let server = start(restless(), None);
    let mut stream = server.connect().await;
    stream
        .write_all(&[b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", GET].concat())
        .await
        .unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(server.hibernating(), 0);
    let mut all = vec![0; 32 << 20];
    stream.read_exact(&mut all).await.unwrap();
    assert!(heard(&mut stream).await.0.contains("[GET /again"));
}

/// hyper calls a connection idle when the request's body is over, also if the answer is not out yet.
#[tokio::test]
async fn an_answer_ahead_of_its_requests_end_is_not_lost() {
    let server = start(restless(), None);
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
    assert!(heard(&mut stream).await.0.contains("[GET /again"));
}

/// Many clients that do what they like with their bytes, while the connection rests whenever it may: every answer is
/// that of its request, in order.
#[tokio::test]
async fn whatever_is_sent_in_whatever_pieces_is_answered_in_order() {
    for rest_after in [Duration::ZERO, Duration::from_millis(1)] {
        let server = start(
            ListenerSettings {
                rest_after,
                ..ListenerSettings::default()
            },
            None,
        );
        let per_client_limit: Vec<_> = (1..=40)
            .map(|seed| tokio::spawn(converse(server.address, Dice(seed))))
            .collect();
        let mut asked = 0;
        for client in per_client_limit {
            asked += timeout(Duration::from_secs(60), client)
                .await
                .unwrap()
                .unwrap();
        }
        assert_eq!(server.seen().len(), asked);
        assert!(server.seen().iter().all(|line| line != "broken body"));
        server.until_at_rest(0).await;
        for reason in [
            "malformed",
            "header_timeout",
            "body_aborted_by_client",
            "transport",
        ] {
            assert_eq!(server.refused(reason), 0, "{reason}");
        }
    }
}

#[tokio::test]
async fn whatever_is_sent_over_tls_is_answered_in_order() {
    let (_server, stream) = over_tls(restless()).await;
    talk(stream, Dice(7)).await;
}

async fn converse(address: SocketAddr, dice: Dice) -> usize {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    talk(stream, dice).await
}

/// Sends requests in pieces of any length with pauses of any kind in between; how many there were.
async fn talk(stream: impl AsyncRead + AsyncWrite + Send + 'static, mut dice: Dice) -> usize {
    let (mut read, mut write) = tokio::io::split(stream);
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for number in 0..60 {
        let body = "b".repeat(dice.below(300));
        let head = match dice.below(4) {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n"),
            1 => format!(
                "\r\nGET /{number} HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n",
                "x".repeat(dice.below(20_000))
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
        expected.push(format!("[{method} /{number} body={body} "));
        bytes.extend_from_slice(format!("{head}\r\n{sent}").as_bytes());
    }
    let writing = tokio::spawn(async move {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = match dice.below(3) {
                0 => 1,
                1 => 1 + dice.below(40),
                _ => 1 + dice.below(3000),
            };
            let (piece, more) = rest.split_at(length.min(rest.len()));
            write.write_all(piece).await.unwrap();
            write.flush().await.unwrap();
            rest = more;
            match dice.below(40) {
                0 => sleep(Duration::from_millis(3)).await,
                1..10 => tokio::task::yield_now().await,
                _ => {}
            }
        }
        write
    });
    for expected in &expected {
        let answer = answer(&mut read).await;
        assert!(
            answer.contains(expected.as_str()),
            "{answer}\nis not the answer to {expected}"
        );
    }
    drop(writing.await.unwrap());
    expected.len()
}

/// What a connection at rest takes of our own memory, beside its socket and (over TLS) its session.
#[tokio::test]
async fn a_connection_at_rest_is_small() {
    let settings = restless();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let (metrics, (_trigger, drain)) = (Arc::new(Metrics::new().unwrap()), drain());
    let server = Arc::new(connection_context::ConnectionContext {
        parser: connection::parser(&settings),
        tls: None,
        deadline_timer: deadline_timer::DeadlineTimer::start(&settings, drain.clone()),
        settings: Arc::new(settings),
        handler: Arc::new(Echo::default()),
        metrics: Arc::clone(&metrics),
        drain,
        per_client_limit: per_client_limit::PerClientLimit::default(),
    });
    let slot = Arc::new(tokio::sync::Semaphore::new(1))
        .acquire_owned()
        .await
        .unwrap();
    let place = client_stream::ConnectionSlot::new(slot, &metrics.connections);
    let stream = client_stream::ClientStream::new(stream, server.deadline_timer.watch(), place);
    let serving = connection::serve(
        stream,
        ConnectionInfo {
            peer: Some(peer),
            secure: false,
        },
        server,
    );
    assert!(
        size_of_val(&*serving) <= 400,
        "{} bytes",
        size_of_val(&*serving)
    );
}

/// A linear congruential generator: the same throws in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}
