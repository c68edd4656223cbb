//! Checks among the routes of an app: redirects to themselves, and paths of an upstream that several
//! requested paths lead to.

use std::collections::{HashMap, HashSet};

use super::super::report::{Location, quoted};
use super::super::settings::RouteConfig;
use crate::policy::path_pattern::comparable;
use crate::policy::path_routes::{PathRoutes, RouteResponse};
use crate::types::public_url::BasePath;
use crate::upstream::{UpstreamSettings, UpstreamUrl};

/// Reports redirects to a path that the same route redirects.
pub(super) fn report_loops(routes: &PathRoutes, locations: &[Location<'_>]) {
    for (index, (route, at)) in routes.all().iter().zip(locations).enumerate() {
        let Some(RouteResponse::Redirect { to, .. }) = &route.response else {
            continue;
        };
        let path = if to.path.is_empty() { "/" } else { &to.path };
        if to.origin.is_none() && routes.index_of(path) == Some(index) {
            at.key("redirect").key("to").error(
                format!("the route redirects {} to itself", quoted(path)),
                "choose a target outside the route",
            );
        }
    }
}

/// The paths of an address that a route leads to.
#[derive(Clone)]
struct Reached {
    /// Its index. `None` is the app's own `upstream`.
    index: Option<usize>,
    /// The requested path, without the rest.
    public: String,
    /// The forwarded path, without the rest.
    forwarded: String,
    has_descendants: bool,
}

impl Reached {
    /// Whether it changes the path.
    fn replaces(&self) -> bool {
        self.public != self.forwarded
    }

    /// Whether this route leads to a path of `other` too.
    fn overlaps(&self, other: &Self, routes: &PathRoutes) -> bool {
        let Some(rest) = other.forwarded.strip_prefix(&self.forwarded) else {
            return false;
        };
        let is_below = self.has_descendants && (rest.is_empty() || rest.starts_with('/'));
        if !is_below && !rest.is_empty() {
            return false;
        }
        // No route has this segment.
        let below = if other.has_descendants && self.has_descendants {
            "/\0"
        } else {
            ""
        };
        let path = format!("{}{rest}{below}", self.public);
        let path = if path.is_empty() { "/" } else { &path };
        routes.index_of(path) == self.index
    }
}

/// Reports two requested paths that lead to one path of an address: a rule for one of them would not
/// protect the other. `app` is the upstream of the app, which begins at `base`.
pub(super) fn report_shared_paths(
    routes: &PathRoutes,
    settings: &[RouteConfig],
    app: Option<&UpstreamSettings>,
    base: &BasePath,
    locations: &[Location<'_>],
) {
    let comparable = |path: &str| comparable(path, routes.is_case_insensitive()).into_owned();
    let mut by_address: HashMap<&UpstreamUrl, Vec<Reached>> = HashMap::new();
    let base = base.as_str();
    // No route has this segment.
    if let Some(upstream) = app.filter(|_| routes.index_of(&format!("{base}/\0")).is_none()) {
        let reached = Reached {
            index: None,
            public: comparable(base),
            forwarded: comparable(base),
            has_descendants: true,
        };
        for url in upstream.urls() {
            by_address.entry(url).or_default().push(reached.clone());
        }
    }
    for (index, (route, config)) in routes.all().iter().zip(settings).enumerate() {
        if let Some(upstream) = &config.upstream {
            let reached = Reached {
                index: Some(index),
                public: comparable(route.path.literal()),
                forwarded: comparable(&route.forwarded_literal()),
                has_descendants: route.path.has_descendants(),
            };
            for url in upstream.urls() {
                by_address.entry(url).or_default().push(reached.clone());
            }
        }
    }
    // Routes may share several addresses.
    let mut reported = HashSet::new();
    for sharing in by_address.values() {
        for one in sharing.iter().filter(|one| one.replaces()) {
            let mut others = sharing.iter().filter(|other| other.index != one.index);
            let overlapping =
                others.find(|other| other.overlaps(one, routes) || one.overlaps(other, routes));
            let at = one.index.and_then(|index| locations.get(index));
            if let (Some(other), Some(at)) = (overlapping, at)
                && reported.insert(one.index)
            {
                let other = match other.public.as_str() {
                    "" => "/",
                    public => public,
                };
                at.error(
                    format!(
                        "the same paths of the upstream are also reached by {}: rules for one \
                         would not protect the other",
                        quoted(other)
                    ),
                    "give the route another `upstream`, or redirect one path to the other",
                );
            }
        }
    }
}
