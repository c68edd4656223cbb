//! Upstream client: one worker's connections to one backend. A connection is taken from the pool,
//! or opened while the connection limit allows it.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::dial::Dialer;
use super::error::{UpstreamError, WithCause};
use super::http1::{Connection, IdlePool, PinnedPool, ReusePolicy};
use super::http2::{ConnectionSlots, H2Pool};
use super::settings::UpstreamProtocol;
use super::target::UpstreamPlan;
use super::upgrade::Tunnels;
use crate::dns::Resolver;
use crate::telemetry::metrics::Metrics;

/// One worker's client for one backend.
#[derive(Debug)]
pub struct Upstream {
    pub(super) plan: Arc<UpstreamPlan>,
    pub(super) tunnels: Arc<Tunnels>,
    /// Set if the backend is configured for HTTP/2.
    pub(super) h2_pool: Option<Arc<H2Pool>>,
    pub(super) idle_pool: Arc<IdlePool>,
    /// Connections that the backend may have authenticated.
    pub(super) pinned: Arc<PinnedPool>,
    dialer: Arc<Dialer>,
    /// One for each connection, of either protocol.
    slots: Arc<Semaphore>,
    opened: IntCounter,
    errors: IntCounterVec,
    telemetry: Arc<UpstreamTelemetry>,
}

/// How requests to one backend are logged and measured.
#[derive(Debug)]
pub struct UpstreamTelemetry {
    /// The address in logs.
    pub address: String,
    /// The address as a label of metrics.
    pub(super) label: String,
    /// Time until the response head.
    pub duration: Histogram,
}

/// What all clients of one runtime share.
#[derive(Clone, Debug)]
pub struct ClientParts {
    /// Resolves their host names.
    pub resolver: Resolver,
    /// All upgraded connections.
    pub tunnels: Arc<Tunnels>,
    /// Their metrics.
    pub metrics: Arc<Metrics>,
}

impl ClientParts {
    pub(super) fn client(&self, plan: Arc<UpstreamPlan>) -> Upstream {
        let (resolver, tunnels) = (self.resolver.clone(), Arc::clone(&self.tunnels));
        Upstream::new(plan, resolver, tunnels, &self.metrics)
    }
}

impl UpstreamTelemetry {
    /// All series begin at zero.
    fn new(plan: &UpstreamPlan, metrics: &Metrics) -> Self {
        let label = plan.metric_label();
        for code in UpstreamError::CODES {
            let labels = [plan.app.as_str(), &label, code];
            metrics.upstream_errors.with_label_values(&labels);
        }
        let labels = [plan.app.as_str(), &label];
        Self {
            address: plan.address(),
            duration: metrics.upstream_duration.with_label_values(&labels),
            label,
        }
    }
}

impl Upstream {
    /// Whether the backend gets the token of the user.
    pub fn takes_token(&self) -> bool {
        self.plan.headers.takes_token()
    }

