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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::client_certificates;
use super::clients::Clients;
use super::connection::{self, Handler};
use super::drain::{self, Drain};
use super::guard::{Guarded, Place};
use super::http2;
use super::inherited::{Inherited, Role};
use super::preface::Ahead;
use super::proxy_protocol::{self, Named};
use super::tls::HTTP_2;
use crate::telemetry::metrics::Metrics;
use crate::types::net::{Arrival, ListenAddr};

/// After a failed `accept` (no file descriptor left, mostly) the next try waits this long.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// How long connections are kept, once nothing is accepted any more, for what their clients have sent already: only where
/// the end was announced, so that after each answer they go by themselves.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    /// From the end of an answer (or the beginning of the connection) to the last byte of the next head.
    pub header_read_timeout: Duration,
    /// From the beginning of a connection without TLS to the bytes that tell its protocol; never longer than
    /// `header_read_timeout`.
    pub first_byte_timeout: Duration,
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
            header_read_timeout: Duration::from_secs(30),
            first_byte_timeout: Duration::from_secs(10),
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
    clients: Clients,
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
        Self::of(Role::Listen, address, settings, &mut Inherited::default())
    }

    /// The socket that was handed over for this listener, or else [`Listener::bind`].
    ///
    /// # Errors
    /// As there.
    pub fn of(
        role: Role,
        address: &ListenAddr,
        settings: &ListenerSettings,
        inherited: &mut Inherited,
    ) -> Result<Self, ListenError> {
        let failed = |source| ListenError { address: address.clone(), source };
        let socket = match (inherited.for_listener(role, address), address) {
            (Some(socket), _) => Ok(socket),
            (None, ListenAddr::Tcp(address)) => bind_tcp(*address).map(Socket::Tcp),
            (None, ListenAddr::Unix(path)) => bind_unix(path).map(Socket::Unix),
        };
        let slots = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Self { socket: socket.map_err(failed)?, slots, clients: Clients::default() })
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
        Ok(Self { socket, slots: Arc::clone(&self.slots), clients: self.clients.clone() })
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
    /// Where it is bound.
    pub(super) fn address(&self) -> io::Result<ListenAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(ListenAddr::Tcp),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                let path = address.as_pathname().ok_or_else(|| io::Error::other("a socket has no path"))?;
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
            && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
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

enum Accepted {
    Tcp(tokio::net::TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
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
            Self::Tcp(socket) => socket.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer)),
            Self::Unix(socket) => socket.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
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
    let (slots, clients) = (Arc::clone(&listener.slots), listener.clients);
    let acceptor = Acceptor::new(listener.socket)?;
    // The connections end later than the accepting.
    let (last_call, ending) = drain::drain();
    let server = Arc::new(Server {
        parser: connection::parser(&settings),
        tls: tls.map(TlsAcceptor::from),
        settings: Arc::clone(&settings),
        handler,
        metrics,
        drain: ending,
        clients,
    });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.started() => break,
            Some(_) = connections.join_next() => continue,
            accepted = acceptor.accept() => accepted,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
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
            connections.spawn(async move { server.connection(accepted, place).await });
        }
    }
    drop(acceptor);
    let all_ended = async {
        if drain.was_announced() {
            // Who is still here after that was silent for as long.
            let _ = timeout(LAST_WORDS, async { while connections.join_next().await.is_some() {} }).await;
        }
        last_call.start();
        while connections.join_next().await.is_some() {}
    };
    if timeout(settings.drain_timeout, all_ended).await.is_err() {
        tracing::warn!(left = connections.len(), "connections were cut at the drain deadline");
    }
    connections.shutdown().await;
    Ok(())
}

struct Server<H> {
    parser: hyper::server::conn::http1::Builder,
    tls: Option<TlsAcceptor>,
    settings: Arc<ListenerSettings>,
    handler: Arc<H>,
    metrics: Arc<Metrics>,
    drain: Drain,
    clients: Clients,
}

