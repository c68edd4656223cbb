//! HTTP client for the provider: no redirects, no proxy unless configured, no cookies, no retries,
//! and limits on time and size. It is the only one.

mod build;
mod response;

use std::error::Error as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AGE, AUTHORIZATION, CONTENT_TYPE, DATE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
    LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Client, Method, RequestBuilder, Response};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::call_metrics::CallMetrics;
use super::client_auth::TlsIdentity;
use super::clock_skew::{ClockSkew, SkewChange};
use super::discovery::PlainHttp;
use super::error::{Endpoint, ProviderError, displayed_url};
use super::forward_proxy::ForwardProxy;
use super::json;
use crate::dns::Resolver;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::request_scope::{Dependency, record_call};
use crate::types::oauth::{AccessToken, ProviderName};
use crate::types::time::{Clock, Timestamp};

pub(super) use response::ProviderResponse;

/// Maximum idle time of a pooled connection. If the provider closes a connection just as it is
/// reused, it is unknown whether a token request was processed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_millis(1500);

/// The most client certificates with a client of their own.
const MAX_IDENTITIES: usize = 64;

const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The media type of forms.
const FORM: &str = "application/x-www-form-urlencoded";

/// The HTTP client of one provider. Built at first use, because loading the trust store is slow.
pub(super) struct Http {
    client: OnceCell<Client>,
    identified: Mutex<Vec<IdentifiedClient>>,
    settings: HttpSettings,
    clock: Arc<dyn Clock>,
    resolver: Resolver,
    skew: ClockSkew,
    metrics: OnceLock<CallMetrics>,
}

/// The settings of an HTTP client.
#[derive(Clone)]
pub(super) struct HttpSettings {
    pub(super) provider: ProviderName,
    /// The only trusted certificate authorities, in DER; if empty, the system's.
    pub(super) certificates: Vec<Vec<u8>>,
    pub(super) plain_http: PlainHttp,
    pub(super) proxy: ForwardProxy,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    /// Maximum size of a response body in bytes.
    pub(super) body_limit: usize,
    /// The leeway for clock skew.
    pub(super) leeway: Duration,
}

/// A client with a certificate.
struct IdentifiedClient {
    identity: Arc<TlsIdentity>,
    client: Client,
}

/// A form, as the token endpoint and its like expect it.
#[derive(Clone, Copy)]
pub(super) struct FormRequest<'f> {
    pub(super) endpoint: Endpoint,
    pub(super) url: &'f Url,
    pub(super) form: &'f [(&'f str, &'f str)],
    pub(super) authorization: Option<&'f str>,
    /// A proof of possession (RFC 9449).
    pub(super) dpop: Option<&'f str>,
    /// The client certificate.
    pub(super) identity: Option<&'f Arc<TlsIdentity>>,
    pub(super) timeout: Duration,
}

/// An access token in a request, as a bearer token or with a proof of possession (RFC 9449 section 7.1).
#[derive(Clone, Copy)]
pub(super) struct TokenHeaders<'t> {
    pub(super) access_token: &'t AccessToken,
    pub(super) dpop: Option<&'t str>,
    /// The client certificate, which the token may be bound to (RFC 8705 section 3).
    pub(super) identity: Option<&'t Arc<TlsIdentity>>,
}

/// A request with its own method, headers or media type.
pub(super) struct Request<'c> {
    pub(super) endpoint: Endpoint,
    pub(super) method: &'static str,
    pub(super) url: &'c Url,
    /// Names and values; not logged.
    pub(super) headers: &'c [(&'static str, &'c str)],
    pub(super) payload: Payload<'c>,
    pub(super) timeout: Duration,
}

/// The body of a request.
pub(super) enum Payload<'c> {
    /// `application/x-www-form-urlencoded`.
    Form(&'c [(&'c str, &'c str)]),
    /// `application/json`.
    Json(String),
}

impl Http {
    /// Creates the client, without I/O.
    pub(super) fn new(settings: HttpSettings, clock: Arc<dyn Clock>, resolver: Resolver) -> Self {
        Self {
            client: OnceCell::new(),
            identified: Mutex::new(Vec::new()),
            skew: ClockSkew::unknown(settings.leeway),
            settings,
            clock,
            resolver,
            metrics: OnceLock::new(),
        }
    }

