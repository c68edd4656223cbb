//! Identity provider client: cached discovery document and keys, and requests to the provider's
//! endpoints.
//!
//! Documents are fetched when first needed, and kept while the provider is unavailable, if configured
//! in a file also. Requests
//! are not retried; the caller decides, because it knows what a token is worth.

mod call_outcome;
mod client_requests;
mod documents;
mod dpop;
mod probe;
mod pushed_authorization;
mod reachability;
mod request_object;
mod requests;
mod signing;
mod userinfo;
mod verification;

use std::sync::Arc;
use std::time::Duration;

use super::cached::{Cached, MinInterval};
use super::circuit_breaker::CircuitBreaker;
use super::discovery::Metadata;
use super::document::LastCopy;
use super::dpop_nonces::DpopNonces;
use super::error::ProviderError;
use super::fusionauth::tenants::VerifiedTenants;
use super::http::Http;
use super::jwks::KeySet;
use super::settings::ProviderSettings;
use crate::dns::Resolver;
use crate::outage::OutageLog;
use crate::telemetry::metrics::Metrics;
use crate::types::time::{Clock, Timestamp};
use reachability::Reachability;

pub use self::probe::{AuthorizationProbe, Rejected};
pub use self::requests::BoundRefreshToken;
pub use self::userinfo::UserinfoRequest;
pub use self::verification::{Audience, LOGOUT_TOKEN_MAX_AGE};

/// Initial delay between attempts to fetch documents of an unavailable provider. It doubles with
/// each attempt.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// Maximum delay between attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// A provider, shared by its apps. It must be used on one runtime, to which its connections belong;
/// only [`Provider::keys`] and [`Provider::known_metadata`] may be called from others.
pub struct Provider {
    settings: ProviderSettings,
    clock: Arc<dyn Clock>,
    http: Http,
    metadata: Cached<Metadata>,
    keys: Cached<KeySet>,
    metadata_copy: LastCopy,
    keys_copy: LastCopy,
    tenants: VerifiedTenants,
    dpop_nonces: DpopNonces,
    /// For refreshes of sessions.
    breaker: CircuitBreaker,
    /// For refreshes with plain tokens, which may be invented.
    plain_breaker: CircuitBreaker,
    reachability: Reachability,
    outages: Arc<OutageLog>,
}

impl Provider {
    /// Creates a provider without documents, and without I/O.
    pub fn new(settings: ProviderSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with_resolver(settings, clock, Resolver::default())
    }

    /// Like [`Self::new`], with a shared resolver for host names.
    pub fn with_resolver(
        settings: ProviderSettings,
        clock: Arc<dyn Clock>,
        resolver: Resolver,
    ) -> Arc<Self> {
        let outages = OutageLog::new("provider", settings.name.to_string());
        Self::build(settings, clock, resolver, Arc::new(outages))
    }

    /// The same provider with other settings. It continues the log of outages.
    pub fn successor(&self, settings: ProviderSettings, resolver: Resolver) -> Arc<Self> {
        let (clock, outages) = (Arc::clone(&self.clock), Arc::clone(&self.outages));
        Self::build(settings, clock, resolver, outages)
    }

    fn build(
        settings: ProviderSettings,
        clock: Arc<dyn Clock>,
        resolver: Resolver,
        outages: Arc<OutageLog>,
    ) -> Arc<Self> {
        let http = Http::new(settings.http(), Arc::clone(&clock), resolver);
        Arc::new(Self {
            settings,
            clock,
            http,
            metadata: Cached::empty(),
            keys: Cached::empty(),
            metadata_copy: LastCopy::default(),
            keys_copy: LastCopy::default(),
            tenants: VerifiedTenants::default(),
            dpop_nonces: DpopNonces::default(),
            breaker: CircuitBreaker::default(),
            plain_breaker: CircuitBreaker::default(),
            reachability: Reachability::default(),
            outages,
        })
    }

    /// Counts requests to the provider from now on.
    pub fn record_calls(&self, metrics: &Metrics) {
        self.http.record_calls(metrics);
    }

