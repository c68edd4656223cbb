//! Readiness: the state of a configuration's dependencies.

use std::collections::BTreeMap;
use std::time::Duration;

use super::compose::Configured;
use crate::admin::readiness::{
    AddressStatus, ConfigurationStatus, Dependencies, DialStatus, MaintenanceStatus,
    RevocationStatus, StoreStatus, UpstreamStatus,
};
use crate::upstream::{AppPlans, UpstreamPlan};

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
        let status = UpstreamStatus {
            app: dial_status(&plans.app),
            routes: routes(plans),
            addresses: addresses(plans),
        };
        (plans.app.app().to_owned(), status)
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

fn dial_status(plan: &UpstreamPlan) -> DialStatus {
    let last = plan.last_dial();
    DialStatus {
        last_dial: last.map(|dial| dial.error.unwrap_or("ok")),
        seconds_ago: last.map(|dial| dial.age.as_secs()),
    }
}

/// The addresses of routes other than that of the app.
fn routes(plans: &AppPlans) -> BTreeMap<String, DialStatus> {
    let of_app = &plans.app.settings().url;
    let routes = plans.routes.iter().flatten();
    let others = routes.filter(|plan| plan.settings().url != *of_app);
    others
        .map(|plan| (plan.address(), dial_status(plan)))
        .collect()
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
