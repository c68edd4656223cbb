//! Upstreams of one worker: one for each app. An app with a wildcard host may have one for each
//! label; their number is limited, and those that are used least are closed.

use std::ops::Deref;
use std::sync::Arc;

use prometheus::{IntCounter, IntGauge};
use quick_cache::sync::Cache;

use super::client::Upstream;
use super::target::UpstreamPlan;
use super::upgrade::Tunnels;
use crate::dns::Resolver;
use crate::policy::route::AppRef;
use crate::telemetry::metrics::Metrics;
use crate::types::host_label::HostLabel;

/// The clients of one worker for all apps.
#[derive(Debug)]
pub struct Upstreams {
    /// By index of the app.
    apps: Vec<AppUpstreams>,
    parts: ClientParts,
}

/// What every client needs.
#[derive(Debug)]
struct ClientParts {
    resolver: Resolver,
    tunnels: Arc<Tunnels>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum AppUpstreams {
    One(Upstream),
    ByLabel(Box<LabelUpstreams>),
}

#[derive(Debug)]
struct LabelUpstreams {
    plan: Arc<UpstreamPlan>,
    pools: Cache<HostLabel, Arc<LabelUpstream>>,
    open: IntGauge,
    closed: IntCounter,
}

/// The client for one label. It is counted while it is in use.
#[derive(Debug)]
struct LabelUpstream {
    upstream: Upstream,
    open: IntGauge,
    closed: IntCounter,
}

impl Drop for LabelUpstream {
    fn drop(&mut self) {
        self.open.dec();
        self.closed.inc();
    }
}

/// The client for a request.
#[derive(Debug)]
pub struct UpstreamHandle<'a>(Handle<'a>);

#[derive(Debug)]
enum Handle<'a> {
    One(&'a Upstream),
    ByLabel(Arc<LabelUpstream>),
}

impl Deref for UpstreamHandle<'_> {
    type Target = Upstream;

    fn deref(&self) -> &Upstream {
        match &self.0 {
            Handle::One(upstream) => upstream,
            Handle::ByLabel(by_label) => &by_label.upstream,
        }
    }
}

impl Upstreams {
    /// Clients for apps with these plans, by index of the app. They must be used on one worker's
    /// runtime only.
    pub fn new(
        plans: &[Arc<UpstreamPlan>],
        resolver: &Resolver,
        tunnels: &Arc<Tunnels>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let parts = ClientParts {
            resolver: resolver.clone(),
            tunnels: Arc::clone(tunnels),
            metrics: Arc::clone(metrics),
        };
        let app = |plan: &Arc<UpstreamPlan>| match plan.max_labels() {
            None => AppUpstreams::One(parts.client(Arc::clone(plan))),
            Some(max) => {
                let app = [plan.app.as_str()];
                AppUpstreams::ByLabel(Box::new(LabelUpstreams {
                    plan: Arc::clone(plan),
                    pools: Cache::new(max),
                    open: metrics.upstream_label_pools.with_label_values(&app),
                    closed: metrics.upstream_label_pools_closed.with_label_values(&app),
                }))
            }
        };
        let apps = plans.iter().map(app).collect();
        Self { apps, parts }
    }

    /// The client for requests to an app. `None` if it has none, which no request causes.
    pub fn get(&self, app_ref: AppRef<'_>) -> Option<UpstreamHandle<'_>> {
        let by_label = match self.apps.get(app_ref.index)? {
            AppUpstreams::One(upstream) => return Some(UpstreamHandle(Handle::One(upstream))),
            AppUpstreams::ByLabel(by_label) => by_label,
        };
        let label = app_ref.app.hosts.label()?;
        let found = match by_label.pools.get(label) {
            Some(found) => found,
            None => {
                let plan = by_label.plan.at_label(label)?;
                by_label.open.inc();
                let opened = Arc::new(LabelUpstream {
                    upstream: self.parts.client(plan),
                    open: by_label.open.clone(),
                    closed: by_label.closed.clone(),
                });
                by_label.pools.insert(label.clone(), Arc::clone(&opened));
                opened
            }
        };
        Some(UpstreamHandle(Handle::ByLabel(found)))
    }
}

impl ClientParts {
    fn client(&self, plan: Arc<UpstreamPlan>) -> Upstream {
        let (resolver, tunnels) = (self.resolver.clone(), Arc::clone(&self.tunnels));
        Upstream::new(plan, resolver, tunnels, &self.metrics)
    }
}
