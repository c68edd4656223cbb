//! Responses over HTTP/1.1: framing, invalid responses, timeouts and error codes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use super::super::UpstreamSettings;
use super::support::{proxy_to, read_until_idle, start_proxy};

#[tokio::test]
async fn response_has_one_framing() {
    let proxy = start_proxy(|_| {}).await;
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
        let response = proxy.get(path).await;
        let (head, rest) = response.split_once("\r\n\r\n").unwrap();
        let framing: Vec<_> = head
            .lines()
            .filter(|line| {
                line.starts_with("content-length") || line.starts_with("transfer-encoding")
            })
            .collect();
        assert_eq!((framing, rest), (vec![field], body), "{path}: {response}");
        assert!(head.contains("cache-control: private"), "{response}");
    }
    // hyper sends no length with either status; with 304 it is optional (RFC 9110 section 8.6).
    for path in ["/204", "/304"] {
        let response = proxy.get(path).await;
        assert!(
            response.ends_with("\r\n\r\n") && !response.contains("content-length"),
            "{response}"
        );
    }
    let head = proxy
        .send("HEAD /head HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        head.contains("content-length: 77") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn invalid_response_gets_502() {
    let proxy = start_proxy(|_| {}).await;
    for (path, code) in [
        ("/differ", "upstream_bad_response"),
        ("/gzip", "upstream_bad_response"),
        ("/no-http", "upstream_bad_response"),
        ("/huge-head", "upstream_bad_response"),
        ("/switch", "upstream_bad_response"),
        ("/cut-head", "upstream_connection_closed"),
    ] {
        let response = proxy.get(path).await;
        assert!(
            response.starts_with("HTTP/1.1 502") && response.contains(code),
            "{path}: {response}"
        );
    }
    let text = proxy.metrics.text().unwrap();
    let series = r#"doorward_upstream_errors_total{app="store",code="upstream_bad_response","#;
    let mut counted = text.lines().filter(|line| line.starts_with(series));
    assert!(counted.any(|line| line.ends_with("} 5")), "{text}");
}

#[tokio::test]
async fn truncated_response_truncates_the_clients_response() {
    let proxy = start_proxy(|_| {}).await;
    let response = proxy.get("/cut").await;
    assert!(
        response.contains("content-length: 10") && response.ends_with("\r\n\r\nabc"),
        "{response}"
    );
    assert!(proxy.get("/a").await.contains("200 OK"));
}

#[tokio::test]
async fn slow_backend_times_out() {
    let proxy = start_proxy(|settings| {
        settings.response_timeout = Duration::from_millis(200);
        settings.body_idle_timeout = Duration::from_millis(300);
    })
    .await;
    assert!(
        proxy
            .get("/hang")
            .await
            .contains("upstream_response_timeout sent=true")
    );
    assert!(
        proxy
            .post("/hang")
            .await
            .contains("upstream_response_timeout")
    );
    let start_time = Instant::now();
    let mut all = Vec::new();
    let mut stream = proxy.connect().await;
    stream
        .write_all(b"GET /silent-body HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let _ = stream.read_to_end(&mut all).await;
    assert!(all.ends_with(b"abc") && start_time.elapsed() < Duration::from_secs(2));
}

/// A client that stops within its body must not hold a connection forever, and the error names the
/// client.
#[tokio::test]
async fn stalled_upload_times_out_and_slow_upload_does_not() {
    let proxy = start_proxy(|settings| {
        settings.response_timeout = Duration::from_millis(150);
        settings.body_idle_timeout = Duration::from_millis(400);
    })
    .await;
    let head = "POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 6\r\n\r\n";
    assert!(
        proxy
            .send(&format!("{head}abc"))
            .await
            .contains("request_stalled")
    );
    let mut slow = proxy.connect().await;
    slow.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..6 {
        sleep(Duration::from_millis(200)).await;
        slow.write_all(b"a").await.unwrap();
    }
    assert!(read_until_idle(&mut slow).await.contains("200 OK"));
}

#[tokio::test]
async fn invalid_client_framing_is_a_client_error() {
    let proxy = start_proxy(|_| {}).await;
    proxy
        .send(
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        )
        .await;
    let text = proxy.metrics.text().unwrap();
    let series = r#"doorward_upstream_errors_total{app="store",code="request_body_aborted","#;
    let mut counted = text.lines().filter(|line| line.starts_with(series));
    assert!(counted.any(|line| line.ends_with("} 1")), "{text}");
    assert!(proxy.backend.received().is_empty());
}

#[tokio::test]
async fn refused_connection_and_unknown_host_have_own_codes() {
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
        let proxy = proxy_to(Arc::default(), UpstreamSettings::at(url.parse().unwrap())).await;
        let response = proxy.get("/").await;
        assert!(response.contains(code), "{url}: {response}");
    }
}
