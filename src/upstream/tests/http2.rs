//! HTTP/2 backends without TLS: forwarding, retries, stream limits and invalid responses. Clients
//! use HTTP/1.1 here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::{Instant, sleep, timeout};

use super::super::{UpstreamHost, UpstreamProtocol, UpstreamSettings};
use super::http2_backend::{Backend, GoawayBackend};
use super::support::{self, STREAM_LEN, TestProxy, eventually, proxy_to, read_until_idle};

async fn start_proxy(
    backend: Backend,
    adjust: impl FnOnce(&mut UpstreamSettings),
) -> (TestProxy, Arc<Backend>) {
    let backend = Arc::new(backend);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://app.localhost:{}",
        socket.local_addr().unwrap().port()
    );
    let backend_clone = Arc::clone(&backend);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&backend_clone).serve(stream));
        }
    });
    (http2_proxy_to(&url, adjust).await, backend)
}

async fn http2_proxy_to(url: &str, adjust: impl FnOnce(&mut UpstreamSettings)) -> TestProxy {
    let mut settings = UpstreamSettings::at(url.parse().unwrap());
    settings.protocol = UpstreamProtocol::Http2;
    adjust(&mut settings);
    proxy_to(Arc::new(support::Backend::default()), settings).await
}

#[tokio::test]
async fn request_is_forwarded_as_authorized() {
    let (proxy, backend) = start_proxy(Backend::default(), |_| {}).await;
    let head = "GET /a%20b//c;d?x=%zz&y HTTP/1.1\r\nHost: STORE.test\r\nCookie: a=b; __Host-doorward_jwt=s3cret\r\n\
                Authorization: Basic YXBw\r\nx_forwarded_user: mallory\r\nConnection: close, X-Forwarded-User, te\r\n\
                X-Forwarded-For: 6.6.6.6\r\nTE: gzip, trailers\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let response = proxy.send(head).await;
    assert!(
        response.starts_with("HTTP/1.1 200 OK") && !response.contains("doorward"),
        "{response}"
    );
    let request = backend.received.lock().unwrap();
    let head = &request[0].head;
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
        ("authorization", "Basic YXBw"),
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
async fn request_body_and_length_are_preserved() {
    let (proxy, backend) = start_proxy(Backend::default(), |_| {}).await;
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
                proxy.send(&bytes).await.starts_with("HTTP/1.1 200 OK"),
                "{method} {framing}"
            );
            let request = backend.received.lock().unwrap().pop().unwrap();
            let whole = if length == Some("0") {
                &b""[..]
            } else {
                b"hello"
            };
            assert_eq!(
                (request.head.method.as_str(), request.body.as_slice()),
                (method, whole),
                "{framing}"
            );
            assert_eq!(
                request
                    .head
                    .headers
                    .get("content-length")
                    .map(|value| value.to_str().unwrap()),
                length,
                "{method}"
            );
        }
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn trailers_are_filtered_in_both_directions() {
    let (proxy, backend) = start_proxy(Backend::default(), |_| {}).await;
    let head = "POST /t HTTP/1.1\r\nHost: x\r\nConnection: close, TE\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
                2\r\nhi\r\n0\r\nChecksum: 7\r\nX-Forwarded-User: mallory\r\nContent-Length: 9\r\nCookie: a=b\r\n\r\n";
    let response = proxy.send(head).await;
    assert!(
        response.contains("\r\ntrailer: sum\r\n")
            && response.contains("2\r\nok\r\n0\r\nsum: 42\r\n\r\n"),
        "{response}"
    );
    let trailers = backend.received.lock().unwrap()[0]
        .trailers
        .clone()
        .unwrap();
    assert_eq!(
        (trailers.len(), &trailers["checksum"]),
        (1, &"7".parse().unwrap())
    );
    // A client that does not accept trailers gets none, and no `Trailer` field.
    let response = proxy.get("/t").await;
    assert!(
        response.ends_with("2\r\nok\r\n0\r\n\r\n") && !response.contains("trailer"),
        "{response}"
    );
}

