//! `[[apps.NAME.routes]]`: routes by path.

use super::super::files::Folder;
use super::super::raw::{List, RawApp};
use super::super::raw_routes::RawRoute;
use super::super::report::{Location, quoted};
use super::super::settings::RouteConfig;
use super::super::values::HumanDuration;
use super::credentials::{CheckedCredentials, CredentialContext, RawCredentials};
use super::route_overlaps::RoutedApp;
use super::{
    credentials, elements, header_edits, nonzero, route_overlaps, route_responses, server, upstream,
};
use crate::policy::app::PassedToken;
use crate::policy::hosts::AppHosts;
use crate::policy::path_routes::{PathPrefix, PathRoute, PathRoutes, RoutePath};
use crate::types::public_url::BasePath;
use crate::upstream::{UpstreamProtocol, UpstreamSettings};

const PATH_HINT: &str = "such as `/shop/**` for all below `/shop`, or `/shop` for this path only";
const PREFIX_HINT: &str = "whole segments, such as `/shop`";

/// The most routes of an app.
const MAX_ROUTES: usize = 10_000;

/// The app that routes are checked for.
pub(super) struct RouteContext<'c> {
    /// Where the app begins.
    pub(super) base: &'c BasePath,
    /// The path prefix of Doorward's endpoints.
    pub(super) prefix: &'c str,
    /// Whether paths match in any case.
    pub(super) case_insensitive: bool,
    /// The names of the app's identity headers.
    pub(super) identity: &'c [&'c str],
    /// The hosts of the app.
    pub(super) hosts: &'c AppHosts,
    /// The upstream of the app, if it is valid.
    pub(super) upstream: Option<&'c UpstreamSettings>,
    /// The credentials of the app.
    pub(super) credentials: &'c CheckedCredentials,
    /// What credentials of routes are checked against.
    pub(super) credential_context: CredentialContext<'c>,
    /// The folder of the configuration file.
    pub(super) folder: &'c Folder,
}

/// The valid routes of an app.
pub(super) struct CheckedRoutes {
    pub(super) policy: PathRoutes,
    pub(super) settings: Vec<RouteConfig>,
    /// The token of the user that one of them passes.
    pub(super) passed_token: Option<PassedToken>,
}

pub(super) fn check(
    raw: Option<List<RawRoute>>,
    context: &RouteContext<'_>,
    at: &Location<'_>,
) -> CheckedRoutes {
    if raw.as_ref().is_some_and(|list| list.len() > MAX_ROUTES) {
        at.error(
            "too many routes",
            format!("at most {MAX_ROUTES} for an app"),
        );
    }
    let mut policy = PathRoutes::new(context.case_insensitive);
    let mut settings = Vec::new();
    let mut locations = Vec::new();
    let mut passed_token = None;
    for (at, raw) in elements(raw, at) {
        let Some(CheckedRoute {
            route,
            config,
            passed,
        }) = route(raw, context, &at)
        else {
            continue;
        };
        passed_token = passed_token.or(passed);
        if let Err(other) = policy.insert(route) {
            let other = policy.all().get(other);
            let other = other.map_or("", |other| other.path.as_str());
            at.key("path").error(
                format!("another route has the path {}", quoted(other)),
                "the most specific route applies, so each has a path of its own",
            );
        } else {
            settings.push(config);
            locations.push(at);
        }
    }
    route_overlaps::report_loops(&policy, &locations);
    let app = RoutedApp {
        routes: &policy,
        settings: &settings,
        upstream: context.upstream,
        base: context.base,
    };
    route_overlaps::report_shared_paths(&app, &locations);
    CheckedRoutes {
        policy,
        settings,
        passed_token,
    }
}

struct CheckedRoute {
    route: PathRoute,
    config: RouteConfig,
    passed: Option<PassedToken>,
}

