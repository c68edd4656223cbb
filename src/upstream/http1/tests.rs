//! Differential tests of the HTTP/1.1 client against hyper's: both parse every response alike, or
//! this one is stricter. Also tests of connection reuse and uploads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::body_decoder::BodyDecoder;
use super::connection::{Connection, Failure};
use super::idle_pool::IdlePool;
use super::pinned::ConnectionReturn;
use super::request_body::RequestBodyWriter;
use super::socket::Socket;
use crate::types::body::Body;
use crate::upstream::error::UpstreamError;
use crate::upstream::framing::Framing;
use crate::upstream::settings::{IdleReuse, UpstreamSettings};

/// A response as a client parsed it.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Error,
    Complete {
        status: StatusCode,
        fields: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
    },
    /// The body was truncated or invalid; `body` is what preceded that.
    Truncated {
        status: StatusCode,
        body: Vec<u8>,
    },
}

fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let framing = ["content-length", "transfer-encoding"];
    let fields = headers
        .iter()
        .filter(|(name, _)| !framing.contains(&name.as_str()));
    fields
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

fn settings() -> UpstreamSettings {
    UpstreamSettings::at("http://127.0.0.1:1".parse().unwrap())
}

async fn connection() -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    (Connection::new(Socket::Unix(ours), slot), theirs)
}

/// A backend that sends `pieces`, one after another, in response to a request, and closes.
fn respond_with(mut socket: UnixStream, pieces: Vec<Vec<u8>>) {
    tokio::spawn(async move {
        let mut request = [0; 1024];
        let _ = socket.read(&mut request).await;
        for piece in pieces {
            if socket.write_all(&piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
}

async fn collect<B>(status: StatusCode, headers: &HeaderMap, mut body: B) -> Parsed
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => all.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Err(_) => return Parsed::Truncated { status, body: all },
        }
    }
    Parsed::Complete {
        status,
        fields: fields(headers),
        body: all,
    }
}

/// Parses with this client. Also returns whether the connection returned to the pool.
async fn parse(method: &Method, pieces: Vec<Vec<u8>>) -> (Parsed, bool) {
    let (mut connection, theirs) = connection().await;
    respond_with(theirs, pieces);
    connection
        .head()
        .extend_from_slice(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
    let Ok(mut head) = connection.exchange(&mut None, &settings()).await else {
        return (Parsed::Error, false);
    };
    let Ok(framing) = BodyDecoder::for_response(&mut head, method) else {
        return (Parsed::Error, false);
    };
    let idle_pool = Arc::new(IdlePool::new(1, IdleReuse::up_to(Duration::from_secs(120))));
    let body = connection.into_body(
        framing.decoder,
        None,
        Some(ConnectionReturn::Shared(Arc::clone(&idle_pool))).filter(|_| framing.keep_alive),
        None,
        Duration::from_secs(5),
    );
    let parsed = collect(head.status, &head.headers, body).await;
    (parsed, idle_pool.len() == 1)
}

async fn parse_with_hyper(method: &Method, pieces: Vec<Vec<u8>>) -> Parsed {
    let (ours, theirs) = UnixStream::pair().unwrap();
    respond_with(theirs, pieces);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "a")
        .body(Empty::<Bytes>::new())
        .unwrap();
    match sender.send_request(request).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            collect(head.status, &head.headers, body).await
        }
        Err(_) => Parsed::Error,
    }
}

/// Parses with both clients and compares the results.
async fn parse_with_both(method: &Method, pieces: &[Vec<u8>]) -> Parsed {
    let (ours, _) = parse(method, pieces.to_vec()).await;
    let theirs = parse_with_hyper(method, pieces.to_vec()).await;
    let response: Vec<u8> = pieces.concat();
    match (&ours, &theirs) {
        // How much of a truncated body hyper returns depends on timing.
        (
            Parsed::Truncated { status, .. },
            Parsed::Truncated {
                status: hyper_status,
                ..
            },
        ) if status == hyper_status => {}
        _ => assert_eq!(ours, theirs, "{method} {}", response.escape_ascii()),
    }
    ours
}

/// The same bytes in one piece, in two pieces, and byte by byte.
fn fragmentations(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let halves = (1..bytes.len())
        .step_by(7)
        .map(|at| vec![bytes[..at].to_vec(), bytes[at..].to_vec()]);
    let single = bytes.iter().map(|byte| vec![*byte]).collect();
    [vec![bytes.to_vec()], single]
        .into_iter()
        .chain(halves)
        .collect()
}

