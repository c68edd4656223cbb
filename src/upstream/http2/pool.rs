//! One worker's HTTP/2 connections to one backend: few, each with many streams. A connection takes new streams while it
//! is alive, not too full and not left unused for long; another is dialled when all are full.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus::{IntCounter, IntGauge};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;

pub(super) use super::response::Sending;
use super::stall::Stalling;
use crate::telemetry::metrics::Metrics;
use crate::upstream::client::connect;
use crate::upstream::error::UpstreamError;
use crate::upstream::target::{HTTP_2, UpstreamPlan, UpstreamUrl};

/// Most connections of a worker, and most streams on each: more than the least that RFC 9113 section 6.5.2 recommends
/// every server to take gains nothing.
const MAX_LINKS: usize = 8;
const MAX_STREAMS: usize = 100;
/// What the backend may send ahead on a stream. All streams together fill the connection's window exactly, so that a
/// client that reads slowly holds up nobody else.
const STREAM_WINDOW: u32 = 128 * 1024;
const LINK_WINDOW: u32 = STREAM_WINDOW * 100;
/// Most of a request's body that waits in memory for the backend's window, in bytes.
const MAX_SEND_BUFFER: usize = 256 * 1024;
/// A connection without a request for so long is closed: what is between may have forgotten it without a word.
const UNUSED: Duration = Duration::from_secs(60);
/// A backend that chose HTTP/1.1 is asked for HTTP/2 again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How often a request that waits for a free stream looks for one.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The connections.
#[derive(Debug)]
pub(in crate::upstream) struct H2Pool {
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    /// One dials, the others wait for what comes of it.
    dialling: tokio::sync::Mutex<()>,
    opened: IntCounter,
    streams: IntGauge,
}

#[derive(Debug, Default)]
struct Shared {
    links: Mutex<Vec<Arc<H2Connection>>>,
    only_http1_until: Mutex<Option<Instant>>,
    /// Whether a task sweeps it.
    swept: AtomicBool,
}

#[derive(Debug)]
struct H2Connection {
    sender: SendRequest<Sending>,
    start: Instant,
    open: AtomicUsize,
    /// How many streams the backend takes, as it said when the last one began, and we use. Those beyond wait within the
    /// h2 library.
    most: AtomicUsize,
    retired: AtomicBool,
    was_used: AtomicBool,
    /// Milliseconds after `start` at which something came, and at which a stream began or ended.
    heard: AtomicU64,
    used: AtomicU64,
}

/// A place for one request.
#[derive(Debug)]
pub(in crate::upstream) struct OpenStream {
    link: Arc<H2Connection>,
    began: u64,
    streams: IntGauge,
}

impl H2Pool {
    /// None yet.
    pub(in crate::upstream) fn new(app: &str, metrics: &Metrics) -> Self {
        Self {
            shared: Arc::default(),
            slots: Arc::new(Semaphore::new(MAX_LINKS)),
            dialling: tokio::sync::Mutex::default(),
            opened: metrics.upstream_connections.with_label_values(&[app]),
            streams: metrics.upstream_http2_streams.clone(),
        }
    }

