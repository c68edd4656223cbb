//! Upstream configuration: a backend's address, timeouts and TLS. Validated once when the
//! configuration is loaded, and shared by all workers.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::address::{HostPort, UpstreamUrl};
use super::client_certificate::ClientCertificate;
use super::dial_record::{DialRecord, LastDial};
use super::field_value::FieldValue;
use super::headers::HeaderPolicy;
use super::public_urls::PublicUrls;
use super::request::ForwardRequest;
use super::template::ByLabel;
use crate::outage::OutageLog;
use crate::types::host_label::HostLabel;

/// ALPN protocol ID of HTTP/2 over TLS (RFC 9113 section 3.2).
pub(super) const ALPN_H2: &[u8] = b"h2";
/// ALPN protocol ID of HTTP/1.1 (RFC 7301 section 6).
const ALPN_HTTP1: &[u8] = b"http/1.1";

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
    /// The address.
    pub url: UpstreamUrl,
    /// The addresses by label of a wildcard host, in place of `url`.
    pub by_label: Option<ByLabel>,
    /// The protocol.
    pub protocol: UpstreamProtocol,
    /// For name resolution, connection and TLS handshake, and for waiting for a free connection.
    pub connect_timeout: Duration,
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

/// A backend's validated settings, with everything that can be built from them in advance.
#[derive(Clone, Debug)]
pub struct UpstreamPlan {
    pub(super) app: String,
    pub(super) settings: UpstreamSettings,
    pub(super) headers: HeaderPolicy,
    pub(super) host: HeaderValue,
    pub(super) tls: Option<Tls>,
    pub(super) dial_record: Arc<DialRecord>,
    pub(super) outages: Arc<OutageLog>,
}

/// The identity of a backend, while a plan of it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BackendId(*const DialRecord);