#[tokio::test]
async fn responses_parse_as_with_hyper() {
    let responses: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\nx-a:  c \r\n\r\nok",
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 299 \xe9\xff\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: t\r\nX-U: u\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000002\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 77\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokX",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n folded: x\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: b\0\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"",
    ];
    for response in responses {
        for pieces in fragmentations(response) {
            timeout(
                Duration::from_secs(20),
                parse_with_both(&Method::GET, &pieces),
            )
            .await
            .expect("both clients finish");
        }
    }
    for response in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"[..],
        b"HTTP/1.1 404 No\r\n\r\n",
    ] {
        let parsed = parse_with_both(&Method::HEAD, &[response.to_vec()]).await;
        assert!(matches!(parsed, Parsed::Complete { body, .. } if body.is_empty()));
    }
}

/// hyper accepts these, and the next parser could interpret its output differently.
#[tokio::test]
async fn responses_that_hyper_accepts_leniently_are_rejected() {
    for response in [
        // Another transfer coding, whose name would be lost.
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    ] {
        assert_eq!(parse(&Method::GET, vec![response.to_vec()]).await.0, Parsed::Error, "{}", response.escape_ascii());
    }
    for body in [
        &b"2\nok\n0\n\n"[..],
        b"2\r\nok0\r\n\r\n",
        b"-2\r\nok\r\n0\r\n\r\n",
        b"2 x\r\nok\r\n0\r\n\r\n",
        b" 2\r\nok\r\n0\r\n\r\n",
    ] {
        let response = [
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            body,
        ]
        .concat();
        let (parsed, _) = parse(&Method::GET, vec![response]).await;
        assert!(
            matches!(parsed, Parsed::Truncated { .. }),
            "{}: {parsed:?}",
            body.escape_ascii()
        );
    }
    let endless = [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;"[..],
        &[b'x'; 100_000],
    ]
    .concat();
    assert!(
        matches!(
            parse(&Method::GET, vec![endless]).await.0,
            Parsed::Truncated { .. }
        ),
        "endless chunk extensions"
    );
    let trailers = b"X-T: 0123456789\r\n".repeat(10_000);
    let endless = [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"[..],
        &trailers,
    ]
    .concat();
    assert!(
        matches!(
            parse(&Method::GET, vec![endless]).await.0,
            Parsed::Truncated { .. }
        ),
        "endless trailers"
    );
    let interim = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(10_000);
    assert_eq!(
        parse(&Method::GET, vec![interim]).await.0,
        Parsed::Error,
        "endless interim responses"
    );
}

#[tokio::test]
async fn connection_is_reused_only_after_a_complete_response() {
    for (response, reusable) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], true),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
        (b"HTTP/1.1 204 No Content\r\n\r\n", true),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", true),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", false),
        (b"HTTP/1.1 204 No Content\r\n\r\nbody", false),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n", false),
        (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", true),
        (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok", false),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", false),
        (b"HTTP/1.1 200 OK\r\n\r\nok", false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", false),
    ] {
        let (parsed, reused) = parse(&Method::GET, vec![response.to_vec()]).await;
        assert_eq!(reused, reusable, "{}: {parsed:?}", response.escape_ascii());
    }
}

/// Uploads to a backend. Returns the response status and the bytes that the backend received.
async fn upload(
    framing: Framing,
    body: Body,
    response: &'static [u8],
) -> (Result<StatusCode, Failure>, Vec<u8>) {
    let (mut connection, mut theirs) = connection().await;
    let backend = tokio::spawn(async move {
        let mut received = Vec::new();
        while !received.ends_with(b"end\r\n0\r\n\r\n") && !received.ends_with(b"end") {
            if theirs.read_buf(&mut received).await.unwrap_or(0) == 0 {
                return received;
            }
        }
        let _ = theirs.write_all(response).await;
        received
    });
    connection
        .head()
        .extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
    let response = connection
        .exchange(&mut RequestBodyWriter::new(framing, body), &settings())
        .await;
    drop(connection);
    (response.map(|head| head.status), backend.await.unwrap())
}

#[tokio::test]
async fn request_body_is_sent_in_its_framing() {
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (status, received) = upload(Framing::Length(7), Body::full("the end"), response).await;
    assert_eq!(
        (status.unwrap(), received.as_slice()),
        (StatusCode::OK, &b"POST / HTTP/1.1\r\n\r\nthe end"[..])
    );
    let (status, received) = upload(Framing::Chunked, Body::full("the end"), response).await;
    assert_eq!(status.unwrap(), StatusCode::OK);
    assert_eq!(
        received,
        b"POST / HTTP/1.1\r\n\r\n7\r\nthe end\r\n0\r\n\r\n"
    );
    assert!(
        RequestBodyWriter::new(Framing::None, Body::full("x")).is_none()
            && RequestBodyWriter::new(Framing::Zero, Body::empty()).is_none()
    );
}