#[tokio::test]
async fn bodiless_and_interim_responses_match_http1() {
    let (proxy, _backend) = start_proxy(Backend::default(), |_| {}).await;
    for (path, status) in [("/204", "204 No Content"), ("/304", "304 Not Modified")] {
        let response = proxy.get(path).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")) && response.ends_with("\r\n\r\n"),
            "{response}"
        );
    }
    for path in ["/hints", "/200-ended"] {
        let response = proxy.get(path).await;
        assert!(
            response.starts_with("HTTP/1.1 200 OK") && !response.contains("</a>"),
            "{response}"
        );
    }
}

async fn send_concurrently(count: usize, proxy: &Arc<TestProxy>) {
    let send = |_| {
        let proxy = Arc::clone(proxy);
        tokio::spawn(async move { proxy.get("/slow").await })
    };
    for task in (0..count).map(send).collect::<Vec<_>>() {
        assert!(task.await.unwrap().starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn concurrent_requests_share_one_connection() {
    let (proxy, backend) = start_proxy(Backend::default(), |_| {}).await;
    let proxy = Arc::new(proxy);
    proxy.get("/first").await;
    send_concurrently(40, &proxy).await;
    assert_eq!(backend.received.lock().unwrap().len(), 41);
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
    eventually(|| {
        proxy
            .metrics
            .text()
            .unwrap()
            .contains("doorward_upstream_http2_streams 0")
    })
    .await;
}

#[tokio::test]
async fn backend_stream_limit_is_respected() {
    let (proxy, backend) = start_proxy(
        Backend {
            max_streams: Some(2),
            ..Backend::default()
        },
        |_| {},
    )
    .await;
    let proxy = Arc::new(proxy);
    // The backend's limit is known by the second request.
    for path in ["/first", "/second"] {
        proxy.get(path).await;
    }
    send_concurrently(12, &proxy).await;
    assert!(backend.connections.load(Ordering::SeqCst) > 1);
}

#[tokio::test]
async fn streams_and_connections_are_limited_by_settings() {
    let (proxy, backend) = start_proxy(Backend::default(), |settings| {
        settings.max_http2_streams = 2;
        settings.max_connections = 2;
        settings.connect_timeout = Duration::from_millis(100);
    })
    .await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.connect().await;
        client
            .write_all(b"GET /silent-body HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut head = [0; 15];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!(head, *b"HTTP/1.1 200 OK");
        streams.push(client);
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 2);
    let response = proxy.get("/a").await;
    assert!(response.contains("upstream_saturated"), "{response}");
    streams.pop();
    eventually(|| {
        proxy
            .metrics
            .text()
            .unwrap()
            .contains("doorward_upstream_http2_streams 3")
    })
    .await;
    assert!(proxy.get("/a").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn refused_stream_is_sent_again_until_it_is_accepted() {
    let (proxy, backend) = start_proxy(Backend::default(), |_| {}).await;
    let taken = || std::mem::take(&mut *backend.received.lock().unwrap());
    assert!(
        proxy
            .get("/refuse-thrice")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(taken().len(), 4);
    assert!(
        proxy
            .post("/refuse-thrice")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let received = taken();
    assert_eq!(received.len(), 4);
    assert_eq!(received[3].body, b"hi");
    assert_eq!(received[3].head.headers["content-length"], "2");
    let chunked = "POST /refuse-thrice HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                   Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nChecksum: 7\r\n\r\n";
    assert!(proxy.send(chunked).await.starts_with("HTTP/1.1 200"));
    let received = taken();
    assert_eq!(received[3].body, b"hi");
    assert_eq!(
        received[3].trailers.as_ref().unwrap()["checksum"],
        "7",
        "the trailers are sent again too"
    );
}

#[tokio::test]
async fn stream_that_is_refused_too_often_fails() {
    let (proxy, backend) = start_proxy(Backend::default(), |settings| {
        settings.connect_timeout = Duration::from_millis(200);
    })
    .await;
    for request in ["", "Content-Length: 0\r\n"] {
        let request =
            format!("POST /refuse HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{request}\r\n");
        let response = proxy.send(&request).await;
        assert!(
            response.contains("upstream_connection_closed sent=true"),
            "{response}"
        );
    }
    assert!(
        (4..=32).contains(&backend.received.lock().unwrap().len()),
        "a bounded number of attempts"
    );
}

/// A body larger than the kept part cannot be sent again.
#[tokio::test]
async fn refused_stream_with_a_large_body_fails() {
    let (proxy, backend) = start_proxy(Backend::default(), |_| {}).await;
    let length = 128 * 1024;
    let head = format!(
        "POST /refuse-after-body HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    let response = proxy.send(&(head + &"x".repeat(length))).await;
    assert!(
        response.contains("upstream_connection_closed"),
        "{response}"
    );
    assert_eq!(backend.received.lock().unwrap().len(), 1);
    assert!(
        proxy
            .post("/refuse-after-body")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn posts_beyond_goaways_are_all_served_once() {
    let backend = Arc::new(GoawayBackend {
        requests_per_connection: 2,
        ..GoawayBackend::default()
    });
    let url = backend.start().await;
    let proxy = Arc::new(http2_proxy_to(&url, |_| {}).await);
    let send = |number| {
        let proxy = Arc::clone(&proxy);
        let head = format!(
            "POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n{number:04}"
        );
        tokio::spawn(async move { proxy.send(&head).await })
    };
    for task in (0..12).map(send).collect::<Vec<_>>() {
        let response = task.await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    }
    let mut bodies = backend.bodies.lock().unwrap().clone();
    bodies.sort();
    let sent: Vec<_> = (0..12).map(|number| format!("{number:04}")).collect();
    assert_eq!(bodies, sent);
    assert!(backend.connections.load(Ordering::SeqCst) >= 6);
}

#[tokio::test]
async fn cookies_are_never_indexed() {
    let backend = Arc::new(GoawayBackend {
        requests_per_connection: 1,
        ..GoawayBackend::default()
    });
    let proxy = http2_proxy_to(&backend.start().await, |_| {}).await;
    let head = "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: a=b\r\n\r\n";
    assert!(proxy.send(head).await.starts_with("HTTP/1.1 200"));
    let heads = backend.heads.lock().unwrap();
    let contains = |bytes: &[u8]| heads[0].windows(bytes.len()).any(|window| window == bytes);
    // A literal whose name has the index 32 (RFC 7541 section 6.2.3), and its value.
    assert!(
        contains(&[0x1f, 0x11, 3]) || contains(&[0x1f, 0x11, 0x83]),
        "{:x?}",
        heads[0]
    );
}

#[tokio::test]
async fn closed_connection_is_retried_if_safe() {
    let (proxy, backend) = start_proxy(Backend::default(), |_| {}).await;
    assert!(proxy.get("/once").await.starts_with("HTTP/1.1 200"));
    assert!(proxy.get("/once").await.starts_with("HTTP/1.1 200"));
    assert_eq!(backend.connections.load(Ordering::SeqCst), 2);
    assert!(
        proxy
            .post("/once")
            .await
            .contains("upstream_connection_closed")
    );
    assert!(proxy.post("/once").await.starts_with("HTTP/1.1 200"));
}

/// Streams beyond the last one in a GOAWAY were not processed (RFC 9113 section 6.8).
#[tokio::test]
async fn request_beyond_goaway_moves_to_a_new_connection() {
    let backend = Arc::new(Backend::default());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", socket.local_addr().unwrap().port());
    let backend_clone = Arc::clone(&backend);
    tokio::spawn(async move {
        let (mut closing, _) = socket.accept().await.unwrap();
        closing.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut read = vec![0; 16 * 1024];
        let mut seen = Vec::new();
        while !seen
            .windows(9)
            .any(|nine| nine[3] == 1 && nine[5..9] == [0, 0, 0, 1])
        {
            let length = closing.read(&mut read).await.unwrap();
            seen.extend_from_slice(&read[..length]);
        }
        closing
            .write_all(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0")
            .await
            .unwrap();
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&backend_clone).serve(stream));
        }
    });
    let proxy = http2_proxy_to(&url, |_| {}).await;
    let empty = "POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let response = proxy.send(empty).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert_eq!(backend.received.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn silent_backend_times_out_and_connection_is_retired() {
    let (proxy, backend) = start_proxy(Backend::default(), |settings| {
        settings.response_timeout = Duration::from_millis(200);
        settings.body_idle_timeout = Duration::from_millis(200);
    })
    .await;
    assert!(
        proxy
            .get("/hang")
            .await
            .contains("upstream_response_timeout")
    );
    assert!(proxy.get("/a").await.starts_with("HTTP/1.1 200"));
    let connections: Vec<_> = backend
        .received
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.connection)
        .collect();
    assert_eq!(connections, [0, 1]);
    let mut client = proxy.connect().await;
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
async fn missing_ping_ack_closes_the_connection() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", socket.local_addr().unwrap().port());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        let mut kept: Vec<TcpStream> = Vec::new();
        while let Ok((mut stream, _)) = socket.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
            kept.push(stream);
        }
    });
    let proxy = http2_proxy_to(&url, |settings| {
        settings.ping_interval = Some(Duration::from_millis(100));
        settings.ping_timeout = Duration::from_millis(100);
    })
    .await;
    let start_time = Instant::now();
    let mut client = proxy.connect().await;
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
        start_time.elapsed() < Duration::from_secs(30),
        "{:?}",
        start_time.elapsed()
    );
}

#[tokio::test]
async fn http1_response_to_http2_gets_502() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", socket.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    let proxy = http2_proxy_to(&url, |_| {}).await;
    let response = proxy.get("/a").await;
    assert!(
        response.starts_with("HTTP/1.1 502") && response.contains("upstream_"),
        "{response}"
    );
}

#[tokio::test]
async fn unix_socket_backend_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let backend = Arc::new(Backend::default());
    let backend_clone = Arc::clone(&backend);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&backend_clone).serve(stream));
        }
    });
    let proxy = http2_proxy_to(&format!("unix:{}", path.display()), |settings| {
        settings.host = UpstreamHost::Upstream
    })
    .await;
    assert!(proxy.get("/a").await.starts_with("HTTP/1.1 200"));
    assert_eq!(
        backend.received.lock().unwrap()[0].head.uri.to_string(),
        "http://localhost/a"
    );
}

