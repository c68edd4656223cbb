//! Responses that a client does not read take a bounded part of the memory, and others are served.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::ListenerSettings;
use super::support::{TestServer, eventually, start};

const BUDGET: usize = 1 << 20;
const CHUNK: usize = 16 << 10;

fn server() -> TestServer {
    let settings = ListenerSettings {
        max_bytes_in_flight: BUDGET,
        ..ListenerSettings::default()
    };
    start(settings, None)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An HTTP/2 client with the largest windows, which asks for `/endless` on so many streams.
async fn unread_streams(server: &TestServer, streams: u32) -> TcpStream {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const WINDOW_UPDATE: u8 = 8;
    let largest = 0x7fff_ffff_u32;
    let window = [&[0, 4][..], &largest.to_be_bytes()].concat();
    // `:method GET`, `:scheme http`, `:path /endless`, `:authority a` (RFC 7541 appendix A).
    let head = [&[0x82, 0x86, 0x04, 8][..], b"/endless", &[0x41, 1, b'a']].concat();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &window));
    bytes.extend(frame(
        WINDOW_UPDATE,
        0,
        0,
        &(largest - 65_535).to_be_bytes(),
    ));
    for stream in 0..streams {
        bytes.extend(frame(HEADERS, 5, 2 * stream + 1, &head));
    }
    let mut stream = server.connect().await;
    stream.write_all(&bytes).await.unwrap();
    stream
}

/// Waits until the bytes in flight no longer change, and returns them.
async fn settled(server: &TestServer) -> usize {
    let mut before = usize::MAX;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = server.bytes.used();
        if now == before && now > 0 {
            return now;
        }
        before = now;
    }
}

#[tokio::test]
async fn unread_http2_responses_stay_within_the_share_of_their_client() {
    const STREAMS: u32 = 90;
    let server = server();
    let mut unread = unread_streams(&server, STREAMS).await;
    let used = settled(&server).await;
    assert!(
        used > BUDGET / 4 && used < BUDGET / 2 + 4 * CHUNK,
        "{used} bytes of {STREAMS} streams"
    );
    let (response, _) = server.send("GET /one HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(response.contains("[GET /one"), "{response}");
    // Once the client reads, all streams go on.
    let mut read = vec![0; 1 << 20];
    let mut total = 0;
    while total < 32 << 20 {
        let some = timeout(Duration::from_secs(10), unread.read(&mut read)).await;
        total += some.unwrap().unwrap();
    }
    drop(unread);
    eventually(|| server.bytes.used() == 0).await;
}

#[tokio::test]
async fn unread_http1_responses_stay_within_the_share_of_their_client() {
    const CONNECTIONS: usize = 60;
    let server = server();
    let mut unread = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = server.connect().await;
        let request = b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(request).await.unwrap();
        unread.push(stream);
    }
    let used = settled(&server).await;
    let one_chunk_each = CONNECTIONS * (CHUNK + 1024);
    assert!(used < BUDGET / 2 + one_chunk_each, "{used} bytes");
    drop(unread);
    eventually(|| server.bytes.used() == 0).await;
}
