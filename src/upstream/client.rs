//! One worker's connections to one backend. A connection goes back on the shelf as soon as its answer's head is
//! here and is taken again only once it is ready, so nothing has to watch the body's end.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prometheus::{IntCounter, IntCounterVec};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::error::UpstreamError;
use super::http2::Links;
use super::outgoing::Outgoing;
use super::stall::{Stalling, Watched};
use super::target::{HostPort, UpstreamPlan, UpstreamProtocol, UpstreamUrl};
use super::upgrade::Tunnels;
use crate::telemetry::metrics::Metrics;
use crate::types::net::is_loopback_host;

/// How fresh a connection must be for a request that cannot be repeated.
const JUST_USED: Duration = Duration::from_millis(200);
/// How often a request that waits at the connection limit looks for one that became free.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// One worker's way to one backend.
#[derive(Debug)]
pub struct Upstream {
    pub(super) plan: Arc<UpstreamPlan>,
    pub(super) tunnels: Arc<Tunnels>,
    /// Where HTTP/2 is spoken.
    pub(super) links: Option<Links>,
    shelf: Arc<Shelf>,
    slots: Arc<Semaphore>,
    opened: IntCounter,
    errors: IntCounterVec,
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) sender: SendRequest<Outgoing>,
    pub(super) watched: Watched,
    /// Whether it served another request before, so that the backend may have closed it meanwhile.
    pub(super) used_before: bool,
}

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Any that is alive: the request can be repeated.
    Any,
    /// One that was just used, else a new one: the request cannot be repeated.
    JustUsed,
    /// A new one.
    New,
}

#[derive(Debug, Default)]
struct Shelf {
    leases: Mutex<VecDeque<Shelved>>,
    /// Whether a task sweeps it.
    swept: AtomicBool,
}

#[derive(Debug)]
struct Shelved {
    lease: Lease,
    since: Instant,
}

impl Upstream {
    /// No connections yet. Used on the runtime of one worker only: connections live on the runtime that dialled.
    pub fn new(plan: Arc<UpstreamPlan>, tunnels: Arc<Tunnels>, metrics: &Metrics) -> Self {
        let slots = Arc::new(Semaphore::new(plan.settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        let opened = metrics.upstream_connections.with_label_values(&[&plan.app]);
        let links = (plan.settings.protocol == UpstreamProtocol::Http2).then(|| Links::new(&plan.app, metrics));
        Self { plan, tunnels, links, shelf: Arc::default(), slots, opened, errors: metrics.upstream_errors.clone() }
    }

    /// How long the body of an answer may last.
    pub fn stream_max_age(&self) -> Option<Duration> {
        self.plan.settings.stream_max_age
    }

    pub(super) fn failed(&self, error: &UpstreamError) {
        self.errors.with_label_values(&[self.plan.app.as_str(), error.code()]).inc();
    }

    pub(super) async fn lease(&self, wanted: Wanted) -> Result<Lease, UpstreamError> {
        if let Some(lease) = self.take(wanted) {
            return Ok(lease);
        }
        let deadline = Instant::now() + self.plan.settings.connect_timeout;
        loop {
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                let dialled = timeout(self.plan.settings.connect_timeout, self.dial(slot)).await;
                return dialled.map_err(|_| UpstreamError::ConnectTimeout)?;
            }
            if Instant::now() >= deadline {
                return Err(UpstreamError::Saturated);
            }
            match self.take(Wanted::Any) {
                Some(lease) if wanted == Wanted::Any => return Ok(lease),
                // Too old for this request: closed, to make room for a new one.
                Some(_) | None => sleep(LOOK_AGAIN).await,
            }
            if let Some(lease) = self.take(wanted) {
                return Ok(lease);
            }
        }
    }

    fn take(&self, wanted: Wanted) -> Option<Lease> {
        let youngest_allowed = match wanted {
            Wanted::Any => self.plan.settings.idle_reuse,
            Wanted::JustUsed => JUST_USED.min(self.plan.settings.idle_reuse),
            Wanted::New => return None,
        };
        let mut leases = self.shelf.lock();
        let now = Instant::now();
        let fits = |shelved: &Shelved| {
            now.saturating_duration_since(shelved.since) <= youngest_allowed && shelved.lease.sender.is_ready()
        };
        let position = leases.iter().rposition(fits)?;
        leases.remove(position).map(|shelved| shelved.lease)
    }

    /// Puts a connection back whose answer has begun; it is ready again when that answer's body was read.
    pub(super) fn shelve(&self, mut lease: Lease) {
        lease.used_before = true;
        let mut leases = self.shelf.lock();
        leases.push_back(Shelved { lease, since: Instant::now() });
        // Those that are closed are never taken; looking for them each time would cost every request.
        if leases.len() > self.plan.settings.max_idle {
            leases.retain(|shelved| !shelved.lease.sender.is_closed());
        }
        if leases.len() > self.plan.settings.max_idle {
            leases.pop_front();
        }
        drop(leases);
        if !self.shelf.swept.swap(true, std::sync::atomic::Ordering::AcqRel) {
            tokio::spawn(Shelf::sweep(Arc::downgrade(&self.shelf), self.plan.settings.idle_reuse));
        }
    }

    async fn dial(&self, slot: OwnedSemaphorePermit) -> Result<Lease, UpstreamError> {
        self.opened.inc();
        match &self.plan.settings.url {
            UpstreamUrl::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(UpstreamError::ConnectRefused)?;
                self.greet(stream, slot).await
            }
            UpstreamUrl::Http(place) | UpstreamUrl::Https(place) => {
                let stream = connect(place).await?;
                match &self.plan.tls {
                    None => self.greet(stream, slot).await,
                    Some(tls) => {
                        let connector = TlsConnector::from(Arc::clone(&tls.config));
                        let stream = connector.connect(tls.name.clone(), stream).await.map_err(UpstreamError::Tls)?;
                        self.greet(stream, slot).await
                    }
                }
            }
        }
    }

