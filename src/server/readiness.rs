//! Readiness: which dependencies a process has, and how long its start waits for its providers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::admin::readiness::{
    ConfigurationStatus, Dependencies, Failure, ProviderStatus, RevocationStatus, StoreStatus,
    UpstreamStatus,
};
use crate::auth::Auth;
use crate::config::{Config, StoreBackend};
use crate::oidc::Provider;
use crate::types::time::{Clock, Timestamp};
use crate::upstream::UpstreamPlan;

/// The components whose state `/readyz` reports.
pub(super) struct Sources {
    auth: Arc<Auth>,
    clock: Arc<dyn Clock>,
    started_at: Timestamp,
    backend: &'static str,
    providers: Vec<StartupGate>,
    plans: Vec<Arc<UpstreamPlan>>,
}

/// Keeps a process not ready that never reached this provider: a rolling update with a wrong issuer
/// stops at its first replica. Once open, it stays open, so an outage makes no replica unready.
struct StartupGate {
    provider: Arc<Provider>,
    timeout: Duration,
    is_open: AtomicBool,
}

impl Sources {
    pub(super) fn new(
        config: &Config,
        auth: Arc<Auth>,
        clock: Arc<dyn Clock>,
        providers: &[Arc<Provider>],
        plans: &[Arc<UpstreamPlan>],
    ) -> Self {
        let timeout = config.server.startup_provider_timeout;
        let gate = |provider: &Arc<Provider>| StartupGate {
            provider: Arc::clone(provider),
            timeout,
            is_open: AtomicBool::new(timeout.is_zero()),
        };
        Self {
            auth,
            started_at: clock.now(),
            clock,
            backend: match config.store.backend {
                StoreBackend::Memory => "memory",
                StoreBackend::Redis(_) => "redis",
            },
            providers: providers.iter().map(gate).collect(),
            plans: plans.to_vec(),
        }
    }

    /// The current state, without any call.
    pub(super) fn read(&self) -> Dependencies {
        let elapsed = self.clock.now().since(self.started_at);
        let providers = self.providers.iter().map(|gate| {
            let name = gate.provider.settings().name.to_string();
            (name, gate.status(elapsed))
        });
        let upstreams = self.plans.iter().map(|plan| {
            let last = plan.last_dial();
            let status = UpstreamStatus {
                last_dial: last.map(|dial| dial.error.unwrap_or("ok")),
                seconds_ago: last.map(|dial| dial.age.as_secs()),
            };
            (plan.app().to_owned(), status)
        });
        Dependencies {
            configuration: ConfigurationStatus {
                loaded_at: self.started_at,
                apps: self.plans.len(),
                providers: self.providers.len(),
            },
            store: StoreStatus {
                backend: self.backend,
                up: self.auth.is_store_up(),
            },
            revocations: RevocationStatus {
                synced: self.auth.revocations.is_synced(),
            },
            providers: providers.collect(),
            upstreams: upstreams.collect(),
        }
    }
}

impl StartupGate {
    /// The provider's state, `elapsed` after the start.
    fn status(&self, elapsed: Duration) -> ProviderStatus {
        let failure = self.provider.last_failure().map(|error| Failure {
            code: error.code(),
            message: error.to_string(),
        });
        ProviderStatus {
            reached: self.provider.was_reached(),
            awaited: !self.opens(elapsed),
            failure,
        }
    }

    /// Whether readiness does not wait for the provider any more. A wrong issuer is no outage, so
    /// time does not change it.
    fn opens(&self, elapsed: Duration) -> bool {
        if self.is_open.load(Ordering::Relaxed) {
            return true;
        }
        let was_reached = self.provider.was_reached();
        let opens = was_reached || (elapsed >= self.timeout && !self.provider.is_other_issuer());
        if opens && !self.is_open.swap(true, Ordering::Relaxed) && !was_reached {
            let seconds = self.timeout.as_secs();
            tracing::warn!(provider = %self.provider.settings().name, seconds, "startup_provider_timeout");
        }
        opens
    }
}
