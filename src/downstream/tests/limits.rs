//! Connection limits: header size, header count, timeouts and the number of connections.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use super::super::ListenerSettings;
use super::support::{read_until_idle, start};

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

#[tokio::test]
async fn max_connections_pauses_accepting() {
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
    assert_eq!(read_until_idle(&mut third).await, (String::new(), false));
    assert_eq!(
        (
            server.metrics.connections.get(),
            server.metrics.accept_pauses.get()
        ),
        (2, 1)
    );
    drop(first);
    assert!(read_until_idle(&mut third).await.0.contains("GET /third"));
}
