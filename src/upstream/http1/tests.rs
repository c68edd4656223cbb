//! The own connection beside hyper's client: whatever a backend says, both hear the same, or ours is the stricter one.
//! And what only the own one promises.

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
use super::request_body::RequestBodyWriter;
use super::socket::Socket;
use crate::types::body::Body;
use crate::upstream::client::IdlePool;
use crate::upstream::error::UpstreamError;
use crate::upstream::framing::Framing;
use crate::upstream::target::UpstreamSettings;

/// What a client made of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Whole(StatusCode, Vec<(String, Vec<u8>)>, Vec<u8>),
    /// The head, and what came before the body broke off.
    Broken(StatusCode, Vec<u8>),
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

/// A backend that says `pieces`, one after another, once it was asked, and closes.
fn say(mut socket: UnixStream, pieces: Vec<Vec<u8>>) {
    tokio::spawn(async move {
        let mut asked = [0; 1024];
        let _ = socket.read(&mut asked).await;
        for piece in pieces {
            if socket.write_all(&piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
}

async fn collect<B>(status: StatusCode, headers: &HeaderMap, mut body: B) -> Heard
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => all.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Err(_) => return Heard::Broken(status, all),
        }
    }
    Heard::Whole(status, fields(headers), all)
}

async fn by_us(method: &Method, pieces: Vec<Vec<u8>>) -> (Heard, bool) {
    let (mut connection, theirs) = connection().await;
    say(theirs, pieces);
    connection
        .head()
        .extend_from_slice(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
    let Ok(mut head) = connection.exchange(&mut None, &settings()).await else {
        return (Heard::Nothing, false);
    };
    let Ok((decoder, keeps)) = BodyDecoder::of(&mut head, method) else {
        return (Heard::Nothing, false);
    };
    let idle_pool = Arc::new(IdlePool::new(1, Duration::from_secs(60)));
    let body = connection.into_body(
        decoder,
        Some(&idle_pool).filter(|_| keeps),
        None,
        Duration::from_secs(5),
    );
    let heard = collect(head.status, &head.headers, body).await;
    (heard, idle_pool.idle_connections() == 1)
}

async fn by_hyper(method: &Method, pieces: Vec<Vec<u8>>) -> Heard {
    let (ours, theirs) = UnixStream::pair().unwrap();
    say(theirs, pieces);
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
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            collect(head.status, &head.headers, body).await
        }
        Err(_) => Heard::Nothing,
    }
}

/// Both in turn; what is the same is given back.
async fn both(method: &Method, pieces: &[Vec<u8>]) -> Heard {
    let (ours, _) = by_us(method, pieces.to_vec()).await;
    let theirs = by_hyper(method, pieces.to_vec()).await;
    let shown: Vec<u8> = pieces.concat();
    match (&ours, &theirs) {
        // Whatever hyper had put together of a body before it broke off depends on when it looked.
        (Heard::Broken(status, _), Heard::Broken(other, _)) if status == other => {}
        _ => assert_eq!(ours, theirs, "{method} {}", shown.escape_ascii()),
    }
    ours
}

/// The same bytes in one piece, in two at every place, and byte by byte.
fn ways(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
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
async fn whatever_a_backend_says_is_heard_as_hyper_hears_it() {
    let answers: &[&[u8]] = &[
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
    for answer in answers {
        for pieces in ways(answer) {
            timeout(Duration::from_secs(20), both(&Method::GET, &pieces))
                .await
                .expect("both come to an end");
        }
    }
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"[..],
        b"HTTP/1.1 404 No\r\n\r\n",
    ] {
        let heard = both(&Method::HEAD, &[answer.to_vec()]).await;
        assert!(matches!(heard, Heard::Whole(_, _, body) if body.is_empty()));
    }
}

/// Where hyper is lenient, and what it gives on would be read apart by whoever comes next.
#[tokio::test]
async fn what_hyper_lets_pass_is_refused() {
    for answer in [
        // Another coding, of which only the name would go missing.
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    ] {
        assert_eq!(by_us(&Method::GET, vec![answer.to_vec()]).await.0, Heard::Nothing, "{}", answer.escape_ascii());
    }
    for body in [
        &b"2\nok\n0\n\n"[..],
        b"2\r\nok0\r\n\r\n",
        b"-2\r\nok\r\n0\r\n\r\n",
        b"2 x\r\nok\r\n0\r\n\r\n",
        b" 2\r\nok\r\n0\r\n\r\n",
    ] {
        let answer = [
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            body,
        ]
        .concat();
        let (heard, _) = by_us(&Method::GET, vec![answer]).await;
        assert!(
            matches!(heard, Heard::Broken(..)),
            "{}: {heard:?}",
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
            by_us(&Method::GET, vec![endless]).await.0,
            Heard::Broken(..)
        ),
        "no end of extensions"
    );
    let trailers = b"X-T: 0123456789\r\n".repeat(10_000);
    let endless = [
        &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"[..],
        &trailers,
    ]
    .concat();
    assert!(
        matches!(
            by_us(&Method::GET, vec![endless]).await.0,
            Heard::Broken(..)
        ),
        "no end of trailers"
    );
    let interim = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
    assert_eq!(
        by_us(&Method::GET, vec![interim]).await.0,
        Heard::Nothing,
        "no end of interim answers"
    );
}

#[tokio::test]
async fn only_a_connection_that_nothing_is_left_on_is_used_again() {
    for (answer, kept) in [
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
        let (heard, rests) = by_us(&Method::GET, vec![answer.to_vec()]).await;
        assert_eq!(rests, kept, "{}: {heard:?}", answer.escape_ascii());
    }
}

/// A backend that takes and tells what it got, and answers after the head.
async fn uploaded(
    framing: Framing,
    body: Body,
    answer: &'static [u8],
) -> (Result<StatusCode, Failure>, Vec<u8>) {
    let (mut connection, mut theirs) = connection().await;
    let backend = tokio::spawn(async move {
        let mut got = Vec::new();
        while !got.ends_with(b"end\r\n0\r\n\r\n") && !got.ends_with(b"end") {
            if theirs.read_buf(&mut got).await.unwrap_or(0) == 0 {
                return got;
            }
        }
        let _ = theirs.write_all(answer).await;
        got
    });
    connection
        .head()
        .extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
    let answer = connection
        .exchange(&mut RequestBodyWriter::of(framing, body), &settings())
        .await;
    drop(connection);
    (answer.map(|head| head.status), backend.await.unwrap())
}

#[tokio::test]
async fn a_body_goes_out_in_the_framing_that_was_said() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (status, got) = uploaded(Framing::Length(7), Body::full("the end"), answer).await;
    assert_eq!(
        (status.unwrap(), got.as_slice()),
        (StatusCode::OK, &b"POST / HTTP/1.1\r\n\r\nthe end"[..])
    );
    let (status, got) = uploaded(Framing::Chunked, Body::full("the end"), answer).await;
    assert_eq!(status.unwrap(), StatusCode::OK);
    assert_eq!(got, b"POST / HTTP/1.1\r\n\r\n7\r\nthe end\r\n0\r\n\r\n");
    assert!(
        RequestBodyWriter::of(Framing::None, Body::full("x")).is_none()
            && RequestBodyWriter::of(Framing::Zero, Body::empty()).is_none()
    );
}

