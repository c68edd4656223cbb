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
use tokio::sync::{MutexGuard, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use super::error::connection_closed;
use super::idle_timeout::IdleTimeout;
use super::request_body::{ReplayBudget, RequestBody};
use crate::limits::{TaskGuard, TaskLimit, current_client};
use crate::lock::lock;
use crate::telemetry::metrics::Metrics;
use crate::upstream::dial::{Dialer, Dialled};
use crate::upstream::error::UpstreamError;
use crate::upstream::http1::{IdlePool, ReusePolicy};
use crate::upstream::settings::UpstreamProtocol;
use crate::upstream::target::{ALPN_H2, UpstreamPlan};

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

/// The connections of one worker to one backend.
#[derive(Debug)]
pub(in crate::upstream) struct H2Pool {
    shared: Arc<Shared>,
    dialer: Arc<Dialer>,
    slots: ConnectionSlots,
    /// All streams that the connections may have.
    shares: TaskLimit,
    /// Held while a connection is opened, so that concurrent requests open only one.
    dialling: tokio::sync::Mutex<()>,
    opened: IntCounter,
    streams: IntGauge,
    replay_budget: ReplayBudget,
}

/// The limit of connections to the backend, which HTTP/1.1 shares.
#[derive(Debug)]
pub(in crate::upstream) struct ConnectionSlots {
    pub(in crate::upstream) slots: Arc<Semaphore>,
    /// Idle connections give way.
    pub(in crate::upstream) http1: Arc<IdlePool>,
}

#[derive(Debug)]
struct Shared {
    connections: Mutex<Vec<Arc<H2Connection>>>,
    /// Notified of each stream that may be free now.
    freed: Arc<Notify>,
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

/// The permission to open a connection.
#[derive(Debug)]
struct Dial<'p> {
    _turn: MutexGuard<'p, ()>,
    slot: OwnedSemaphorePermit,
}

/// A reserved stream for one request.
#[derive(Debug)]
pub(in crate::upstream) struct OpenStream {
    connection: Arc<H2Connection>,
    /// Milliseconds after the start of the connection.
    opened_at: u64,
    streams: IntGauge,
    /// Dropped before `freed` is notified.
    share: Option<TaskGuard>,
    freed: Arc<Notify>,
}

impl H2Pool {
    /// A pool without connections.
    pub(in crate::upstream) fn new(
        plan: &UpstreamPlan,
        dialer: Arc<Dialer>,
        slots: ConnectionSlots,
        metrics: &Metrics,
    ) -> Self {
        let settings = &plan.settings;
        let max_streams = settings
            .max_connections
            .saturating_mul(settings.max_http2_streams);
        Self {
            shared: Arc::new(Shared::new(settings.http2_idle_timeout)),
            dialer,
            slots,
            shares: TaskLimit::new(max_streams.max(1)),
            dialling: tokio::sync::Mutex::default(),
            opened: metrics
                .upstream_connections
                .with_label_values(&[plan.app.as_str(), &plan.metric_label()]),
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
        loop {
            // Created before the checks, so that no stream is missed that is freed after them.
            let freed = self.shared.freed.notified();
            if share.is_none() {
                share = self.shares.try_acquire(current_client());
            }
            if let Some(stream) = self.take(&mut share) {
                return Ok(Some(stream));
            }
            if self.shared.uses_http1() {
                return Ok(None);
            }
            let may_dial = share.is_some();
            let wait = async {
                tokio::select! {
                    biased;
                    () = freed => None,
                    dial = self.acquire_dial(), if may_dial => dial,
                }
            };
            let dial = timeout_at(deadline, wait).await.map_err(|_| {
                if may_dial && self.slots.slots.available_permits() > 0 {
                    UpstreamError::ConnectTimeout
                } else {
                    UpstreamError::Saturated
                }
            })?;
            if let Some(dial) = dial {
                let dialled = timeout_at(deadline, self.dial(plan, dial));
                dialled.await.map_err(|_| UpstreamError::ConnectTimeout)??;
            }
        }
    }

    /// Closes a connection without streams, because HTTP/1.1 needs its slot. Completes when another
    /// one may be without streams.
    pub(in crate::upstream) async fn close_idle(&self) {
        let freed = self.shared.freed.notified();
        self.shared.remove_idle();
        freed.await;
    }

    /// Waits until another connection may be opened. Idle HTTP/1.1 connections are closed for it.
    async fn acquire_dial(&self) -> Option<Dial<'_>> {
        let ConnectionSlots { slots, http1 } = &self.slots;
        let turn = self.dialling.lock().await;
        let slot = loop {
            if slots.available_permits() == 0 {
                drop(http1.take(ReusePolicy::Any));
            }
            tokio::select! {
                slot = Arc::clone(slots).acquire_owned() => break slot.ok()?,
                () = http1.returned() => {}
            }
        };
        Some(Dial { _turn: turn, slot })
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
        let freed = Arc::clone(&self.shared.freed);
        Some(OpenStream::on(connection, &self.streams, share, freed))
    }

    /// Opens a connection, unless the backend selects HTTP/1.1.
    async fn dial(&self, plan: &UpstreamPlan, dial: Dial<'_>) -> Result<(), UpstreamError> {
        self.opened.inc();
        let Dial { _turn, slot } = dial;
        let freed = &self.shared.freed;
        let connection = match self.dialer.dial(UpstreamProtocol::Http2).await? {
            Dialled::Unix(stream) => handshake(plan, stream, slot, freed).await?,
            Dialled::Tcp(stream) => handshake(plan, stream, slot, freed).await?,
            Dialled::Tls(stream) => {
                if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
                    let until = Instant::now() + HTTP1_FALLBACK_TIME;
                    *lock(&self.shared.http1_until) = Some(until);
                    freed.notify_waiters();
                    return Ok(());
                }
                handshake(plan, *stream, slot, freed).await?
            }
        };
        self.shared.add(connection);
        Ok(())
    }
}