#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// Offers HTTP/1.1 only.
    pub(super) http1: Arc<ClientConfig>,
    /// Offers HTTP/2 before HTTP/1.1.
    pub(super) http2: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// Why a backend's settings are invalid.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamPlanError {
    /// The host is not valid in a `Host` field or for certificate verification.
    #[error("`{0}` is not a host name")]
    Host(String),
    /// The CA certificates cannot be parsed, or the file contains no certificate.
    #[error("the backend's certificate authorities cannot be used: {0}")]
    Certificates(String),
    /// The TLS library rejects the settings.
    #[error("TLS to the backend cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl UpstreamSettings {
    /// The default settings for a backend at `url`.
    pub const fn at(url: UpstreamUrl) -> Self {
        Self {
            url,
            by_label: None,
            protocol: UpstreamProtocol::Http1,
            connect_timeout: Duration::from_secs(5),
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
}

impl UpstreamPlan {
    /// Validates the settings of the app's backend.
    ///
    /// # Errors
    /// See [`UpstreamPlanError`].
    pub fn new(
        app: impl Into<String>,
        settings: UpstreamSettings,
        headers: HeaderPolicy,
    ) -> Result<Arc<Self>, UpstreamPlanError> {
        let (authority, tls) = match &settings.url {
            UpstreamUrl::Http(address) => (address.authority(80), None),
            UpstreamUrl::Https(address) => {
                (address.authority(443), Some(Tls::new(address, &settings)?))
            }
            UpstreamUrl::Unix(_) => ("localhost".to_owned(), None),
        };
        let host =
            HeaderValue::from_str(&authority).map_err(|_| UpstreamPlanError::Host(authority))?;
        let app: String = app.into();
        Ok(Arc::new(Self {
            outages: Arc::new(OutageLog::new("upstream", app.clone())),
            app,
            settings,
            headers,
            host,
            tls,
            dial_record: Arc::default(),
        }))
    }

    /// The same plan for an app whose outages were logged so far by `previous`.
    #[must_use]
    pub fn continuing(&self, previous: &Self) -> Arc<Self> {
        Arc::new(Self {
            outages: Arc::clone(&previous.outages),
            ..self.clone()
        })
    }

    /// The same backend with other header rules.
    #[must_use]
    pub fn with_headers(&self, headers: HeaderPolicy) -> Arc<Self> {
        Arc::new(Self {
            headers,
            ..self.clone()
        })
    }

    /// The address as a label of metrics. With an address for each label of a wildcard host it is their
    /// template, so that clients cannot make series.
    pub(super) fn metric_label(&self) -> String {
        match &self.settings.by_label {
            Some(by_label) => by_label.template.to_string(),
            None => self.settings.url.to_string(),
        }
    }

    /// The settings.
    pub const fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// The backend, which is the same for routes and configurations with the same settings: its
    /// connections can be used with either.
    pub(super) fn backend(&self) -> BackendId {
        BackendId(Arc::as_ptr(&self.dial_record))
    }

    /// How many labels have connections of their own. `None` without addresses by label.
    pub(super) fn max_labels(&self) -> Option<usize> {
        let by_label = self.settings.by_label.as_ref();
        by_label.map(|by_label| by_label.max_labels)
    }

    /// The same backend settings at the address for `label`. `None` if it is no valid address.
    pub(super) fn at_label(&self, label: &HostLabel) -> Option<Arc<Self>> {
        let url = self.settings.by_label.as_ref()?.template.at_label(label)?;
        let (authority, tls) = match &url {
            UpstreamUrl::Http(address) => (address.authority(80), None),
            UpstreamUrl::Https(address) => {
                let name = match &self.settings.server_name {
                    Some(name) => name.clone(),
                    None => ServerName::try_from(address.bare_host().to_owned()).ok()?,
                };
                let tls = self.tls.clone()?;
                (address.authority(443), Some(Tls { name, ..tls }))
            }
            UpstreamUrl::Unix(_) => ("localhost".to_owned(), None),
        };
        Some(Arc::new(Self {
            app: self.app.clone(),
            settings: UpstreamSettings {
                url,
                ..self.settings.clone()
            },
            headers: self.headers.clone(),
            host: HeaderValue::try_from(authority).ok()?,
            tls,
            dial_record: Arc::clone(&self.dial_record),
            outages: Arc::clone(&self.outages),
        }))
    }

    /// The `Host` field of a request.
    pub(super) fn host_of<'v>(&'v self, request: &ForwardRequest<'v>) -> FieldValue<'v> {
        match &self.settings.host {
            UpstreamHost::Client => {
                FieldValue::text(request.forwarded_host).unwrap_or((&self.host).into())
            }
            UpstreamHost::Upstream => (&self.host).into(),
            UpstreamHost::Fixed(host) => host.into(),
        }
    }

    /// Changes the header fields of a response.
    pub(super) fn sanitize_response(&self, headers: &mut HeaderMap, request: &ForwardRequest<'_>) {
        if let Some(route) = request.route {
            let own = [FieldValue::from(&self.host), self.host_of(request)];
            let urls = PublicUrls {
                own: own.map(|own| own.as_str().unwrap_or_default()),
                scheme: request.forwarded_proto,
                authority: request.forwarded_host,
                route,
            };
            urls.rewrite(headers);
        }
        self.headers.sanitize_response(headers, request);
    }

    /// How the last attempt of any worker to connect ended. `None` before the first one.
    pub fn last_dial(&self) -> Option<LastDial> {
        self.dial_record.last()
    }

    /// The name of the app.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The client certificate, whose files must be watched for changes.
    pub fn client_certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.settings.client_certificate.as_ref()
    }
}

impl Tls {
    fn new(address: &HostPort, settings: &UpstreamSettings) -> Result<Self, UpstreamPlanError> {
        let name = match &settings.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(address.bare_host().to_owned())
                .map_err(|_| UpstreamPlanError::Host(address.host.clone()))?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match &settings.ca_certificates {
            Some(pem) => builder.with_root_certificates(roots(pem)?),
            None => builder.with_platform_verifier()?,
        };
        let mut http1 = match &settings.client_certificate {
            Some(certificate) => {
                let mut config =
                    builder.with_client_cert_resolver(Arc::<ClientCertificate>::clone(certificate));
                // A resumed session would keep using the certificate of its first handshake.
                config.resumption = Resumption::disabled();
                config
            }
            None => builder.with_no_client_auth(),
        };
        let mut http2 = http1.clone();
        http1.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        http2.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        Ok(Self {
            http1: Arc::new(http1),
            http2: Arc::new(http2),
            name,
        })
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, UpstreamPlanError> {
    let invalid = |reason: String| UpstreamPlanError::Certificates(reason);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| invalid(error.to_string()))?;
    }
    if roots.is_empty() {
        Err(invalid("no certificate found".to_owned()))
    } else {
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_without_valid_ca_certificates_fails() {
        let mut settings = UpstreamSettings::at("https://a.test".parse().unwrap());
        settings.ca_certificates = Some(b"nothing".to_vec());
        let error = UpstreamPlan::new("store", settings, HeaderPolicy::new([], &[])).unwrap_err();
        assert!(
            matches!(error, UpstreamPlanError::Certificates(_)),
            "{error}"
        );
    }
}
