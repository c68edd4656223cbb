//! Backends that speak HTTP/2 without TLS: what reaches them, what is repeated, and what their misbehaviour makes of the
//! answer. Clients speak HTTP/1.1 here.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::super::*;
use super::support::{Backend as NoBackend, Front, STREAM, front_before, heard, soon};
use super::*;

#[derive(Debug)]
struct Got {
    connection: usize,
    head: Parts,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// One that shows what it got.
#[derive(Default)]
struct Backend {
    got: Mutex<Vec<Got>>,
    connections: AtomicUsize,
    most_streams: Option<u32>,
    /// Bytes that went out of `/stream`.
    written: AtomicUsize,
}

impl Backend {
    async fn serve<S>(self: Arc<Self>, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let connection = self.connections.fetch_add(1, AtomicOrdering::SeqCst);
        let mut server = h2::server::Builder::new();
        if let Some(most) = self.most_streams {
            server.max_concurrent_streams(most);
        }
        let mut server = server.handshake::<_, Bytes>(stream).await.unwrap();
        let mut served = 0;
        while let Some(Ok((request, respond))) = server.accept().await {
            served += 1;
            if request.uri().path() == "/once" && served > 1 {
                // As if it had closed just when the request came.
                return;
            }
            tokio::spawn(Arc::clone(&self).answer(request, respond, connection));
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<h2::RecvStream>,
        mut respond: SendResponse<Bytes>,
        on: usize,
    ) {
        let (head, mut incoming) = request.into_parts();
        let path = head.uri.path().to_owned();
        let is_first = {
            let mut got = self.got.lock().unwrap();
            let earlier = got.iter().filter(|got| got.head.uri.path() == path).count();
            got.push(Got {
                connection: on,
                head,
                body: Vec::new(),
                trailers: None,
            });
            earlier == 0
        };
        let index = self.got.lock().unwrap().len() - 1;
        if path == "/refuse" || (path == "/refuse-once" && is_first) {
            return respond.send_reset(h2::Reason::REFUSED_STREAM);
        }
        while let Some(part) = incoming.data().await {
            let Ok(part) = part else { return };
            incoming
                .flow_control()
                .release_capacity(part.len())
                .unwrap();
            self.got.lock().unwrap()[index]
                .body
                .extend_from_slice(&part);
        }
        let trailers = incoming.trailers().await.ok().flatten();
        self.got.lock().unwrap()[index].trailers = trailers;
        match path.as_str() {
            "/hang" => return std::future::pending().await,
            "/hints" => {
                let hints = Response::builder()
                    .status(103)
                    .header("link", "</a>")
                    .body(())
                    .unwrap();
                respond.send_informational(hints).unwrap();
            }
            "/slow" => sleep(Duration::from_millis(100)).await,
            _ => {}
        }
        let head = Response::builder()
            .header("set-cookie", "__Host-doorward_jwt=x")
            .header("trailer", "sum, content-length");
        let status = match path.as_str() {
            "/304" => 304,
            "/204" => 204,
            "/200-ended" => {
                respond.send_response(head.body(()).unwrap(), true).unwrap();
                return;
            }
            _ => 200,
        };
        let mut body = respond
            .send_response(head.status(status).body(()).unwrap(), status != 200)
            .unwrap();
        if status != 200 {
            return;
        }
        if path == "/stream" {
            return self.stream(body).await;
        }
        body.send_data(Bytes::from_static(b"ok"), false).unwrap();
        if path == "/silent-body" {
            return std::future::pending().await;
        }
        let mut trailers = HeaderMap::new();
        for (name, value) in [
            ("sum", "42"),
            ("content-length", "9"),
            ("set-cookie", "a=b"),
            ("doorward-x", "y"),
        ] {
            trailers.insert(name, value.parse().unwrap());
        }
        body.send_trailers(trailers).unwrap();
    }

    async fn stream(&self, mut body: h2::SendStream<Bytes>) {
        let mut left = STREAM;
        while left > 0 {
            body.reserve_capacity(left.min(64 * 1024));
            let Some(Ok(room)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else {
                return;
            };
            body.send_data(vec![b'x'; room].into(), left == room)
                .unwrap();
            left -= room;
            self.written.fetch_add(room, AtomicOrdering::SeqCst);
        }
    }
}

async fn front(
    backend: Backend,
    adjust: impl FnOnce(&mut UpstreamSettings),
) -> (Front, Arc<Backend>) {
    let backend = Arc::new(backend);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://app.localhost:{}",
        socket.local_addr().unwrap().port()
    );
    let theirs = Arc::clone(&backend);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&theirs).serve(stream));
        }
    });
    (before(&url, adjust).await, backend)
}

