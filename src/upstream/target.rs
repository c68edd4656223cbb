//! Where an app's backend is and how it is treated: checked once when the configuration is loaded, shared by all
//! workers.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use url::Url;

use super::client_certificate::ClientCertificate;
use super::headers::HeaderPolicy;

/// The protocols' names in ALPN (RFC 9113 section 3.2, RFC 7301 section 6).
pub(super) const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// A backend's address: `http://127.0.0.1:3000`, `https://app.internal` or `unix:/run/app.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamUrl {
    /// Plain HTTP over TCP.
    Http(HostPort),
    /// HTTP over TLS.
    Https(HostPort),
    /// Plain HTTP over a Unix domain socket.
    Unix(PathBuf),
}

/// A host as a URL has it (an IPv6 address in brackets) and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is not an [`UpstreamUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseUpstreamError {
    /// Not an absolute URL, nor `unix:` with an absolute path.
    #[error("neither a URL nor `unix:/path`")]
    Unparsable,
    /// Another scheme.
    #[error("the scheme must be http, https or unix")]
    Scheme,
    /// It has a path, query, fragment or user name: requests keep their own path.
    #[error("a backend's address has no path, query, fragment or user name")]
    More,
}

/// What is spoken with a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: over TLS where the backend takes it by ALPN, else HTTP/1.1; without TLS with prior knowledge
    /// (RFC 9113 section 3.3).
    Http2,
}

/// How one backend is treated. Limits on connections are per worker.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Where it is.
    pub url: UpstreamUrl,
    /// What is spoken with it.
    pub protocol: UpstreamProtocol,
    /// The time to find, connect to and greet it, and to wait for a free connection.
    pub connect_timeout: Duration,
    /// The time it may take to answer, from the last byte of the request that it accepted to the answer's head.
    pub response_timeout: Duration,
    /// How long either side may be silent in the middle of a body.
    pub body_idle_timeout: Duration,
    /// How long an upgraded connection (WebSocket) may be silent.
    pub tunnel_idle_timeout: Duration,
    /// How long an upgraded connection, or the body of an answer, may last in all.
    pub stream_max_age: Option<Duration>,
    /// A connection that was unused for longer is not used again: many servers close theirs after two seconds.
    pub idle_reuse: Duration,
    /// How many unused connections are kept, for as long as `idle_reuse`: fewer than there are requests at a time, and
    /// connections are closed and opened under load.
    pub max_idle: usize,
    /// How many connections there may be.
    pub max_connections: usize,
    /// The longest answer head that is accepted, in bytes; not less than 8192.
    pub max_header_bytes: usize,
    /// Whether the backend sees the public host in `Host`, or its own.
    pub preserve_host: bool,
    /// Certificates (PEM) that vouch for the backend instead of those that the system trusts.
    pub ca_certificates: Option<Vec<u8>>,
    /// The name that it is asked for, and that its certificate must have, instead of the one in its address.
    pub server_name: Option<ServerName<'static>>,
    /// What we show it to prove who we are.
    pub client_certificate: Option<Arc<ClientCertificate>>,
    /// After how much silence it is asked whether it is still there, over HTTP/2 and while requests are under way.
    pub ping_interval: Option<Duration>,
    /// How long it may take to answer that.
    pub ping_timeout: Duration,
}

/// A backend's settings, checked, with all that can be made from them in advance.
#[derive(Debug)]
pub struct UpstreamPlan {
    pub(super) app: String,
    pub(super) settings: UpstreamSettings,
    pub(super) headers: HeaderPolicy,
    pub(super) host: HeaderValue,
    pub(super) tls: Option<Tls>,
}

#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    /// The same, offering HTTP/2 before HTTP/1.1.
    pub(super) http2: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// Why a backend cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamPlanError {
    /// The host cannot be written into a `Host` field or a certificate check.
    #[error("`{0}` is not a host name")]
    Host(String),
    /// The file of certificates cannot be read, or has none.
    #[error("the backend's certificate authorities cannot be used: {0}")]
    Certificates(String),
    /// The TLS library refuses.
    #[error("TLS to the backend cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl FromStr for UpstreamUrl {
    type Err = ParseUpstreamError;

    fn from_str(text: &str) -> Result<Self, ParseUpstreamError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let absolute = path.starts_with('/') && !path.starts_with("//");
            return if absolute {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(ParseUpstreamError::Unparsable)
            };
        }
        let url = Url::parse(text).map_err(|_| ParseUpstreamError::Unparsable)?;
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(ParseUpstreamError::Scheme),
        };
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(ParseUpstreamError::More);
        }
        let host = url
            .host_str()
            .ok_or(ParseUpstreamError::Unparsable)?
            .to_owned();
        let port = url
            .port_or_known_default()
            .ok_or(ParseUpstreamError::Unparsable)?;
        let place = HostPort { host, port };
        Ok(if secure {
            Self::Https(place)
        } else {
            Self::Http(place)
        })
    }
}