    /// A place for one request; `None` if the backend chose HTTP/1.1.
    pub(in crate::upstream) async fn stream(
        &self,
        plan: &UpstreamPlan,
    ) -> Result<Option<OpenStream>, UpstreamError> {
        if let Some(stream) = self.take() {
            return Ok(Some(stream));
        }
        let deadline = Instant::now() + plan.settings.connect_timeout;
        loop {
            if self.shared.speaks_http1_only() {
                return Ok(None);
            }
            let turn = timeout_at(deadline, self.dialling.lock())
                .await
                .map_err(|_| UpstreamError::ConnectTimeout)?;
            if let Some(stream) = self.take() {
                return Ok(Some(stream));
            }
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                let dialled = timeout_at(deadline, self.dial(plan, slot)).await;
                match dialled.map_err(|_| UpstreamError::ConnectTimeout)?? {
                    Some(link) => self.shared.add(link),
                    None => *lock(&self.shared.only_http1_until) = Some(Instant::now() + ASK_AGAIN),
                }
                continue;
            }
            drop(turn);
            if Instant::now() >= deadline {
                return Err(UpstreamError::Saturated);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn take(&self) -> Option<OpenStream> {
        let mut links = lock(&self.shared.links);
        links.retain(|link| link.is_usable());
        let link = links
            .iter()
            .find(|link| link.open.load(Ordering::Relaxed) < link.most.load(Ordering::Relaxed))?;
        Some(OpenStream::on(Arc::clone(link), &self.streams))
    }

    async fn dial(
        &self,
        plan: &UpstreamPlan,
        slot: OwnedSemaphorePermit,
    ) -> Result<Option<Arc<H2Connection>>, UpstreamError> {
        self.opened.inc();
        let link = match &plan.settings.url {
            UpstreamUrl::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(UpstreamError::ConnectRefused)?;
                handshake(plan, stream, slot).await?
            }
            UpstreamUrl::Http(place) | UpstreamUrl::Https(place) => {
                let stream = connect(place).await?;
                match &plan.tls {
                    None => handshake(plan, stream, slot).await?,
                    Some(tls) => {
                        let connector = TlsConnector::from(Arc::clone(&tls.http2));
                        let stream = connector
                            .connect(tls.name.clone(), stream)
                            .await
                            .map_err(UpstreamError::Tls)?;
                        if stream.get_ref().1.alpn_protocol() != Some(HTTP_2) {
                            return Ok(None);
                        }
                        handshake(plan, stream, slot).await?
                    }
                }
            }
        };
        Ok(Some(link))
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
        .max(UNUSED);
    let io = TokioIo::new(Stalling::new(stream, limit, slot));
    let mut client = http2::Builder::new(TokioExecutor::new());
    client
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(LINK_WINDOW)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(settings.ping_interval)
        .keep_alive_timeout(settings.ping_timeout);
    let (sender, connection) = client.handshake(io).await.map_err(super::broke_off)?;
    let link = Arc::new(H2Connection {
        sender,
        start: Instant::now(),
        open: AtomicUsize::new(0),
        most: AtomicUsize::new(MAX_STREAMS),
        retired: AtomicBool::new(false),
        was_used: AtomicBool::new(false),
        heard: AtomicU64::new(0),
        used: AtomicU64::new(0),
    });
    let known = Arc::downgrade(&link);
    // Its failure reaches whoever waits for an answer or reads a body; nobody else needs it.
    tokio::spawn(async move {
        let mut connection = std::pin::pin!(connection);
        let _ = std::future::poll_fn(|cx| {
            if let Some(link) = known.upgrade() {
                link.most.store(
                    connection.current_max_send_streams().min(MAX_STREAMS),
                    Ordering::Relaxed,
                );
            }
            connection.as_mut().poll(cx)
        })
        .await;
    });
    Ok(link)
}

impl Shared {
    fn speaks_http1_only(&self) -> bool {
        lock(&self.only_http1_until).is_some_and(|until| Instant::now() < until)
    }

    fn add(self: &Arc<Self>, link: Arc<H2Connection>) {
        lock(&self.links).push(link);
        if !self.swept.swap(true, Ordering::AcqRel) {
            tokio::spawn(Self::sweep(Arc::downgrade(self)));
        }
    }

    async fn sweep(shared: Weak<Self>) {
        loop {
            sleep(UNUSED / 4).await;
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let mut links = lock(&shared.links);
            links.retain(|link| link.is_usable());
            if links.is_empty() {
                shared.swept.store(false, Ordering::Release);
                return;
            }
        }
    }
}

impl H2Connection {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Once it is not, it ends by itself when the last stream on it does.
    fn is_usable(&self) -> bool {
        let unused = self.now().saturating_sub(self.used.load(Ordering::Relaxed));
        let is_forgotten =
            self.open.load(Ordering::Relaxed) == 0 && Duration::from_millis(unused) > UNUSED;
        !self.sender.is_closed() && !self.retired.load(Ordering::Relaxed) && !is_forgotten
    }
}

impl OpenStream {
    fn on(link: Arc<H2Connection>, streams: &IntGauge) -> Self {
        let began = link.now();
        link.open.fetch_add(1, Ordering::Relaxed);
        link.used.store(began, Ordering::Relaxed);
        streams.inc();
        Self {
            link,
            began,
            streams: streams.clone(),
        }
    }

    pub(super) fn sender(&self) -> SendRequest<Sending> {
        self.link.sender.clone()
    }

    /// Whether the connection answered before, so that the backend may have closed it meanwhile.
    pub(super) fn was_used(&self) -> bool {
        self.link.was_used.load(Ordering::Relaxed)
    }

    /// Something came.
    pub(super) fn heard(&self) {
        self.link.was_used.store(true, Ordering::Relaxed);
        self.link.heard.store(self.link.now(), Ordering::Relaxed);
    }

    /// The connection takes no more requests.
    pub(super) fn retire(&self) {
        self.link.retired.store(true, Ordering::Relaxed);
    }

    /// The same, if nothing came on it since this stream began: it may be dead.
    pub(super) fn retire_if_silent(&self) {
        if self.link.heard.load(Ordering::Relaxed) <= self.began {
            self.retire();
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.link.open.fetch_sub(1, Ordering::Relaxed);
        self.link.used.store(self.link.now(), Ordering::Relaxed);
        self.streams.dec();
    }
}

/// Nothing that holds it can break off halfway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
