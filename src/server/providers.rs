//! The providers of a configuration. One with the same settings as before is kept by a reload, with
//! its documents, connections and circuit breaker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::admin::readiness::{Failure, ProviderStatus};
use crate::config::Config;
use crate::dns::Resolver;
use crate::oidc::Provider;
use crate::runtime::{BackgroundRuntime, SupervisedTask};
use crate::types::time::Clock;

/// A provider that a configuration uses. Its documents are kept fresh until no configuration does.
pub(super) struct UsedProvider {
    pub(super) provider: Arc<Provider>,
    /// Whether readiness waits for it no longer. A rolling update with a wrong issuer stops at its
    /// first replica. Once open, it stays open, so an outage makes no replica unready.
    is_gate_open: AtomicBool,
    refresh: OnceLock<SupervisedTask>,
}

/// The providers of `config`. `previous` are those of the configuration before it.
pub(super) fn providers(
    config: &Config,
    clock: &Arc<dyn Clock>,
    resolver: &Resolver,
    previous: Option<&[Arc<UsedProvider>]>,
) -> Vec<Arc<UsedProvider>> {
    // A process that was ready stays ready.
    let is_starting = match previous {
        None => !config.server.startup_provider_timeout.is_zero(),
        Some(previous) => previous.iter().any(|provider| !provider.is_gate_open()),
    };
    let settings = config.providers.iter();
    let used = settings.map(|settings| {
        let mut kept = previous.into_iter().flatten();
        if let Some(kept) = kept.find(|kept| kept.provider.settings() == settings) {
            return Arc::clone(kept);
        }
        let mut before = previous.into_iter().flatten();
        let before = before.find(|before| before.provider.settings().name == settings.name);
        let (settings, resolver) = (settings.clone(), resolver.clone());
        let provider = match before {
            Some(before) => before.provider.successor(settings, resolver),
            None => Provider::with_resolver(settings, Arc::clone(clock), resolver),
        };
        Arc::new(UsedProvider {
            provider,
            is_gate_open: AtomicBool::new(!is_starting),
            refresh: OnceLock::new(),
        })
    });
    used.collect()
}

impl UsedProvider {
    /// Starts to keep the documents fresh, if that was not done before.
    pub(super) fn keep_fresh(&self, runtime: &BackgroundRuntime) {
        self.refresh.get_or_init(|| {
            let provider = Arc::clone(&self.provider);
            runtime.supervise_while_held("provider_refresh", move || {
                Arc::clone(&provider).keep_fresh()
            })
        });
    }

    /// The provider's state, `elapsed` after the start of the process.
    pub(super) fn status(&self, elapsed: Duration, timeout: Duration) -> ProviderStatus {
        let failure = self.provider.last_failure().map(|error| Failure {
            code: error.code(),
            message: error.to_string(),
        });
        ProviderStatus {
            reached: self.provider.was_reached(),
            awaited: !self.opens_gate(elapsed, timeout),
            failure,
        }
    }

    fn is_gate_open(&self) -> bool {
        self.is_gate_open.load(Ordering::Relaxed)
    }

    /// Whether readiness does not wait for the provider any more. A wrong issuer is no outage, so
    /// time does not change it.
    fn opens_gate(&self, elapsed: Duration, timeout: Duration) -> bool {
        if self.is_gate_open() {
            return true;
        }
        let was_reached = self.provider.was_reached();
        let opens = was_reached || (elapsed >= timeout && !self.provider.is_other_issuer());
        if opens && !self.is_gate_open.swap(true, Ordering::Relaxed) && !was_reached {
            let seconds = timeout.as_secs();
            tracing::warn!(provider = %self.provider.settings().name, seconds, "startup_provider_timeout");
        }
        opens
    }
}