/// Request smuggling: the missing bytes of a body would be taken from the next request on the
/// connection.
#[tokio::test]
async fn request_body_of_wrong_length_closes_the_connection() {
    for body in ["four", "seven_b"] {
        let (mut connection, mut theirs) = connection().await;
        theirs
            .write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        connection
            .head()
            .extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
        let mut request_body = RequestBodyWriter::new(Framing::Length(6), Body::full(body));
        let failure = connection
            .exchange(&mut request_body, &settings())
            .await
            .unwrap_err();
        assert!(
            matches!(failure, Failure::Failed(UpstreamError::RequestBodyAborted)),
            "{failure:?}"
        );
        drop(connection);
        let mut received = String::new();
        // Its response was not read, so the connection may end with a reset.
        let _ = theirs.read_to_string(&mut received).await;
        assert!(
            received.len() <= "POST / HTTP/1.1\r\n\r\nfour".len(),
            "{received}"
        );
    }
}

#[tokio::test]
async fn connection_with_incomplete_head_is_not_reused() {
    let (mut connection, mut theirs) = connection().await;
    theirs
        .write_all(b"HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let long = "x".repeat(4 << 20);
    connection
        .head()
        .extend_from_slice(format!("GET / HTTP/1.1\r\nx-a: {long}\r\n\r\n").as_bytes());
    let mut head = connection.exchange(&mut None, &settings()).await.unwrap();
    let framing = BodyDecoder::for_response(&mut head, &Method::GET).unwrap();
    let idle_pool = Arc::new(IdlePool::new(1, IdleReuse::up_to(Duration::from_secs(120))));
    connection.into_body(
        framing.decoder,
        None,
        Some(ConnectionReturn::Shared(Arc::clone(&idle_pool))),
        None,
        Duration::from_secs(5),
    );
    assert!(framing.keep_alive && idle_pool.len() == 0);
}

#[tokio::test]
async fn upload_continues_beside_an_early_response() {
    let (mut connection, mut theirs) = connection().await;
    let long = vec![b'x'; 4 << 20];
    let length = long.len();
    connection
        .head()
        .extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
    let backend = tokio::spawn(async move {
        let mut head = [0; 19];
        theirs.read_exact(&mut head).await.unwrap();
        theirs
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
            .await
            .unwrap();
        let mut body = vec![0; length];
        theirs.read_exact(&mut body).await.unwrap();
        theirs.write_all(b"4\r\nlate\r\n0\r\n\r\n").await.unwrap();
        body.iter().all(|byte| *byte == b'x')
    });
    let mut request_body = RequestBodyWriter::new(Framing::Length(length as u64), Body::full(long));
    let mut head = connection
        .exchange(&mut request_body, &settings())
        .await
        .unwrap();
    let framing = BodyDecoder::for_response(&mut head, &Method::POST).unwrap();
    let idle_pool = Arc::new(IdlePool::new(1, IdleReuse::up_to(Duration::from_secs(120))));
    assert!(framing.keep_alive);
    let body = connection.into_body(
        framing.decoder,
        None,
        Some(ConnectionReturn::Shared(Arc::clone(&idle_pool))),
        request_body,
        Duration::from_secs(5),
    );
    assert_eq!(body.size_hint().exact(), None);
    assert_eq!(
        collect(head.status, &head.headers, body).await,
        Parsed::Complete {
            status: StatusCode::OK,
            fields: vec![],
            body: b"earlylate".to_vec(),
        }
    );
    assert!(backend.await.unwrap());
    assert_eq!(idle_pool.len(), 0, "a split connection was reused");
}

#[tokio::test]
async fn response_arrives_although_the_backend_stopped_reading() {
    let (mut connection, mut theirs) = connection().await;
    connection
        .head()
        .extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
    theirs
        .write_all(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    theirs.shutdown().await.unwrap();
    let mut request_body =
        RequestBodyWriter::new(Framing::Length(8 << 20), Body::full(vec![0; 8 << 20]));
    let head = connection
        .exchange(&mut request_body, &settings())
        .await
        .unwrap();
    assert_eq!(head.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn closed_idle_connection_is_detected() {
    let (mut connection, theirs) = connection().await;
    assert!(connection.is_reusable());
    drop(theirs);
    tokio::task::yield_now().await;
    connection
        .head()
        .extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
    let failure = connection
        .exchange(&mut None, &settings())
        .await
        .unwrap_err();
    assert!(
        matches!(failure, Failure::Unsent(UpstreamError::ConnectionClosed(_))),
        "{failure:?}"
    );
    assert!(!connection.is_reusable());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Chunks of any size, in any fragments.
    #[test]
    fn chunks_decode_as_with_hyper(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6),
        cuts in prop::collection::vec(1_usize..200, 1..8),
        complete in any::<bool>(),
    ) {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in &parts {
            bytes.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(if complete { b"0\r\n\r\n" } else { b"0\r\n" });
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let parsed = runtime.block_on(parse_with_both(&Method::GET, &pieces));
        let expected = parts.concat();
        match parsed {
            Parsed::Complete { body, .. } => prop_assert!(complete && body == expected),
            Parsed::Truncated { body, .. } => prop_assert!(!complete && body == expected),
            Parsed::Error => prop_assert!(false, "no response"),
        }
    }
}