/// Backpressure of one stream reaches the backend, and does not block others on the same
/// connection.
#[tokio::test]
async fn slow_client_blocks_only_its_own_stream() {
    let (proxy, backend) = start_proxy(Backend::default(), |_| {}).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.connect().await;
        client
            .write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        slow.push(client);
    }
    let written = || backend.written.load(Ordering::SeqCst);
    let mut before = 0;
    while before == 0 || written() > before {
        before = written();
        sleep(Duration::from_millis(200)).await;
    }
    assert!(before < 4 * STREAM_LEN / 2, "{before}");
    assert!(proxy.get("/a").await.starts_with("HTTP/1.1 200"));
    let mut all = Vec::new();
    let mut client = slow.pop().unwrap();
    while all.len() < STREAM_LEN {
        assert!(client.read_buf(&mut all).await.unwrap() > 0);
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn aborted_upload_is_a_client_error_and_resets_the_stream() {
    let (proxy, backend) = start_proxy(Backend::default(), |_| {}).await;
    let mut client = proxy.connect().await;
    let head = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    eventually(|| {
        backend
            .received
            .lock()
            .unwrap()
            .iter()
            .any(|request| request.body == b"hi")
    })
    .await;
    client.write_all(b"zz\r\n").await.unwrap();
    let response = read_until_idle(&mut client).await;
    assert!(response.contains("request_body_aborted"), "{response}");
    eventually(|| {
        proxy
            .metrics
            .text()
            .unwrap()
            .contains("doorward_upstream_http2_streams 0")
    })
    .await;
    assert_eq!(backend.received.lock().unwrap()[0].trailers, None);
    assert!(proxy.get("/b").await.starts_with("HTTP/1.1 200"));
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}
