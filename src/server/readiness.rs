//! Readiness: the state of a configuration's dependencies.

use std::time::Duration;

use super::compose::Configured;
use crate::admin::readiness::{
    ConfigurationStatus, Dependencies, MaintenanceStatus, RevocationStatus, StoreStatus,
    UpstreamStatus,
};

/// The current state, without any call, `elapsed` after the start of the process.
pub(super) fn dependencies(
    configured: &Configured,
    configuration: ConfigurationStatus,
    elapsed: Duration,
) -> Dependencies {
    let timeout = configured.config.server.startup_provider_timeout;
    let providers = configured.providers.iter().map(|used| {
        let name = used.provider.settings().name.to_string();
        (name, used.status(elapsed, timeout))
    });
    let upstreams = configured.plans.iter().map(|plans| {
        let plan = &plans.app;
        let last = plan.last_dial();
        let status = UpstreamStatus {
            last_dial: last.map(|dial| dial.error.unwrap_or("ok")),
            seconds_ago: last.map(|dial| dial.age.as_secs()),
        };
        (plan.app().to_owned(), status)
    });
    let maintenance = configured.maintenance.state();
    Dependencies {
        configuration,
        maintenance: MaintenanceStatus {
            all: maintenance.all,
            apps: maintenance.apps,
        },
        store: StoreStatus {
            backend: configured.config.store.backend.name(),
            up: configured.auth.is_store_up(),
        },
        revocations: RevocationStatus {
            synced: configured.auth.revocations.is_synced(),
        },
        providers: providers.collect(),
        upstreams: upstreams.collect(),
    }
}
