//! Upstreams of one worker: one for each app, and for each of its routes with another backend. With
//! a wildcard host there may be one for each label; their number is limited, and those that are used
//! least are closed.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use prometheus::{IntCounter, IntGauge};
use quick_cache::sync::Cache;

use super::client::{ClientParts, Upstream};
use super::group::{Balanced, Group, MemberClient};
use super::target::{BackendId, UpstreamPlan};
use super::upgrade::Tunnels;
use crate::dns::Resolver;
use crate::policy::route::AppRef;
use crate::session::affinity::AddressHash;
use crate::telemetry::metrics::Metrics;
use crate::types::host_label::HostLabel;

/// The plans of one app.
#[derive(Clone, Debug)]
pub struct AppPlans {
    /// That of its `upstream`.
    pub app: Arc<UpstreamPlan>,
    /// Those of its routes, by index. `None` for a route that Doorward answers.
    pub routes: Vec<Option<Arc<UpstreamPlan>>>,
}

impl AppPlans {
    /// The plan of the app, then those of its routes.
    pub fn all(&self) -> impl Iterator<Item = &Arc<UpstreamPlan>> {
        std::iter::once(&self.app).chain(self.routes.iter().flatten())
    }
}

/// The clients of one worker for all apps.
#[derive(Debug)]
pub struct Upstreams {
    /// By index of the app.
    apps: Vec<AppUpstreams>,
    parts: ClientParts,
}

/// The clients for one app, as in [`AppPlans`].
#[derive(Debug)]
struct AppUpstreams {
    app: PlanUpstreams,
    routes: Vec<Option<PlanUpstreams>>,
}

/// Clients by their backend.
type ByBackend<'u> = HashMap<BackendId, &'u PlanUpstreams>;

impl AppUpstreams {
    fn all(&self) -> impl Iterator<Item = &PlanUpstreams> {
        std::iter::once(&self.app).chain(self.routes.iter().flatten())
    }
}

/// The clients of one plan.
#[derive(Debug)]
enum PlanUpstreams {
    One(Upstream),
    Several(Box<Group>),
    ByLabel(Box<LabelUpstreams>),
}

impl PlanUpstreams {
    fn plan(&self) -> &Arc<UpstreamPlan> {
        match self {
            Self::One(upstream) => &upstream.plan,
            Self::Several(group) => group.plan(),
            Self::ByLabel(by_label) => &by_label.plan,
        }
    }

    /// Clients with the same connections for `plan`, which differs in its headers only.
    fn with_plan(&self, plan: &Arc<UpstreamPlan>) -> Self {
        match self {
            Self::One(upstream) => Self::One(upstream.with_plan(Arc::clone(plan))),
            Self::Several(group) => Self::Several(Box::new(group.with_plan(plan))),
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
    Member(Arc<MemberClient>),
    Several(Balanced),
}

impl Deref for UpstreamHandle<'_> {
    type Target = Upstream;

    fn deref(&self) -> &Upstream {
        match &self.0 {
            Handle::One(upstream) => upstream,
            Handle::ByLabel(by_label) => &by_label.upstream,
            Handle::Member(member) => &member.upstream,
            Handle::Several(balanced) => &balanced.chosen.upstream,
        }
    }
}

impl UpstreamHandle<'_> {
    /// Whether there are several addresses, and each browser keeps to one of them.
    pub fn has_affinity(&self) -> bool {
        match &self.0 {
            Handle::Several(_) => self.plan.settings.affinity,
            Handle::One(_) | Handle::ByLabel(_) | Handle::Member(_) => false,
        }
    }

    /// Chooses the address with this hash of several, if it works.
    pub fn prefer(&mut self, address: AddressHash) {
        if let Some(balanced) = self.balanced() {
            balanced.prefer(address);
        }
    }

    /// The hash of the chosen address of several, if it is the browser's from now on.
    pub fn address_to_keep(&self) -> Option<AddressHash> {
        match &self.0 {
            Handle::Several(balanced) => {
                (!balanced.is_known_on_trial).then_some(balanced.chosen.member.hash)
            }
            Handle::One(_) | Handle::ByLabel(_) | Handle::Member(_) => None,
        }
    }

