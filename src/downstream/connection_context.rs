//! From an accepted socket to HTTP: whose connection it is, TLS, and which HTTP. Each step has its own time.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::client_certificates;
use super::client_stream::{ClientStream, ConnectionSlot, Readable};
use super::connection::{self, Handler};
use super::deadline_timer::DeadlineTimer;
use super::deadlines::ReadPhase;
use super::drain::Drain;
use super::http2;
use super::listener::ListenerSettings;
use super::per_client_limit::PerClientLimit;
use super::preface;
use super::proxy_protocol::{self, ProxyHeader};
use super::tls::HTTP_2;
use crate::telemetry::metrics::Metrics;
use crate::types::net::ConnectionInfo;

/// How much of an answer may wait in the system until the client's window opens, in bytes.
const NOTSENT_LOWAT: u32 = 512 * 1024;

/// A socket that was just accepted.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// What all connections of a worker are served with.
pub(super) struct ConnectionContext<H> {
    pub(super) parser: http1::Builder,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) settings: Arc<ListenerSettings>,
    pub(super) handler: Arc<H>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Drain,
    pub(super) per_client_limit: PerClientLimit,
    pub(super) deadline_timer: DeadlineTimer,
}

/// The rest of a connection that has arrived.
pub(super) type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<H: Handler> ConnectionContext<H> {
    /// A place for the connection that was just accepted; until there is one, no other is accepted.
    pub(super) async fn place(&self, slots: &Arc<Semaphore>) -> Option<ConnectionSlot> {
        self.metrics.connections_accepted.inc();
        let slot = match Arc::clone(slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                self.metrics.accept_pauses.inc();
                Arc::clone(slots).acquire_owned().await.ok()?
            }
        };
        Some(ConnectionSlot::new(slot, &self.metrics.connections))
    }

    /// Brings a connection to where HTTP begins; `None`: it ended before.
    pub(super) async fn handshake(
        self: Arc<Self>,
        connection_context: Accepted,
        place: ConnectionSlot,
    ) -> Option<Serving> {
        match connection_context {
            Accepted::Tcp(stream, peer) => {
                // Without it the last part of an answer may wait for an acknowledgement; a failure costs only that.
                let _ = stream.set_nodelay(true);
                // Else the system calls a socket writable once a third of all it holds is gone, which a slow reader of
                // much may not manage within any limit of ours.
                let _ = SockRef::from(&stream).set_tcp_notsent_lowat(NOTSENT_LOWAT);
                self.identify_client(stream, Some(peer), place).await
            }
            Accepted::Unix(stream) => self.identify_client(stream, None, place).await,
        }
    }

    /// Finds out whose connection it is, and whether that one may have another.
    async fn identify_client<S>(
        self: Arc<Self>,
        mut stream: S,
        peer: Option<SocketAddr>,
        place: ConnectionSlot,
    ) -> Option<Serving>
    where
        S: AsyncRead + AsyncWrite + Readable + Send + Unpin + 'static,
    {
        let identify_client = if self.settings.proxy_protocol {
            self.read_proxy_header(&mut stream, peer).await
        } else {
            Ok(peer)
        };
        let counted = identify_client.and_then(|client| {
            let Some(limited) = client.filter(|client| !self.is_trusted(client)) else {
                return Ok((client, None));
            };
            let counted = self
                .per_client_limit
                .count(limited.ip(), self.settings.max_connections_per_client);
            counted
                .map(|counted| (client, Some(counted)))
                .ok_or("client_connections")
        });
        match counted {
            Ok((client, counted)) => self.secure(stream, client, place.of_client(counted)).await,
            Err(reason) => self.refused(reason),
        }
    }

    /// Whose connection it is by the PROXY protocol; or why nobody is believed.
    async fn read_proxy_header<S>(
        &self,
        stream: &mut S,
        peer: Option<SocketAddr>,
    ) -> Result<Option<SocketAddr>, &'static str>
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
            Ok(Ok(ProxyHeader::Client(client))) => Ok(Some(client)),
            Ok(Ok(ProxyHeader::Peer)) => Ok(peer),
            Ok(Err(_)) => Err("proxy_protocol"),
            Err(_) => Err("proxy_protocol_timeout"),
        }
    }

    fn is_trusted(&self, peer: &SocketAddr) -> bool {
        let peer = peer.ip().to_canonical();
        self.settings
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&peer))
    }

    async fn secure<S>(
        self: Arc<Self>,
        stream: S,
        peer: Option<SocketAddr>,
        place: ConnectionSlot,
    ) -> Option<Serving>
    where
        S: AsyncRead + AsyncWrite + Readable + Send + Unpin + 'static,
    {
        let Some(tls) = &self.tls else {
            return self
                .plain(
                    stream,
                    ConnectionInfo {
                        peer,
                        secure: false,
                    },
                    place,
                )
                .await;
        };
        match timeout(self.settings.handshake_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
                let stream = ClientStream::new(stream, self.deadline_timer.watch(), place);
                stream.deadlines().begin(ReadPhase::FirstByte);
                Some(self.http(stream, ConnectionInfo { peer, secure: true }, is_http2))
            }
            Ok(Err(error)) => {
                tracing::debug!(?peer, %error, "the TLS handshake failed");
                self.refused(client_certificates::why(&error))
            }
            Err(_) => self.refused("tls_timeout"),
        }
    }

    /// Without TLS the first bytes tell the protocol.
    async fn plain<S>(
        self: Arc<Self>,
        mut stream: S,
        connection: ConnectionInfo,
        place: ConnectionSlot,
    ) -> Option<Serving>
    where
        S: AsyncRead + AsyncWrite + Readable + Send + Unpin + 'static,
    {
        let mut drain = self.drain.clone();
        let ahead = tokio::select! {
            biased;
            ahead = timeout(self.settings.first_byte_timeout, preface::read(&mut stream)) => ahead,
            () = drain.started() => return None,
        };
        match ahead {
            Ok(Ok((ahead, is_http2))) if !ahead.is_empty() => {
                let mut stream = ClientStream::new(stream, self.deadline_timer.watch(), place);
                stream.put_back(ahead);
                stream.deadlines().begin(ReadPhase::RestOfHead);
                Some(self.http(stream, connection, is_http2))
            }
            // Who said nothing, as probes of a port do, needs no answer.
            Ok(Ok(_) | Err(_)) => None,
            Err(_) => self.refused("first_byte_timeout"),
        }
    }

    fn http<S>(
        self: Arc<Self>,
        stream: ClientStream<S>,
        connection: ConnectionInfo,
        is_http2: bool,
    ) -> Serving
    where
        S: AsyncRead + AsyncWrite + Readable + Send + Unpin + 'static,
    {
        if is_http2 {
            Box::pin(http2::serve(stream, connection, self))
        } else {
            connection::serve(stream, connection, self)
        }
    }

    fn refused(&self, reason: &'static str) -> Option<Serving> {
        self.metrics
            .connection_errors
            .with_label_values(&[reason])
            .inc();
        None
    }
}
