//! Upstream plans: the header rules and connection settings of each app's upstream and routes.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::StartError;
use crate::config::{AppConfig, RouteConfig};
use crate::identity::identity::HeaderTemplate;
use crate::policy::app::App;
use crate::policy::path_routes::PathRoute;
use crate::telemetry::metrics::Metrics;
use crate::upstream::{AppPlans, HeaderPolicy, UpstreamPlan, UpstreamSettings, UpstreamUrl};

/// The plans of an app and its routes. The limit of connections is divided among the workers. The
/// backend of one of the `previous` plans is kept if its settings are the same.
pub(crate) fn plans(
    app: &App,
    settings: &AppConfig,
    workers: NonZeroUsize,
    previous: &[AppPlans],
) -> Result<AppPlans, StartError> {
    let name = app.name.as_str();
    let mut before = previous.iter();
    let before = before.find(|before| before.app.app() == name);
    let before: Vec<_> = before.iter().flat_map(|before| before.all()).collect();
    let addresses = by_url(&before);
    let main = plan(app, settings, workers, &before)?;
    let mut plans = AppPlans {
        app: main,
        routes: Vec::with_capacity(settings.routes.len()),
    };
    // Routes with the same backend share its connections.
    let mut known: HashMap<UpstreamUrl, Vec<Arc<UpstreamPlan>>> = HashMap::new();
    for plan in before.iter().copied().chain([&plans.app]) {
        let same_address = known.entry(plan.settings().url.clone()).or_default();
        if same_address
            .iter()
            .all(|other| other.settings() != plan.settings())
        {
            same_address.push(Arc::clone(plan));
        }
    }
    for (route, config) in app.routes.all().iter().zip(&settings.routes) {
        let Some(upstream) = &config.upstream else {
            plans.routes.push(None);
            continue;
        };
        let upstream = for_one_worker(upstream, workers);
        let headers = header_policy(app, settings, Some(ConfiguredRoute { route, config }));
        let same_address = known.entry(upstream.url.clone()).or_default();
        let mut others = same_address.iter();
        let plan = match others.find(|other| *other.settings() == upstream) {
            Some(same) => same.with_headers(headers),
            None => {
                let plan = new_plan(app, upstream, headers, &addresses)?;
                same_address.push(Arc::clone(&plan));
                plan
            }
        };
        plans.routes.push(Some(plan));
    }
    Ok(plans)
}

/// The plan of an app's `upstream`.
fn plan(
    app: &App,
    settings: &AppConfig,
    workers: NonZeroUsize,
    previous: &[&Arc<UpstreamPlan>],
) -> Result<Arc<UpstreamPlan>, StartError> {
    let headers = header_policy(app, settings, None);
    let upstream = for_one_worker(&settings.upstream, workers);
    let mut same = previous.iter();
    if let Some(before) = same.find(|before| *before.settings() == upstream) {
        return Ok(before.with_headers(headers));
    }
    let plan = new_plan(app, upstream, headers, &by_url(previous))?;
    Ok(match previous.first() {
        Some(before) => plan.continuing(before),
        None => plan,
    })
}

/// A plan with other settings than those of the app before. Addresses that are in `known` continue.
fn new_plan(
    app: &App,
    settings: UpstreamSettings,
    headers: HeaderPolicy,
    known: &PlansByUrl<'_>,
) -> Result<Arc<UpstreamPlan>, StartError> {
    let plan = UpstreamPlan::new(app.name.as_str(), settings, headers)
        .map_err(|error| StartError::Upstream(app.name.to_string(), error))?;
    for before in plan.settings().urls().filter_map(|url| known.get(url)) {
        plan.keep_addresses_of(before);
    }
    Ok(plan)
}

/// A plan with each address.
type PlansByUrl<'p> = HashMap<&'p UpstreamUrl, &'p Arc<UpstreamPlan>>;

fn by_url<'p>(plans: &[&'p Arc<UpstreamPlan>]) -> PlansByUrl<'p> {
    let urls = plans.iter().flat_map(|plan| {
        let urls = plan.settings().urls();
        urls.map(|url| (url, *plan))
    });
    urls.collect()
}

fn for_one_worker(settings: &UpstreamSettings, workers: NonZeroUsize) -> UpstreamSettings {
    UpstreamSettings {
        max_connections: settings.max_connections.div_ceil(workers.get()),
        ..settings.clone()
    }
}

/// A route, and what is configured beside its policy.
#[derive(Clone, Copy)]
pub(super) struct ConfiguredRoute<'r> {
    pub(super) route: &'r PathRoute,
    pub(super) config: &'r RouteConfig,
}

/// Sets the gauges by address. Addresses that are gone have none.
pub(super) fn refresh_upstream_gauges(plans: &[AppPlans], metrics: &Metrics) {
    metrics.upstream_address_up.reset();
    metrics.upstream_address_requests_in_flight.reset();
    for plan in plans.iter().flat_map(AppPlans::all) {
        for member in plan.member_statuses() {
            let labels = [plan.app(), &member.address];
            let up = metrics.upstream_address_up.with_label_values(&labels);
            up.set(i64::from(member.is_up));
            let in_flight = &metrics.upstream_address_requests_in_flight;
            let in_flight = in_flight.with_label_values(&labels);
            in_flight.set(i64::try_from(member.in_flight).unwrap_or(i64::MAX));
        }
    }
}

/// The header rules of an app, or of one of its routes.
pub(super) fn header_policy(
    app: &App,
    settings: &AppConfig,
    route: Option<ConfiguredRoute<'_>>,
) -> HeaderPolicy {
    let beginnings = app.cookies.beginnings();
    let beginnings: Vec<&str> = beginnings.iter().map(String::as_str).collect();
    let client_header = app.bearer.iter().map(|bearer| &bearer.client_header);
    let names = app
        .headers
        .iter()
        .chain(client_header)
        .map(HeaderTemplate::name);
    let headers = HeaderPolicy::new(names, &beginnings).detecting_loops(app.origin.authority());
    let headers = if app.native.is_some() {
        headers.dropping_dpop_proofs()
    } else {
        headers
    };
    let headers = if app.bearer.is_some() {
        headers.dropping_access_tokens()
    } else {
        headers
    };
    let headers = if app.basic.is_some() {
        headers.dropping_passwords()
    } else {
        headers
    };
    let (mut requests, mut responses) = (app.request_edits.clone(), app.response_edits.clone());
    let mut credentials = &settings.credentials;
    if let Some(ConfiguredRoute { route, config }) = route {
        credentials = &config.credentials;
        requests = requests.overridden_by(&route.request_edits);
        responses = responses.overridden_by(&route.response_edits);
    }
    let headers = headers
        .editing_requests(requests)
        .editing_responses(responses)
        .forwarding(&settings.client_headers.forwarded_identity)
        .sending(credentials.clone());
    if settings.client_headers.removes_authorization {
        headers.dropping_authorization()
    } else {
        headers
    }
}
