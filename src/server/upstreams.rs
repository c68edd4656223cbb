//! Upstream plans: the header rules and connection settings of each app's upstream.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::StartError;
use crate::config::AppConfig;
use crate::identity::identity::HeaderTemplate;
use crate::policy::app::App;
use crate::upstream::{HeaderPolicy, UpstreamPlan};

/// The limit of connections is divided among the workers. The backend of one of the `previous` plans
/// is kept if its settings are the same.
pub(crate) fn plan(
    app: &App,
    settings: &AppConfig,
    workers: NonZeroUsize,
    previous: &[Arc<UpstreamPlan>],
) -> Result<Arc<UpstreamPlan>, StartError> {
    let headers = header_policy(app, settings);
    let mut upstream = settings.upstream.clone();
    upstream.max_connections = upstream.max_connections.div_ceil(workers.get());
    let is_same = |before: &&Arc<UpstreamPlan>| {
        before.app() == app.name.as_str() && *before.settings() == upstream
    };
    if let Some(before) = previous.iter().find(is_same) {
        return Ok(before.with_headers(headers));
    }
    let plan = UpstreamPlan::new(app.name.as_str(), upstream, headers)
        .map_err(|error| StartError::Upstream(app.name.to_string(), error))?;
    let mut previous = previous.iter();
    Ok(
        match previous.find(|before| before.app() == app.name.as_str()) {
            Some(before) => plan.continuing(before),
            None => plan,
        },
    )
}

/// The header rules of an app.
pub(super) fn header_policy(app: &App, settings: &AppConfig) -> HeaderPolicy {
    let beginnings = app.cookies.beginnings();
    let client_header = app.bearer.iter().map(|bearer| &bearer.client_header);
    let names = app
        .headers
        .iter()
        .chain(client_header)
        .map(HeaderTemplate::name);
    let headers = HeaderPolicy::new(names, &beginnings.each_ref().map(String::as_str))
        .detecting_loops(app.origin.authority());
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
    let headers = headers
        .editing_requests(app.request_edits.clone())
        .editing_responses(app.response_edits.clone())
        .forwarding(&settings.client_headers.forwarded_identity);
    if settings.client_headers.removes_authorization {
        headers.dropping_authorization()
    } else {
        headers
    }
}
