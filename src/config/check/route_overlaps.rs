//! Checks among the routes of an app: redirects to themselves, and paths of an upstream that several
//! requested paths lead to.

use std::collections::{HashMap, HashSet};
use std::path::Path;

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

/// The origin of the paths that routes lead to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Backend<'s> {
    Address(&'s UpstreamUrl),
    FileSystem,
}

/// An app and its routes.
pub(super) struct RoutedApp<'a> {
    pub(super) routes: &'a PathRoutes,
    pub(super) settings: &'a [RouteConfig],
    /// The upstream of the app, if it is valid.
    pub(super) upstream: Option<&'a UpstreamSettings>,
    /// Where the app begins.
    pub(super) base: &'a BasePath,
}

impl<'a> RoutedApp<'a> {
    /// The paths that the app and its routes lead to.
    pub(super) fn reached(&self) -> Vec<(Backend<'a>, Reached)> {
        let routes = self.routes;
        let comparable = |path: &str| comparable(path, routes.is_case_insensitive()).into_owned();
        let mut all = Vec::new();
        let base = self.base.as_str();
        let has_rest = routes.index_of(&format!("{base}{NO_SEGMENT}")).is_none();
        if let Some(upstream) = self.upstream.filter(|_| has_rest) {
            let reached = Reached {
                index: None,
                public: comparable(base),
                forwarded: comparable(base),
                has_descendants: true,
            };
            let urls = upstream.urls();
            all.extend(urls.map(|url| (Backend::Address(url), reached.clone())));
        }
        for (index, (route, config)) in routes.all().iter().zip(self.settings).enumerate() {
            let forwarded = route.forwarded_literal();
            let reached = Reached {
                index: Some(index),
                public: comparable(route.path.literal()),
                forwarded: comparable(&forwarded),
                has_descendants: route.path.has_descendants(),
            };
            if let Some(RouteResponse::Files(folder)) = &route.response {
                let forwarded = comparable(&path_of_files(folder, &forwarded));
                let reached = Reached {
                    forwarded,
                    ..reached.clone()
                };
                all.push((Backend::FileSystem, reached));
            }
            let urls = config.upstream.iter().flat_map(UpstreamSettings::urls);
            all.extend(urls.map(|url| (Backend::Address(url), reached.clone())));
        }
        all
    }
}

/// The path of files in the file system.
fn path_of_files(folder: &Path, below: &str) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let folder = folder.to_string_lossy();
    let below = below.strip_suffix('/').unwrap_or(below);
    format!("{}{below}", folder.trim_end_matches('/'))
}

/// A segment below a path that no route has.
const NO_SEGMENT: &str = "/\0";

/// The paths of an address that a route leads to.
#[derive(Clone)]
pub(super) struct Reached {
    /// Its index. `None` is the app's own `upstream`.
    pub(super) index: Option<usize>,
    /// The requested path, without the rest.
    public: String,
    /// The forwarded path, without the rest.
    pub(super) forwarded: String,
    has_descendants: bool,
}

impl Reached {
    /// The requested path.
    pub(super) fn public(&self) -> &str {
        match self.public.as_str() {
            "" => "/",
            public => public,
        }
    }

    /// Whether it changes the path.
    pub(super) fn replaces(&self) -> bool {
        self.public != self.forwarded
    }

    /// Whether this route leads to a path of `other` too.
    pub(super) fn overlaps(&self, other: &Self, routes: &PathRoutes) -> bool {
        let Some(rest) = other.forwarded.strip_prefix(&self.forwarded) else {
            return false;
        };
        let is_below = self.has_descendants && (rest.is_empty() || rest.starts_with('/'));
        if !is_below && !rest.is_empty() {
            return false;
        }
        let below = if other.has_descendants && self.has_descendants {
            NO_SEGMENT
        } else {
            ""
        };
        let path = format!("{}{rest}{below}", self.public);
        let path = if path.is_empty() { "/" } else { &path };
        routes.index_of(path) == self.index
    }
}

/// Reports two requested paths that lead to one path of an address: a rule for one of them would not
/// protect the other.
pub(super) fn report_shared_paths(app: &RoutedApp<'_>, locations: &[Location<'_>]) {
    let routes = app.routes;
    let mut by_address: HashMap<Backend<'_>, Vec<Reached>> = HashMap::new();
    for (backend, reached) in app.reached() {
        by_address.entry(backend).or_default().push(reached);
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
                at.error(
                    format!(
                        "the same paths of the upstream are also reached by {}: rules for one \
                         would not protect the other",
                        quoted(other.public())
                    ),
                    "give the route another `upstream`, or redirect one path to the other",
                );
            }
        }
    }
}