fn route(mut raw: RawRoute, context: &RouteContext<'_>, at: &Location<'_>) -> Option<CheckedRoute> {
    let has_response = raw.redirect.is_some() || raw.respond.is_some() || raw.files.is_some();
    if has_response {
        report_unused(&raw, at);
    }
    let path = at.required("path", raw.path.take(), PATH_HINT);
    let path = path.and_then(|path| route_path(&path, context, &at.key("path")));
    let strip_prefix = prefix(raw.strip_prefix.take(), &at.key("strip_prefix"));
    if let (Some(path), Some(strip)) = (&path, &strip_prefix)
        && !path.is_below(strip)
    {
        at.key("strip_prefix").error(
            format!(
                "the path of the route does not begin with {}",
                quoted(strip.as_str())
            ),
            "strip the path of the route, or the first segments of it",
        );
    }
    let add_prefix = prefix(raw.add_prefix.take(), &at.key("add_prefix"));
    let edits = header_edits::both(
        raw.request_headers.take(),
        raw.response_headers.take(),
        context.identity,
        at,
    );
    let max_in_flight_requests = server::max_in_flight_requests(
        raw.max_in_flight_requests,
        &at.key("max_in_flight_requests"),
    );
    let raw_credentials = RawCredentials::of_route(&mut raw);
    let has_own = raw_credentials.keys().next().is_some();
    if has_own && context.credentials.is_exchanged {
        at.error(
            "the app gets tokens by `token_exchange`, so its routes have no other credentials",
            "remove the key of the route, or `token_exchange` of the app",
        );
    }
    let credentials = if has_own {
        credentials::check(raw_credentials, context.credential_context, at)
    } else if raw.upstream.is_some() || has_response {
        // Those of the app are for its own upstream.
        CheckedCredentials::default()
    } else {
        context.credentials.clone()
    };
    let (response, upstream) = if has_response {
        let response = route_responses::check(&mut raw, path.as_ref(), context.folder, at);
        (Some(response?), None)
    } else {
        (None, Some(upstream_of(raw, context, at)?))
    };
    Some(CheckedRoute {
        route: PathRoute {
            strip_prefix: strip_prefix?,
            add_prefix: add_prefix?,
            endpoints: PathPrefix::parse(context.prefix).unwrap_or_default(),
            request_edits: edits.requests,
            response_edits: edits.responses,
            response,
            ..PathRoute::new(path?)
        },
        config: RouteConfig {
            upstream,
            max_in_flight_requests,
            credentials: credentials.upstream,
        },
        passed: credentials.passed,
    })
}

fn route_path(text: &str, context: &RouteContext<'_>, at: &Location<'_>) -> Option<RoutePath> {
    let path = match RoutePath::parse(text) {
        Ok(path) => path,
        Err(error) => {
            let message = format!("{} is not the path of a route: {error}", quoted(text));
            at.error(message, PATH_HINT);
            return None;
        }
    };
    let below = path.literal().strip_prefix(context.prefix);
    if below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
        at.error(
            format!(
                "{} never matches, because {} has doorward's own endpoints",
                quoted(text),
                quoted(context.prefix)
            ),
            "change the path or `endpoint_prefix`",
        );
    }
    Some(path)
}

/// An absent prefix is empty. `None` if there is an error.
fn prefix(raw: Option<String>, at: &Location<'_>) -> Option<PathPrefix> {
    let Some(text) = raw else {
        return Some(PathPrefix::default());
    };
    let prefix = PathPrefix::parse(&text);
    if let Err(error) = &prefix {
        let message = format!("{} is not a prefix: {error}", quoted(&text));
        at.error(message, PREFIX_HINT);
    }
    prefix.ok()
}

/// Reports keys that only a route with an upstream has. Those that change the path, limit requests or
/// change responses, a route with files has too.
fn report_unused(raw: &RawRoute, at: &Location<'_>) {
    let has_no_files = raw.files.is_none();
    for (name, is_set) in [
        ("upstream", raw.upstream.is_some()),
        ("strip_prefix", raw.strip_prefix.is_some() && has_no_files),
        ("add_prefix", raw.add_prefix.is_some() && has_no_files),
        (
            "max_in_flight_requests",
            raw.max_in_flight_requests.is_some() && has_no_files,
        ),
        ("request_headers", raw.request_headers.is_some()),
        (
            "response_headers",
            raw.response_headers.is_some() && has_no_files,
        ),
        ("connect_timeout", raw.connect_timeout.is_some()),
        ("response_timeout", raw.response_timeout.is_some()),
        ("stream_idle_timeout", raw.stream_idle_timeout.is_some()),
        ("stream_max_age", raw.stream_max_age.is_some()),
    ]
    .into_iter()
    .chain(address_keys(raw))
    .chain(credential_keys(raw))
    {
        if is_set {
            at.key(name).error(
                format!("`{name}` has no effect, because Doorward responds itself"),
                "remove the key, or `redirect`, `respond` or `files`",
            );
        }
    }
}

