//! Builds the HTTP client of a provider: trust, proxies, timeouts and name resolution.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Identity, NoProxy, Proxy};

use super::{HttpSettings, POOL_IDLE_TIMEOUT, cause_of};
use crate::dns::Resolver;
use crate::oidc::client_auth::TlsIdentity;
use crate::oidc::discovery::PlainHttp;
use crate::oidc::error::ProviderError;
use crate::oidc::forward_proxy::{ForwardProxy, ProxyServer};
use crate::oidc::json;

/// Builds the client on a blocking thread, because it reads the trust store.
pub(super) async fn build(
    settings: HttpSettings,
    resolver: Resolver,
    identity: Option<Arc<TlsIdentity>>,
) -> Result<Client, ProviderError> {
    let built = tokio::task::spawn_blocking(move || {
        let builder = || -> reqwest::Result<ClientBuilder> {
            let builder = builder(&settings, &resolver)?;
            Ok(match &identity {
                Some(identity) => builder.identity(Identity::from_pem(identity.pem.expose())?),
                None => builder,
            })
        };
        match builder()?.build() {
            // Without a trust store, a provider on this machine is still reachable over plain http.
            Err(_) if settings.plain_http == PlainHttp::Loopback => {
                builder()?.tls_certs_only([]).build()
            }
            built => built,
        }
    });
    match built.await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(ProviderError::Setup(cause_of(&error))),
        Err(error) => Err(ProviderError::Setup(json::printable(
            &error.to_string(),
            300,
        ))),
    }
}

fn builder(settings: &HttpSettings, resolver: &Resolver) -> reqwest::Result<ClientBuilder> {
    let accept = (ACCEPT, HeaderValue::from_static("application/json"));
    // `no_proxy` also switches off the proxies of the environment.
    let mut builder = Client::builder()
        .default_headers(HeaderMap::from_iter([accept]))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .https_only(settings.plain_http == PlainHttp::Never)
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.request_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .dns_resolver(Dns(resolver.clone()))
        .user_agent(concat!("doorward/", env!("CARGO_PKG_VERSION")));
    for proxy in proxies(&settings.proxy)? {
        builder = builder.proxy(proxy);
    }
    if settings.certificates.is_empty() {
        return Ok(builder);
    }
    let certificates = settings
        .certificates
        .iter()
        .map(|der| Certificate::from_der(der));
    Ok(builder.tls_certs_only(certificates.collect::<Result<Vec<_>, _>>()?))
}

fn proxies(settings: &ForwardProxy) -> reqwest::Result<Vec<Proxy>> {
    let bypass = || NoProxy::from_string(&settings.no_proxy.join(","));
    let with_credentials = |proxy: Proxy, server: &ProxyServer| match &server.credentials {
        Some(credentials) => proxy.basic_auth(&credentials.username, credentials.password.expose()),
        None => proxy,
    };
    let mut proxies = Vec::new();
    if let Some(server) = &settings.http {
        let proxy = Proxy::http(server.url.as_str())?.no_proxy(bypass());
        proxies.push(with_credentials(proxy, server));
    }
    if let Some(server) = &settings.https {
        let proxy = Proxy::https(server.url.as_str())?.no_proxy(bypass());
        proxies.push(with_credentials(proxy, server));
    }
    Ok(proxies)
}

/// Resolves host names as for apps.
struct Dns(Resolver);

impl Resolve for Dns {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            let found = resolver.resolve(name.as_str()).await?;
            let addresses: Vec<SocketAddr> =
                found.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