    /// The addresses to choose from, if there are several.
    pub(super) fn balanced(&mut self) -> Option<&mut Balanced> {
        match &mut self.0 {
            Handle::Several(balanced) => Some(balanced),
            Handle::One(_) | Handle::ByLabel(_) | Handle::Member(_) => None,
        }
    }
}

impl Upstreams {
    /// Clients for apps with these plans, by index of the app. They must be used on one worker's
    /// runtime only.
    pub fn new(
        plans: &[AppPlans],
        resolver: &Resolver,
        tunnels: &Arc<Tunnels>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let parts = ClientParts {
            resolver: resolver.clone(),
            tunnels: Arc::clone(tunnels),
            metrics: Arc::clone(metrics),
        };
        let before = ByBackend::new();
        let apps = plans
            .iter()
            .map(|plans| app_upstreams(&parts, plans, &before))
            .collect();
        Self { apps, parts }
    }

    /// Clients of the same worker for the plans of another configuration. They continue to use the
    /// connections to each backend that is the same.
    #[must_use]
    pub fn with_plans(&self, plans: &[AppPlans]) -> Self {
        let before = self.apps.iter().flat_map(AppUpstreams::all);
        let before: ByBackend<'_> = before.map(|plan| (plan.plan().backend(), plan)).collect();
        let apps = plans.iter();
        let apps = apps.map(|plans| app_upstreams(&self.parts, plans, &before));
        Self {
            apps: apps.collect(),
            parts: self.parts.clone(),
        }
    }

    /// The client for requests to an app, or to the route of it with this index. `None` if it has
    /// none, which no request causes.
    pub fn get(&self, app_ref: AppRef<'_>, route: Option<usize>) -> Option<UpstreamHandle<'_>> {
        let clients = self.apps.get(app_ref.index)?;
        let clients = match route {
            None => &clients.app,
            Some(route) => clients.routes.get(route)?.as_ref()?,
        };
        let by_label = match clients {
            PlanUpstreams::One(upstream) => return Some(UpstreamHandle(Handle::One(upstream))),
            PlanUpstreams::Several(group) => {
                let view = group.view();
                return Some(UpstreamHandle(match view.only() {
                    Some(member) => Handle::Member(Arc::clone(member)),
                    None => Handle::Several(Balanced::new(view)?),
                }));
            }
            PlanUpstreams::ByLabel(by_label) => by_label,
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

/// The clients of an app. Those for the same backend share its connections, also with those
/// `before`.
fn app_upstreams(parts: &ClientParts, plans: &AppPlans, before: &ByBackend<'_>) -> AppUpstreams {
    let same = before.get(&plans.app.backend()).copied();
    let app = plan_upstreams(parts, &plans.app, same);
    let mut routes: Vec<Option<PlanUpstreams>> = Vec::with_capacity(plans.routes.len());
    // The first route of each backend.
    let mut first: HashMap<BackendId, usize> = HashMap::new();
    for (index, plan) in plans.routes.iter().enumerate() {
        let client = plan.as_ref().map(|plan| {
            let backend = plan.backend();
            let first = *first.entry(backend).or_insert(index);
            let same = if backend == plans.app.backend() {
                Some(&app)
            } else {
                let of_route = routes.get(first).and_then(Option::as_ref);
                of_route.or_else(|| before.get(&backend).copied())
            };
            plan_upstreams(parts, plan, same)
        });
        routes.push(client);
    }
    AppUpstreams { app, routes }
}

/// The clients of a plan: with the connections of the clients `same`, which have the same backend.
fn plan_upstreams(
    parts: &ClientParts,
    plan: &Arc<UpstreamPlan>,
    same: Option<&PlanUpstreams>,
) -> PlanUpstreams {
    match (same, plan.max_labels()) {
        (Some(same), _) => same.with_plan(plan),
        (None, None) if plan.members.is_always_one() => {
            PlanUpstreams::One(parts.client(Arc::clone(plan)))
        }
        (None, None) => PlanUpstreams::Several(Box::new(Group::new(plan, parts))),
        (None, Some(max)) => {
            PlanUpstreams::ByLabel(Box::new(LabelUpstreams::new(plan, max, &parts.metrics)))
        }
    }
}
