//! Health checks: a request to each of several addresses at an interval. An address whose checks fail gets
//! no requests of clients, unless none works.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::ClientParts;
use super::dial_record::DialRecord;
use super::members::Member;
use super::probe::check;
use super::settings::HealthCheck;
use super::target::UpstreamPlan;
use crate::types::net::Origin;

/// Checks the addresses of `plan`, the upstream of the app at `origin`, until no plan uses them.
pub fn keep_checked(
    plan: &Arc<UpstreamPlan>,
    origin: &Origin,
    runtime: &Handle,
    parts: &ClientParts,
) {
    let Some(settings) = &plan.settings.health_check else {
        return;
    };
    if plan.members.is_always_one() || !plan.members.begin_checks() {
        return;
    }
    let checks = Checks {
        in_use: Arc::downgrade(&plan.dial_record),
        // Checks are no attempts of clients to connect.
        plan: plan.with_own_dial_record(),
        settings: settings.clone(),
        origin: origin.clone(),
        parts: parts.clone(),
    };
    runtime.spawn(Arc::new(checks).run());
}

/// The checks of one upstream.
struct Checks {
    /// Alive while a configuration or a worker uses the upstream.
    in_use: Weak<DialRecord>,
    plan: Arc<UpstreamPlan>,
    settings: HealthCheck,
    origin: Origin,
    parts: ClientParts,
}

impl Checks {
    async fn run(self: Arc<Self>) {
        while self.in_use.strong_count() > 0 {
            self.check_all().await;
            sleep(self.settings.interval).await;
        }
    }

    /// Checks all addresses at once.
    async fn check_all(self: &Arc<Self>) {
        let mut checks = JoinSet::new();
        for member in self.plan.members.current().all() {
            checks.spawn(Arc::clone(self).check(Arc::clone(member)));
        }
        while checks.join_next().await.is_some() {}
    }

    async fn check(self: Arc<Self>, member: Arc<Member>) {
        let Ok(plan) = self.plan.at_member(&member.id) else {
            return;
        };
        // A new connection shows that the address accepts some.
        let upstream = self.parts.client(plan);
        let checked = check(&upstream, &self.origin, &self.settings.path);
        let failure = match timeout(self.settings.timeout, checked).await {
            Ok(Ok(status)) => {
                let is_expected = match self.settings.status {
                    Some(expected) => status == expected,
                    None => status.as_u16() < 400,
                };
                (!is_expected).then(|| status.as_str().to_owned())
            }
            Ok(Err(error)) => Some(error.code().to_owned()),
            Err(_) => Some("check_timed_out".to_owned()),
        };
        self.plan.members.checked(&member, failure.as_deref());
    }
}