    async fn greet<S>(&self, stream: S, slot: OwnedSemaphorePermit) -> Result<Lease, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let settings = &self.plan.settings;
        let limit = settings.body_idle_timeout.max(settings.response_timeout);
        let watched = Watched::new(AtomicBool::new(true));
        let io = TokioIo::new(Stalling::new(stream, limit, Arc::clone(&watched), slot));
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(settings.max_header_bytes.max(8192))
            .handshake(io)
            .await
            .map_err(UpstreamError::BrokeOff)?;
        // Its failure reaches whoever waits for the answer or reads the body; nobody else needs it.
        tokio::spawn(async move { connection.with_upgrades().await.ok() });
        Ok(Lease { sender, watched, used_before: false })
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Shelved>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what was unused for too long, until the shelf is empty: idle connections starve servers that give a
    /// process to each.
    async fn sweep(shelf: Weak<Self>, idle_reuse: Duration) {
        loop {
            sleep(idle_reuse).await;
            let Some(shelf) = shelf.upgrade() else { return };
            let mut leases = shelf.lock();
            leases.retain(|shelved| shelved.since.elapsed() <= idle_reuse);
            if leases.is_empty() {
                shelf.swept.store(false, std::sync::atomic::Ordering::Release);
                return;
            }
        }
    }
}

/// Names under `.localhost` are loopback without asking anybody (RFC 6761 section 6.3).
pub(super) async fn connect(place: &HostPort) -> Result<TcpStream, UpstreamError> {
    let host = place.bare_host();
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    if is_loopback_host(&place.host) && !is_address {
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return first_that_answers(loopback.into_iter().map(|address| SocketAddr::new(address, place.port))).await;
    }
    let addresses = tokio::net::lookup_host((host, place.port)).await.map_err(UpstreamError::Unresolved)?;
    first_that_answers(addresses).await
}

async fn first_that_answers(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, UpstreamError> {
    let mut last = UpstreamError::Unresolved(io::Error::from(io::ErrorKind::NotFound));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it small writes wait for acknowledgements; a failure costs only that.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = UpstreamError::ConnectRefused(error),
        }
    }
    Err(last)
}
