//! Whole requests through `forward` against a raw backend: what reaches it, byte for byte, and what its
//! misbehaviour makes of the answer.

mod http2;
mod support;
mod tunnels;

use std::sync::Arc;
use std::sync::atomic::Ordering as AtomicOrdering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

use self::support::{Backend, MIB, STREAM, front, front_before, heard, soon};
use super::*;

#[tokio::test]
async fn a_request_arrives_as_it_was_judged() {
    let front = front(|_| {}).await;
    let head = "GET /a%20b//c;d?x=%zz&y HTTP/1.1\r\nHost: STORE.test\r\nCookie: a=b; __Host-doorward_jwt=s3cret\r\n\
                Authorization: Bearer s3cret\r\nx_forwarded_user: mallory\r\nX-Forwarded.User: mallory\r\n\
                Connection: close, X-Forwarded-User\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    assert!(front.say(head).await.starts_with("HTTP/1.1 200 OK"));
    let got = &front.backend.got()[0];
    assert!(
        got.head.starts_with("GET /a%20b//c;d?x=%zz&y HTTP/1.1\r\n"),
        "{}",
        got.head
    );
    assert!(
        !got.head.contains("mallory") && !got.head.contains("s3cret"),
        "{}",
        got.head
    );
    assert_eq!(got.field("x-forwarded-user"), ["alice"]);
    assert_eq!(got.field("x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(
        (got.field("host"), got.field("cookie")),
        (vec!["store.test"], vec!["a=b"])
    );
    assert!(got.field("connection").is_empty());
}

#[tokio::test]
async fn the_backends_own_host_is_sent_where_an_app_wants_it() {
    let front = front(|settings| settings.preserve_host = false).await;
    front.get("/").await;
    assert!(front.backend.got()[0].field("host")[0].starts_with("app.localhost:"));
}

/// LIBRARIES.md: hyper's client silently drops the body of a GET that has no length.
#[tokio::test]
async fn a_body_arrives_with_one_framing_whatever_the_method() {
    let front = front(|_| {}).await;
    for method in [
        "GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH", "PROPFIND", "get",
    ] {
        for (framing, body) in [
            ("Content-Length: 5\r\n", "hello"),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            (
                "Transfer-Encoding: chunked\r\n",
                "5;ext=1\r\nhello\r\n0\r\nX-Forwarded-User: trailer\r\n\r\n",
            ),
            ("Content-Length: 0\r\n", ""),
            ("", ""),
        ] {
            let bytes = format!(
                "{method} /m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{framing}\r\n{body}"
            );
            let answer = front.say(&bytes).await;
            assert!(
                answer.starts_with("HTTP/1.1 200 OK"),
                "{method} {framing}: {answer}"
            );
            let got = front.backend.got().pop().unwrap();
            let (lengths, codings) = (got.field("content-length"), got.field("transfer-encoding"));
            match framing {
                "" if ["POST", "PUT", "PATCH"].contains(&method) => {
                    assert_eq!((lengths, codings), (vec!["0"], vec![]))
                }
                "" => assert!(
                    lengths.is_empty() && codings.is_empty(),
                    "{method}: {}",
                    got.head
                ),
                "Content-Length: 0\r\n" => assert_eq!((lengths, codings), (vec!["0"], vec![])),
                "Transfer-Encoding: chunked\r\n" => {
                    assert_eq!((lengths, codings), (vec![], vec!["chunked"]), "{method}");
                    assert_eq!(got.body, "5\r\nhello\r\n0\r\n\r\n", "{method}");
                }
                _ => {
                    assert_eq!(
                        (lengths, codings),
                        (vec!["5"], vec![]),
                        "{method} {framing}"
                    );
                    assert_eq!(got.body, "hello", "{method}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_answer_arrives_with_one_framing() {
    let front = front(|_| {}).await;
    for (path, field, body) in [
        ("/plain", "content-length: 2", "ok"),
        ("/twice", "content-length: 2", "ok"),
        (
            "/chunked",
            "transfer-encoding: chunked",
            "2\r\nok\r\n0\r\n\r\n",
        ),
        (
            "/both",
            "transfer-encoding: chunked",
            "2\r\nok\r\n0\r\n\r\n",
        ),
        ("/old", "transfer-encoding: chunked", "2\r\nok\r\n0\r\n\r\n"),
        ("/hints", "content-length: 2", "ok"),
    ] {
        let answer = front.get(path).await;
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        let framing: Vec<_> = head
            .lines()
            .filter(|line| {
                line.starts_with("content-length") || line.starts_with("transfer-encoding")
            })
            .collect();
        assert_eq!((framing, rest), (vec![field], body), "{path}: {answer}");
        assert!(head.contains("cache-control: private"), "{answer}");
    }
    // hyper sends no length with either; with 304 it would be optional (RFC 9110 section 8.6).
    for path in ["/204", "/304"] {
        let answer = front.get(path).await;
        assert!(
            answer.ends_with("\r\n\r\n") && !answer.contains("content-length"),
            "{answer}"
        );
    }
    let head = front
        .say("HEAD /head HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        head.contains("content-length: 77") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn an_improper_answer_is_no_answer() {
    let front = front(|_| {}).await;
    for (path, code) in [
        ("/differ", "upstream_bad_response"),
        ("/gzip", "upstream_bad_response"),
        ("/no-http", "upstream_bad_response"),
        ("/huge-head", "upstream_bad_response"),
        ("/switch", "upstream_bad_response"),
        ("/cut-head", "upstream_connection_closed"),
    ] {
        let answer = front.get(path).await;
        assert!(
            answer.starts_with("HTTP/1.1 502") && answer.contains(code),
            "{path}: {answer}"
        );
    }
    let text = front.metrics.text().unwrap();
    assert!(
        text.contains(
            r#"doorward_upstream_errors_total{app="store",code="upstream_bad_response"} 5"#
        ),
        "{text}"
    );
}

#[tokio::test]
async fn connections_are_used_again() {
    let front = front(|_| {}).await;
    for path in ["/a", "/chunked", "/b", "/304"] {
        front.get(path).await;
    }
    // Just used, so good enough for what cannot be repeated.
    let bytes = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi".repeat(5);
    front.say(&bytes).await;
    let got = front.backend.got();
    assert!(got[..4].iter().all(|got| got.connection == 0), "{got:?}");
    assert!(
        got[4..]
            .iter()
            .all(|later| later.connection == got[4].connection),
        "{got:?}"
    );
    assert_eq!(got.len(), 9);
}

#[tokio::test]
async fn a_connection_that_rested_too_long_is_closed_and_not_used() {
    let front = front(|settings| settings.idle_reuse = Duration::from_millis(100)).await;
    front.get("/a").await;
    sleep(Duration::from_millis(300)).await;
    front.get("/b").await;
    assert_eq!(front.backend.connections.load(AtomicOrdering::SeqCst), 2);
}

#[tokio::test]
async fn what_cannot_be_repeated_takes_a_new_connection_unless_one_was_just_used() {
    let front = front(|_| {}).await;
    front.get("/a").await;
    sleep(Duration::from_millis(400)).await;
    front.post("/b").await;
    let got = front.backend.got();
    assert_eq!((got[0].connection, got[1].connection), (0, 1));
}

#[tokio::test]
async fn a_connection_that_died_at_rest_costs_no_request() {
    let front = front(|_| {}).await;
    front.get("/close-idle").await;
    assert!(front.get("/a").await.contains("200 OK"));
    assert!(front.post("/a").await.contains("200 OK"));
    // It dies just when the second request was written: only what is safe and has no body is sent twice.
    front.get("/once").await;
    assert!(front.get("/once").await.contains("200 OK"));
    let before = front.backend.got().len();
    let bytes = "GET /once HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /once HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    let answer = front.say(&format!("{bytes}{post}")).await;
    assert!(
        answer.contains("upstream_connection_closed sent=true"),
        "{answer}"
    );
    let posts = front.backend.got()[before..]
        .iter()
        .filter(|got| got.head.starts_with("POST"))
        .count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn a_backend_that_cuts_its_answer_cuts_ours() {
    let front = front(|_| {}).await;
    let answer = front.get("/cut").await;
    assert!(
        answer.contains("content-length: 10") && answer.ends_with("\r\n\r\nabc"),
        "{answer}"
    );
    assert!(front.get("/a").await.contains("200 OK"));
}

#[tokio::test]
async fn a_slow_backend_is_given_up() {
    let front = front(|settings| {
        settings.response_timeout = Duration::from_millis(200);
        settings.body_idle_timeout = Duration::from_millis(300);
    })
    .await;
    assert!(
        front
            .get("/hang")
            .await
            .contains("upstream_response_timeout sent=true")
    );
    assert!(
        front
            .post("/hang")
            .await
            .contains("upstream_response_timeout")
    );
    let began = Instant::now();
    let mut all = Vec::new();
    let mut stream = front.connect().await;
    stream
        .write_all(b"GET /silent-body HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let _ = stream.read_to_end(&mut all).await;
    assert!(all.ends_with(b"abc") && began.elapsed() < Duration::from_secs(2));
}

/// LESSONS, Load: requests with Content-Length but no body held for ever. The client is to blame, and is named.
#[tokio::test]
async fn a_client_that_stops_in_its_body_is_given_up_and_a_slow_one_is_not() {
    let front = front(|settings| {
        settings.response_timeout = Duration::from_millis(150);
        settings.body_idle_timeout = Duration::from_millis(400);
    })
    .await;
    let head = "POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 6\r\n\r\n";
    assert!(
        front
            .say(&format!("{head}abc"))
            .await
            .contains("request_stalled")
    );
    let mut slow = front.connect().await;
    slow.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..6 {
        sleep(Duration::from_millis(200)).await;
        slow.write_all(b"a").await.unwrap();
    }
    assert!(heard(&mut slow).await.contains("200 OK"));
}

#[tokio::test]
async fn a_client_that_goes_away_takes_the_backends_connection_along() {
    let front = front(|_| {}).await;
    let mut stream = front.connect().await;
    stream
        .write_all(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        .await
        .unwrap();
    soon(|| front.backend.connections.load(AtomicOrdering::SeqCst) == 1).await;
    drop(stream);
    sleep(Duration::from_millis(100)).await;
    assert!(front.backend.got().is_empty());
    front.get("/b").await;
    assert_eq!(front.backend.got()[0].connection, 1);
}

#[tokio::test]
async fn nobody_waits_for_an_answer_that_nobody_wants() {
    let front = front(|settings| settings.max_connections = 1).await;
    let mut stream = front.connect().await;
    stream
        .write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    soon(|| front.backend.got().len() == 1).await;
    drop(stream);
    assert!(front.get("/a").await.contains("200 OK"));
}

#[tokio::test]
async fn a_client_that_breaks_its_own_framing_is_to_blame() {
    let front = front(|_| {}).await;
    front
        .say(
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        )
        .await;
    let text = front.metrics.text().unwrap();
    assert!(
        text.contains(
            r#"doorward_upstream_errors_total{app="store",code="request_body_aborted"} 1"#
        ),
        "{text}"
    );
    assert!(front.backend.got().is_empty());
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_no_name() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (url, code) in [
        (
            format!("http://{closed}"),
            "upstream_connect_refused sent=false",
        ),
        (
            "http://no-such-name.invalid".to_owned(),
            "upstream_unresolved sent=false",
        ),
        (
            "unix:/nonexistent/socket".to_owned(),
            "upstream_connect_refused sent=false",
        ),
    ] {
        let front = front_before(Arc::default(), UpstreamSettings::at(url.parse().unwrap())).await;
        let answer = front.get("/").await;
        assert!(answer.contains(code), "{url}: {answer}");
    }
}

#[tokio::test]
async fn at_the_limit_of_connections_requests_wait() {
    let front = front(|settings| settings.max_connections = 1).await;
    let many = futures_of(&front, "/a", 20).await;
    assert!(
        many.iter().all(|answer| answer.contains("200 OK")),
        "{many:?}"
    );
    assert_eq!(front.backend.connections.load(AtomicOrdering::SeqCst), 1);
    // A request that wants a new connection makes the idle one give way.
    sleep(Duration::from_millis(300)).await;
    assert!(front.post("/a").await.contains("200 OK"));
}

#[tokio::test]
async fn a_request_that_waited_long_enough_for_a_connection_fails() {
    let front = front(|settings| {
        settings.max_connections = 1;
        settings.connect_timeout = Duration::from_millis(300);
        settings.response_timeout = Duration::from_millis(900);
    })
    .await;
    let (hanging, waiting) = tokio::join!(front.get("/hang"), async {
        while front.backend.connections.load(AtomicOrdering::SeqCst) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        front.get("/a").await
    });
    assert!(
        waiting.contains("upstream_saturated sent=false"),
        "{waiting}"
    );
    assert!(hanging.contains("upstream_response_timeout"), "{hanging}");
}

#[tokio::test]
async fn those_who_wait_get_the_places_of_connections_that_end() {
    let front = front(|settings| settings.max_connections = 1).await;
    let many = futures_of(&front, "/old", 20).await;
    assert!(
        many.iter().all(|answer| answer.contains("200 OK")),
        "{many:?}"
    );
}

async fn futures_of(front: &support::Front, path: &'static str, count: usize) -> Vec<String> {
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..count {
        let address = front.address;
        set.spawn(async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            heard(&mut stream).await
        });
    }
    set.join_all().await
}

#[tokio::test]
async fn what_is_no_path_or_makes_a_tunnel_is_never_passed_on() {
    let front = front(|_| {}).await;
    for line in [
        "TRACE / HTTP/1.1",
        "CONNECT app.test:80 HTTP/1.1",
        "GET * HTTP/1.1",
    ] {
        let answer = front.say(&format!("{line}\r\nHost: x\r\n\r\n")).await;
        assert!(
            answer.contains("not_forwardable sent=false"),
            "{line}: {answer}"
        );
    }
    assert!(
        front
            .say("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .contains("200 OK")
    );
    assert!(
        front.backend.got()[0]
            .head
            .starts_with("OPTIONS * HTTP/1.1\r\n")
    );
}

/// Both ways: what nobody reads is not taken in, so memory does not grow with the body.
#[tokio::test]
async fn bodies_stream_at_the_readers_pace() {
    let front = front(|_| {}).await;
    let mut reader = front.connect().await;
    reader
        .write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(500)).await;
    let ahead = front.backend.written.load(AtomicOrdering::SeqCst);
    assert!(
        ahead < STREAM as u64 / 2,
        "{} MiB were taken in unread",
        ahead / MIB as u64
    );
    let mut total = 0;
    let mut part = vec![0; MIB];
    while let Ok(length @ 1..) = reader.read(&mut part).await {
        total += length;
    }
    assert!(total > STREAM, "{total}");

    let mut writer = front.connect().await;
    let head = format!(
        "POST /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {STREAM}\r\n\r\n"
    );
    writer.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..STREAM / MIB {
        writer.write_all(&part).await.unwrap();
    }
    assert!(heard(&mut writer).await.contains("200 OK"));
}

#[tokio::test]
async fn an_upload_that_the_backend_does_not_read_is_not_taken_in() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let deaf = tokio::spawn(async move { socket.accept().await });
    let mut settings = UpstreamSettings::at(url.parse().unwrap());
    settings.response_timeout = Duration::from_millis(500);
    let front = front_before(Arc::default(), settings).await;
    let mut writer = front.connect().await;
    let head = format!("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: {STREAM}\r\n\r\n");
    writer.write_all(head.as_bytes()).await.unwrap();
    let (part, mut taken) = (vec![0; 64 * 1024], 0);
    while let Ok(Ok(length)) = timeout(Duration::from_millis(300), writer.write(&part)).await {
        taken += length;
    }
    assert!(taken < STREAM / 2, "{taken} bytes were taken in");
    assert!(
        heard(&mut writer)
            .await
            .contains("upstream_response_timeout")
    );
    drop(deaf);
}

#[tokio::test]
async fn tls_and_unix_backends_answer_and_a_stranger_is_refused() {
    let issued = rcgen::generate_simple_self_signed(["app.localhost".to_owned()]).unwrap();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let backend = Arc::new(Backend::default());
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: UpstreamUrl = format!(
        "https://app.localhost:{}",
        socket.local_addr().unwrap().port()
    )
    .parse()
    .unwrap();
    let theirs = Arc::clone(&backend);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(Arc::clone(&theirs).serve(stream));
            }
        }
    });
    let mut settings = UpstreamSettings::at(url.clone());
    settings.ca_certificates = Some(issued.cert.pem().into_bytes());
    let front = front_before(Arc::clone(&backend), settings).await;
    assert!(front.get("/secure").await.contains("200 OK"));
    let stranger = rcgen::generate_simple_self_signed(["app.localhost".to_owned()]).unwrap();
    for ca in [None, Some(stranger.cert.pem().into_bytes())] {
        let mut settings = UpstreamSettings::at(url.clone());
        settings.ca_certificates = ca;
        let front = front_before(Arc::default(), settings).await;
        assert!(
            front
                .get("/secure")
                .await
                .contains("upstream_tls sent=false")
        );
    }
    assert_eq!(backend.got().len(), 1);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let socket = tokio::net::UnixListener::bind(&path).unwrap();
    let backend = Arc::new(Backend::default());
    let theirs = Arc::clone(&backend);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&theirs).serve(stream));
        }
    });
    let url = format!("unix:{}", path.display()).parse().unwrap();
    let front = front_before(backend, UpstreamSettings::at(url)).await;
    assert!(front.get("/unix").await.contains("200 OK"));
    assert_eq!(front.backend.got()[0].field("host"), ["store.test"]);
}
