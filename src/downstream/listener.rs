//! Listening sockets. One is bound for all workers and duplicated for each, so that the kernel wakes whoever is
//! free and closing one worker's copy loses no connection that waits in the queue.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ServerConfig;
use socket2::{Domain, Type};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Handler};
use super::connection_context::{Accepted, ConnectionContext};
use super::deadline_timer::DeadlineTimer;
use super::drain::{self, Drain};
use super::per_client_limit::PerClientLimit;
use super::socket_activation::{ActivatedSockets, Role};
use crate::telemetry::metrics::Metrics;
use crate::types::net::ListenAddr;

/// After a failed `accept` (no file descriptor left, mostly) the next try waits this long.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// How long connections are kept, once nothing is accepted any more, for what their clients have sent already: only where
/// the end was announced, so that after each answer they go by themselves.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// How many connections may wait to be accepted; the system's own limit (`net.core.somaxconn`) is seldom higher.
const BACKLOG: i32 = 4096;

/// Limits of a listener's connections.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// How many connections may be open over all workers, tunnels included; beyond it, accepting pauses.
    pub max_connections: usize,
    /// How many of them one client may have, by IPv4 address or IPv6 network of 64 bits; trusted proxies any number.
    pub max_connections_per_client: usize,
    /// Proxies that pass on what many clients ask.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections begin with the PROXY protocol, and are from a trusted proxy or over a Unix domain socket.
    pub proxy_protocol: bool,
    /// From the beginning of a connection, or the end of its TLS handshake, to the first bytes, which tell the protocol.
    pub first_byte_timeout: Duration,
    /// From the first byte of a head to its last; over HTTP/2 from the beginning of the connection to its first request.
    pub header_read_timeout: Duration,
    /// From the end of an answer to the first byte of the next head; over HTTP/2 to its last byte.
    pub keep_alive_timeout: Duration,
    /// After an HTTP/1.1 connection was idle for so long it gives its buffers back, until something comes.
    pub rest_after: Duration,
    /// For the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a client may take no byte of an answer.
    pub write_stall_timeout: Duration,
    /// The longest request head, in bytes, cookies included; not less than 8192.
    pub max_header_bytes: usize,
    /// How many fields a request head may have.
    pub max_header_count: usize,
    /// How many requests an HTTP/2 client may have under way on one connection.
    pub max_http2_streams: u32,
    /// How many more requests an HTTP/2 client may cancel than it lets end, on one connection.
    pub max_http2_cancelled: usize,
    /// How long connections have to finish once draining began.
    pub drain_timeout: Duration,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_client: 1000,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            first_byte_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(15),
            keep_alive_timeout: Duration::from_secs(75),
            rest_after: Duration::from_millis(500),
            handshake_timeout: Duration::from_secs(10),
            write_stall_timeout: Duration::from_secs(60),
            max_header_bytes: 64 * 1024,
            max_header_count: 100,
            max_http2_streams: 100,
            max_http2_cancelled: 200,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`")]
pub struct ListenError {
    address: ListenAddr,
    source: io::Error,
}

/// A bound socket, and the count of connections that its duplicates share.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    slots: Arc<Semaphore>,
    per_client_limit: PerClientLimit,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    /// Binds `address`. A Unix domain socket that a process before us left behind is replaced.
    ///
    /// # Errors
    /// The address is in use, not ours, or not permitted.
    pub fn bind(address: &ListenAddr, settings: &ListenerSettings) -> Result<Self, ListenError> {
        Self::of(
            Role::Listen,
            address,
            settings,
            &mut ActivatedSockets::default(),
        )
    }

    /// The socket that was handed over for this listener, or else [`Listener::bind`].
    ///
    /// # Errors
    /// As there.
    pub fn of(
        role: Role,
        address: &ListenAddr,
        settings: &ListenerSettings,
        socket_activation: &mut ActivatedSockets,
    ) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            address: address.clone(),
            source,
        };
        let socket = match (socket_activation.for_listener(role, address), address) {
            (Some(socket), _) => Ok(socket),
            (None, ListenAddr::Tcp(address)) => bind_tcp(*address).map(Socket::Tcp),
            (None, ListenAddr::Unix(path)) => bind_unix(path).map(Socket::Unix),
        };
        let slots = Arc::new(Semaphore::new(
            settings.max_connections.clamp(1, Semaphore::MAX_PERMITS),
        ));
        Ok(Self {
            socket: socket.map_err(failed)?,
            slots,
            per_client_limit: PerClientLimit::default(),
        })
    }

    /// The same socket for another worker.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            Socket::Tcp(socket) => Socket::Tcp(socket.try_clone()?),
            Socket::Unix(socket) => Socket::Unix(socket.try_clone()?),
        };
        Ok(Self {
            socket,
            slots: Arc::clone(&self.slots),
            per_client_limit: self.per_client_limit.clone(),
        })
    }

    /// The bound address and port; `None` for a Unix domain socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }
}

impl Socket {
    /// Whether connections can be accepted from it.
    pub(super) fn listens(&self) -> io::Result<bool> {
        match self {
            Self::Tcp(socket) => socket2::SockRef::from(socket).is_listener(),
            Self::Unix(socket) => socket2::SockRef::from(socket).is_listener(),
        }
    }

    /// Where it is bound.
    pub(super) fn address(&self) -> io::Result<ListenAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(ListenAddr::Tcp),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                let path = address
                    .as_pathname()
                    .ok_or_else(|| io::Error::other("a socket has no path"))?;
                Ok(ListenAddr::Unix(path.to_owned()))
            }
        }
    }
}

/// The standard library would let 128 connections wait only, and who comes then tries again after a second.
fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As the standard library does: connections of a process before us may linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::net::{UnixListener, UnixStream};
    let stale = || {
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
            && UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && stale() => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

enum Acceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    fn new(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(socket).map(Self::Tcp)
            }
            Socket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(socket).map(Self::Unix)
            }
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(socket) => socket
                .accept()
                .await
                .map(|(stream, peer)| Accepted::Tcp(stream, peer)),
            Self::Unix(socket) => socket
                .accept()
                .await
                .map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// Accepts and serves connections on the current runtime until draining ends.
///
/// # Errors
/// The socket cannot be used on this runtime.
pub async fn serve<H: Handler>(
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
    settings: Arc<ListenerSettings>,
    handler: Arc<H>,
    metrics: Arc<Metrics>,
    mut drain: Drain,
) -> io::Result<()> {
    let (slots, per_client_limit) = (Arc::clone(&listener.slots), listener.per_client_limit);
    let acceptor = Acceptor::new(listener.socket)?;
    // The connections end later than the accepting.
    let (last_call, ending) = drain::drain();
    let server = Arc::new(ConnectionContext {
        parser: connection::parser(&settings),
        deadline_timer: DeadlineTimer::start(&settings, ending.clone()),
        tls: tls.map(TlsAcceptor::from),
        settings: Arc::clone(&settings),
        handler,
        metrics,
        drain: ending,
        per_client_limit,
    });
    let mut connections = JoinSet::new();
    loop {
        let connection_context = tokio::select! {
            biased;
            () = drain.started() => break,
            Some(_) = connections.join_next() => continue,
            connection_context = acceptor.accept() => connection_context,
        };
        let connection_context = match connection_context {
            Ok(connection_context) => connection_context,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let place = tokio::select! {
            biased;
            place = server.place(&slots) => place,
            () = drain.started() => break,
        };
        if let Some(place) = place {
            let server = Arc::clone(&server);
            connections.spawn(async move {
                // On the heap, each part for its time only: a connection at rest carries as little as may be.
                let serving = Box::pin(server.handshake(connection_context, place)).await;
                if let Some(serving) = serving {
                    serving.await;
                }
            });
        }
    }
    drop(acceptor);
    let all_ended = async {
        if drain.was_announced() {
            // Who is still here after that was silent for as long.
            let _ = timeout(CLOSE_GRACE, async {
                while connections.join_next().await.is_some() {}
            })
            .await;
        }
        last_call.start();
        while connections.join_next().await.is_some() {}
    };
    if timeout(settings.drain_timeout, all_ended).await.is_err() {
        tracing::warn!(
            left = connections.len(),
            "connections were cut at the drain deadline"
        );
    }
    connections.shutdown().await;
    Ok(())
}
