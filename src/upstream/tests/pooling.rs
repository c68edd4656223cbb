//! HTTP/1.1 connection pool: reuse, retries and the connection limit.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::super::IdleReuse;
use super::support::{TestProxy, eventually, read_until_idle, start_proxy};

#[tokio::test]
async fn connections_are_reused() {
    let proxy = start_proxy(|_| {}).await;
    for path in ["/a", "/chunked", "/b", "/304"] {
        proxy.get(path).await;
    }
    // Recently used, so unrepeatable requests may use it.
    let bytes = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi".repeat(5);
    proxy.send(&bytes).await;
    let request = proxy.backend.received();
    assert!(
        request[..4].iter().all(|request| request.connection == 0),
        "{request:?}"
    );
    assert!(
        request[4..]
            .iter()
            .all(|later| later.connection == request[4].connection),
        "{request:?}"
    );
    assert_eq!(request.len(), 9);
}

#[tokio::test]
async fn connection_idle_for_too_long_is_closed() {
    let proxy = start_proxy(|settings| {
        settings.reuse = IdleReuse::up_to(Duration::from_millis(100));
    })
    .await;
    proxy.get("/a").await;
    sleep(Duration::from_millis(300)).await;
    proxy.get("/b").await;
    assert_eq!(proxy.backend.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn connection_idle_for_too_long_leaves_its_slot() {
    let proxy = start_proxy(|settings| {
        settings.reuse = IdleReuse::up_to(Duration::from_millis(300));
        settings.max_connections = 1;
    })
    .await;
    proxy.get("/a").await;
    // Used between two sweeps of the pool, the connection is too old before the second one.
    sleep(Duration::from_millis(200)).await;
    proxy.get("/b").await;
    sleep(Duration::from_millis(350)).await;
    let response = proxy.get("/c").await;
    assert!(response.contains("200 OK"), "{response}");
}

#[tokio::test]
async fn unrepeatable_request_needs_new_or_recent_connection() {
    let proxy = start_proxy(|_| {}).await;
    proxy.get("/a").await;
    sleep(Duration::from_millis(400)).await;
    proxy.post("/b").await;
    let request = proxy.backend.received();
    assert_eq!((request[0].connection, request[1].connection), (0, 1));
}

#[tokio::test]
async fn closed_idle_connection_is_retried_if_safe() {
    let proxy = start_proxy(|_| {}).await;
    proxy.get("/close-idle").await;
    assert!(proxy.get("/a").await.contains("200 OK"));
    assert!(proxy.post("/a").await.contains("200 OK"));
    // The connection closes just as the second request is written: only safe requests without a
    // body are retried.
    proxy.get("/once").await;
    assert!(proxy.get("/once").await.contains("200 OK"));
    let before = proxy.backend.received().len();
    let bytes = "GET /once HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /once HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    let response = proxy.send(&format!("{bytes}{post}")).await;
    assert!(
        response.contains("upstream_connection_closed sent=true"),
        "{response}"
    );
    let posts = proxy.backend.received()[before..]
        .iter()
        .filter(|request| request.head.starts_with("POST"))
        .count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn client_disconnect_closes_the_upstream_connection() {
    let proxy = start_proxy(|_| {}).await;
    let mut stream = proxy.connect().await;
    stream
        .write_all(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        .await
        .unwrap();
    eventually(|| proxy.backend.connections.load(Ordering::SeqCst) == 1).await;
    drop(stream);
    sleep(Duration::from_millis(100)).await;
    assert!(proxy.backend.received().is_empty());
    proxy.get("/b").await;
    assert_eq!(proxy.backend.received()[0].connection, 1);
}

#[tokio::test]
async fn client_disconnect_releases_the_connection_slot() {
    let proxy = start_proxy(|settings| settings.max_connections = 1).await;
    let mut stream = proxy.connect().await;
    stream
        .write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    eventually(|| proxy.backend.received().len() == 1).await;
    drop(stream);
    assert!(proxy.get("/a").await.contains("200 OK"));
}

#[tokio::test]
async fn requests_wait_at_the_connection_limit() {
    let proxy = start_proxy(|settings| settings.max_connections = 1).await;
    let many = send_concurrently(&proxy, "/a", 20).await;
    assert!(
        many.iter().all(|response| response.contains("200 OK")),
        "{many:?}"
    );
    assert_eq!(proxy.backend.connections.load(Ordering::SeqCst), 1);
    // A request that needs a new connection replaces the idle one.
    sleep(Duration::from_millis(300)).await;
    assert!(proxy.post("/a").await.contains("200 OK"));
}

#[tokio::test]
async fn wait_for_a_connection_times_out() {
    let proxy = start_proxy(|settings| {
        settings.max_connections = 1;
        settings.connect_timeout = Duration::from_millis(300);
        settings.response_timeout = Duration::from_millis(900);
    })
    .await;
    let (hanging, waiting) = tokio::join!(proxy.get("/hang"), async {
        while proxy.backend.connections.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        proxy.get("/a").await
    });
    assert!(
        waiting.contains("upstream_saturated sent=false"),
        "{waiting}"
    );
    assert!(hanging.contains("upstream_response_timeout"), "{hanging}");
}

#[tokio::test]
async fn waiting_requests_get_released_slots() {
    let proxy = start_proxy(|settings| settings.max_connections = 1).await;
    let many = send_concurrently(&proxy, "/old", 20).await;
    assert!(
        many.iter().all(|response| response.contains("200 OK")),
        "{many:?}"
    );
}

async fn send_concurrently(proxy: &TestProxy, path: &'static str, count: usize) -> Vec<String> {
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..count {
        let address = proxy.address;
        set.spawn(async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            read_until_idle(&mut stream).await
        });
    }
    set.join_all().await
}