impl UpstreamSettings {
    /// The defaults for a backend at `url`.
    pub const fn at(url: UpstreamUrl) -> Self {
        Self {
            url,
            protocol: UpstreamProtocol::Http1,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(300),
            tunnel_idle_timeout: Duration::from_secs(3600),
            stream_max_age: None,
            idle_reuse: Duration::from_millis(1500),
            max_idle: 256,
            max_connections: 10_000,
            max_header_bytes: 64 * 1024,
            preserve_host: true,
            ca_certificates: None,
            server_name: None,
            client_certificate: None,
            ping_interval: None,
            ping_timeout: Duration::from_secs(10),
        }
    }
}

impl UpstreamPlan {
    /// Checks the settings of the app's backend.
    ///
    /// # Errors
    /// See [`UpstreamPlanError`].
    pub fn new(
        app: impl Into<String>,
        settings: UpstreamSettings,
        headers: HeaderPolicy,
    ) -> Result<Arc<Self>, UpstreamPlanError> {
        let (authority, tls) = match &settings.url {
            UpstreamUrl::Http(place) => (place.authority(80), None),
            UpstreamUrl::Https(place) => (place.authority(443), Some(Tls::new(place, &settings)?)),
            UpstreamUrl::Unix(_) => ("localhost".to_owned(), None),
        };
        let host =
            HeaderValue::from_str(&authority).map_err(|_| UpstreamPlanError::Host(authority))?;
        Ok(Arc::new(Self {
            app: app.into(),
            settings,
            headers,
            host,
            tls,
        }))
    }

    /// What the backend is shown, whose files have to be looked at from time to time.
    pub fn client_certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.settings.client_certificate.as_ref()
    }
}

impl HostPort {
    fn authority(&self, default_port: u16) -> String {
        if self.port == default_port {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The host without the brackets of an IPv6 address.
    pub(super) fn bare_host(&self) -> &str {
        self.host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }
}

impl Tls {
    fn new(place: &HostPort, settings: &UpstreamSettings) -> Result<Self, UpstreamPlanError> {
        let name = match &settings.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(place.bare_host().to_owned())
                .map_err(|_| UpstreamPlanError::Host(place.host.clone()))?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match &settings.ca_certificates {
            Some(pem) => builder.with_root_certificates(roots(pem)?),
            None => builder.with_platform_verifier()?,
        };
        let mut config = match &settings.client_certificate {
            Some(certificate) => {
                let mut config =
                    builder.with_client_cert_resolver(Arc::<ClientCertificate>::clone(certificate));
                // A session that is taken up again goes on under the certificate that it began with.
                config.resumption = Resumption::disabled();
                config
            }
            None => builder.with_no_client_auth(),
        };
        let mut http2 = config.clone();
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        http2.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            http2: Arc::new(http2),
            name,
        })
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, UpstreamPlanError> {
    let unusable = |reason: String| UpstreamPlanError::Certificates(reason);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        Err(unusable("no certificate found".to_owned()))
    } else {
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_scheme_host_and_port_or_a_socket() {
        let http = |host: &str, port| {
            UpstreamUrl::Http(HostPort {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!("http://127.0.0.1:3000".parse(), Ok(http("127.0.0.1", 3000)));
        assert_eq!("http://[::1]".parse(), Ok(http("[::1]", 80)));
        assert_eq!(
            "unix:/run/a.sock".parse(),
            Ok(UpstreamUrl::Unix("/run/a.sock".into()))
        );
        for (text, error) in [
            ("http://a/b", ParseUpstreamError::More),
            ("http://u@a", ParseUpstreamError::More),
            ("http://a/?q", ParseUpstreamError::More),
            ("ftp://a", ParseUpstreamError::Scheme),
            ("unix:a", ParseUpstreamError::Unparsable),
            ("unix://a", ParseUpstreamError::Unparsable),
            ("127.0.0.1", ParseUpstreamError::Unparsable),
        ] {
            assert_eq!(text.parse::<UpstreamUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn certificates_that_are_none_are_an_error() {
        let mut settings = UpstreamSettings::at("https://a.test".parse().unwrap());
        settings.ca_certificates = Some(b"nothing".to_vec());
        let error = UpstreamPlan::new("store", settings, HeaderPolicy::new([], &[])).unwrap_err();
        assert!(
            matches!(error, UpstreamPlanError::Certificates(_)),
            "{error}"
        );
    }
}