    /// Creates a client without connections. It must be used on one worker's runtime only, since
    /// connections belong to the runtime that opened them.
    pub fn new(
        plan: Arc<UpstreamPlan>,
        resolver: Resolver,
        tunnels: Arc<Tunnels>,
        metrics: &Metrics,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(
            plan.settings
                .max_connections
                .clamp(1, Semaphore::MAX_PERMITS),
        ));
        let telemetry = Arc::new(UpstreamTelemetry::new(&plan, metrics));
        let labels = [plan.app.as_str(), &telemetry.label];
        let opened = metrics.upstream_connections.with_label_values(&labels);
        let idle_pool = Arc::new(IdlePool::new(plan.settings.max_idle, plan.settings.reuse));
        let pinned = Arc::new(PinnedPool::new(
            plan.settings.max_idle,
            plan.settings.reuse.repeatable,
            metrics.upstream_pinned_connections.clone(),
        ));
        let dialer = Arc::new(Dialer::new(Arc::clone(&plan), resolver, metrics));
        let h2_pool = (plan.settings.protocol == UpstreamProtocol::Http2).then(|| {
            let slots = ConnectionSlots {
                slots: Arc::clone(&slots),
                http1: Arc::clone(&idle_pool),
            };
            Arc::new(H2Pool::new(&plan, Arc::clone(&dialer), slots, metrics))
        });
        Self {
            plan,
            tunnels,
            h2_pool,
            idle_pool,
            pinned,
            dialer,
            slots,
            opened,
            errors: metrics.upstream_errors.clone(),
            telemetry,
        }
    }

    /// A client with the same connections for `plan`, which differs in its headers only.
    pub(super) fn with_plan(&self, plan: Arc<UpstreamPlan>) -> Self {
        Self {
            plan,
            tunnels: Arc::clone(&self.tunnels),
            h2_pool: self.h2_pool.clone(),
            idle_pool: Arc::clone(&self.idle_pool),
            pinned: Arc::clone(&self.pinned),
            dialer: Arc::clone(&self.dialer),
            slots: Arc::clone(&self.slots),
            opened: self.opened.clone(),
            errors: self.errors.clone(),
            telemetry: Arc::clone(&self.telemetry),
        }
    }

    /// How requests to the backend are logged and measured.
    pub const fn telemetry(&self) -> &Arc<UpstreamTelemetry> {
        &self.telemetry
    }

    /// Maximum duration of a response body.
    pub fn stream_max_age(&self) -> Option<Duration> {
        self.plan.settings.stream_max_age
    }

    /// Counts a failed attempt.
    pub(super) fn count_error(&self, error: &UpstreamError) {
        self.errors
            .with_label_values(&[self.plan.app.as_str(), &self.telemetry.label, error.code()])
            .inc();
    }

    /// Notes by the outcome of a request whether the backend works.
    pub(super) fn record_outcome(&self, error: Option<&UpstreamError>) {
        let outages = &self.plan.outages;
        match error {
            None => outages.succeeded(),
            Some(error) if error.is_by_client() => {}
            Some(error) => outages.failed(error.code(), &WithCause(error)),
        }
    }

    /// Returns a pooled or a new HTTP/1.1 connection.
    pub(super) async fn acquire(&self, reuse: ReusePolicy) -> Result<Connection, UpstreamError> {
        match self.idle_pool.take(reuse) {
            Some(connection) => Ok(connection),
            // Boxed, so that a request with a pooled connection does not carry this future.
            None => Box::pin(self.open_or_wait(reuse)).await,
        }
    }

    async fn open_or_wait(&self, reuse: ReusePolicy) -> Result<Connection, UpstreamError> {
        let settings = &self.plan.settings;
        let deadline = Instant::now() + settings.connect_timeout;
        loop {
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                return self.open(slot).await;
            }
            match self.idle_pool.take(ReusePolicy::Any) {
                Some(connection) if reuse == ReusePolicy::Any => return Ok(connection),
                // Too old for this request: dropped, which releases its slot for a new connection.
                Some(_) => continue,
                None => {}
            }
            let slot = timeout_at(deadline, async {
                tokio::select! {
                    () = self.idle_pool.returned() => None,
                    () = self.close_idle_http2() => None,
                    slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
                }
            });
            if let Some(slot) = slot.await.map_err(|_| UpstreamError::Saturated)? {
                return self.open(slot).await;
            }
            if let Some(connection) = self.idle_pool.take(reuse) {
                return Ok(connection);
            }
        }
    }

    /// Closes an idle HTTP/2 connection. Completes when another one may be idle.
    async fn close_idle_http2(&self) {
        match &self.h2_pool {
            Some(pool) => pool.close_idle().await,
            None => std::future::pending().await,
        }
    }

    async fn open(&self, slot: OwnedSemaphorePermit) -> Result<Connection, UpstreamError> {
        self.opened.inc();
        let stream = self.dialer.dial(UpstreamProtocol::Http1).await?;
        Ok(Connection::new(stream.into(), slot))
    }
}