    /// Counts requests from now on.
    pub(super) fn record_calls(&self, metrics: &Metrics) {
        let provider = &self.settings.provider;
        self.metrics
            .get_or_init(|| CallMetrics::new(provider, metrics));
    }

    /// The seconds by which the provider's clock is ahead, from the `Date` of its last response.
    pub(super) fn clock_skew(&self) -> Option<i64> {
        self.skew.seconds()
    }

    /// Fetches a document, unless it still has the entity tag `known` (RFC 9110 section 13.1.2).
    pub(super) async fn get(
        &self,
        endpoint: Endpoint,
        url: &Url,
        known: Option<&str>,
    ) -> Result<ProviderResponse, ProviderError> {
        let mut request = self.client(endpoint, url).await?.get(url.clone());
        if let Some(etag) = known {
            request = request.header(IF_NONE_MATCH, etag);
        }
        self.send(endpoint, url, request).await
    }

    /// Fetches a page, as a browser without cookies does.
    pub(super) async fn get_page(
        &self,
        endpoint: Endpoint,
        url: &Url,
    ) -> Result<ProviderResponse, ProviderError> {
        let request = self.client(endpoint, url).await?.get(url.clone());
        let request = request.header(ACCEPT, "text/html");
        self.send(endpoint, url, request).await
    }