/// LESSONS, smuggling: what a body owes is filled by the next request on the connection.
#[tokio::test]
async fn a_body_that_is_shorter_or_longer_than_it_said_ends_the_connection() {
    for body in ["four", "seven_b"] {
        let (mut connection, mut theirs) = connection().await;
        theirs
            .write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        connection
            .head()
            .extend_from_slice(b"POST / HTTP/1.1\r\n\r\n");
        let mut request_body = RequestBodyWriter::of(Framing::Length(6), Body::full(body));
        let failure = connection
            .exchange(&mut request_body, &settings())
            .await
            .unwrap_err();
        assert!(
            matches!(failure, Failure::Failed(UpstreamError::RequestBroke)),
            "{failure:?}"
        );
        drop(connection);
        let mut got = String::new();
        // Nobody read what it said, so the end may be a reset.
        let _ = theirs.read_to_string(&mut got).await;
        assert!(got.len() <= "POST / HTTP/1.1\r\n\r\nfour".len(), "{got}");
    }
}

#[tokio::test]
async fn a_connection_on_which_a_head_is_owed_is_not_used_again() {
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
    let (decoder, keeps) = BodyDecoder::of(&mut head, &Method::GET).unwrap();
    let idle_pool = Arc::new(IdlePool::new(1, Duration::from_secs(60)));
    connection.into_body(decoder, Some(&idle_pool), None, Duration::from_secs(5));
    assert!(keeps && idle_pool.idle_connections() == 0);
}

#[tokio::test]
async fn an_upload_goes_on_beside_the_answer_that_came_early() {
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
    let mut request_body = RequestBodyWriter::of(Framing::Length(length as u64), Body::full(long));
    let mut head = connection
        .exchange(&mut request_body, &settings())
        .await
        .unwrap();
    let (decoder, keeps) = BodyDecoder::of(&mut head, &Method::POST).unwrap();
    let idle_pool = Arc::new(IdlePool::new(1, Duration::from_secs(60)));
    assert!(keeps);
    let body = connection.into_body(
        decoder,
        Some(&idle_pool),
        request_body,
        Duration::from_secs(5),
    );
    assert_eq!(body.size_hint().exact(), None);
    assert_eq!(
        collect(head.status, &head.headers, body).await,
        Heard::Whole(StatusCode::OK, vec![], b"earlylate".to_vec())
    );
    assert!(backend.await.unwrap());
    assert_eq!(
        idle_pool.idle_connections(),
        0,
        "a connection in two halves is not used again"
    );
}

#[tokio::test]
async fn a_refusal_is_heard_though_the_backend_stopped_reading() {
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
        RequestBodyWriter::of(Framing::Length(8 << 20), Body::full(vec![0; 8 << 20]));
    let head = connection
        .exchange(&mut request_body, &settings())
        .await
        .unwrap();
    assert_eq!(head.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_connection_that_closed_at_rest_is_told_apart() {
    let (mut connection, theirs) = connection().await;
    assert!(connection.is_quiet());
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
        matches!(failure, Failure::Unsent(UpstreamError::BrokeOff(_))),
        "{failure:?}"
    );
    assert!(!connection.is_quiet());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Chunks of any size, cut anywhere.
    #[test]
    fn chunks_are_put_together_as_hyper_does(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6),
        cuts in prop::collection::vec(1_usize..200, 1..8),
        whole in any::<bool>(),
    ) {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in &parts {
            bytes.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(if whole { b"0\r\n\r\n" } else { b"0\r\n" });
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
        let heard = runtime.block_on(both(&Method::GET, &pieces));
        let expected = parts.concat();
        match heard {
            Heard::Whole(_, _, body) => prop_assert!(whole && body == expected),
            Heard::Broken(_, body) => prop_assert!(!whole && body == expected),
            Heard::Nothing => prop_assert!(false, "no answer"),
        }
    }
}
