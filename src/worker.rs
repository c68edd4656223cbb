//! A worker: a thread with a current-thread runtime, its own upstream connections and session cache.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::downstream::{self, ConnectionIds, Drain, Handler, Listener, ListenerSettings};
use crate::proxy::Proxy;
use crate::telemetry::health::Condition;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;
use crate::upstream::Tunnels;

/// A listener as a worker serves it.
pub struct WorkerListener {
    /// A clone of the listening socket.
    pub listener: Listener,
    /// TLS settings, if the listener terminates TLS.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Connection limits and timeouts.
    pub settings: Arc<ListenerSettings>,
}

impl WorkerListener {
    /// Duplicates the socket for another worker.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            tls: self.tls.clone(),
            settings: Arc::clone(&self.settings),
        })
    }
}

/// The components of a worker.
pub struct Worker {
    /// The listeners.
    pub listeners: Vec<WorkerListener>,
    /// The listener of other proxies that ask for decisions.
    pub decision: Option<WorkerListener>,
    /// How long requests may take once draining has started.
    pub drain_timeout: Duration,
    /// The request handler.
    pub proxy: Arc<Proxy>,
    /// The upgraded connections of all workers.
    pub tunnels: Arc<Tunnels>,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// The drain signal.
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

/// The proxy as a connection handler. Adds `Connection: close` once shutdown has begun.
struct ProxyHandler {
    proxy: Arc<Proxy>,
    drain: Drain,
}

/// The decisions of the proxy as a connection handler.
struct DecisionHandler(ProxyHandler);

impl Handler for DecisionHandler {
    async fn handle(&self, request: Request<Body>, arrival: ConnectionInfo) -> Response<Body> {
        let version = request.version();
        let response = self.0.proxy.check(request, arrival).await;
        self.0.announce_shutdown(version, response)
    }

    fn rejected(&self, connection: ConnectionInfo, reason: &'static str, status: StatusCode) {
        self.0.rejected(connection, reason, status);
    }

    fn cut_off(&self) {
        self.0.cut_off();
    }
}

impl ProxyHandler {
    fn announce_shutdown(&self, version: Version, mut response: Response<Body>) -> Response<Body> {
        // HTTP/2 uses GOAWAY instead. After an upgrade, the field has another meaning.
        let has_connection_field =
            version < Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS;
        if has_connection_field && self.drain.was_announced() {
            response.headers_mut().insert(
                header::CONNECTION,
                const { HeaderValue::from_static("close") },
            );
        }
        response
    }
}

impl Handler for ProxyHandler {
    async fn handle(&self, request: Request<Body>, arrival: ConnectionInfo) -> Response<Body> {
        let version = request.version();
        let response = self.proxy.handle(request, arrival).await;
        self.announce_shutdown(version, response)
    }

    fn https_origin(&self, host: &str) -> Option<String> {
        self.proxy.router.https_origin(host)
    }

    fn rejected(&self, connection: ConnectionInfo, reason: &'static str, status: StatusCode) {
        self.proxy
            .telemetry
            .record_rejected(connection, reason, status);
    }

    fn drain_started(&self) {
        self.proxy.telemetry.drain_started();
    }

    fn cut_off(&self) {
        self.proxy.telemetry.cut_off();
    }
}

impl Worker {
    /// Starts the thread. It ends after the drain.
    ///
    /// # Errors
    /// The thread cannot be created.
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
        let mut drain = self.drain.clone();
        let tunnels = self.tunnels;
        let drain_timeout = self.drain_timeout;
        let handler = Arc::new(ProxyHandler {
            proxy: self.proxy,
            drain: self.drain.clone(),
        });
        let ids = ConnectionIds::default();
        let mut listeners = JoinSet::new();
        for served in self.listeners {
            listeners.spawn(downstream::serve(
                served.listener.numbering_by(ids.clone()),
                served.tls,
                served.settings,
                Arc::clone(&handler),
                Arc::clone(&self.metrics),
                self.drain.clone(),
            ));
        }
        if let Some(decision) = self.decision {
            listeners.spawn(downstream::serve(
                decision.listener.numbering_by(ids),
                decision.tls,
                decision.settings,
                Arc::new(DecisionHandler(ProxyHandler {
                    proxy: Arc::clone(&handler.proxy),
                    drain: self.drain.clone(),
                })),
                self.metrics,
                self.drain,
            ));
        }
        // The first error ends the worker, and with it the other listeners.
        let serving = async {
            while let Some(ended) = listeners.join_next().await {
                ended.map_err(io::Error::other)??;
            }
            Ok(())
        };
        // Upgraded connections are not part of the listener's drain, but run on this runtime.
        let closing_tunnels = async {
            drain.started().await;
            close_tunnels(&tunnels, drain_timeout).await;
        };
        let (served, ()) = tokio::join!(serving, closing_tunnels);
        served
    }
}

/// Closes all upgraded connections at once, because a WebSocket has no natural end. Frames in flight
/// have until the deadline.
async fn close_tunnels(tunnels: &Tunnels, drain_timeout: Duration) {
    tunnels.close_all();
    if timeout(drain_timeout, tunnels.all_ended()).await.is_err() {
        tracing::warn!(left = tunnels.open(), "upgraded_connections_cut");
        tunnels.abort_all();
        // Aborted tunnels must be polled once more to release their sockets.
        let _ = timeout(Duration::from_secs(1), tunnels.all_ended()).await;
    }
}