    /// Sends a GET request with an access token.
    pub(super) async fn get_with_token(
        &self,
        endpoint: Endpoint,
        url: &Url,
        token: TokenHeaders<'_>,
    ) -> Result<ProviderResponse, ProviderError> {
        let client = match token.identity {
            Some(identity) => self.identified_client(endpoint, url, identity).await?,
            None => self.client(endpoint, url).await?.clone(),
        };
        let mut request = client.get(url.clone());
        let scheme = match token.dpop {
            None => "Bearer",
            Some(proof) => {
                request = request.header(DPOP, proof);
                "DPoP"
            }
        };
        let value = Zeroizing::new(format!("{scheme} {}", token.access_token.expose()));
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| ProviderError::Setup("an access token is no header value".to_owned()))?;
        value.set_sensitive(true);
        let request = request.header(AUTHORIZATION, value);
        self.send(endpoint, url, request).await
    }

    /// Posts a form.
    pub(super) async fn post(
        &self,
        form: FormRequest<'_>,
    ) -> Result<ProviderResponse, ProviderError> {
        let FormRequest { endpoint, url, .. } = form;
        let client = match form.identity {
            Some(identity) => self.identified_client(endpoint, url, identity).await?,
            None => self.client(endpoint, url).await?.clone(),
        };
        let request = client.post(url.clone()).timeout(form.timeout);
        let request = request.header(CONTENT_TYPE, FORM);
        let mut request = request.body(encoded(form.form));
        if let Some(value) = form.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(proof) = form.dpop {
            request = request.header(DPOP, proof);
        }
        self.send(endpoint, url, request).await
    }

    /// Sends any other request.
    pub(super) async fn call(
        &self,
        request: Request<'_>,
    ) -> Result<ProviderResponse, ProviderError> {
        let Request {
            endpoint,
            method,
            url,
            headers,
            payload,
            timeout,
        } = request;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|error| ProviderError::Setup(error.to_string()))?;
        let mut request = self
            .client(endpoint, url)
            .await?
            .request(method, url.clone())
            .timeout(timeout);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = match payload {
            Payload::Form(form) => request.header(CONTENT_TYPE, FORM).body(encoded(form)),
            Payload::Json(text) => request.header(CONTENT_TYPE, "application/json").body(text),
        };
        self.send(endpoint, url, request).await
    }

    async fn client(&self, endpoint: Endpoint, url: &Url) -> Result<&Client, ProviderError> {
        self.check_scheme(endpoint, url)?;
        self.client
            .get_or_try_init(|| build::build(self.settings.clone(), self.resolver.clone(), None))
            .await
    }

    /// The client with this certificate, which has connections of its own.
    async fn identified_client(
        &self,
        endpoint: Endpoint,
        url: &Url,
        identity: &Arc<TlsIdentity>,
    ) -> Result<Client, ProviderError> {
        self.check_scheme(endpoint, url)?;
        let mut known = self.identified.lock().await;
        let mut found = known.iter().filter(|known| known.identity == *identity);
        if let Some(found) = found.next() {
            return Ok(found.client.clone());
        }
        let settings = self.settings.clone();
        let identity = Arc::clone(identity);
        let client =
            build::build(settings, self.resolver.clone(), Some(Arc::clone(&identity))).await?;
        if known.len() >= MAX_IDENTITIES {
            // Certificates that were renewed.
            known.clear();
        }
        known.push(IdentifiedClient {
            identity,
            client: client.clone(),
        });
        Ok(client)
    }

    fn check_scheme(&self, endpoint: Endpoint, url: &Url) -> Result<(), ProviderError> {
        if self.settings.plain_http.permits(url) {
            return Ok(());
        }
        Err(ProviderError::Insecure {
            endpoint,
            url: displayed_url(url),
        })
    }

    async fn send(
        &self,
        endpoint: Endpoint,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<ProviderResponse, ProviderError> {
        let sent = Instant::now();
        let result = self.exchange(endpoint, url, request).await;
        let took = sent.elapsed();
        record_call(Dependency::Provider, endpoint.name(), took);
        if let Some(metrics) = self.metrics.get() {
            let status = result.as_ref().map(|response| response.status);
            metrics.record(endpoint, status, took);
        }
        result
    }

    async fn exchange(
        &self,
        endpoint: Endpoint,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<ProviderResponse, ProviderError> {
        let response = request
            .send()
            .await
            .map_err(|error| failure(endpoint, url, error))?;
        self.record_date(&response);
        let status = response.status().as_u16();
        let retry_after = self.retry_after(&response);
        let text = |name: HeaderName| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let location = text(LOCATION);
        let etag = text(ETAG);
        let dpop_nonce = text(DPOP_NONCE);
        let challenge = text(WWW_AUTHENTICATE);
        let body = self.read(endpoint, url, response).await?;
        Ok(ProviderResponse {
            endpoint,
            url: displayed_url(url),
            status,
            retry_after,
            location,
            etag,
            dpop_nonce,
            challenge,
            body,
        })
    }

    fn retry_after(&self, response: &Response) -> Option<Duration> {
        let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(value).ok()?;
        let date = date.duration_since(UNIX_EPOCH).ok()?;
        Some(Timestamp::from_secs(date.as_secs()).since(self.clock.now()))
    }

    /// Reads the body up to the limit.
    async fn read(
        &self,
        endpoint: Endpoint,
        url: &Url,
        mut response: Response,
    ) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let limit = self.settings.body_limit;
        let too_large = || ProviderError::TooLarge {
            endpoint,
            url: displayed_url(url),
            limit,
        };
        if response
            .content_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(too_large());
        }
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| failure(endpoint, url, error))?
        {
            if body.len().saturating_add(chunk.len()) > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn record_date(&self, response: &Response) {
        let field = |name: HeaderName| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let date = field(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let Some(date) = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()) else {
            return;
        };
        // A key set may come from a cache, with the date at which it was stored.
        let age = Duration::from_secs(
            field(AGE)
                .and_then(|age| age.trim().parse().ok())
                .unwrap_or(0),
        );
        let provider = &self.settings.provider;
        let leeway = self.skew.leeway();
        match self
            .skew
            .record(Timestamp::from_secs(date.as_secs()), age, self.clock.now())
        {
            Some(SkewChange::TooLarge(seconds)) => {
                tracing::warn!(%provider, seconds_ahead = seconds, leeway, "provider_clock_skewed");
            }
            Some(SkewChange::Within(seconds)) => {
                tracing::info!(%provider, seconds_ahead = seconds, leeway, "provider_clock_agrees");
            }
            None => {}
        }
    }
}

/// Encodes a form, which is zeroized after sending, since it contains passwords, secrets and
/// tokens. Copies within the libraries are not zeroized.
fn encoded(form: &[(&str, &str)]) -> Bytes {
    // Allocated at the maximum length, since growing would leave a copy that is not zeroized.
    let max_len = form
        .iter()
        .map(|(name, value)| (name.len() + value.len()) * 3 + 2)
        .sum();
    let mut text = form_urlencoded::Serializer::new(String::with_capacity(max_len));
    let text = Zeroizing::new(text.extend_pairs(form).finish().into_bytes());
    Bytes::from_owner(text)
}