    /// The settings.
    pub const fn settings(&self) -> &ProviderSettings {
        &self.settings
    }

    /// The metadata, if they were fetched, or restored from the file of an earlier process.
    pub fn known_metadata(&self) -> Option<Arc<Metadata>> {
        self.metadata.current()
    }

    /// Whether every authorization response must have `iss` (RFC 9207).
    pub fn requires_iss(&self, metadata: &Metadata) -> bool {
        metadata.authorization_response_iss_parameter_supported || self.settings.profile.is_some()
    }

    /// The keys, if they were fetched or restored.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.current()
    }

    /// Whether metadata and keys are known. True from then on, also during an outage.
    pub fn was_reached(&self) -> bool {
        self.known_metadata().is_some() && self.keys().is_some()
    }

    /// Whether the last background fetch of metadata and keys succeeded.
    pub fn is_up(&self) -> bool {
        self.reachability.last_success().is_some() && self.last_failure().is_none()
    }

    /// When metadata and keys were last fetched in the background.
    pub fn last_fetch(&self) -> Option<Timestamp> {
        self.reachability.last_success()
    }

    /// Why the last background fetch of metadata and keys failed, if it did.
    pub fn last_failure(&self) -> Option<ProviderError> {
        self.reachability.last_failure()
    }

    /// Whether the discovery document belongs to another issuer, since the last successful fetch.
    pub fn is_other_issuer(&self) -> bool {
        self.reachability.is_other_issuer()
    }

    /// Whether so many refreshes of sessions failed that only one a second is sent.
    pub fn is_circuit_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// The seconds by which the provider's clock is ahead, from its last response.
    pub fn clock_skew(&self) -> Option<i64> {
        self.http.clock_skew()
    }

    /// The metadata, fetched if necessary. An error is cached for up to two seconds.
    ///
    /// # Errors
    /// There are no metadata and they cannot be fetched.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        self.metadata.get(&*self.clock, self.fetch_metadata()).await
    }

    /// Restores metadata and keys from their file, and refreshes them at intervals, with backoff while
    /// the provider is unavailable. Runs forever.
    pub async fn keep_fresh(self: Arc<Self>) {
        self.restore_documents().await;
        let mut backoff = INITIAL_BACKOFF;
        let mut discovered = false;
        loop {
            match self.refresh_documents().await {
                Ok(()) => {
                    if !discovered {
                        tracing::info!(provider = %self.settings.name, "provider_discovered");
                    }
                    self.save_documents().await;
                    backoff = INITIAL_BACKOFF;
                    discovered = true;
                    tokio::time::sleep(self.settings.keys_max_age.max(INITIAL_BACKOFF)).await;
                }
                Err(error) => {
                    tracing::debug!(provider = %self.settings.name, code = error.code(), %error, "provider_refresh_failed");
                    discovered = false;
                    tokio::time::sleep(backoff).await;
                    backoff = backoff.saturating_mul(2).min(MAX_BACKOFF);
                }
            }
        }
    }

    /// Fetches metadata and keys.
    ///
    /// # Errors
    /// One of them cannot be fetched or used.
    pub async fn refresh_documents(&self) -> Result<(), ProviderError> {
        let fetched = self.fetch_documents().await;
        let failure = fetched.as_ref().err();
        self.reachability.record(failure, self.clock.now());
        fetched
    }

    async fn fetch_documents(&self) -> Result<(), ProviderError> {
        let current = self.metadata.current();
        let metadata = self
            .metadata
            .renew(
                current.as_ref(),
                &*self.clock,
                MinInterval::NONE,
                self.fetch_metadata(),
            )
            .await;
        // Also after a failed discovery: keys change more often than their URL.
        let current = self.keys.current();
        let keys = self
            .keys
            .renew(
                current.as_ref(),
                &*self.clock,
                MinInterval::NONE,
                self.fetch_keys(),
            )
            .await;
        metadata?;
        keys?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
