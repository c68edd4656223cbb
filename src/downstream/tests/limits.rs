//! Connection limits: header size, header count, timeouts and the number of connections.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::super::ListenerSettings;
use super::support::{TestServer, eventually, read_until_idle, start};

#[tokio::test]
async fn request_head_limits_bytes_fields_and_time() {
    let settings = ListenerSettings {
        header_read_timeout: Duration::from_millis(300),
        max_header_bytes: 16 * 1024,
        max_header_count: 40,
        ..ListenerSettings::default()
    };
    let server = start(settings, None);
    let with = |fields: String| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let (received, _) = server
        .send(with(format!("Cookie: a={}\r\n", "x".repeat(8000))))
        .await;
    assert!(received.starts_with("HTTP/1.1 200"), "{received}");
    for fields in [
        format!("Cookie: a={}\r\n", "x".repeat(20_000)),
        "X-A: b\r\n".repeat(50),
    ] {
        let (received, closed) = server.send(with(fields)).await;
        assert!(closed && received.starts_with("HTTP/1.1 431"), "{received}");
    }
    assert_eq!(server.error_count("header_too_large"), 2);

    let mut slow = server.connect().await;
    let start_time = Instant::now();
    for byte in "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaa".bytes() {
        if slow.write_all(&[byte]).await.is_err() || start_time.elapsed() > Duration::from_secs(3) {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(start_time.elapsed() < Duration::from_secs(3));
    assert_eq!(server.error_count("header_timeout"), 1);
    assert_eq!(server.metrics.connections.get(), 0);
}

#[tokio::test]
async fn client_that_reads_nothing_is_disconnected() {
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

/// A connection with a request in flight.
async fn busy(server: &TestServer) -> TcpStream {
    let mut stream = server.connect().await;
    let seen = server.seen().len();
    stream
        .write_all(b"POST /busy HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        .await
        .unwrap();
    eventually(|| server.seen().len() > seen).await;
    stream
}

#[tokio::test]
async fn max_connections_in_use_pause_accepting() {
    let server = start(
        ListenerSettings {
            max_connections: 2,
            ..ListenerSettings::default()
        },
        None,
    );
    let mut first = busy(&server).await;
    let _second = busy(&server).await;
    let mut third = server.connect().await;
    third.write_all(GET).await.unwrap();
    assert_eq!(read_until_idle(&mut third).await, (String::new(), false));
    let metrics = &server.metrics;
    assert_eq!(metrics.connections.get(), 2);
    assert_eq!(metrics.accept_pauses.get(), 1);
    assert_eq!(metrics.connections_evicted.get(), 0);
    // Once its response is sent, the first is idle.
    first.write_all(b"done").await.unwrap();
    assert!(read_until_idle(&mut first).await.0.contains("body=done"));
    assert!(read_until_idle(&mut third).await.0.contains("GET /next"));
    assert_eq!(metrics.connections_evicted.get(), 1);
}

const GET: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

/// A client keeps others out by no connection without a request: silent, with half a head, after a
/// response, hibernating, or over HTTP/2.
#[tokio::test]
async fn idle_connection_makes_space_for_a_new_one() {
    let idle: [(&str, &[u8]); 4] = [
        ("silent", b""),
        ("half a head", b"GET / HTTP/1.1\r\nHost: a\r\nX-Half: "),
        ("after a response", GET),
        (
            "HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        ),
    ];
    for (name, bytes) in idle {
        for hibernate_after in [Duration::ZERO, Duration::from_secs(60)] {
            let settings = ListenerSettings {
                max_connections: 1,
                hibernate_after,
                ..ListenerSettings::default()
            };
            let server = start(settings, None);
            let mut idle = server.connect().await;
            idle.write_all(bytes).await.unwrap();
            let (response, _) = read_until_idle(&mut idle).await;
            assert_eq!(response.contains("GET /next"), bytes == GET, "{name}");
            let mut next = server.connect().await;
            next.write_all(GET).await.unwrap();
            timeout(Duration::from_secs(10), next.readable())
                .await
                .unwrap()
                .unwrap();
            let (response, _) = read_until_idle(&mut next).await;
            assert!(response.contains("GET /next"), "{name}: {response}");
            assert!(read_until_idle(&mut idle).await.1, "{name}: it is closed");
            eventually(|| server.metrics.connections.get() == 1).await;
            assert_eq!(server.metrics.accept_pauses.get(), 0, "{name}");
        }
    }
}