/// Classifies a failed request by whether anything was sent.
fn failure(endpoint: Endpoint, url: &Url, error: reqwest::Error) -> ProviderError {
    let error = error.without_url();
    let cause = if error.is_timeout() {
        String::from("timed out")
    } else {
        cause_of(&error)
    };
    if error.is_connect() {
        return ProviderError::Unreachable {
            endpoint,
            url: displayed_url(url),
            cause,
        };
    }
    if error.is_builder() {
        return ProviderError::Setup(cause);
    }
    ProviderError::OutcomeUnknown {
        endpoint,
        url: displayed_url(url),
        cause,
    }
}

/// The innermost cause of an error; outer ones only name a layer.
fn cause_of(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    json::printable(&text, 300)
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;

    use super::*;
    use crate::oidc::install_crypto;
    use crate::oidc::settings::ProviderSettings;
    use crate::oidc::testing::{FakeProvider, Reply};
    use crate::types::oauth::{Issuer, ProviderName};
    use crate::types::time::SystemClock;

    fn http(url: &Url, trusted: Vec<CertificateDer<'static>>) -> Http {
        let mut settings =
            ProviderSettings::at(ProviderName::new("p"), Issuer::new("i"), url.clone());
        settings.connect_timeout = Duration::from_millis(500);
        settings.ca_certificates = trusted;
        Http::new(settings.http(), Arc::new(SystemClock), Resolver::default())
    }

    #[tokio::test]
    async fn configured_authorities_are_the_only_trusted_ones() {
        install_crypto();
        let name = || vec![String::from("login.localhost")];
        let certified = rcgen::generate_simple_self_signed(name()).unwrap();
        let other = rcgen::generate_simple_self_signed(name()).unwrap();
        let trusted = certified.cert.der().clone();
        let server =
            FakeProvider::start_tls(certified, |_| Reply::Json(200, String::from("{}"))).await;
        let at = |host| Url::parse(&format!("https://{host}:{}/d", server.address.port())).unwrap();
        let url = at("login.localhost");
        let response = http(&url, vec![trusted.clone()])
            .get(Endpoint::Discovery, &url, None)
            .await
            .unwrap();
        assert_eq!(response.ok().unwrap().as_slice(), b"{}");
        let elsewhere = at("other.localhost");
        for (url, trusted) in [
            (&url, vec![other.cert.der().clone()]),
            (&url, Vec::new()),
            (&elsewhere, vec![trusted]),
        ] {
            let names_some = !trusted.is_empty();
            let error = http(url, trusted)
                .get(Endpoint::Discovery, url, None)
                .await
                .err()
                .unwrap();
            // A minimal system may have no trust store.
            let is_setup = !names_some && error.code() == "provider_client_setup";
            assert!(
                is_setup || error.code() == "provider_unreachable",
                "{url} {error}"
            );
        }
        assert_eq!(
            server.count("/d"),
            1,
            "nothing was sent before the name and the authority were right"
        );
    }

    #[tokio::test]
    async fn stalled_handshake_counts_as_unreachable() {
        install_crypto();
        let trusted = rcgen::generate_simple_self_signed(vec![String::from("localhost")])
            .unwrap()
            .cert
            .der()
            .clone();
        let silent = FakeProvider::start(|_| Reply::Stall(Vec::new())).await;
        let url = Url::parse(&format!(
            "https://localhost:{}/token",
            silent.address.port()
        ))
        .unwrap();
        let timeout = Duration::from_secs(10);
        let result = http(&url, vec![trusted])
            .post(FormRequest {
                endpoint: Endpoint::Token,
                url: &url,
                form: &[("a", "b")],
                authorization: None,
                dpop: None,
                identity: None,
                timeout,
            })
            .await;
        assert_eq!(result.err().unwrap().code(), "provider_unreachable");
    }

    #[tokio::test]
    async fn invalid_authority_is_a_setup_error() {
        install_crypto();
        let url = Url::parse("https://login.localhost:1/d").unwrap();
        let broken = vec![CertificateDer::from(vec![1, 2, 3])];
        let error = http(&url, broken)
            .get(Endpoint::Discovery, &url, None)
            .await
            .err()
            .unwrap();
        assert_eq!(error.code(), "provider_client_setup");
    }
}
