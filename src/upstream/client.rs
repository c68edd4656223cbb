//! One worker's connections to one backend. A connection goes back on the shelf when the last byte of its answer was
//! read, and is taken again if it is still open then and nothing came in between.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::error::UpstreamError;
use super::http1::{Connection, Socket};
use super::http2::H2Pool;
use super::target::{HostPort, UpstreamPlan, UpstreamProtocol, UpstreamUrl};
use super::upgrade::Tunnels;
use crate::telemetry::metrics::Metrics;
use crate::types::net::is_loopback_host;

/// How fresh a connection must be for a request that cannot be repeated.
const JUST_USED: Duration = Duration::from_millis(200);

/// One worker's way to one backend.
#[derive(Debug)]
pub struct Upstream {
    pub(super) plan: Arc<UpstreamPlan>,
    pub(super) tunnels: Arc<Tunnels>,
    /// Where HTTP/2 is spoken.
    pub(super) links: Option<H2Pool>,
    pub(super) idle_pool: Arc<IdlePool>,
    slots: Arc<Semaphore>,
    opened: IntCounter,
    errors: IntCounterVec,
}

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReusePolicy {
    /// Any that is alive: the request can be repeated.
    Any,
    /// One that was just used, else a new one: the request cannot be repeated.
    RecentlyUsed,
    /// A new one.
    Fresh,
}

/// Connections at rest.
#[derive(Debug)]
pub(super) struct IdlePool {
    idle_connections: Mutex<VecDeque<IdleConnection>>,
    max_idle: usize,
    idle_reuse: Duration,
    /// Told of each that comes.
    came: Notify,
    /// Whether a task sweeps it.
    swept: AtomicBool,
}

#[derive(Debug)]
struct IdleConnection {
    connection: Connection,
    since: Instant,
}

impl Upstream {
    /// No connections yet. Used on the runtime of one worker only: connections live on the runtime that dialled.
    pub fn new(plan: Arc<UpstreamPlan>, tunnels: Arc<Tunnels>, metrics: &Metrics) -> Self {
        let slots = Arc::new(Semaphore::new(
            plan.settings
                .max_connections
                .clamp(1, Semaphore::MAX_PERMITS),
        ));
        let opened = metrics.upstream_connections.with_label_values(&[&plan.app]);
        let idle_pool = Arc::new(IdlePool::new(
            plan.settings.max_idle,
            plan.settings.idle_reuse,
        ));
        let links = (plan.settings.protocol == UpstreamProtocol::Http2)
            .then(|| H2Pool::new(&plan.app, metrics));
        Self {
            plan,
            tunnels,
            links,
            idle_pool,
            slots,
            opened,
            errors: metrics.upstream_errors.clone(),
        }
    }

    /// How long the body of an answer may last.
    pub fn stream_max_age(&self) -> Option<Duration> {
        self.plan.settings.stream_max_age
    }

    pub(super) fn failed(&self, error: &UpstreamError) {
        self.errors
            .with_label_values(&[self.plan.app.as_str(), error.code()])
            .inc();
    }

    pub(super) async fn connection(&self, reuse: ReusePolicy) -> Result<Connection, UpstreamError> {
        match self.idle_pool.take(reuse) {
            Some(connection) => Ok(connection),
            // On the heap, lest every request carry the room for it.
            None => Box::pin(self.another(reuse)).await,
        }
    }

