//! HTTP/2: limits, reset floods, malformed frames, stalled responses and shutdown. Valid requests
//! use the h2 library, misbehaviour is built frame by frame.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::super::ListenerSettings;
use super::support::{TestServer, response_count, start};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:method GET`, `:scheme http`, `:path /`, `:authority a` (RFC 7541 appendix A, without Huffman).
pub(super) const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(super) fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

pub(super) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, GET)
}

/// A literal header field without indexing.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [&[0][..], &text(name), &text(value)].concat()
}

#[derive(Debug)]
pub(super) struct RawFrame {
    pub(super) kind: u8,
    pub(super) stream: u32,
}

/// Reads frames until the connection is closed or silent for 500 ms. Returns them, and whether it
/// was closed.
pub(super) async fn read_frames(stream: &mut TcpStream) -> (Vec<RawFrame>, bool) {
    let mut all = Vec::new();
    let mut part = vec![0; 1 << 16];
    let closed = loop {
        match timeout(Duration::from_millis(500), stream.read(&mut part)).await {
            Err(_) => break false,
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(length)) => all.extend_from_slice(&part[..length]),
        }
    };
    let mut rest = &all[..];
    let mut found = Vec::new();
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        if rest.len() < 9 + length {
            break;
        }
        let stream = u32::from_be_bytes([rest[5], rest[6], rest[7], rest[8]]);
        found.push(RawFrame {
            kind: rest[3],
            stream,
        });
        rest = &rest[9 + length..];
    }
    (found, closed)
}

pub(super) async fn client(server: &TestServer) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

async fn send(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    body: Option<&str>,
) -> Result<(u16, HeaderMap, String), h2::Error> {
    let mut client = client.clone().ready().await?;
    let (response, mut stream) = client.send_request(request, body.is_none())?;
    if let Some(body) = body {
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true)?;
    }
    let (head, mut body) = response.await?.into_parts();
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        all.extend_from_slice(&part);
    }
    Ok((
        head.status.as_u16(),
        head.headers,
        String::from_utf8_lossy(&all).into_owned(),
    ))
}

pub(super) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://a{path}"))
        .body(())
        .unwrap()
}

#[tokio::test]
async fn prior_knowledge_works_beside_http1() {
    let server = start(ListenerSettings::default(), None);
    let client = client(&server).await;
    let (status, _, body) = send(&client, request("POST", "/two"), Some("hello"))
        .await
        .unwrap();
    assert_eq!(
        (status, body.as_str()),
        (200, "[POST http://a/two body=hello]")
    );
    assert!(
        server
            .send("GET /one HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .0
            .contains("[GET /one")
    );
    assert_eq!(server.metrics.http2_streams.get(), 0);
}

#[tokio::test]
async fn preface_may_arrive_byte_by_byte() {
    let server = start(ListenerSettings::default(), None);
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in opening().iter().chain(&get(1)) {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (frames, closed) = read_frames(&mut stream).await;
    assert!(
        !closed
            && frames
                .iter()
                .any(|frame| (frame.kind, frame.stream) == (DATA, 1)),
        "{frames:?}"
    );
}

#[tokio::test]
async fn silence_or_partial_preface_times_out() {
    let settings = ListenerSettings {
        first_byte_timeout: Duration::from_millis(200),
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    for bytes in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
            .await
            .unwrap()
            .unwrap();
        assert!(rest.is_empty());
    }
    assert_eq!(server.error_count("first_byte_timeout"), 2);
    // A preface within a connection or a body does not start HTTP/2.
    let smuggled = format!(
        "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 24\r\n\r\n{}",
        str::from_utf8(PREFACE).unwrap()
    );
    let (received, _) = server
        .send([smuggled.as_bytes(), &opening(), &get(1)].concat())
        .await;
    assert!(
        received.contains("[POST /body") && response_count(&received) <= 2,
        "{received}"
    );
    assert_eq!(server.seen(), ["POST /body"]);
}

#[tokio::test]
async fn connection_without_request_times_out() {
    let limit = Duration::from_millis(300);
    let settings = ListenerSettings {
        header_read_timeout: limit,
        keep_alive_timeout: limit,
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    for bytes in [
        PREFACE.to_vec(),
        opening(),
        [opening(), get(1)].concat(),
        [opening(), frame(HEADERS, 0, 1, GET)].concat(),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(&bytes).await.unwrap();
        let mut rest = Vec::new();
        timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
            .await
            .unwrap()
            .unwrap();
    }
    sleep(Duration::from_millis(50)).await;
    assert_eq!(server.metrics.connections.get(), 0);
}

/// Control frames do not keep a connection open, also not during a drain.
#[tokio::test]
async fn pings_do_not_keep_a_connection_open() {
    let limit = Duration::from_millis(300);
    let settings = ListenerSettings {
        header_read_timeout: limit,
        keep_alive_timeout: limit,
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    for bytes in [opening(), [opening(), get(1)].concat()] {
        let (mut reading, mut writing) = server.connect().await.into_split();
        writing.write_all(&bytes).await.unwrap();
        let pinging = tokio::spawn(async move {
            while writing.write_all(&frame(PING, 0, 0, &[0; 8])).await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        let mut rest = Vec::new();
        // The connection may be reset, because the client keeps writing.
        let _ = timeout(Duration::from_secs(5), reading.read_to_end(&mut rest))
            .await
            .unwrap();
        pinging.abort();
    }
    let server = start(ListenerSettings::default(), None);
    let mut silent = server.connect().await;
    silent
        .write_all(&[opening(), get(1)].concat())
        .await
        .unwrap();
    read_frames(&mut silent).await;
    server.trigger.start();
    // The GOAWAY comes with a PING that the client never acknowledges.
    timeout(Duration::from_secs(10), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn head_response_has_length_and_no_body() {
    let server = start(ListenerSettings::default(), None);
    let (status, headers, body) = send(&client(&server).await, request("HEAD", "/early"), None)
        .await
        .unwrap();
    assert_eq!(
        (status, headers["content-length"].as_bytes(), body.as_str()),
        (200, &b"5"[..], "")
    );
}

#[tokio::test]
async fn request_head_limits_match_http1() {
    let settings = ListenerSettings {
        max_header_bytes: 16 * 1024,
        max_header_count: 40,
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    let client = client(&server).await;
    let with = |fields: usize, name: &'static str, length: usize| {
        let mut request = request("GET", "/");
        for _ in 0..fields {
            request
                .headers_mut()
                .append(name, "x".repeat(length).parse().unwrap());
        }
        request
    };
    for (fields, name, length, status) in [
        (39, "x-a", 1, 200),
        (60, "x-a", 1, 431),
        (1, "x-a", 20_000, 431),
        // `cookie` fields have their own limit, and each counts with its overhead (RFC 9113 section
        // 6.5.2).
        (200, "cookie", 3, 200),
        (257, "cookie", 3, 431),
    ] {
        let response = send(&client, with(fields, name, length), None).await;
        assert_eq!(
            response
                .map(|response| response.0)
                .map_err(|error| error.to_string()),
            Ok(status),
            "{fields} × {name}"
        );
    }
    assert_eq!(server.seen().len(), 2);
    send(&client, with(5_000, "cookie", 1), None)
        .await
        .expect_err("far too many fields close the connection");
}

#[tokio::test]
async fn continuation_flood_closes_the_connection() {
    let server = start(
        ListenerSettings {
            max_header_bytes: 16 * 1024,
            ..ListenerSettings::default()
        },
        None,
    );
    let filler: Vec<u8> = (0..40)
        .flat_map(|_| field("x-filler", &"x".repeat(100)))
        .collect();
    for piece in [filler, Vec::new()] {
        let mut stream = server.connect().await;
        let _ = stream
            .write_all(&[opening(), frame(HEADERS, END_STREAM, 1, GET)].concat())
            .await;
        let endless = frame(CONTINUATION, 0, 1, &piece).repeat(20);
        let mut sent = 0;
        while sent < 5000 && stream.write_all(&endless).await.is_ok() {
            sent += 20;
            tokio::task::yield_now().await;
        }
        assert!(
            sent < 5000,
            "a head of {} bytes was accepted",
            sent * piece.len()
        );
    }
    assert_eq!(server.seen(), Vec::<String>::new());
}

/// Unknown frame types are ignored. Invalid settings, pseudo-headers and CONNECT are rejected.
#[tokio::test]
async fn invalid_frames_are_rejected() {
    let server = start(ListenerSettings::default(), None);
    let unknown: Vec<u8> = (0x0a..=0x0f)
        .flat_map(|kind| frame(kind, 0xff, 0, b"odd"))
        .collect();
    let mut stream = server.connect().await;
    stream
        .write_all(&[opening(), unknown, get(1)].concat())
        .await
        .unwrap();
    assert!(
        read_frames(&mut stream)
            .await
            .0
            .iter()
            .any(|frame| (frame.kind, frame.stream) == (DATA, 1))
    );

    let head = |fields: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, 1, fields);
    let extra = |more: &[u8]| head(&[GET, more].concat());
    let connect = [&[0x42, 7][..], b"CONNECT", &[0x41, 1, b'a']].concat();
    for (name, bytes) in [
        (
            "frame size 0",
            [frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 0]), get(1)].concat(),
        ),
        ("two methods", extra(&[0x83])),
        (
            "pseudo-header after a field",
            head(&[&field("x-a", "b"), GET].concat()),
        ),
        (
            "plain CONNECT with a path",
            head(&[&connect[..], &[0x84]].concat()),
        ),
        (
            "extended CONNECT without a scheme",
            head(&[&connect[..], &[0x84], &field(":protocol", "websocket")].concat()),
        ),
        (
            "extended CONNECT without a path",
            head(&[&connect[..], &[0x86], &field(":protocol", "websocket")].concat()),
        ),
        (
            ":protocol of GET",
            head(&[GET, &field(":protocol", "websocket")].concat()),
        ),
        ("unknown pseudo-header", extra(&field(":user", "admin"))),
        ("no path", head(&[0x82, 0x86, 0x41, 1, b'a'])),
        (
            "connection",
            extra(&field("connection", "x-forwarded-user")),
        ),
        (
            "transfer-encoding",
            extra(&field("transfer-encoding", "chunked")),
        ),
        ("upper case", extra(&field("X-A", "b"))),
        (
            "line break in a value",
            extra(&field("x-a", "b\r\nx-forwarded-user: admin")),
        ),
    ] {
        let mut stream = server.connect().await;
        let before = server.seen().len();
        let _ = stream.write_all(&[opening(), bytes].concat()).await;
        let (frames, closed) = read_frames(&mut stream).await;
        let rejected = closed
            || frames
                .iter()
                .any(|frame| [RST_STREAM, GOAWAY].contains(&frame.kind));
        assert!(
            rejected && server.seen().len() == before,
            "{name}: {frames:?}"
        );
    }
}

#[tokio::test]
async fn ping_and_settings_floods_are_not_buffered() {
    let server = start(ListenerSettings::default(), None);
    let mut stream = server.connect().await;
    let flood = [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])]
        .concat()
        .repeat(500);
    stream.write_all(&opening()).await.unwrap();
    let mut rounds = 0;
    // The client reads no acknowledgements, so the server must stop reading at some point.
    while rounds < 2000
        && matches!(
            timeout(Duration::from_millis(500), stream.write_all(&flood)).await,
            Ok(Ok(()))
        )
    {
        rounds += 1;
    }
    assert!(
        rounds < 2000,
        "the server read {} MB",
        rounds * flood.len() / 1_000_000
    );
}

#[tokio::test]
async fn stalled_response_is_dropped_and_others_continue() {
    let settings = ListenerSettings {
        write_stall_timeout: Duration::from_millis(300),
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    let client = client(&server).await;
    let mut ready = client.clone().ready().await.unwrap();
    // The client's window is 64 KiB and never updated.
    let (response, mut stream) = ready
        .send_request(request("POST", "/mirror"), false)
        .unwrap();
    stream
        .send_data(vec![b'x'; 256 * 1024].into(), false)
        .unwrap();
    let mut body = response.await.unwrap().into_body();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(server.metrics.http2_streams.get(), 1);
    timeout(Duration::from_secs(5), async {
        while server.error_count("http2_stalled") == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    while let Some(Ok(part)) = body.data().await {
        body.flow_control().release_capacity(part.len()).unwrap();
    }
    assert_eq!(server.metrics.http2_streams.get(), 0);
    assert_eq!(
        send(&client, request("GET", "/early"), None)
            .await
            .unwrap()
            .0,
        200
    );
}

#[tokio::test]
async fn drain_sends_goaway_and_finishes_requests() {
    let server = start(ListenerSettings::default(), None);
    let client = client(&server).await;
    let sending = tokio::spawn(async move { send(&client, request("GET", "/slow"), None).await });
    sleep(Duration::from_millis(50)).await;
    server.trigger.start();
    assert_eq!(sending.await.unwrap().unwrap().0, 200);
    timeout(Duration::from_secs(1), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
