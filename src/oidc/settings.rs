//! Provider settings: issuer, endpoints, algorithms and timeouts of one identity provider.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use url::Url;

use super::algorithm::Algorithm;
use super::dialect::Dialect;
use super::discovery::{PlainHttp, default_discovery_url};
use super::document::DocumentFile;
use super::endpoints::EndpointSettings;
use super::forward_proxy::ForwardProxy;
use super::http::HttpSettings;
use super::security_profile::SecurityProfile;
use crate::identity::claims::UnverifiedClaims;
use crate::types::oauth::{Issuer, ProviderName};

/// One identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSettings {
    /// The name in the configuration file.
    pub name: ProviderName,
    /// How it differs from the standards.
    pub dialect: Dialect,
    /// The security profile that its clients follow.
    pub profile: Option<SecurityProfile>,
    /// The expected `iss`. With FusionAuth it need not be a URL, so [`Self::discovery_url`] is
    /// separate.
    pub issuer: Issuer,
    /// The URL of the discovery document.
    pub discovery_url: Url,
    /// Endpoints that are not as in the discovery document.
    pub endpoints: EndpointSettings,
    /// Proxies for requests to the provider.
    pub proxy: ForwardProxy,
    /// The file that keeps metadata and keys.
    pub document_file: Option<DocumentFile>,
    /// The only trusted certificate authorities; if empty, the system's.
    pub ca_certificates: Vec<CertificateDer<'static>>,
    /// The accepted signature algorithms. Each key's type limits them further.
    pub algorithms: Vec<Algorithm>,
    /// Timeout of name resolution, connection and TLS handshake. It should be less than
    /// [`Self::request_timeout`]: a request that fails here is known not to have been sent.
    pub connect_timeout: Duration,
    /// Timeout of a whole request, except refreshes.
    pub request_timeout: Duration,
    /// Timeout of a whole refresh.
    pub refresh_timeout: Duration,
    /// Maximum size of a response body in bytes.
    pub body_limit: usize,
    /// Accepted clock difference when `exp`, `nbf` and `iat` are checked.
    pub leeway: Duration,
    /// Minimum interval between key set fetches that an unknown `kid` triggers.
    pub keys_min_refetch: Duration,
    /// Interval at which metadata and keys are fetched in the background.
    pub keys_max_age: Duration,
    /// Handling of refreshes during an outage of the shared store.
    pub on_store_outage: OnStoreOutage,
    /// Dangerous: allows plain http to hosts other than this machine.
    pub allow_insecure_http: bool,
    /// Handling of claims that the provider marks as not verified.
    pub unverified_claims: UnverifiedClaims,
    /// Dangerous: accepts logout tokens without `exp`.
    pub allow_logout_tokens_without_exp: bool,
}

/// Handling of a refresh while it is unknown whether another replica is refreshing the same
/// session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreOutage {
    /// It is not attempted. Sessions with an expired JWT get 503.
    Refuse,
    /// It is attempted, for providers that accept a refresh token more than once.
    LocalLease,
}

impl ProviderSettings {
    /// Default settings for a provider whose issuer is a URL.
    ///
    /// # Errors
    /// The issuer is not an http(s) URL. Then [`Self::at`] needs the discovery URL.
    pub fn new(name: ProviderName, issuer: Issuer) -> Result<Self, url::ParseError> {
        let discovery_url = default_discovery_url(&issuer)?;
        Ok(Self::at(name, issuer, discovery_url))
    }

    /// Default settings for a provider whose discovery document is at `discovery_url`.
    pub fn at(name: ProviderName, issuer: Issuer, discovery_url: Url) -> Self {
        Self {
            name,
            dialect: Dialect::Standard,
            profile: None,
            issuer,
            discovery_url,
            endpoints: EndpointSettings::default(),
            proxy: ForwardProxy::default(),
            document_file: None,
            ca_certificates: Vec::new(),
            algorithms: Algorithm::ALL.to_vec(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            refresh_timeout: Duration::from_secs(30),
            body_limit: 1024 * 1024,
            leeway: Duration::from_secs(30),
            keys_min_refetch: Duration::from_secs(10),
            keys_max_age: Duration::from_secs(15 * 60),
            on_store_outage: OnStoreOutage::Refuse,
            allow_insecure_http: false,
            unverified_claims: UnverifiedClaims::Absent,
            allow_logout_tokens_without_exp: false,
        }
    }

    /// Where plain http is allowed.
    pub(super) fn plain_http(&self) -> PlainHttp {
        let mut urls = self.endpoints.addresses();
        let plain = urls.find(|url| url.scheme() == "http");
        PlainHttp::for_provider(
            plain.unwrap_or(&self.discovery_url),
            self.allow_insecure_http,
        )
    }

    /// The settings of the provider's HTTP client.
    pub(super) fn http(&self) -> HttpSettings {
        HttpSettings {
            provider: self.name.clone(),
            certificates: self
                .ca_certificates
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
            plain_http: self.plain_http(),
            proxy: self.proxy.clone(),
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            body_limit: self.body_limit,
            leeway: self.leeway,
        }
    }
}
