//! Forward proxies for requests to a provider: `[providers.NAME.proxy]`.

use url::Url;

use crate::types::secret::Secret;

/// The proxies by the scheme of the requested URL. `https` is tunnelled by CONNECT (RFC 9110 section
/// 9.3.6), so the proxy sees host and port only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardProxy {
    /// For `http` URLs.
    pub http: Option<ProxyServer>,
    /// For `https` URLs.
    pub https: Option<ProxyServer>,
    /// Domains with their subdomains, IP addresses and networks that are reached directly; `*` is
    /// each host.
    pub no_proxy: Vec<String>,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyServer {
    /// Scheme, host and port.
    pub url: Url,
    /// HTTP Basic credentials.
    pub credentials: Option<ProxyCredentials>,
}

/// The credentials in `Proxy-Authorization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret<String>,
}

impl ForwardProxy {
    /// One proxy for all URLs.
    pub fn all(server: ProxyServer, no_proxy: Vec<String>) -> Self {
        Self {
            http: Some(server.clone()),
            https: Some(server),
            no_proxy,
        }
    }

    /// Whether a proxy is set.
    pub const fn is_set(&self) -> bool {
        self.http.is_some() || self.https.is_some()
    }
}