async fn handshake<S>(
    plan: &UpstreamPlan,
    stream: S,
    slot: OwnedSemaphorePermit,
    freed: &Arc<Notify>,
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
    let (weak, freed) = (Arc::downgrade(&connection), Arc::clone(freed));
    // A failure of the connection reaches every request and body on it, so the task ignores it.
    tokio::spawn(async move {
        let mut driver = std::pin::pin!(driver);
        let _ = std::future::poll_fn(|cx| {
            if let Some(connection) = weak.upgrade() {
                let now = driver.current_max_send_streams().min(max_streams);
                if connection.max_streams.swap(now, Ordering::Relaxed) < now {
                    freed.notify_waiters();
                }
            }
            driver.as_mut().poll(cx)
        })
        .await;
        // A request that waits may open another connection.
        freed.notify_waiters();
    });
    Ok(connection)
}

impl Shared {
    fn new(idle_timeout: Duration) -> Self {
        Self {
            connections: Mutex::default(),
            freed: Arc::default(),
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
        self.freed.notify_waiters();
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            tokio::spawn(Self::sweep(Arc::downgrade(self)));
        }
    }

    fn remove_idle(&self) {
        let mut connections = lock(&self.connections);
        let mut all = connections.iter();
        if let Some(idle) = all.position(|connection| connection.is_idle()) {
            connections.swap_remove(idle);
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
        let is_expired = self.is_idle() && Duration::from_millis(idle) > self.idle_timeout;
        !self.sender.is_closed() && !self.retired.load(Ordering::Relaxed) && !is_expired
    }

    fn is_idle(&self) -> bool {
        self.open_streams.load(Ordering::Relaxed) == 0
    }

    fn has_free_stream(&self) -> bool {
        self.open_streams.load(Ordering::Relaxed) < self.max_streams.load(Ordering::Relaxed)
    }
}

impl OpenStream {
    fn on(
        connection: Arc<H2Connection>,
        streams: &IntGauge,
        share: TaskGuard,
        freed: Arc<Notify>,
    ) -> Self {
        let opened_at = connection.now();
        connection.open_streams.fetch_add(1, Ordering::Relaxed);
        connection.last_used.store(opened_at, Ordering::Relaxed);
        streams.inc();
        Self {
            connection,
            opened_at,
            streams: streams.clone(),
            share: Some(share),
            freed,
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
        self.share = None;
        self.freed.notify_waiters();
    }
}
