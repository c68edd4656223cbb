//! The limit of connections and streams to an HTTP/2 backend.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::super::client::Upstream;
use super::super::http1::ReusePolicy;
use super::super::http2::OpenStream;
use super::super::{
    HeaderPolicy, Tunnels, UpstreamError, UpstreamPlan, UpstreamProtocol, UpstreamSettings,
};
use super::http2_backend::Backend;
use crate::dns::Resolver;
use crate::limits::{ClientKey, on_behalf_of};
use crate::telemetry::metrics::Metrics;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A client of a backend that accepts connections of either protocol.
async fn upstream(max_connections: usize, max_streams: usize) -> Arc<Upstream> {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let backend = Arc::new(Backend::default());
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&backend).serve(stream));
        }
    });
    let mut settings = UpstreamSettings::at(url.parse().unwrap());
    settings.protocol = UpstreamProtocol::Http2;
    settings.connect_timeout = CONNECT_TIMEOUT;
    settings.max_connections = max_connections;
    settings.max_http2_streams = max_streams;
    let policy = HeaderPolicy::new([], &[]);
    let plan = UpstreamPlan::new("store", settings, policy).unwrap();
    let metrics = Metrics::new().unwrap();
    let tunnels = Tunnels::new(&metrics);
    let upstream = Upstream::new(plan, Resolver::default(), tunnels, &metrics);
    Arc::new(upstream)
}

async fn open(upstream: &Upstream, client: &str) -> Result<OpenStream, UpstreamError> {
    let pool = upstream.h2_pool.as_ref().unwrap();
    let client = Some(ClientKey::of_test(client));
    let stream = on_behalf_of(client, pool.stream(&upstream.plan)).await;
    stream.map(|stream| stream.expect("HTTP/2"))
}

/// Responses without an end keep their streams.
#[tokio::test]
async fn one_client_leaves_streams_to_others() {
    let upstream = upstream(8, 100).await;
    let mut held = Vec::new();
    for _ in 0..401 {
        held.push(open(&upstream, "a").await.unwrap());
    }
    let refused = open(&upstream, "a").await;
    assert!(matches!(refused, Err(UpstreamError::Saturated)));
    for _ in 0..100 {
        held.push(open(&upstream, "b").await.unwrap());
    }
    drop(held);
    assert!(open(&upstream, "a").await.is_ok());
}

#[tokio::test]
async fn freed_stream_is_given_to_a_request_that_waits() {
    let upstream = upstream(1, 2).await;
    let mut held = vec![open(&upstream, "a").await.unwrap()];
    held.push(open(&upstream, "b").await.unwrap());
    let waiting: Vec<_> = ["c", "d"]
        .into_iter()
        .map(|client| {
            let upstream = Arc::clone(&upstream);
            tokio::spawn(async move { open(&upstream, client).await })
        })
        .collect();
    let started = Instant::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(waiting.iter().all(|request| !request.is_finished()));
    drop(held);
    for request in waiting {
        assert!(request.await.unwrap().is_ok());
    }
    assert!(started.elapsed() < CONNECT_TIMEOUT / 2);
}

#[tokio::test]
async fn both_protocols_share_the_limit_and_idle_connections_give_way() {
    let upstream = upstream(1, 2).await;
    let http2 = open(&upstream, "a").await.unwrap();
    let refused = upstream.acquire(ReusePolicy::Fresh).await;
    assert!(matches!(refused, Err(UpstreamError::Saturated)));

    let waiting = {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move { upstream.acquire(ReusePolicy::Fresh).await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(http2);
    let http1 = timeout(CONNECT_TIMEOUT / 2, waiting).await;
    let http1 = http1.expect("in time").unwrap().unwrap();
    let refused = open(&upstream, "a").await;
    assert!(matches!(refused, Err(UpstreamError::Saturated)));

    let waiting = {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move { open(&upstream, "a").await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    upstream.idle_pool.put(http1);
    let http2 = timeout(CONNECT_TIMEOUT / 2, waiting).await;
    assert!(http2.expect("in time").unwrap().is_ok());
}