/// The upstream of a route: that of the app, or another with the app's limits and timeouts.
fn upstream_of(
    raw: RawRoute,
    context: &RouteContext<'_>,
    at: &Location<'_>,
) -> Option<UpstreamSettings> {
    let timeout =
        |raw: Option<HumanDuration>, key: &str| raw.map(|duration| nonzero(duration, &at.key(key)));
    let connect_timeout = timeout(raw.connect_timeout, "connect_timeout");
    let response_timeout = timeout(raw.response_timeout, "response_timeout");
    let stream_idle_timeout = timeout(raw.stream_idle_timeout, "stream_idle_timeout");
    let stream_max_age = timeout(raw.stream_max_age, "stream_max_age");
    let has_address = raw.upstream.is_some();
    let keys = address_keys(&raw);
    let own = RawApp {
        upstream: raw.upstream,
        upstream_protocol: raw.upstream_protocol,
        upstream_host: raw.upstream_host,
        upstream_ca_file: raw.upstream_ca_file,
        upstream_cert_file: raw.upstream_cert_file,
        upstream_key_file: raw.upstream_key_file,
        upstream_server_name: raw.upstream_server_name,
        health_check: raw.health_check,
        ..RawApp::default()
    };
    let of_app = context.upstream?.clone();
    let mut settings = if has_address {
        let own = upstream::check(own, context.hosts, at, context.folder)?;
        let has_pings = own.protocol == UpstreamProtocol::Http2;
        UpstreamSettings {
            url: own.url,
            other_urls: own.other_urls,
            // The path of the app's check is one of the app.
            health_check: own.health_check,
            // A browser has one cookie, for the addresses of the app.
            affinity: false,
            by_label: own.by_label,
            protocol: own.protocol,
            host: own.host,
            ca_certificates: own.ca_certificates,
            client_certificate: own.client_certificate,
            server_name: own.server_name,
            ping_interval: of_app.ping_interval.filter(|_| has_pings),
            ..of_app
        }
    } else {
        report_without_address(keys, at);
        of_app
    };
    settings.connect_timeout = connect_timeout.unwrap_or(settings.connect_timeout);
    settings.response_timeout = response_timeout.unwrap_or(settings.response_timeout);
    settings.body_idle_timeout = stream_idle_timeout.unwrap_or(settings.body_idle_timeout);
    settings.tunnel_idle_timeout = stream_idle_timeout.unwrap_or(settings.tunnel_idle_timeout);
    settings.stream_max_age = stream_max_age.or(settings.stream_max_age);
    Some(settings)
}

/// The keys about credentials, and whether each is set.
const fn credential_keys(raw: &RawRoute) -> [(&'static str, bool); 4] {
    [
        (
            "dangerously_pass_access_token",
            raw.dangerously_pass_access_token.is_some(),
        ),
        (
            "dangerously_pass_id_token",
            raw.dangerously_pass_id_token.is_some(),
        ),
        ("upstream_basic_auth", raw.upstream_basic_auth.is_some()),
        ("upstream_bearer_file", raw.upstream_bearer_file.is_some()),
    ]
}

/// The keys that describe an address, and whether each is set.
fn address_keys(raw: &RawRoute) -> [(&'static str, bool); 7] {
    [
        ("upstream_protocol", raw.upstream_protocol.is_some()),
        ("upstream_host", raw.upstream_host.is_some()),
        ("upstream_ca_file", raw.upstream_ca_file.is_some()),
        ("upstream_cert_file", raw.upstream_cert_file.is_some()),
        ("upstream_key_file", raw.upstream_key_file.is_some()),
        ("upstream_server_name", raw.upstream_server_name.is_some()),
        ("health_check", raw.health_check.is_some()),
    ]
}

/// Reports keys that describe an address, of a route that uses the app's.
fn report_without_address(keys: [(&str, bool); 7], at: &Location<'_>) {
    for (name, is_set) in keys {
        if is_set {
            let hint = "add `upstream`, or set the key of the app";
            at.key(name)
                .error(format!("`{name}` needs an `upstream` of the route"), hint);
        }
    }
}