impl<H: Handler> Server<H> {
    /// A place for the connection that was just accepted; until there is one, no other is accepted.
    async fn place(&self, slots: &Arc<Semaphore>) -> Option<Place> {
        self.metrics.connections_accepted.inc();
        let slot = match Arc::clone(slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                self.metrics.accept_pauses.inc();
                Arc::clone(slots).acquire_owned().await.ok()?
            }
        };
        Some(Place::new(slot, &self.metrics.connections))
    }

    async fn connection(&self, accepted: Accepted, place: Place) {
        match accepted {
            Accepted::Tcp(stream, peer) => {
                // Without it the last part of an answer may wait for an acknowledgement; a failure costs only that.
                let _ = stream.set_nodelay(true);
                self.named(stream, Some(peer), place).await;
            }
            Accepted::Unix(stream) => self.named(stream, None, place).await,
        }
    }

    /// Finds out whose connection it is, and whether that one may have another.
    async fn named<S>(&self, mut stream: S, peer: Option<SocketAddr>, place: Place)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let named = if self.settings.proxy_protocol { self.introduced(&mut stream, peer).await } else { Ok(peer) };
        let counted = named.and_then(|client| {
            let Some(limited) = client.filter(|client| !self.is_trusted(client)) else { return Ok((client, None)) };
            let counted = self.clients.count(limited.ip(), self.settings.max_connections_per_client);
            counted.map(|counted| (client, Some(counted))).ok_or("client_connections")
        });
        match counted {
            Ok((client, counted)) => self.secure(stream, client, place.of_client(counted)).await,
            Err(reason) => self.metrics.protocol_refusals.with_label_values(&[reason]).inc(),
        }
    }

    /// Whose connection it is by the PROXY protocol; or why nobody is believed.
    async fn introduced<S>(&self, stream: &mut S, peer: Option<SocketAddr>) -> Result<Option<SocketAddr>, &'static str>
    where
        S: AsyncRead + Unpin,
    {
        if peer.is_some_and(|peer| !self.is_trusted(&peer)) {
            tracing::debug!(?peer, "the PROXY protocol is for trusted proxies");
            return Err("proxy_protocol_untrusted");
        }
        let mut drain = self.drain.clone();
        let read = tokio::select! {
            biased;
            read = timeout(self.settings.first_byte_timeout, proxy_protocol::read(stream)) => read,
            () = drain.started() => return Err("proxy_protocol_drained"),
        };
        match read {
            Ok(Ok(Named::Client(client))) => Ok(Some(client)),
            Ok(Ok(Named::Peer)) => Ok(peer),
            Ok(Err(_)) => Err("proxy_protocol"),
            Err(_) => Err("proxy_protocol_timeout"),
        }
    }

    fn is_trusted(&self, peer: &SocketAddr) -> bool {
        let peer = peer.ip().to_canonical();
        self.settings.trusted_proxies.iter().any(|network| network.contains(&peer))
    }

    async fn secure<S>(&self, stream: S, peer: Option<SocketAddr>, place: Place)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Guarded::new(stream, self.settings.write_stall_timeout, place);
        let Some(tls) = &self.tls else {
            return self.plain(stream, Arrival { peer, secure: false }).await;
        };
        let reason = match timeout(self.settings.handshake_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
                return self.http(stream, Arrival { peer, secure: true }, is_http2).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(?peer, %error, "the TLS handshake failed");
                client_certificates::why(&error)
            }
            Err(_) => "tls_timeout",
        };
        self.metrics.protocol_refusals.with_label_values(&[reason]).inc();
    }

    /// Without TLS the first bytes tell the protocol.
    async fn plain<S>(&self, mut stream: Guarded<S>, arrival: Arrival)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut drain = self.drain.clone();
        let patience = self.settings.first_byte_timeout.min(self.settings.header_read_timeout);
        let ahead = tokio::select! {
            biased;
            ahead = timeout(patience, Ahead::read(&mut stream)) => ahead,
            () = drain.started() => return,
        };
        match ahead {
            Ok(Ok((ahead, is_http2))) if !ahead.is_empty() => {
                stream.put_back(ahead);
                self.http(stream, arrival, is_http2).await;
            }
            // Who said nothing, as probes of a port do, needs no answer.
            Ok(Ok(_) | Err(_)) => {}
            Err(_) => self.metrics.protocol_refusals.with_label_values(&["first_byte_timeout"]).inc(),
        }
    }

    async fn http<S>(&self, stream: S, arrival: Arrival, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (handler, drain) = (Arc::clone(&self.handler), self.drain.clone());
        if is_http2 {
            let serving = http2::serve(stream, arrival, &self.settings, handler, &self.metrics, drain);
            // On the heap, lest every other connection carry the room for it.
            Box::pin(serving).await;
        } else {
            connection::serve(stream, arrival, &self.parser, handler, &self.metrics, drain).await;
        }
    }
}
