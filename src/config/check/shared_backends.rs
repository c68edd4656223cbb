//! Advice about apps that lead to the same paths of a backend: each app has rules of its own.

use std::collections::{HashMap, HashSet};

use super::super::report::{Location, quoted};
use super::super::settings::AppConfig;
use super::route_overlaps::{Backend, Reached, RoutedApp};
use crate::policy::path_routes::PathRoutes;

/// The paths that a route of an app leads to.
struct OfApp<'a> {
    name: &'a str,
    routes: &'a PathRoutes,
    reached: Reached,
}

impl OfApp<'_> {
    /// Whether the two lead to a path by different requested paths.
    fn shares_with(&self, other: &Self) -> bool {
        let replaces = self.reached.replaces() || other.reached.replaces();
        replaces && self.name != other.name && self.reached.overlaps(&other.reached, self.routes)
    }

    fn advise(&self, other: &Self, root: &Location<'_>) {
        let at = root.key("apps").key(self.name);
        let at = match self.reached.index {
            Some(index) => at.key("routes").index(index),
            None => at.key("upstream"),
        };
        at.advice(
            format!(
                "the same paths of the upstream are also reached by {} of the app {}, which has other rules",
                quoted(other.reached.public()),
                quoted(other.name)
            ),
            "let the rules of both apps agree, or give one of them another upstream",
        );
    }
}

/// Advises about routes that change the path to one that another app leads to.
pub(super) fn check(apps: &[AppConfig], root: &Location<'_>) {
    let mut all = Vec::new();
    for app in apps {
        let routed = RoutedApp {
            routes: &app.policy.routes,
            settings: &app.routes,
            upstream: Some(&app.upstream),
            base: &app.policy.paths.base,
        };
        all.extend(routed.reached().into_iter().map(|(backend, reached)| {
            let of_app = OfApp {
                name: app.policy.name.as_str(),
                routes: &app.policy.routes,
                reached,
            };
            (backend, of_app)
        }));
    }
    let mut by_path: HashMap<(Backend<'_>, &str), Vec<&OfApp<'_>>> = HashMap::new();
    for (backend, one) in &all {
        let path = one.reached.forwarded.as_str();
        by_path.entry((*backend, path)).or_default().push(one);
    }
    let mut advised = HashSet::new();
    for (backend, one) in &all {
        for above in this_and_parents(&one.reached.forwarded) {
            let mut others = by_path.get(&(*backend, above)).into_iter().flatten();
            let Some(other) = others.find(|other| other.shares_with(one)) else {
                continue;
            };
            let (changed, unchanged) = if one.reached.replaces() {
                (one, *other)
            } else {
                (*other, one)
            };
            if advised.insert((changed.name, changed.reached.index)) {
                changed.advise(unchanged, root);
            }
        }
    }
}

/// A path and those of the folders that it is in. The last one is empty.
fn this_and_parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        path.rsplit_once('/').map(|(parent, _)| parent)
    })
}
