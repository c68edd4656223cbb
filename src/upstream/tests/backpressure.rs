//! Backpressure: unread bodies are not buffered without limit, in either direction.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::super::UpstreamSettings;
use super::support::{MIB, STREAM_LEN, proxy_to, read_until_idle, start_proxy};

/// In both directions, memory does not grow with the body.
#[tokio::test]
async fn bodies_stream_at_the_readers_pace() {
    let proxy = start_proxy(|_| {}).await;
    let mut reader = proxy.connect().await;
    reader
        .write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(500)).await;
    let read_ahead = proxy.backend.written.load(Ordering::SeqCst);
    assert!(
        read_ahead < STREAM_LEN as u64 / 2,
        "{} MiB were read ahead",
        read_ahead / MIB as u64
    );
    let mut total = 0;
    let mut part = vec![0; MIB];
    while let Ok(length @ 1..) = reader.read(&mut part).await {
        total += length;
    }
    assert!(total > STREAM_LEN, "{total}");

    let mut writer = proxy.connect().await;
    let head = format!(
        "POST /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {STREAM_LEN}\r\n\r\n"
    );
    writer.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..STREAM_LEN / MIB {
        writer.write_all(&part).await.unwrap();
    }
    assert!(read_until_idle(&mut writer).await.contains("200 OK"));
}

#[tokio::test]
async fn unread_upload_is_not_buffered() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let silent_backend = tokio::spawn(async move { socket.accept().await });
    let mut settings = UpstreamSettings::at(url.parse().unwrap());
    settings.response_timeout = Duration::from_millis(500);
    let proxy = proxy_to(Arc::default(), settings).await;
    let mut writer = proxy.connect().await;
    let head = format!("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: {STREAM_LEN}\r\n\r\n");
    writer.write_all(head.as_bytes()).await.unwrap();
    let part = vec![0; 64 * 1024];
    let mut taken = 0;
    while let Ok(Ok(length)) = timeout(Duration::from_millis(300), writer.write(&part)).await {
        taken += length;
    }
    assert!(taken < STREAM_LEN / 2, "{taken} bytes were buffered");
    assert!(
        read_until_idle(&mut writer)
            .await
            .contains("upstream_response_timeout")
    );
    drop(silent_backend);
}
