//! HTTP/2 connection pool of one worker for one backend: few connections, each with many streams.
//! Another connection is opened when all are at their stream limit. Each client has a share of the
//! streams, since responses without an end keep theirs.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus::{IntCounter, IntGauge};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use super::error::connection_closed;
use super::idle_timeout::IdleTimeout;
use super::request_body::{ReplayBudget, RequestBody};
use crate::limits::{TaskGuard, TaskLimit, current_client};
use crate::lock::lock;
use crate::telemetry::metrics::Metrics;
use crate::upstream::dial::{Dialer, Dialled};
use crate::upstream::error::UpstreamError;
use crate::upstream::target::{ALPN_H2, UpstreamPlan, UpstreamProtocol};

/// Flow-control window of a stream in bytes.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The largest window that HTTP/2 allows (RFC 9113 section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Maximum number of request bytes buffered while the backend's window is closed.
const MAX_SEND_BUFFER: usize = 256 * 1024;
/// Minimum time without any byte after which a connection with streams is closed.
const MIN_SILENCE: Duration = Duration::from_secs(60);
/// Minimum interval at which unusable connections are dropped.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// How long HTTP/1.1 is used after the backend selected it by ALPN.
const HTTP1_FALLBACK_TIME: Duration = Duration::from_secs(60);
/// Poll interval of a request that waits for a free stream.
const STREAM_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The connections of one worker to one backend.
#[derive(Debug)]
pub(in crate::upstream) struct H2Pool {
    shared: Arc<Shared>,
    dialer: Arc<Dialer>,
    slots: Arc<Semaphore>,
    /// All streams that the connections may have.
    shares: TaskLimit,
    /// Held while a connection is opened, so that concurrent requests open only one.
    dialling: tokio::sync::Mutex<()>,
    opened: IntCounter,
    streams: IntGauge,
    replay_budget: ReplayBudget,
}

#[derive(Debug)]
struct Shared {
    connections: Mutex<Vec<Arc<H2Connection>>>,
    /// Idle time after which a connection is closed.
    idle_timeout: Duration,
    http1_until: Mutex<Option<Instant>>,
    /// Whether the sweep task is running.
    sweeping: AtomicBool,
}

#[derive(Debug)]
struct H2Connection {
    sender: SendRequest<RequestBody>,
    start: Instant,
    idle_timeout: Duration,
    open_streams: AtomicUsize,
    /// The stream limit: the backend's, as last known, or the configured one if that is lower.
    /// Streams beyond the backend's limit wait in the h2 library.
    max_streams: AtomicUsize,
    retired: AtomicBool,
    is_reused: AtomicBool,
    /// Milliseconds after `start` at which the last frame of a response was received.
    last_received: AtomicU64,
    /// Milliseconds after `start` at which a stream last began or ended.
    last_used: AtomicU64,
}

/// A reserved stream for one request.
#[derive(Debug)]
pub(in crate::upstream) struct OpenStream {
    connection: Arc<H2Connection>,
    /// Milliseconds after the start of the connection.
    opened_at: u64,
    streams: IntGauge,
    _share: TaskGuard,
}

