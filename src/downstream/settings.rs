//! Listener settings: connection limits, timeouts and header limits.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ServerConfig;

/// Listener settings that a reload can change. New connections get the new settings.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    /// TLS settings, if the listener terminates TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Connection limits and timeouts.
    pub limits: Arc<ListenerSettings>,
}

impl ConnectionSettings {
    /// Whether connections are treated the same.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let is_same_tls = match (&self.tls, &other.tls) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        is_same_tls && self.limits == other.limits
    }
}

/// Limits and timeouts of a listener's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Maximum number of open connections over all workers, upgraded ones included. Accepting
    /// pauses beyond it.
    pub max_connections: usize,
    /// Maximum number of connections per client (an IPv4 address or an IPv6 /64). Trusted proxies
    /// are exempt.
    pub max_connections_per_client: usize,
    /// The permissions of a Unix domain socket.
    pub socket_access: SocketAccess,
    /// Proxies that forward requests of many clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections must begin with a PROXY protocol header. It is accepted from trusted
    /// proxies and over Unix domain sockets only.
    pub proxy_protocol: bool,
    /// Whether requests without TLS are only redirected to `https`.
    pub redirects_to_https: bool,
    /// From the start of the connection, or the end of the TLS handshake, to the first byte.
    pub first_byte_timeout: Duration,
    /// From the first byte of a request head to its last; over HTTP/2 from the start of the
    /// connection to the first request.
    pub header_read_timeout: Duration,
    /// From the end of a response to the first byte of the next request head; over HTTP/2 to its
    /// last byte.
    pub keep_alive_timeout: Duration,
    /// Idle time after which TCP keepalive probes are sent. Without one, none are sent.
    pub tcp_keepalive: Option<Duration>,
    /// Idle time after which an HTTP/1.1 connection releases its buffers until the client sends
    /// again.
    pub hibernate_after: Duration,
    /// For the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a client may accept no byte of a response.
    pub write_stall_timeout: Duration,
    /// How long an HTTP/1.1 request is still answered after the client shut down its write side.
    /// Zero treats that as a disconnect.
    pub half_close_timeout: Duration,
    /// Maximum size of a request head in bytes, cookies included; at least 8192.
    pub max_header_bytes: usize,
    /// Maximum number of fields in a request head.
    pub max_header_count: usize,
    /// Maximum number of concurrent streams on one HTTP/2 connection.
    pub max_http2_streams: u32,
    /// Maximum number of bytes that the requests and responses in flight take in memory.
    pub max_bytes_in_flight: usize,
    /// How many requests a client may cancel at once on one HTTP/2 connection, beside those that it
    /// completes.
    pub http2_reset_burst: u32,
    /// How many of them are allowed again in each second.
    pub http2_resets_per_second: u32,
    /// How long connections may take to finish once draining has started.
    pub drain_timeout: Duration,
}

/// The permissions of a Unix domain socket that is bound here. What is `None` follows from the
/// process: its umask, user and group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketAccess {
    /// The mode. Who may write may connect.
    pub mode: Option<u32>,
    /// The ID of the owner.
    pub owner: Option<u32>,
    /// The ID of the group.
    pub group: Option<u32>,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_client: 1000,
            socket_access: SocketAccess::default(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            redirects_to_https: false,
            first_byte_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(15),
            keep_alive_timeout: Duration::from_secs(75),
            tcp_keepalive: Some(Duration::from_secs(60)),
            hibernate_after: Duration::from_millis(500),
            handshake_timeout: Duration::from_secs(10),
            write_stall_timeout: Duration::from_secs(60),
            half_close_timeout: Duration::from_secs(10),
            max_header_bytes: 64 * 1024,
            max_header_count: 100,
            max_http2_streams: 100,
            max_bytes_in_flight: 128 * 1024 * 1024,
            http2_reset_burst: 500,
            http2_resets_per_second: 100,
            drain_timeout: Duration::from_secs(30),
        }
    }
}