    async fn another(&self, reuse: ReusePolicy) -> Result<Connection, UpstreamError> {
        let settings = &self.plan.settings;
        let deadline = Instant::now() + settings.connect_timeout;
        loop {
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                return self.dial_in_time(slot).await;
            }
            match self.idle_pool.take(ReusePolicy::Any) {
                Some(connection) if reuse == ReusePolicy::Any => return Ok(connection),
                // Too old for this request: closed, to make room for a new one.
                Some(_) => continue,
                None => {}
            }
            let slot = timeout_at(deadline, async {
                tokio::select! {
                    () = self.idle_pool.came.notified() => None,
                    slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
                }
            });
            if let Some(slot) = slot.await.map_err(|_| UpstreamError::Saturated)? {
                return self.dial_in_time(slot).await;
            }
            if let Some(connection) = self.idle_pool.take(reuse) {
                return Ok(connection);
            }
        }
    }

    async fn dial_in_time(&self, slot: OwnedSemaphorePermit) -> Result<Connection, UpstreamError> {
        let dialled = timeout(self.plan.settings.connect_timeout, self.dial(slot)).await;
        dialled.map_err(|_| UpstreamError::ConnectTimeout)?
    }

    async fn dial(&self, slot: OwnedSemaphorePermit) -> Result<Connection, UpstreamError> {
        self.opened.inc();
        let socket = match &self.plan.settings.url {
            UpstreamUrl::Unix(path) => Socket::Unix(
                UnixStream::connect(path)
                    .await
                    .map_err(UpstreamError::ConnectRefused)?,
            ),
            UpstreamUrl::Http(place) | UpstreamUrl::Https(place) => {
                let stream = connect(place).await?;
                match &self.plan.tls {
                    None => Socket::Tcp(stream),
                    Some(tls) => {
                        let connector = TlsConnector::from(Arc::clone(&tls.config));
                        let stream = connector
                            .connect(tls.name.clone(), stream)
                            .await
                            .map_err(UpstreamError::Tls)?;
                        Socket::Tls(Box::new(stream))
                    }
                }
            }
        };
        Ok(Connection::new(socket, slot))
    }
}

impl IdlePool {
    pub(super) fn new(max_idle: usize, idle_reuse: Duration) -> Self {
        let (idle_connections, came, swept) =
            (Mutex::default(), Notify::new(), AtomicBool::new(false));
        Self {
            idle_connections,
            max_idle,
            idle_reuse,
            came,
            swept,
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<IdleConnection>> {
        self.idle_connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn idle_connections(&self) -> usize {
        self.lock().len()
    }

    /// The one that was used last, if it will do.
    fn take(&self, reuse: ReusePolicy) -> Option<Connection> {
        let longest_rest = match reuse {
            ReusePolicy::Any => self.idle_reuse,
            ReusePolicy::RecentlyUsed => JUST_USED.min(self.idle_reuse),
            ReusePolicy::Fresh => return None,
        };
        let mut idle_connections = self.lock();
        let now = Instant::now();
        while let Some(mut last) = idle_connections.pop_back() {
            if now.saturating_duration_since(last.since) > longest_rest {
                // And so did those before it.
                idle_connections.push_back(last);
                return None;
            }
            if last.connection.is_quiet() {
                return Some(last.connection);
            }
        }
        None
    }

    /// Takes in a connection whose answer was read.
    pub(super) fn put(self: &Arc<Self>, mut connection: Connection) {
        if !connection.make_idle() {
            return;
        }
        let mut idle_connections = self.lock();
        idle_connections.push_back(IdleConnection {
            connection,
            since: Instant::now(),
        });
        if idle_connections.len() > self.max_idle {
            idle_connections.pop_front();
        }
        drop(idle_connections);
        self.came.notify_one();
        if !self.swept.swap(true, Ordering::AcqRel) {
            tokio::spawn(Self::sweep(Arc::downgrade(self), self.idle_reuse));
        }
    }

    /// Closes what was unused for too long, until the shelf is empty: idle connections starve servers that give a
    /// process to each.
    async fn sweep(idle_pool: Weak<Self>, idle_reuse: Duration) {
        loop {
            sleep(idle_reuse).await;
            let Some(idle_pool) = idle_pool.upgrade() else {
                return;
            };
            let mut idle_connections = idle_pool.lock();
            idle_connections
                .retain(|idle_connections| idle_connections.since.elapsed() <= idle_reuse);
            if idle_connections.is_empty() {
                idle_pool.swept.store(false, Ordering::Release);
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
        return first_that_answers(
            loopback
                .into_iter()
                .map(|address| SocketAddr::new(address, place.port)),
        )
        .await;
    }
    let addresses = tokio::net::lookup_host((host, place.port))
        .await
        .map_err(UpstreamError::Unresolved)?;
    first_that_answers(addresses).await
}

async fn first_that_answers(
    addresses: impl Iterator<Item = SocketAddr>,
) -> Result<TcpStream, UpstreamError> {
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