impl H2Pool {
    /// A pool without connections.
    pub(in crate::upstream) fn new(
        plan: &UpstreamPlan,
        dialer: Arc<Dialer>,
        metrics: &Metrics,
    ) -> Self {
        let settings = &plan.settings;
        let max_connections = settings.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            shared: Arc::new(Shared::new(settings.http2_idle_timeout)),
            dialer,
            slots: Arc::new(Semaphore::new(max_connections)),
            shares: TaskLimit::new(max_connections.saturating_mul(settings.max_http2_streams)),
            dialling: tokio::sync::Mutex::default(),
            opened: metrics.upstream_connections.with_label_values(&[&plan.app]),
            streams: metrics.upstream_http2_streams.clone(),
            replay_budget: ReplayBudget::default(),
        }
    }

    /// The limit of what is kept of request bodies.
    pub(super) fn replay_budget(&self) -> ReplayBudget {
        self.replay_budget.clone()
    }

    /// Reserves a stream for one request. Returns `None` if the backend selected HTTP/1.1.
    pub(in crate::upstream) async fn stream(
        &self,
        plan: &UpstreamPlan,
    ) -> Result<Option<OpenStream>, UpstreamError> {
        let mut share = self.shares.try_acquire(current_client());
        if let Some(stream) = self.take(&mut share) {
            return Ok(Some(stream));
        }
        let deadline = Instant::now() + plan.settings.connect_timeout;
        while share.is_none() {
            if Instant::now() >= deadline {
                return Err(UpstreamError::Saturated);
            }
            sleep(STREAM_POLL_INTERVAL).await;
            share = self.shares.try_acquire(current_client());
        }
        loop {
            if self.shared.uses_http1() {
                return Ok(None);
            }
            let guard = timeout_at(deadline, self.dialling.lock())
                .await
                .map_err(|_| UpstreamError::ConnectTimeout)?;
            if let Some(stream) = self.take(&mut share) {
                return Ok(Some(stream));
            }
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                let dialled = timeout_at(deadline, self.dial(plan, slot)).await;
                match dialled.map_err(|_| UpstreamError::ConnectTimeout)?? {
                    Some(connection) => self.shared.add(connection),
                    None => {
                        let until = Instant::now() + HTTP1_FALLBACK_TIME;
                        *lock(&self.shared.http1_until) = Some(until);
                    }
                }
                continue;
            }
            drop(guard);
            if Instant::now() >= deadline {
                return Err(UpstreamError::Saturated);
            }
            sleep(STREAM_POLL_INTERVAL).await;
        }
    }

    /// Takes a stream of a connection that has a free one, with the client's `share`.
    fn take(&self, share: &mut Option<TaskGuard>) -> Option<OpenStream> {
        let mut connections = lock(&self.shared.connections);
        connections.retain(|connection| connection.is_usable());
        let connection = connections
            .iter()
            .find(|connection| connection.has_free_stream())?;
        let share = share.take()?;
        let connection = Arc::clone(connection);
        Some(OpenStream::on(connection, &self.streams, share))
    }

    /// Opens a connection. Returns `None` if the backend selected HTTP/1.1.
    async fn dial(
        &self,
        plan: &UpstreamPlan,
        slot: OwnedSemaphorePermit,
    ) -> Result<Option<Arc<H2Connection>>, UpstreamError> {
        self.opened.inc();
        let connection = match self.dialer.dial(UpstreamProtocol::Http2).await? {
            Dialled::Unix(stream) => handshake(plan, stream, slot).await?,
            Dialled::Tcp(stream) => handshake(plan, stream, slot).await?,
            Dialled::Tls(stream) => {
                if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
                    return Ok(None);
                }
                handshake(plan, *stream, slot).await?
            }
        };
        Ok(Some(connection))
    }
}

async fn handshake<S>(
    plan: &UpstreamPlan,
    stream: S,
    slot: OwnedSemaphorePermit,
) -> Result<Arc<H2Connection>, UpstreamError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let settings = &plan.settings;
    let limit = settings
        .body_idle_timeout
        .max(settings.response_timeout)
        .max(settings.http2_idle_timeout)
        .max(MIN_SILENCE);
    let max_streams = settings.max_http2_streams;
    // It has space for the windows of all streams, so that a client that reads slowly does not
    // block other streams.
    let connection_window = u32::try_from(max_streams)
        .unwrap_or(u32::MAX)
        .saturating_mul(STREAM_WINDOW)
        .min(MAX_WINDOW);
    let io = TokioIo::new(IdleTimeout::new(stream, limit, slot));
    let mut client = http2::Builder::new(TokioExecutor::new());
    client
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(settings.ping_interval)
        .keep_alive_timeout(settings.ping_timeout);
    let (sender, driver) = client.handshake(io).await.map_err(connection_closed)?;
    let connection = Arc::new(H2Connection {
        sender,
        start: Instant::now(),
        idle_timeout: settings.http2_idle_timeout,
        open_streams: AtomicUsize::new(0),
        max_streams: AtomicUsize::new(max_streams),
        retired: AtomicBool::new(false),
        is_reused: AtomicBool::new(false),
        last_received: AtomicU64::new(0),
        last_used: AtomicU64::new(0),
    });
    let weak = Arc::downgrade(&connection);
    // A failure of the connection reaches every request and body on it, so the task ignores it.
    tokio::spawn(async move {
        let mut driver = std::pin::pin!(driver);
        let _ = std::future::poll_fn(|cx| {
            if let Some(connection) = weak.upgrade() {
                connection.max_streams.store(
                    driver.current_max_send_streams().min(max_streams),
                    Ordering::Relaxed,
                );
            }
            driver.as_mut().poll(cx)
        })
        .await;
    });
    Ok(connection)
}

