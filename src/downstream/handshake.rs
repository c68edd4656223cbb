//! Connection handshake, from the accepted socket to HTTP: PROXY protocol, per-client limit, TLS,
//! and the choice between HTTP/1.1 and HTTP/2. Each step has its own timeout.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::client_certificates;
use super::client_stream::{ClientStream, ConnectionSlot, Readable};
use super::connection_context::{ConnectionContext, ConnectionFuture, Handler};
use super::connection_registry::Evictable;
use super::deadlines::ReadPhase;
use super::http1;
use super::http2;
use super::plaintext::{self, Peek};
use super::preface;
use super::proxy_protocol::{self, ProxyHeader};
use super::tls::ALPN_H2;
use crate::limits::ClientKey;
use crate::types::net::{ConnectionInfo, is_private};

/// `TCP_NOTSENT_LOWAT`: maximum number of unsent response bytes in the kernel's send buffer.
const NOTSENT_LOWAT: u32 = 512 * 1024;

/// While no slot is free, how often another idle connection is looked for.
const EVICTION_INTERVAL: Duration = Duration::from_millis(50);

/// The unsent bytes in the TLS session of a connection with small buffers.
const SMALL_TLS_BUFFER: usize = 16 * 1024;

/// A connection before HTTP begins, which is idle from the start.
struct Handshake {
    start: Instant,
    evicted: Notify,
}

impl Default for Handshake {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            evicted: Notify::new(),
        }
    }
}

impl Handshake {
    async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Evictable for Handshake {
    fn idle_for(&self) -> Option<Duration> {
        Some(self.start.elapsed())
    }

    fn evict(&self) {
        self.evicted.notify_one();
    }
}

/// A socket that was just accepted.
pub(super) enum AcceptedSocket {
    Tcp { stream: TcpStream, peer: SocketAddr },
    Unix(UnixStream),
}

impl<H: Handler> ConnectionContext<H> {
    /// Acquires a slot for the connection that was just accepted. If all are taken, an idle
    /// connection is closed. Accepting pauses until a slot is free.
    pub(super) async fn acquire_slot(&self, slots: &Arc<Semaphore>) -> Option<ConnectionSlot> {
        self.metrics.connections_accepted.inc();
        let permit = match Arc::clone(slots).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.free_slot(slots).await?,
        };
        Some(ConnectionSlot::new(permit, &self.metrics.connections))
    }

    async fn free_slot(&self, slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let mut is_counted = false;
        loop {
            if self.registry.evict_idle() {
                self.metrics.connections_evicted.inc();
                is_counted = true;
            } else if !is_counted {
                self.metrics.accept_pauses.inc();
                is_counted = true;
            }
            let slot = Arc::clone(slots).acquire_owned();
            if let Ok(slot) = timeout(EVICTION_INTERVAL, slot).await {
                return slot.ok();
            }
        }
    }

    /// Performs the handshake. Returns `None` if the connection ended before HTTP began.
    pub(super) async fn handshake(
        self: Arc<Self>,
        socket: AcceptedSocket,
        slot: ConnectionSlot,
    ) -> Option<ConnectionFuture> {
        match socket {
            AcceptedSocket::Tcp { stream, peer } => {
                // Avoids a delayed last segment. A failure costs latency only.
                let _ = stream.set_nodelay(true);
                // By default the kernel reports a socket as writable once a third of its buffer is
                // free. A slow reader of a large buffer may not get there within the write stall
                // timeout.
                let _ = SockRef::from(&stream).set_tcp_notsent_lowat(NOTSENT_LOWAT);
                self.identify_client(stream, Some(peer), slot).await
            }
            AcceptedSocket::Unix(stream) => self.identify_client(stream, None, slot).await,
        }
    }

    /// Determines the client's address and applies the per-client limit.
    async fn identify_client<S>(
        self: Arc<Self>,
        mut stream: S,
        peer: Option<SocketAddr>,
        slot: ConnectionSlot,
    ) -> Option<ConnectionFuture>
    where
        S: AsyncRead + AsyncWrite + Peek + Readable + Send + Unpin + 'static,
    {
        let client = if self.settings.proxy_protocol {
            match self.read_proxy_header(&mut stream, peer).await {
                Ok(client) => client,
                Err(reason) => return self.reject(reason),
            }
        } else {
            peer
        };
        let limited = client.filter(|client| !self.is_trusted(client));
        let key = limited.map(|client| ClientKey::of_address(client.ip()));
        let handshake = Arc::new(Handshake::default());
        let max = self.settings.max_connections_per_client;
        let Some(registered) = self.registry.register(key, max, handshake.clone()) else {
            self.warn_of_untrusted_proxy(limited);
            return self.reject("client_connections");
        };
        let slot = slot.registered(registered);
        tokio::select! {
            biased;
            connection = self.accept_tls(stream, client, slot) => connection,
            () = handshake.evicted() => None,
        }
    }

