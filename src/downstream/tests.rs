//! Raw bytes against a listener: what LESSONS calls "HTTP/1.1 framing", "Load and floods", and the end of service.

mod client_certificates;
mod http2;
mod rest;
mod tls;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;
use crate::types::net::ListenAddr;

/// Says what it saw; `/early` does not read the body, `/slow` takes 300 ms, `/big` sends 32 MiB,
/// `/mirror` sends the body back as it comes, `/later` answers before it reads it.
#[derive(Default)]
struct Echo {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Handler for Echo {
    async fn handle(
        &self,
        request: Request<Incoming>,
        connection: ConnectionInfo,
    ) -> Response<Body> {
        let line = format!("{} {}", request.method(), request.uri());
        self.seen.lock().unwrap().push(line.clone());
        match request.uri().path() {
            "/mirror" => return Response::new(Body::streamed(request.into_body())),
            "/early" => return Response::new(Body::full("early")),
            "/tunnel" => {
                let switched = hyper::upgrade::on(request);
                tokio::spawn(async move {
                    let (mut read, mut write) =
                        tokio::io::split(TokioIo::new(switched.await.unwrap()));
                    tokio::io::copy(&mut read, &mut write).await
                });
                let head = Response::builder()
                    .status(101)
                    .header("connection", "upgrade")
                    .header("upgrade", "echo");
                return head.body(Body::empty()).unwrap();
            }
            "/slow" => sleep(Duration::from_millis(300)).await,
            "/later" | "/later/big" => {
                let echo = Arc::clone(&self.seen);
                tokio::spawn(async move {
                    let (mut body, mut all) = (request.into_body(), Vec::new());
                    // hyper does not say more than the length that the end of a body behind its answer has come.
                    while !body.is_end_stream() {
                        all.extend_from_slice(
                            body.frame().await.unwrap().unwrap().data_ref().unwrap(),
                        );
                    }
                    echo.lock()
                        .unwrap()
                        .push(format!("{} was read later", String::from_utf8_lossy(&all)));
                });
                let length = if line.ends_with("/big") { 32 << 20 } else { 14 };
                return Response::new(Body::full(vec![b'x'; length]));
            }
            "/big" => return Response::new(Body::full(vec![b'x'; 32 << 20])),
            _ => {}
        }
        match request.into_body().collect().await {
            Ok(body) => Response::new(Body::full(format!(
                "[{line} body={} secure={}]",
                String::from_utf8_lossy(&body.to_bytes()),
                connection.secure
            ))),
            Err(_) => {
                self.seen.lock().unwrap().push("broken body".to_owned());
                Response::builder().status(400).body(Body::empty()).unwrap()
            }
        }
    }
}

struct Running {
    address: std::net::SocketAddr,
    echo: Arc<Echo>,
    metrics: Arc<Metrics>,
    trigger: DrainTrigger,
    task: JoinHandle<std::io::Result<()>>,
}

fn start(settings: ListenerSettings, tls: Option<Arc<rustls::ServerConfig>>) -> Running {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &settings).unwrap();
    let address = listener.local_addr().unwrap();
    let (echo, metrics) = (Arc::new(Echo::default()), Arc::new(Metrics::new().unwrap()));
    let (trigger, drain) = drain();
    let task = tokio::spawn(serve(
        listener,
        tls,
        Arc::new(settings),
        Arc::clone(&echo),
        Arc::clone(&metrics),
        drain,
    ));
    Running {
        address,
        echo,
        metrics,
        trigger,
        task,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` and gives what comes until the connection closes or is silent, and whether it closed.
    async fn say(&self, bytes: impl AsRef<[u8]>) -> (String, bool) {
        let mut stream = self.connect().await;
        // The server may refuse before it has read everything.
        let _ = stream.write_all(bytes.as_ref()).await;
        heard(&mut stream).await
    }

    fn seen(&self) -> Vec<String> {
        self.echo.seen.lock().unwrap().clone()
    }

    fn refused(&self, reason: &str) -> u64 {
        self.metrics
            .connection_errors
            .with_label_values(&[reason])
            .get()
    }
}

async fn heard(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (String, bool) {
    let mut all = Vec::new();
    let mut part = vec![0; 1 << 16];
    loop {
        match timeout(Duration::from_millis(250), stream.read(&mut part)).await {
            Err(_) => return (String::from_utf8_lossy(&all).into_owned(), false),
            Ok(Ok(0) | Err(_)) => return (String::from_utf8_lossy(&all).into_owned(), true),
            Ok(Ok(length)) => all.extend_from_slice(&part[..length]),
        }
    }
}

fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count() + text.matches("HTTP/1.0 ").count()
}

/// Each of these must end with a refusal and a closed connection, and no second request may come out of it.
#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    const NEXT: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let server = start(ListenerSettings::default(), None);
    for (name, head) in [
        (
            "differing lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        ),
        (
            "listed lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\nxx",
        ),
        (
            "signed length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        ),
        (
            "empty length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
        ),
        (
            "hexadecimal length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx",
        ),
        (
            "huge length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx",
        ),
        (
            "coding not chunked",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nx",
        ),
        (
            "chunked not last",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        ),
        (
            "invented coding",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "coding on 1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "space before colon",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\nx",
        ),
        (
            "folded line",
            "POST / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
        ),
        ("empty name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
        (
            "NUL in a value",
            "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n",
        ),
        (
            "CR in a value",
            "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n",
        ),
        ("no version", "GET /\r\n\r\n"),
        ("unknown version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ] {
        let (heard, closed) = server.say(format!("{head}{NEXT}")).await;
        assert!(
            heard.starts_with("HTTP/1.1 400") || heard.starts_with("HTTP/1.0 400"),
            "{name}: {heard}"
        );
        assert!(closed && answers(&heard) == 1, "{name}: {heard}");
    }
    assert_eq!(server.seen(), Vec::<String>::new());
    assert!(server.refused("malformed") >= 15);
}

#[tokio::test]
async fn a_broken_chunk_ends_the_connection() {
    let server = start(ListenerSettings::default(), None);
    for (name, body) in [
        ("bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("bare LF after the data", "5\r\nhello\n0\r\n\r\n"),
        ("LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        (
            "size over 64 bit",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
        ),
        ("negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
    ] {
        let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let chunked = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (heard, closed) = server.say(format!("{chunked}{body}{next}")).await;
        assert!(closed && !heard.contains("200 OK"), "{name}: {heard}");
    }
    let seen = server.seen();
    assert!(
        seen.iter()
            .all(|line| line == "POST /body" || line == "broken body"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn endless_chunk_extensions_are_cut() {
    let server = start(ListenerSettings::default(), None);
    let head = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;";
    let (heard, closed) = server
        .say(format!("{head}{}\r\nx\r\n0\r\n\r\n", "e".repeat(64 * 1024)))
        .await;
    assert!(closed && !heard.contains("200 OK"), "{heard}");
}

/// Where both are given, chunked counts (RFC 9112 section 6.3) and nothing more is read from that connection.
#[tokio::test]
async fn a_length_beside_chunked_is_void_and_ends_the_connection() {
    let server = start(ListenerSettings::default(), None);
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let bytes =
            format!("POST /te HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n1\r\nz\r\n0\r\n\r\n{next}");
        let (heard, closed) = server.say(bytes).await;
        assert!(
            closed && answers(&heard) == 1 && heard.contains("body=z"),
            "{fields}: {heard}"
        );
    }
    assert_eq!(server.seen(), ["POST /te", "POST /te"]);
}

#[tokio::test]
async fn a_get_with_a_body_keeps_the_next_request_apart() {
    let server = start(ListenerSettings::default(), None);
    let bytes = "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: a\r\n\r\n";
    let (heard, closed) = server.say(bytes).await;
    assert!(
        !closed && heard.contains("[GET /a body=hello") && heard.contains("[GET /b body= "),
        "{heard}"
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(ListenerSettings::default(), None);
    let bytes: String = (0..20)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    let (heard, _) = server.say(bytes).await;
    let expected: Vec<_> = (0..20).map(|n| format!("GET /{n}")).collect();
    assert_eq!((answers(&heard), server.seen()), (20, expected));
}

/// LESSONS: body not drained on early answers. The rest of an unread body must never be read as a request.
#[tokio::test]
async fn after_an_early_answer_an_unread_body_is_no_request() {
    let server = start(ListenerSettings::default(), None);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for head in [
        format!(
            "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            smuggled.len()
        ),
        "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n".to_owned(),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        // The connection may be closed by now, which is as good.
        let _ = stream.write_all(smuggled.as_bytes()).await;
        let (heard, _) = heard(&mut stream).await;
        assert_eq!(answers(&heard), 1, "{heard}");
        let (heard, _) = server.say(format!("{head}{smuggled}")).await;
        assert_eq!(answers(&heard), 1, "{heard}");
    }
    assert!(
        server.seen().iter().all(|line| line == "POST /early"),
        "{:?}",
        server.seen()
    );
}

/// The refusal of a large upload must arrive although nobody read the upload.
#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let server = start(ListenerSettings::default(), None);
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&vec![b'x'; 9_000_000]).await.unwrap();
    let (heard, closed) = heard(&mut stream).await;
    assert!(closed && heard.ends_with("early"), "{heard}");
}

/// Bytes after a request to upgrade are a request of their own unless the answer is 101.
#[tokio::test]
async fn without_101_nothing_is_a_tunnel() {
    let server = start(ListenerSettings::default(), None);
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    server
        .say(format!("{upgrade}GET /second HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    assert_eq!(server.seen(), ["GET /ws", "GET /second"]);
}

#[tokio::test]
async fn the_body_is_asked_for_only_when_somebody_reads_it() {
    let server = start(ListenerSettings::default(), None);
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    assert!(
        server
            .say(head("/body"))
            .await
            .0
            .starts_with("HTTP/1.1 100")
    );
    assert!(
        server
            .say(head("/early"))
            .await
            .0
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn heads_have_limits_in_bytes_in_fields_and_in_time() {
    let settings = ListenerSettings {
        header_read_timeout: Duration::from_millis(300),
        max_header_bytes: 16 * 1024,
        max_header_count: 40,
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    let with = |fields: String| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let (heard, _) = server
        .say(with(format!("Cookie: a={}\r\n", "x".repeat(8000))))
        .await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    for fields in [
        format!("Cookie: a={}\r\n", "x".repeat(20_000)),
        "X-A: b\r\n".repeat(50),
    ] {
        let (heard, closed) = server.say(with(fields)).await;
        assert!(closed && heard.starts_with("HTTP/1.1 431"), "{heard}");
    }
    assert_eq!(server.refused("header_too_large"), 2);

    let mut slow = server.connect().await;
    let began = Instant::now();
    for byte in "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaa".bytes() {
        if slow.write_all(&[byte]).await.is_err() || began.elapsed() > Duration::from_secs(3) {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(server.refused("header_timeout"), 1);
    assert_eq!(server.metrics.connections.get(), 0);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    let settings = ListenerSettings {
        write_stall_timeout: Duration::from_millis(200),
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(server.metrics.connections.get(), 1);
    sleep(Duration::from_millis(900)).await;
    assert_eq!(server.metrics.connections.get(), 0);
}

#[tokio::test]
async fn at_the_limit_of_connections_accepting_pauses() {
    let server = start(
        ListenerSettings {
            max_connections: 2,
            ..ListenerSettings::default()
        },
        None,
    );
    let first = server.connect().await;
    let _second = server.connect().await;
    let mut third = server.connect().await;
    third
        .write_all(b"GET /third HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(heard(&mut third).await, (String::new(), false));
    assert_eq!(
        (
            server.metrics.connections.get(),
            server.metrics.accept_pauses.get()
        ),
        (2, 1)
    );
    drop(first);
    assert!(heard(&mut third).await.0.contains("GET /third"));
}

#[tokio::test]
async fn draining_finishes_answers_and_closes_idle_connections() {
    let server = start(ListenerSettings::default(), None);
    let mut idle = server.connect().await;
    idle.write_all(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(!heard(&mut idle).await.1);
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(50)).await;
    server.trigger.start();
    assert_eq!(heard(&mut idle).await, (String::new(), true));
    let mut all = String::new();
    busy.read_to_string(&mut all).await.unwrap();
    assert!(all.contains("[GET /slow"), "{all}");
    timeout(Duration::from_secs(1), server.trigger.finished())
        .await
        .unwrap();
    server.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn what_is_left_at_the_drain_deadline_is_cut() {
    let settings = ListenerSettings {
        drain_timeout: Duration::from_millis(100),
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    let mut stuck = server.connect().await;
    stuck
        .write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nxx")
        .await
        .unwrap();
    sleep(Duration::from_millis(50)).await;
    server.trigger.start();
    timeout(Duration::from_secs(1), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(server.metrics.connections.get(), 0);
}

/// LIBRARIES.md: upgraded connections leave hyper's graceful shutdown. They still take their place while they live.
#[tokio::test]
async fn a_tunnel_keeps_its_place_and_does_not_hold_up_the_draining() {
    let server = start(
        ListenerSettings {
            max_connections: 1,
            ..ListenerSettings::default()
        },
        None,
    );
    let mut tunnel = server.connect().await;
    tunnel
        .write_all(
            b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
        )
        .await
        .unwrap();
    assert!(heard(&mut tunnel).await.0.starts_with("HTTP/1.1 101"));
    assert_eq!(server.metrics.connections.get(), 1);
    assert_eq!(
        server.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.0,
        "",
        "a second place was given"
    );
    server.trigger.start();
    timeout(Duration::from_secs(1), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    tunnel.write_all(b"still here").await.unwrap();
    assert_eq!(heard(&mut tunnel).await.0, "still here");
    drop(tunnel);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(server.metrics.connections.get(), 0);
}

#[tokio::test]
async fn a_unix_socket_serves_and_replaces_a_stale_one_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.sock");
    let address = ListenAddr::Unix(path.clone());
    let settings = Arc::new(ListenerSettings::default());
    drop(Listener::bind(&address, &settings).unwrap());
    let listener = Listener::bind(&address, &settings).unwrap();
    assert!(
        Listener::bind(&address, &settings).is_err(),
        "a living socket was taken over"
    );
    let (_trigger, drain) = drain();
    let metrics = Arc::new(Metrics::new().unwrap());
    tokio::spawn(serve(
        listener,
        None,
        settings,
        Arc::new(Echo::default()),
        metrics,
        drain,
    ));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET /u HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(heard(&mut stream).await.0.contains("[GET /u"));

    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(
        Listener::bind(
            &ListenAddr::Unix(file.clone()),
            &ListenerSettings::default()
        )
        .is_err()
    );
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}