impl Shared {
    fn new(idle_timeout: Duration) -> Self {
        Self {
            connections: Mutex::default(),
            idle_timeout,
            http1_until: Mutex::default(),
            sweeping: AtomicBool::new(false),
        }
    }

    fn uses_http1(&self) -> bool {
        lock(&self.http1_until).is_some_and(|until| Instant::now() < until)
    }

    fn add(self: &Arc<Self>, connection: Arc<H2Connection>) {
        lock(&self.connections).push(connection);
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            tokio::spawn(Self::sweep(Arc::downgrade(self)));
        }
    }

    /// Drops unusable connections until the pool is empty.
    async fn sweep(shared: Weak<Self>) {
        loop {
            let Some(interval) = shared.upgrade().map(|shared| shared.idle_timeout / 4) else {
                return;
            };
            sleep(interval.max(MIN_SWEEP_INTERVAL)).await;
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let mut connections = lock(&shared.connections);
            connections.retain(|connection| connection.is_usable());
            if connections.is_empty() {
                shared.sweeping.store(false, Ordering::Release);
                return;
            }
        }
    }
}

impl H2Connection {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it accepts new streams. An unusable connection closes with its last stream.
    fn is_usable(&self) -> bool {
        let idle = self
            .now()
            .saturating_sub(self.last_used.load(Ordering::Relaxed));
        let is_expired = self.open_streams.load(Ordering::Relaxed) == 0
            && Duration::from_millis(idle) > self.idle_timeout;
        !self.sender.is_closed() && !self.retired.load(Ordering::Relaxed) && !is_expired
    }

    fn has_free_stream(&self) -> bool {
        self.open_streams.load(Ordering::Relaxed) < self.max_streams.load(Ordering::Relaxed)
    }
}

impl OpenStream {
    fn on(connection: Arc<H2Connection>, streams: &IntGauge, share: TaskGuard) -> Self {
        let opened_at = connection.now();
        connection.open_streams.fetch_add(1, Ordering::Relaxed);
        connection.last_used.store(opened_at, Ordering::Relaxed);
        streams.inc();
        Self {
            connection,
            opened_at,
            streams: streams.clone(),
            _share: share,
        }
    }

    pub(super) fn sender(&self) -> SendRequest<RequestBody> {
        self.connection.sender.clone()
    }

    /// Whether the connection served a response before, so that the backend may have closed it in
    /// the meantime.
    pub(super) fn is_reused(&self) -> bool {
        self.connection.is_reused.load(Ordering::Relaxed)
    }

    /// Records that a part of a response was received.
    pub(super) fn record_received(&self) {
        let connection = &self.connection;
        connection.is_reused.store(true, Ordering::Relaxed);
        connection
            .last_received
            .store(connection.now(), Ordering::Relaxed);
    }

    /// Stops new requests on the connection.
    pub(super) fn retire(&self) {
        self.connection.retired.store(true, Ordering::Relaxed);
    }

    /// Retires the connection if nothing was received on it since this stream was opened: it may be
    /// dead.
    pub(super) fn retire_if_silent(&self) {
        if self.connection.last_received.load(Ordering::Relaxed) <= self.opened_at {
            self.retire();
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.open_streams.fetch_sub(1, Ordering::Relaxed);
        connection
            .last_used
            .store(connection.now(), Ordering::Relaxed);
        self.streams.dec();
    }
}
