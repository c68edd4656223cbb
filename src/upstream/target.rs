//! Upstream plan: a backend's settings, validated once when the configuration is loaded, with what is built
//! from them in advance. All workers share it.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::runtime::Handle;

use super::address::UpstreamUrl;
use super::client_certificate::ClientCertificate;
use super::dial_record::{DialRecord, LastDial};
use super::field_value::FieldValue;
use super::headers::HeaderPolicy;
use super::members::{MemberId, MemberStatus, Members};
use super::public_urls::PublicUrls;
use super::request::ForwardRequest;
use super::settings::{UpstreamHost, UpstreamSettings};
use crate::dns::Resolver;
use crate::outage::OutageLog;
use crate::types::host_label::HostLabel;

/// ALPN protocol ID of HTTP/2 over TLS (RFC 9113 section 3.2).
pub(super) const ALPN_H2: &[u8] = b"h2";
/// ALPN protocol ID of HTTP/1.1 (RFC 7301 section 6).
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// A backend's validated settings, with everything that can be built from them in advance.
#[derive(Clone, Debug)]
pub struct UpstreamPlan {
    pub(super) app: String,
    pub(super) settings: UpstreamSettings,
    pub(super) headers: HeaderPolicy,
    pub(super) host: HeaderValue,
    pub(super) tls: Option<Tls>,
    /// The only address of the host that is used. `None`: any.
    pub(super) ip: Option<IpAddr>,
    /// The SRV records that name the address.
    service: Option<UpstreamUrl>,
    pub(super) members: Arc<Members>,
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
        let name = match &settings.url {
            UpstreamUrl::Https(address) => Some(server_name(address.bare_host(), &settings)?),
            // A forged DNS response could name any target, so the name is not the target's.
            UpstreamUrl::Srv(service) if service.is_tls => {
                Some(server_name(service.domain(), &settings)?)
            }
            UpstreamUrl::Http(_) | UpstreamUrl::Unix(_) | UpstreamUrl::Srv(_) => None,
        };
        let tls = name.map(|name| Tls::new(name, &settings)).transpose()?;
        let app: String = app.into();
        let plan = Self {
            outages: Arc::new(OutageLog::new("upstream", app.clone())),
            members: Arc::new(Members::new(&app, &settings)),
            app,
            host: HeaderValue::from_static("localhost"),
            settings,
            headers,
            tls,
            ip: None,
            service: None,
            dial_record: Arc::default(),
        };
        for url in &plan.settings.other_urls {
            plan.at_url(url.clone())?;
        }
        plan.at_url(plan.settings.url.clone()).map(Arc::new)
    }

    /// The same settings at another address.
    fn at_url(&self, url: UpstreamUrl) -> Result<Self, UpstreamPlanError> {
        let authority = match &url {
            UpstreamUrl::Http(address) => address.authority(80),
            UpstreamUrl::Https(address) => address.authority(443),
            UpstreamUrl::Unix(_) => "localhost".to_owned(),
            UpstreamUrl::Srv(service) => service.domain().to_owned(),
        };
        let tls = match &url {
            UpstreamUrl::Https(_) | UpstreamUrl::Srv(_) if self.is_service() => self.tls.clone(),
            UpstreamUrl::Https(address) => {
                let name = server_name(address.bare_host(), &self.settings)?;
                self.tls.clone().map(|tls| Tls { name, ..tls })
            }
            UpstreamUrl::Http(_) | UpstreamUrl::Unix(_) | UpstreamUrl::Srv(_) => None,
        };
        let host =
            HeaderValue::from_str(&authority).map_err(|_| UpstreamPlanError::Host(authority))?;
        Ok(Self {
            settings: UpstreamSettings {
                url,
                ..self.settings.clone()
            },
            host,
            tls,
            ..self.clone()
        })
    }

    /// The same settings at one of several addresses.
    pub(super) fn at_member(&self, id: &MemberId) -> Result<Arc<Self>, UpstreamPlanError> {
        let mut plan = self.at_url(id.url.clone())?;
        plan.ip = id.ip;
        plan.service = self.is_service().then(|| self.settings.url.clone());
        // A URL with a name of one address has no other to fall back to.
        if id.ip.is_some() || self.is_service() || !self.settings.other_urls.is_empty() {
            plan.settings.connect_timeout = self.settings.address_timeout;
        }
        Ok(Arc::new(plan))
    }

    const fn is_service(&self) -> bool {
        matches!(self.settings.url, UpstreamUrl::Srv(_))
    }

    /// Keeps what is known of the addresses that `previous` has too.
    pub fn keep_addresses_of(&self, previous: &Self) {
        // What one check found is nothing to another.
        if self.settings.health_check == previous.settings.health_check {
            self.members.continue_from(&previous.members);
        }
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

    /// The same plan, whose attempts to connect are not seen in [`Self::last_dial`].
    pub(super) fn with_own_dial_record(&self) -> Arc<Self> {
        Arc::new(Self {
            dial_record: Arc::default(),
            ..self.clone()
        })
    }

    /// The address as a label of metrics. With an address for each label of a wildcard host it is their
    /// template, so that clients cannot make series, and of targets of SRV records their name.
    pub(super) fn metric_label(&self) -> String {
        match (&self.settings.by_label, &self.service) {
            (Some(by_label), _) => by_label.template.to_string(),
            (None, Some(service)) => service.to_string(),
            (None, None) => self.settings.url.to_string(),
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
        self.at_url(url).ok().map(Arc::new)
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

    /// The plans for each address, once the names are looked up.
    pub async fn each_address(&self, resolver: &Resolver) -> Vec<Arc<Self>> {
        self.members.resolve(resolver).await;
        let members = self.members.current();
        let plans = members.all().iter();
        plans
            .filter_map(|member| self.at_member(&member.id).ok())
            .collect()
    }

    /// This plan at the address of `other`.
    #[must_use]
    pub fn at_address_of(&self, other: &Self) -> Arc<Self> {
        let id = MemberId {
            url: other.settings.url.clone(),
            ip: other.ip,
        };
        // The other plan has the address, so this one can.
        self.at_member(&id)
            .unwrap_or_else(|_| Arc::new(self.clone()))
    }

    /// The address, for logs.
    pub fn address(&self) -> String {
        match self.ip {
            Some(ip) => self.settings.url.at_ip(ip).to_string(),
            None => self.settings.url.to_string(),
        }
    }

    /// The addresses, if there are several.
    pub fn member_statuses(&self) -> Vec<MemberStatus> {
        self.members.statuses()
    }

    /// Keeps the addresses of names up to date, until no plan uses them.
    pub fn keep_resolved(&self, runtime: &Handle, resolver: &Resolver) {
        // Each label of a wildcard host has a name of its own.
        if self.settings.by_label.is_none() {
            self.members.keep_resolved(runtime, resolver);
        }
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
    fn new(
        name: ServerName<'static>,
        settings: &UpstreamSettings,
    ) -> Result<Self, UpstreamPlanError> {
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

/// The name for SNI and certificate verification.
fn server_name(
    host: &str,
    settings: &UpstreamSettings,
) -> Result<ServerName<'static>, UpstreamPlanError> {
    match &settings.server_name {
        Some(name) => Ok(name.clone()),
        None => ServerName::try_from(host.to_owned())
            .map_err(|_| UpstreamPlanError::Host(host.to_owned())),
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
    fn targets_of_srv_records_are_verified_for_the_configured_name() {
        let plan = |server_name: Option<&str>| {
            let url = "srv+https://_web._tcp.shop.test".parse().unwrap();
            let mut settings = UpstreamSettings::at(url);
            settings.server_name = server_name.map(|name| name.to_owned().try_into().unwrap());
            UpstreamPlan::new("store", settings, HeaderPolicy::new([], &[])).unwrap()
        };
        for (server_name, expected) in [(None, "shop.test"), (Some("other.test"), "other.test")] {
            let target = MemberId {
                url: "https://pod-1.evil.test:8443".parse().unwrap(),
                ip: None,
            };
            let plan = plan(server_name).at_member(&target).unwrap();
            assert_eq!(plan.tls.as_ref().unwrap().name.to_str(), expected);
            assert_eq!(plan.host, "pod-1.evil.test:8443");
            assert_eq!(plan.metric_label(), "srv+https://_web._tcp.shop.test");
        }
    }

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
