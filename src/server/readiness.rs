//! Readiness: the state of a configuration's dependencies.

use std::collections::BTreeMap;
use std::time::Duration;

use super::compose::Configured;
use crate::admin::readiness::{
    AddressStatus, ConfigurationStatus, Dependencies, MaintenanceStatus, RevocationStatus,
    StoreStatus, UpstreamStatus,
};
use crate::upstream::AppPlans;

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
            addresses: addresses(plans),
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

/// The addresses of the app and its routes, where there are several.
fn addresses(plans: &AppPlans) -> BTreeMap<String, AddressStatus> {
    let members = plans.all().flat_map(|plan| plan.member_statuses());
    let addresses = members.map(|member| {
        let status = AddressStatus {
            state: member.state,
            in_flight: member.in_flight,
        };
        (member.address, status)
    });
    addresses.collect()
}