    /// A private address that is at its limit is a proxy rather than a client.
    fn warn_of_untrusted_proxy(&self, client: Option<SocketAddr>) {
        static WARNED: AtomicBool = AtomicBool::new(false);
        let is_likely = self.settings.trusted_proxies.is_empty()
            && client.is_some_and(|client| is_private(client.ip()));
        if is_likely && !WARNED.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                peer = client.map(display),
                "untrusted_proxy_at_connection_limit"
            );
        }
    }

    /// Reads the client's address from the PROXY protocol header.
    ///
    /// # Errors
    /// The reason for the metric.
    async fn read_proxy_header<S>(
        &self,
        stream: &mut S,
        peer: Option<SocketAddr>,
    ) -> Result<Option<SocketAddr>, &'static str>
    where
        S: AsyncRead + Unpin,
    {
        if peer.is_some_and(|peer| !self.is_trusted(&peer)) {
            tracing::debug!(peer = peer.map(display), "proxy_protocol_untrusted");
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

    async fn accept_tls<S>(
        self: Arc<Self>,
        stream: S,
        peer: Option<SocketAddr>,
        slot: ConnectionSlot,
    ) -> Option<ConnectionFuture>
    where
        S: AsyncRead + AsyncWrite + Peek + Readable + Send + Unpin + 'static,
    {
        let Some(tls) = &self.tls else {
            let info = self.connection_info(peer);
            return self.detect_http_version(stream, info, slot).await;
        };
        let deadline = Instant::now() + self.settings.handshake_timeout;
        // An error recurs in the handshake.
        match timeout_at(deadline, plaintext::is_plaintext(&stream)).await {
            Ok(Ok(true)) => return self.refuse_plaintext(stream, slot).await,
            Ok(Ok(false) | Err(_)) => {}
            Err(_) => return self.reject("tls_timeout"),
        }
        match timeout_at(deadline, tls.accept(stream)).await {
            Ok(Ok(mut stream)) => {
                if slot.is_small() {
                    let limit = Some(SMALL_TLS_BUFFER);
                    stream.get_mut().1.set_buffer_limit(limit);
                }
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
                let stream = ClientStream::new(stream, self.deadline_timer.watch(), slot);
                stream.deadlines().set_phase(ReadPhase::FirstByte);
                let info = self.connection_info(peer);
                Some(self.serve_http(stream, info, is_http2))
            }
            Ok(Err(error)) => {
                tracing::debug!(peer = peer.map(display), %error, "tls_handshake_failed");
                self.reject(client_certificates::handshake_error_reason(&error))
            }
            Err(_) => self.reject("tls_timeout"),
        }
    }

    /// Responds to plain HTTP on a TLS port. The slot is held until then.
    async fn refuse_plaintext<S>(
        &self,
        stream: S,
        _slot: ConnectionSlot,
    ) -> Option<ConnectionFuture>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.count_error("plain_http");
        let origin_of = |host: &str| self.handler.https_origin(host);
        let responded = plaintext::respond(stream, origin_of);
        // The client may leave at any time.
        let _ = timeout(self.settings.header_read_timeout, responded).await;
        None
    }

    /// Without TLS the first bytes tell the HTTP version.
    async fn detect_http_version<S>(
        self: Arc<Self>,
        mut stream: S,
        info: ConnectionInfo,
        slot: ConnectionSlot,
    ) -> Option<ConnectionFuture>
    where
        S: AsyncRead + AsyncWrite + Readable + Send + Unpin + 'static,
    {
        let mut drain = self.drain.clone();
        let read = tokio::select! {
            biased;
            read = timeout(self.settings.first_byte_timeout, preface::read(&mut stream)) => read,
            () = drain.started() => return None,
        };
        match read {
            Ok(Ok(sniffed)) if !sniffed.bytes.is_empty() => {
                let mut stream = ClientStream::new(stream, self.deadline_timer.watch(), slot);
                stream.unread(sniffed.bytes);
                stream.deadlines().set_phase(ReadPhase::RestOfHead);
                Some(self.serve_http(stream, info, sniffed.is_http2))
            }
            // A port probe that sends nothing is no error.
            Ok(Ok(_) | Err(_)) => None,
            Err(_) => self.reject("first_byte_timeout"),
        }
    }

    fn serve_http<S>(
        self: Arc<Self>,
        stream: ClientStream<S>,
        info: ConnectionInfo,
        is_http2: bool,
    ) -> ConnectionFuture
    where
        S: AsyncRead + AsyncWrite + Readable + Send + Unpin + 'static,
    {
        if is_http2 {
            Box::pin(http2::serve(stream, info, self))
        } else {
            http1::serve(stream, info, self)
        }
    }

    fn reject(&self, reason: &'static str) -> Option<ConnectionFuture> {
        self.count_error(reason);
        None
    }
}
