//! Settings of an upstream: addresses, timeouts and limits, as the configuration has them.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use rustls::pki_types::ServerName;

use super::address::UpstreamUrl;
use super::client_certificate::ClientCertificate;
use super::template::ByLabel;

/// The `Host` field of requests to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamHost {
    /// The public host.
    Client,
    /// The backend's own.
    Upstream,
    /// This host, with a port if it has one.
    Fixed(HeaderValue),
}

/// The protocol of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2. Over TLS it is negotiated by ALPN, with HTTP/1.1 as the fallback; without TLS it
    /// needs prior knowledge (RFC 9113 section 3.3).
    Http2,
}

/// The settings of one backend. Connection limits are per worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// The address, or the first of several.
    pub url: UpstreamUrl,
    /// The other addresses. All have the same scheme.
    pub other_urls: Vec<UpstreamUrl>,
    /// The part of several addresses that may be ejected because their requests fail. One may be in
    /// any case, except for zero.
    pub max_ejected_percent: u8,
    /// The statuses of responses for which a request that can be repeated is sent to another address.
    pub retry_statuses: Vec<StatusCode>,
    /// How several addresses are checked, beside the requests to them.
    pub health_check: Option<HealthCheck>,
    /// Whether each browser keeps to one of several addresses.
    pub affinity: bool,
    /// The addresses by label of a wildcard host, in place of `url`.
    pub by_label: Option<ByLabel>,
    /// The protocol.
    pub protocol: UpstreamProtocol,
    /// For name resolution, connection and TLS handshake, and for waiting for a free connection.
    pub connect_timeout: Duration,
    /// The same for each of several addresses.
    pub address_timeout: Duration,
    /// From the last byte of the request that the backend accepted to the response head.
    pub response_timeout: Duration,
    /// How long either side may be silent within a body.
    pub body_idle_timeout: Duration,
    /// How long an upgraded connection (WebSocket) may be idle.
    pub tunnel_idle_timeout: Duration,
    /// Maximum duration of an upgraded connection or a response body.
    pub stream_max_age: Option<Duration>,
    /// How long an idle HTTP/1.1 connection can be used again.
    pub reuse: IdleReuse,
    /// Idle time after which an HTTP/2 connection is closed. Middleboxes may have dropped it
    /// silently by then.
    pub http2_idle_timeout: Duration,
    /// Maximum number of idle connections in the pool. If it is less than the number of concurrent
    /// requests, connections are closed and reopened under load.
    pub max_idle: usize,
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Maximum number of concurrent requests on an HTTP/2 connection, if the backend does not
    /// permit less.
    pub max_http2_streams: usize,
    /// Idle time after which TCP keepalive probes are sent. Without one, none are sent.
    pub tcp_keepalive: Option<Duration>,
    /// Maximum size of a response head in bytes; at least 8192.
    pub max_header_bytes: usize,
    /// The `Host` field of requests.
    pub host: UpstreamHost,
    /// Trusted CA certificates (PEM), instead of the system's.
    pub ca_certificates: Option<Vec<u8>>,
    /// The name for SNI and certificate verification, instead of the address's host.
    pub server_name: Option<ServerName<'static>>,
    /// The client certificate for mutual TLS.
    pub client_certificate: Option<Arc<ClientCertificate>>,
    /// Interval of HTTP/2 PING frames while requests are in flight.
    pub ping_interval: Option<Duration>,
    /// How long the backend may take to acknowledge a PING.
    pub ping_timeout: Duration,
}

/// Requests that show whether an address works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path and query.
    pub path: String,
    /// The time between two checks.
    pub interval: Duration,
    /// The time limit of a check.
    pub timeout: Duration,
    /// The expected status. `None`: any below 400.
    pub status: Option<StatusCode>,
}

/// Maximum idle times of pooled HTTP/1.1 connections. The backend may close an idle connection just
/// when it is used again, and a request that cannot be repeated fails then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleReuse {
    /// For requests that can be repeated.
    pub repeatable: Duration,
    /// For all others.
    pub unrepeatable: Duration,
}

impl IdleReuse {
    /// For backends that close idle connections after two seconds, as many do.
    pub const DEFAULT: Self = Self {
        repeatable: Duration::from_millis(1500),
        unrepeatable: Duration::from_millis(200),
    };

    /// For a backend that keeps idle connections for longer than `limit`. Requests that cannot be
    /// repeated keep a distance from its end.
    #[must_use]
    pub fn up_to(limit: Duration) -> Self {
        Self {
            repeatable: limit,
            unrepeatable: limit / 2,
        }
    }
}

impl UpstreamSettings {
    /// The default settings for a backend at `url`.
    pub const fn at(url: UpstreamUrl) -> Self {
        Self {
            url,
            other_urls: Vec::new(),
            max_ejected_percent: 50,
            retry_statuses: Vec::new(),
            health_check: None,
            affinity: false,
            by_label: None,
            protocol: UpstreamProtocol::Http1,
            connect_timeout: Duration::from_secs(5),
            address_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(300),
            tunnel_idle_timeout: Duration::from_secs(3600),
            stream_max_age: None,
            reuse: IdleReuse::DEFAULT,
            http2_idle_timeout: Duration::from_secs(60),
            max_idle: 256,
            max_connections: 10_000,
            // The minimum that RFC 9113 section 6.5.2 recommends to servers.
            max_http2_streams: 100,
            tcp_keepalive: Some(Duration::from_secs(60)),
            max_header_bytes: 64 * 1024,
            host: UpstreamHost::Client,
            ca_certificates: None,
            server_name: None,
            client_certificate: None,
            ping_interval: None,
            ping_timeout: Duration::from_secs(10),
        }
    }

    /// All addresses.
    pub fn urls(&self) -> impl Iterator<Item = &UpstreamUrl> {
        std::iter::once(&self.url).chain(&self.other_urls)
    }
}
