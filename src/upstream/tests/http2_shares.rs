//! Shares of the streams to an HTTP/2 backend.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::super::dial::Dialer;
use super::super::http2::H2Pool;
use super::super::{HeaderPolicy, UpstreamError, UpstreamPlan, UpstreamProtocol, UpstreamSettings};
use super::http2_backend::Backend;
use crate::dns::Resolver;
use crate::limits::{ClientKey, on_behalf_of};
use crate::telemetry::metrics::Metrics;

/// Responses without an end keep their streams.
#[tokio::test]
async fn one_client_leaves_streams_to_others() {
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
    settings.connect_timeout = Duration::from_secs(1);
    settings.max_connections = 8;
    settings.max_http2_streams = 100;
    let policy = HeaderPolicy::new([], &[]);
    let plan = UpstreamPlan::new("store", settings, policy).unwrap();
    let metrics = Metrics::new().unwrap();
    let dialer = Dialer::new(Arc::clone(&plan), Resolver::default(), &metrics);
    let pool = H2Pool::new(&plan, Arc::new(dialer), &metrics);
    let open = async |client| {
        let client = Some(ClientKey::of_test(client));
        on_behalf_of(client, pool.stream(&plan)).await
    };
    let mut held = Vec::new();
    for _ in 0..401 {
        held.push(open("a").await.unwrap().unwrap());
    }
    assert!(matches!(open("a").await, Err(UpstreamError::Saturated)));
    for _ in 0..100 {
        held.push(open("b").await.unwrap().unwrap());
    }
    drop(held);
    assert!(open("a").await.unwrap().is_some());
}
