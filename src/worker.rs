//! A worker: a thread with a current-thread runtime, its own upstream connections and session cache.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::downstream::{
    self, ConnectionIds, ConnectionSettings, Drain, Handler, Listener, WorkerLoads,
};
use crate::proxy::Proxy;
use crate::telemetry::health::Condition;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;
use crate::upstream::Tunnels;

/// The most threads of a worker that read files.
const FILE_THREADS: usize = 16;

/// A listener as a worker serves it.
pub struct WorkerListener {
    /// A clone of the listening socket.
    pub listener: Listener,
    /// TLS, connection limits and timeouts.
    pub settings: watch::Receiver<ConnectionSettings>,
}

impl WorkerListener {
    /// Duplicates the socket for a task that serves all of its connections.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            settings: self.settings.clone(),
        })
    }

    /// Duplicates the socket for each worker.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn for_workers(&self, loads: &WorkerLoads) -> io::Result<Vec<Self>> {
        let listeners = self.listener.for_workers(loads)?.into_iter();
        let served = listeners.map(|listener| Self {
            listener,
            settings: self.settings.clone(),
        });
        Ok(served.collect())
    }
}

/// The components of a worker.
pub struct Worker {
    /// The listeners.
    pub listeners: Vec<WorkerListener>,
    /// The listener of other proxies that ask for decisions.
    pub decision: Option<WorkerListener>,
    /// The request handler of the current configuration.
    pub proxy: Arc<ArcSwap<Proxy>>,
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
    proxy: Arc<ArcSwap<Proxy>>,
    drain: Drain,
}

/// The decisions of the proxy as a connection handler.
struct DecisionHandler(ProxyHandler);

impl Handler for DecisionHandler {
    async fn handle(&self, request: Request<Body>, arrival: ConnectionInfo) -> Response<Body> {
        let version = request.version();
        let proxy = self.0.proxy.load_full();
        let response = proxy.check(request, arrival).await;
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
        // A request is handled in one configuration until its end.
        let proxy = self.proxy.load_full();
        let response = proxy.handle(request, arrival).await;
        self.announce_shutdown(version, response)
    }

    fn https_origin(&self, host: &str) -> Option<String> {
        self.proxy.load().router.https_origin(host)
    }

    fn rejected(&self, connection: ConnectionInfo, reason: &'static str, status: StatusCode) {
        self.proxy
            .load()
            .telemetry
            .record_rejected(connection, reason, status);
    }

    fn drain_started(&self) {
        self.proxy.load().telemetry.drain_started();
    }

    fn cut_off(&self) {
        self.proxy.load().telemetry.cut_off();
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
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(FILE_THREADS)
                    .build()?;
                runtime.block_on(self.run())
            })
    }

    async fn run(self) -> io::Result<()> {
        let mut drain = self.drain.clone();
        let tunnels = self.tunnels;
        let settings = self.listeners.first().map(|first| first.settings.clone());
        let handler = Arc::new(ProxyHandler {
            proxy: self.proxy,
            drain: self.drain.clone(),
        });
        let ids = ConnectionIds::default();
        let mut listeners = JoinSet::new();
        for served in self.listeners {
            listeners.spawn(downstream::serve(
                served.listener.numbering_by(ids.clone()),
                served.settings,
                Arc::clone(&handler),
                Arc::clone(&self.metrics),
                self.drain.clone(),
            ));
        }
        if let Some(decision) = self.decision {
            listeners.spawn(downstream::serve(
                decision.listener.numbering_by(ids),
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
            let drain_timeout = settings.map(|settings| settings.borrow().limits.drain_timeout);
            close_tunnels(&tunnels, drain_timeout.unwrap_or_default()).await;
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
