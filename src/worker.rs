//! One worker: a thread with a runtime of its own, its own connections to the backends, its own session cache.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::downstream::{self, Drain, Handler, Listener, ListenerSettings};
use crate::proxy::Proxy;
use crate::telemetry::health::Condition;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;
use crate::upstream::Tunnels;

/// What a worker is made of.
pub struct Worker {
    /// Its end of the listening socket.
    pub listener: Listener,
    /// TLS, where we speak it ourselves.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// How connections are treated.
    pub settings: Arc<ListenerSettings>,
    /// What answers.
    pub proxy: Arc<Proxy>,
    /// Upgraded connections, of all workers.
    pub tunnels: Arc<Tunnels>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// When to stop.
    pub drain: Drain,
    /// Not met any more once a worker ended before the drain.
    pub alive: Condition,
}

/// Tells `/livez` and `/readyz` that a worker ended, by a panic or an error, before the drain.
struct EndGuard {
    alive: Condition,
    drain: Drain,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if !self.drain.has_started() {
            self.alive.unmet();
            tracing::error!("worker_ended");
        }
    }
}

/// The proxy, which tells clients when to come back on another connection.
struct ProxyHandler {
    proxy: Arc<Proxy>,
    drain: Drain,
}

impl Handler for ProxyHandler {
    async fn handle(&self, request: Request<Incoming>, arrival: ConnectionInfo) -> Response<Body> {
        let version = request.version();
        let mut answer = self.proxy.handle(request, arrival).await;
        // HTTP/2 has GOAWAY for that, and a switch of protocols has left HTTP.
        let ends_by_field =
            version < Version::HTTP_2 && answer.status() != StatusCode::SWITCHING_PROTOCOLS;
        if ends_by_field && self.drain.was_announced() {
            answer.headers_mut().insert(
                header::CONNECTION,
                const { HeaderValue::from_static("close") },
            );
        }
        answer
    }
}

impl Worker {
    /// Starts the thread. It ends when draining has ended.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self, index: usize) -> io::Result<JoinHandle<io::Result<()>>> {
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let _guard = EndGuard {
                    alive: self.alive.clone(),
                    drain: self.drain.clone(),
                };
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(self.run())
            })
    }

    async fn run(self) -> io::Result<()> {
        let (mut draining, tunnels, deadline) = (
            self.drain.clone(),
            self.tunnels,
            self.settings.drain_timeout,
        );
        let door = Arc::new(ProxyHandler {
            proxy: self.proxy,
            drain: self.drain.clone(),
        });
        let serving = downstream::serve(
            self.listener,
            self.tls,
            self.settings,
            door,
            self.metrics,
            self.drain,
        );
        // Upgraded connections leave the server's own draining, and live on this runtime.
        let tunnelling = async {
            draining.started().await;
            end_tunnels(&tunnels, deadline).await;
        };
        let (served, ()) = tokio::join!(serving, tunnelling);
        served
    }
}

/// A WebSocket has no end of its own to wait for, so its sides are told at once; only a frame that is under way has until
/// the deadline.
async fn end_tunnels(tunnels: &Tunnels, deadline: Duration) {
    tunnels.close_all();
    if timeout(deadline, tunnels.all_ended()).await.is_err() {
        tracing::warn!(left = tunnels.open(), "upgraded_connections_cut");
        tunnels.abort_all();
        // Ended tunnels still have to be polled to let go of their sockets.
        let _ = timeout(Duration::from_secs(1), tunnels.all_ended()).await;
    }
}
