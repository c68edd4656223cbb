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
#[derive(Clone, Debug)]
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

impl AppUpstreams {
    fn plan(&self) -> &Arc<UpstreamPlan> {
        match self {
            Self::One(upstream) => &upstream.plan,
            Self::ByLabel(by_label) => &by_label.plan,
        }
    }

    /// Clients with the same connections for `plan`, which differs in its headers only.
    fn with_plan(&self, plan: &Arc<UpstreamPlan>) -> Self {
        match self {
            Self::One(upstream) => Self::One(upstream.with_plan(Arc::clone(plan))),
            Self::ByLabel(by_label) => Self::ByLabel(Box::new(by_label.with_plan(plan))),
        }
    }
}

#[derive(Debug)]
struct LabelUpstreams {
    plan: Arc<UpstreamPlan>,
    pools: Cache<HostLabel, Arc<LabelUpstream>>,
    open: IntGauge,
    closed: IntCounter,
}

impl LabelUpstreams {
    fn new(plan: &Arc<UpstreamPlan>, max_labels: usize, metrics: &Metrics) -> Self {
        let app = [plan.app.as_str()];
        Self {
            plan: Arc::clone(plan),
            pools: Cache::new(max_labels),
            open: metrics.upstream_label_pools.with_label_values(&app),
            closed: metrics.upstream_label_pools_closed.with_label_values(&app),
        }
    }

    fn with_plan(&self, plan: &Arc<UpstreamPlan>) -> Self {
        let successor = Self {
            plan: Arc::clone(plan),
            pools: Cache::new(plan.max_labels().unwrap_or_default()),
            open: self.open.clone(),
            closed: self.closed.clone(),
        };
        for (label, pool) in self.pools.iter() {
            if let Some(plan) = plan.at_label(&label) {
                let client = pool.upstream.with_plan(plan);
                successor.pools.insert(label, successor.counted(client));
            }
        }
        successor
    }

    fn counted(&self, upstream: Upstream) -> Arc<LabelUpstream> {
        self.open.inc();
        Arc::new(LabelUpstream {
            upstream,
            open: self.open.clone(),
            closed: self.closed.clone(),
        })
    }
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
        let apps = plans.iter().map(|plan| parts.app(plan)).collect();
        Self { apps, parts }
    }

    /// Clients of the same worker for the plans of another configuration. They continue to use the
    /// connections to each backend that is the same.
    #[must_use]
    pub fn with_plans(&self, plans: &[Arc<UpstreamPlan>]) -> Self {
        let app = |plan: &Arc<UpstreamPlan>| {
            let mut before = self.apps.iter();
            match before.find(|app| plan.is_same_backend(app.plan())) {
                Some(app) => app.with_plan(plan),
                None => self.parts.app(plan),
            }
        };
        Self {
            apps: plans.iter().map(app).collect(),
            parts: self.parts.clone(),
        }
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
                let opened = by_label.counted(self.parts.client(plan));
                by_label.pools.insert(label.clone(), Arc::clone(&opened));
                opened
            }
        };
        Some(UpstreamHandle(Handle::ByLabel(found)))
    }
}

impl ClientParts {
    fn app(&self, plan: &Arc<UpstreamPlan>) -> AppUpstreams {
        match plan.max_labels() {
            None => AppUpstreams::One(self.client(Arc::clone(plan))),
            Some(max) => {
                AppUpstreams::ByLabel(Box::new(LabelUpstreams::new(plan, max, &self.metrics)))
            }
        }
    }

    fn client(&self, plan: Arc<UpstreamPlan>) -> Upstream {
        let (resolver, tunnels) = (self.resolver.clone(), Arc::clone(&self.tunnels));
        Upstream::new(plan, resolver, tunnels, &self.metrics)
    }
}
