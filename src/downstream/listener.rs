//! Listeners and accept loops. A socket is bound once and duplicated for each worker. The kernel
//! then wakes an idle worker, which passes the connection on if another worker has fewer. Closing
//! one worker's duplicate loses no connection in the backlog.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::connection_context::{ConnectionContext, ConnectionIds, Handler};
use super::connection_registry::ConnectionRegistry;
use super::deadline_timer::DeadlineTimer;
use super::drain::{self, Drain};
use super::handshake::AcceptedSocket;
use super::http1;
use super::settings::{ConnectionSettings, ListenerSettings};
use super::socket::{ListeningSocket, set_keepalive};
use super::socket_activation::{ActivatedSockets, Role};
use super::worker_balance::{AcceptedConnection, Exchange};
use super::worker_loads::WorkerLoads;
use crate::limits::ByteBudget;
use crate::outage::OutageLog;
use crate::telemetry::metrics::Metrics;
use crate::types::net::ListenAddr;

/// Pause after a failed `accept`, which mostly means that no file descriptor is left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// After an announced shutdown, how long idle connections stay open for requests that clients have
/// already sent.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// The error of [`Listener::bind`] and [`Listener::open`].
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`: {}", cause(source))]
pub struct ListenError {
    address: ListenAddr,
    source: io::Error,
}

/// The cause in words for operators.
fn cause(error: &io::Error) -> String {
    const KNOWN: [(io::ErrorKind, &str); 4] = [
        (
            io::ErrorKind::AddrInUse,
            "another process listens on this address",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "it is not an address of this machine",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "no permission; ports below 1024 need the capability CAP_NET_BIND_SERVICE, and a socket \
             needs a writable folder",
        ),
        (
            io::ErrorKind::NotFound,
            "the folder of the socket does not exist",
        ),
    ];
    let known = KNOWN.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(
        || error.to_string(),
        |(_, cause)| format!("{cause} ({error})"),
    )
}

/// A bound socket and the connection counts that its duplicates share.
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket,
    slots: Arc<Semaphore>,
    registry: ConnectionRegistry,
    bytes: Arc<ByteBudget>,
    ids: ConnectionIds,
    exchange: Exchange,
}

impl Listener {
    /// Binds `address`. A stale Unix domain socket of a previous process is replaced.
    ///
    /// # Errors
    /// The address is in use, not local, or not permitted.
    pub fn bind(address: &ListenAddr, settings: &ListenerSettings) -> Result<Self, ListenError> {
        Self::open(
            Role::Listen(0),
            address,
            settings,
            &mut ActivatedSockets::default(),
        )
    }

    /// Takes the activated socket for this listener if there is one, and otherwise binds `address`.
    ///
    /// # Errors
    /// As for [`Listener::bind`].
    pub fn open(
        role: Role,
        address: &ListenAddr,
        settings: &ListenerSettings,
        activated: &mut ActivatedSockets,
    ) -> Result<Self, ListenError> {
        let socket = match activated.take_for(role, address) {
            Some(socket) => Ok(socket),
            None => ListeningSocket::bind(address, settings.socket_access),
        };
        let socket = socket.and_then(|socket| {
            socket.set_keepalive(settings.tcp_keepalive)?;
            Ok(socket)
        });
        let socket = socket.map_err(|source| ListenError {
            address: address.clone(),
            source,
        })?;
        let slots = Arc::new(Semaphore::new(
            settings.max_connections.clamp(1, Semaphore::MAX_PERMITS),
        ));
        Ok(Self {
            socket,
            slots,
            registry: ConnectionRegistry::default(),
            bytes: Arc::new(ByteBudget::new(settings.max_bytes_in_flight)),
            ids: ConnectionIds::default(),
            exchange: Exchange::alone(),
        })
    }

    /// Shares the limits of connections and memory with `other`.
    #[must_use]
    pub fn sharing_limits_of(self, other: &Self) -> Self {
        Self {
            socket: self.socket,
            slots: Arc::clone(&other.slots),
            registry: other.registry.clone(),
            bytes: Arc::clone(&other.bytes),
            ids: self.ids,
            exchange: self.exchange,
        }
    }

    /// Numbers its connections by `ids`, which the listeners of one worker share.
    #[must_use]
    pub fn numbering_by(self, ids: ConnectionIds) -> Self {
        Self { ids, ..self }
    }

    /// Duplicates the socket for a task that serves all of its connections.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.duplicate(Exchange::alone())
    }

    /// Duplicates the socket for each worker. Each connection is served by the worker with the
    /// fewest.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn for_workers(&self, loads: &WorkerLoads) -> io::Result<Vec<Self>> {
        let exchanges = Exchange::among(loads).into_iter();
        exchanges.map(|exchange| self.duplicate(exchange)).collect()
    }

    fn duplicate(&self, exchange: Exchange) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            slots: Arc::clone(&self.slots),
            registry: self.registry.clone(),
            bytes: Arc::clone(&self.bytes),
            ids: ConnectionIds::default(),
            exchange,
        })
    }

    /// The memory of the requests and responses of this listener.
    pub const fn byte_budget(&self) -> &Arc<ByteBudget> {
        &self.bytes
    }

    /// The bound address and port; `None` for a Unix domain socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            ListeningSocket::Tcp(socket) => socket.local_addr().ok(),
            ListeningSocket::Unix(_) => None,
        }
    }
}

enum Acceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    fn new(socket: ListeningSocket) -> io::Result<Self> {
        match socket {
            ListeningSocket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(socket).map(Self::Tcp)
            }
            ListeningSocket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(socket).map(Self::Unix)
            }
        }
    }

    /// Sets the idle time before keepalive probes, for connections that are accepted later.
    fn set_keepalive(&self, idle: Option<Duration>) {
        if let Self::Tcp(socket) = self
            && let Err(error) = set_keepalive(SockRef::from(socket), idle)
        {
            tracing::warn!(%error, "tcp_keepalive_not_set");
        }
    }

    async fn accept(&self) -> io::Result<AcceptedSocket> {
        match self {
            Self::Tcp(socket) => socket
                .accept()
                .await
                .map(|(stream, peer)| AcceptedSocket::Tcp { stream, peer }),
            Self::Unix(socket) => socket
                .accept()
                .await
                .map(|(stream, _)| AcceptedSocket::Unix(stream)),
        }
    }
}

/// Accepts and serves connections on the current runtime until draining is complete. Connections
/// keep the settings with which they were accepted.
///
/// # Errors
/// The socket cannot be registered with this runtime.
pub async fn serve<H: Handler>(
    listener: Listener,
    mut settings: watch::Receiver<ConnectionSettings>,
    handler: Arc<H>,
    metrics: Arc<Metrics>,
    mut drain: Drain,
) -> io::Result<()> {
    let acceptor = Acceptor::new(listener.socket)?;
    // Connections drain later than the accept loop stops.
    let (connections_trigger, connections_drain) = drain::drain();
    let context_with = |ConnectionSettings { tls, limits }: ConnectionSettings| {
        Arc::new(ConnectionContext {
            parser: http1::parser(&limits),
            deadline_timer: DeadlineTimer::start(&limits, connections_drain.clone()),
            tls: tls.map(TlsAcceptor::from),
            settings: limits,
            handler: Arc::clone(&handler),
            metrics: Arc::clone(&metrics),
            drain: connections_drain.clone(),
            registry: listener.registry.clone(),
            bytes: Arc::clone(&listener.bytes),
            ids: listener.ids.clone(),
        })
    };
    let initial = settings.borrow_and_update().clone();
    let mut context = context_with(initial);
    let mut connections = JoinSet::new();
    let mut exchange = listener.exchange;
    let outages = OutageLog::new("listener", "");
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.started() => break,
            Some(_) = connections.join_next() => continue,
            Ok(()) = settings.changed() => {
                let changed = settings.borrow_and_update().clone();
                acceptor.set_keepalive(changed.limits.tcp_keepalive);
                context = context_with(changed);
                continue;
            }
            Some(passed) = exchange.next() => {
                spawn(&mut connections, &context, passed);
                continue;
            }
            accepted = acceptor.accept() => accepted,
        };
        let socket = match accepted {
            Ok(socket) => {
                outages.succeeded();
                socket
            }
            Err(error) => {
                outages.failed("accept_failed", &error);
                sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        let mut acquiring = pin!(context.acquire_slot(&listener.slots));
        let slot = loop {
            tokio::select! {
                biased;
                slot = &mut acquiring => break slot,
                () = drain.started() => break None,
                // It has a slot already, perhaps the last one.
                Some(passed) = exchange.next() => spawn(&mut connections, &context, passed),
            }
        };
        let accepted = slot.map(|slot| AcceptedConnection { socket, slot });
        if let Some(accepted) = accepted.and_then(|accepted| exchange.place(accepted)) {
            spawn(&mut connections, &context, accepted);
        }
    }
    drop(acceptor);
    for passed in exchange.close() {
        spawn(&mut connections, &context, passed);
    }
    context.handler.drain_started();
    let all_closed = async {
        if drain.was_announced() {
            // Connections still open after that were idle for as long.
            let _ = timeout(CLOSE_GRACE, async {
                while connections.join_next().await.is_some() {}
            })
            .await;
        }
        connections_trigger.start();
        while connections.join_next().await.is_some() {}
    };
    let drain_timeout = settings.borrow().limits.drain_timeout;
    if timeout(drain_timeout, all_closed).await.is_err() {
        tracing::warn!(left = connections.len(), "connections_cut");
        context.handler.cut_off();
    }
    connections.shutdown().await;
    Ok(())
}

/// Serves a connection as a task.
fn spawn<H: Handler>(
    connections: &mut JoinSet<()>,
    context: &Arc<ConnectionContext<H>>,
    accepted: AcceptedConnection,
) {
    let context = Arc::clone(context);
    connections.spawn(async move {
        let AcceptedConnection { socket, slot } = accepted;
        // Boxed separately, so that a hibernating connection does not hold the handshake's future.
        let handshake = Box::pin(context.handshake(socket, slot)).await;
        if let Some(connection) = handshake {
            connection.await;
        }
    });
}