async fn before(url: &str, adjust: impl FnOnce(&mut UpstreamSettings)) -> Front {
    let mut settings = UpstreamSettings::at(url.parse().unwrap());
    settings.protocol = UpstreamProtocol::Http2;
    adjust(&mut settings);
    front_before(Arc::new(NoBackend::default()), settings).await
}

#[tokio::test]
async fn a_request_arrives_as_it_was_judged() {
    let (front, backend) = front(Backend::default(), |_| {}).await;
    let head = "GET /a%20b//c;d?x=%zz&y HTTP/1.1\r\nHost: STORE.test\r\nCookie: a=b; __Host-doorward_jwt=s3cret\r\n\
                Authorization: Bearer s3cret\r\nx_forwarded_user: mallory\r\nConnection: close, X-Forwarded-User, te\r\n\
                X-Forwarded-For: 6.6.6.6\r\nTE: gzip, trailers\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = front.say(head).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && !answer.contains("doorward"),
        "{answer}"
    );
    let got = backend.got.lock().unwrap();
    let head = &got[0].head;
    let uri = format!("http://{}/a%20b//c;d?x=%zz&y", "store.test");
    assert_eq!(head.uri.to_string(), uri);
    assert!(
        !format!("{:?}", head.headers).contains("mallory")
            && !format!("{:?}", head.headers).contains("s3cret")
    );
    for (name, value) in [
        ("x-forwarded-user", "alice"),
        ("x-forwarded-for", "192.0.2.1"),
        ("cookie", "a=b"),
        ("te", "trailers"),
    ] {
        assert_eq!(
            head.headers.get_all(name).iter().collect::<Vec<_>>(),
            [value],
            "{name}"
        );
    }
    for name in ["host", "connection", "transfer-encoding", "content-length"] {
        assert!(!head.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn every_body_arrives_whole_and_no_length_is_made_up() {
    let (front, backend) = front(Backend::default(), |_| {}).await;
    for method in [
        "GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH", "PROPFIND",
    ] {
        for (framing, body, length) in [
            ("Content-Length: 5\r\n", "hello", Some("5")),
            (
                "Transfer-Encoding: chunked\r\n",
                "5\r\nhello\r\n0\r\n\r\n",
                None,
            ),
            ("Content-Length: 0\r\n", "", Some("0")),
        ] {
            let bytes = format!(
                "{method} /m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{framing}\r\n{body}"
            );
            assert!(
                front.say(&bytes).await.starts_with("HTTP/1.1 200 OK"),
                "{method} {framing}"
            );
            let got = backend.got.lock().unwrap().pop().unwrap();
            let whole = if length == Some("0") {
                &b""[..]
            } else {
                b"hello"
            };
            assert_eq!(
                (got.head.method.as_str(), got.body.as_slice()),
                (method, whole),
                "{framing}"
            );
            assert_eq!(
                got.head
                    .headers
                    .get("content-length")
                    .map(|value| value.to_str().unwrap()),
                length,
                "{method}"
            );
        }
    }
    assert_eq!(backend.connections.load(AtomicOrdering::SeqCst), 1);
}

#[tokio::test]
async fn trailers_pass_both_ways_without_those_that_no_header_could_be() {
    let (front, backend) = front(Backend::default(), |_| {}).await;
    let head = "POST /t HTTP/1.1\r\nHost: x\r\nConnection: close, TE\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
                2\r\nhi\r\n0\r\nChecksum: 7\r\nX-Forwarded-User: mallory\r\nContent-Length: 9\r\nCookie: a=b\r\n\r\n";
    let answer = front.say(head).await;
    assert!(
        answer.contains("\r\ntrailer: sum\r\n")
            && answer.contains("2\r\nok\r\n0\r\nsum: 42\r\n\r\n"),
        "{answer}"
    );
    let trailers = backend.got.lock().unwrap()[0].trailers.clone().unwrap();
    assert_eq!(
        (trailers.len(), &trailers["checksum"]),
        (1, &"7".parse().unwrap())
    );
    // Who does not ask for them gets none, and is promised none.
    let answer = front.get("/t").await;
    assert!(
        answer.ends_with("2\r\nok\r\n0\r\n\r\n") && !answer.contains("trailer"),
        "{answer}"
    );
}

#[tokio::test]
async fn answers_without_a_body_and_hints_before_them_pass_as_over_http_1() {
    let (front, _backend) = front(Backend::default(), |_| {}).await;
    for (path, status) in [("/204", "204 No Content"), ("/304", "304 Not Modified")] {
        let answer = front.get(path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
    }
    for path in ["/hints", "/200-ended"] {
        let answer = front.get(path).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && !answer.contains("</a>"),
            "{answer}"
        );
    }
}

async fn at_once(count: usize, front: &Arc<Front>) {
    let ask = |_| {
        let front = Arc::clone(front);
        tokio::spawn(async move { front.get("/slow").await })
    };
    for asked in (0..count).map(ask).collect::<Vec<_>>() {
        assert!(asked.await.unwrap().starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let (front, backend) = front(Backend::default(), |_| {}).await;
    let front = Arc::new(front);
    front.get("/first").await;
    at_once(40, &front).await;
    assert_eq!(backend.got.lock().unwrap().len(), 41);
    assert_eq!(backend.connections.load(AtomicOrdering::SeqCst), 1);
    soon(|| {
        front
            .metrics
            .text()
            .unwrap()
            .contains("doorward_upstream_http2_streams 0")
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_takes_few_streams_gets_no_more_and_all_are_answered() {
    let (front, backend) = front(
        Backend {
            most_streams: Some(2),
            ..Backend::default()
        },
        |_| {},
    )
    .await;
    let front = Arc::new(front);
    // What it takes is known by the second.
    for path in ["/first", "/second"] {
        front.get(path).await;
    }
    at_once(12, &front).await;
    assert!(backend.connections.load(AtomicOrdering::SeqCst) > 1);
}

#[tokio::test]
async fn what_the_backend_did_not_look_at_is_sent_once_more_and_nothing_else() {
    let (front, backend) = front(Backend::default(), |_| {}).await;
    assert!(front.get("/refuse-once").await.starts_with("HTTP/1.1 200"));
    assert_eq!(backend.got.lock().unwrap().len(), 2);
    let empty =
        "POST /refuse HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert!(
        front
            .say(empty)
            .await
            .contains("upstream_connection_closed sent=true")
    );
    assert_eq!(backend.got.lock().unwrap().len(), 4);
    // Its body has gone.
    assert!(
        front
            .post("/refuse")
            .await
            .contains("upstream_connection_closed")
    );
    assert_eq!(backend.got.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_connection_that_broke_just_when_the_request_came_is_replaced_where_that_harms_nobody() {
    let (front, backend) = front(Backend::default(), |_| {}).await;
    assert!(front.get("/once").await.starts_with("HTTP/1.1 200"));
    assert!(front.get("/once").await.starts_with("HTTP/1.1 200"));
    assert_eq!(backend.connections.load(AtomicOrdering::SeqCst), 2);
    assert!(
        front
            .post("/once")
            .await
            .contains("upstream_connection_closed")
    );
    assert!(front.post("/once").await.starts_with("HTTP/1.1 200"));
}

/// A goodbye that names what is taken: all else was not looked at (RFC 9113 section 6.8).
#[tokio::test]
async fn what_a_goodbye_leaves_out_goes_to_another_connection() {
    let backend = Arc::new(Backend::default());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", socket.local_addr().unwrap().port());
    let theirs = Arc::clone(&backend);
    tokio::spawn(async move {
        let (mut app_logout, _) = socket.accept().await.unwrap();
        app_logout.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut read = vec![0; 16 * 1024];
        let mut seen = Vec::new();
        while !seen
            .windows(9)
            .any(|nine| nine[3] == 1 && nine[5..9] == [0, 0, 0, 1])
        {
            let length = app_logout.read(&mut read).await.unwrap();
            seen.extend_from_slice(&read[..length]);
        }
        app_logout
            .write_all(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0")
            .await
            .unwrap();
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&theirs).serve(stream));
        }
    });
    let front = before(&url, |_| {}).await;
    let empty = "POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answer = front.say(empty).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(backend.got.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_backend_that_is_silent_is_left_and_its_connection_too() {
    let (front, backend) = front(Backend::default(), |settings| {
        settings.response_timeout = Duration::from_millis(200);
        settings.body_idle_timeout = Duration::from_millis(200);
    })
    .await;
    assert!(
        front
            .get("/hang")
            .await
            .contains("upstream_response_timeout")
    );
    assert!(front.get("/a").await.starts_with("HTTP/1.1 200"));
    let connections: Vec<_> = backend
        .got
        .lock()
        .unwrap()
        .iter()
        .map(|got| got.connection)
        .collect();
    assert_eq!(connections, [0, 1]);
    let mut client = front.connect().await;
    client
        .write_all(b"GET /silent-body HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(5), client.read_to_end(&mut all)).await;
    assert!(
        read.is_ok() && !String::from_utf8_lossy(&all).ends_with("0\r\n\r\n"),
        "{all:?}"
    );
}

#[tokio::test]
async fn a_backend_that_answers_no_ping_is_gone() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", socket.local_addr().unwrap().port());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        let mut kept: Vec<TcpStream> = Vec::new();
        while let Ok((mut stream, _)) = socket.accept().await {
            count.fetch_add(1, AtomicOrdering::SeqCst);
            stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
            kept.push(stream);
        }
    });
    let front = before(&url, |settings| {
        settings.ping_interval = Some(Duration::from_millis(100));
        settings.ping_timeout = Duration::from_millis(100);
    })
    .await;
    let begun = Instant::now();
    let mut client = front.connect().await;
    client
        .write_all(
            b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        )
        .await
        .unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert!(String::from_utf8_lossy(&all).contains("upstream_response_timeout"));
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn what_is_no_http_2_is_no_answer() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", socket.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    let front = before(&url, |_| {}).await;
    let answer = front.get("/a").await;
    assert!(
        answer.starts_with("HTTP/1.1 502") && answer.contains("upstream_"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_socket_in_the_file_system_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let backend = Arc::new(Backend::default());
    let theirs = Arc::clone(&backend);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&theirs).serve(stream));
        }
    });
    let front = before(&format!("unix:{}", path.display()), |settings| {
        settings.preserve_host = false
    })
    .await;
    assert!(front.get("/a").await.starts_with("HTTP/1.1 200"));
    assert_eq!(
        backend.got.lock().unwrap()[0].head.uri.to_string(),
        "http://localhost/a"
    );
}

/// What a client leaves unread waits at the backend, and holds up nobody on the same connection.
#[tokio::test]
async fn a_client_that_reads_nothing_slows_its_own_answer_down_and_no_other() {
    let (front, backend) = front(Backend::default(), |_| {}).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut client = front.connect().await;
        client
            .write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        slow.push(client);
    }
    let written = || backend.written.load(AtomicOrdering::SeqCst);
    let mut before = 0;
    while before == 0 || written() > before {
        before = written();
        sleep(Duration::from_millis(200)).await;
    }
    assert!(before < 4 * STREAM / 2, "{before}");
    assert!(front.get("/a").await.starts_with("HTTP/1.1 200"));
    let mut all = Vec::new();
    let mut client = slow.pop().unwrap();
    while all.len() < STREAM {
        assert!(client.read_buf(&mut all).await.unwrap() > 0);
    }
    assert_eq!(backend.connections.load(AtomicOrdering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_breaks_off_is_to_blame_and_the_backend_is_told() {
    let (front, backend) = front(Backend::default(), |_| {}).await;
    let mut client = front.connect().await;
    let head = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    soon(|| {
        backend
            .got
            .lock()
            .unwrap()
            .iter()
            .any(|got| got.body == b"hi")
    })
    .await;
    client.write_all(b"zz\r\n").await.unwrap();
    let answer = heard(&mut client).await;
    assert!(answer.contains("request_body_aborted"), "{answer}");
    soon(|| {
        front
            .metrics
            .text()
            .unwrap()
            .contains("doorward_upstream_http2_streams 0")
    })
    .await;
    assert_eq!(backend.got.lock().unwrap()[0].trailers, None);
    assert!(front.get("/b").await.starts_with("HTTP/1.1 200"));
    assert_eq!(backend.connections.load(AtomicOrdering::SeqCst), 1);
}
