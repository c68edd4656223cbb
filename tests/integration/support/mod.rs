//! Test support: a fake provider and backend with configurable faults, a fake browser with a cookie
//! jar, a real provider, and certificates. The fakes use a separate runtime, so that a test that
//! blocks its thread does not stop them.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub mod assertions;
pub mod backend;
pub mod bound_browser;
pub mod browser;
pub mod cookies;
pub mod deployment;
pub mod device;
pub mod doorward;
#[cfg(feature = "demo")]
pub mod emulated;
pub mod exposition;
pub mod faulty_store;
pub mod fetch_metadata;
pub mod folder;
pub mod forward_proxy;
pub mod gate;
pub mod grpc;
pub mod html;
pub mod journey;
pub mod listening;
pub mod log;
pub mod page;
pub mod process;
pub mod provider;
pub mod quirky_backend;
pub mod real_provider;
pub mod real_server;
pub mod redis;
pub mod replicas;
pub mod tls;
pub mod websocket;
pub mod wire;

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("fakes")
        .enable_all()
        .build()
        .expect("a runtime for the fakes")
});

/// The runtime of the fakes.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    &RUNTIME
}

/// Polls until `condition` holds, for at most ten seconds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Polls until the asynchronous `condition` holds, for at most `limit`.
pub async fn eventually_async(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let polling = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(limit, polling).await;
    assert!(in_time.is_ok(), "waited in vain: {what}");
}

/// Random bytes as base64url, for names, codes and tokens.
pub fn random_name(bytes: usize) -> String {
    use base64::Engine as _;
    let mut random = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut random).expect("random bytes");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random)
}
