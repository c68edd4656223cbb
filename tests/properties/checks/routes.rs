//! Routes by path: the chosen route is that of a model that looks at every route, and the forwarded
//! path is the requested one with another prefix.

use doorward::policy::path_routes::{PathPrefix, PathRoute, PathRoutes, RoutePath};
use doorward::types::target::Target;

/// A route as it is configured.
#[derive(Clone, Debug)]
pub(crate) struct Configured {
    /// Whole segments, without `/**`.
    pub(crate) literal: String,
    pub(crate) has_descendants: bool,
    /// How many segments are stripped.
    pub(crate) stripped: usize,
    pub(crate) added: &'static str,
}

impl Configured {
    fn path(&self) -> String {
        match (self.literal.as_str(), self.has_descendants) {
            (literal, true) => format!("{literal}/**"),
            ("", false) => "/".to_owned(),
            (literal, false) => literal.to_owned(),
        }
    }

    fn strip_prefix(&self) -> String {
        let segments = self.literal.split_inclusive('/');
        let stripped: String = segments.take(self.stripped + 1).collect();
        stripped.trim_end_matches('/').to_owned()
    }

    fn matches(&self, path: &str) -> bool {
        let rest = path.strip_prefix(&self.literal);
        rest.is_some_and(|rest| match self.has_descendants {
            true => rest.is_empty() || rest.starts_with('/'),
            false => rest.is_empty() || (self.literal.is_empty() && rest == "/"),
        })
    }

    /// More specific is greater.
    fn specificity(&self) -> (usize, bool) {
        (self.literal.len(), !self.has_descendants)
    }

    fn route(&self) -> PathRoute {
        let prefix = |text: &str| match text {
            "" => PathPrefix::default(),
            text => PathPrefix::parse(text).unwrap(),
        };
        PathRoute {
            strip_prefix: prefix(&self.strip_prefix()),
            add_prefix: prefix(self.added),
            ..PathRoute::new(RoutePath::parse(&self.path()).unwrap())
        }
    }
}

/// Panics if the route of `path` is not the most specific of those that match, or the forwarded path
/// is another one.
pub(crate) fn check(configured: &[Configured], path: &str) {
    let mut routes = PathRoutes::new(false);
    let mut inserted: Vec<&Configured> = Vec::new();
    for route in configured {
        let is_new = inserted.iter().all(|other| other.path() != route.path());
        assert_eq!(routes.insert(route.route()).is_ok(), is_new, "{route:?}");
        if is_new {
            inserted.push(route);
        }
    }
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let Ok(target) = Target::parse(path, query) else {
        return;
    };
    let matching = inserted.iter().filter(|route| route.matches(target.path()));
    let expected = matching.max_by_key(|route| route.specificity());
    let found = match routes.find(&target) {
        Ok(found) => found,
        Err(_) => {
            let route = expected.unwrap();
            let rest = target.path().strip_prefix(&route.strip_prefix()).unwrap();
            let rest = rest.to_ascii_lowercase();
            let like_hosts = ["//", "/;", "/\\", "/%2f", "/%5c", "/%3b"];
            let is_like_a_host = like_hosts.iter().any(|begin| rest.starts_with(begin));
            assert!(is_like_a_host && route.added.is_empty(), "{path}");
            return;
        }
    };
    let chosen = found.map(|found| found.route.path.as_str().to_owned());
    assert_eq!(chosen, expected.map(|route| route.path()), "{path}");
    let (Some(found), Some(route)) = (found, expected) else {
        return;
    };
    let rest = target.path().strip_prefix(&route.strip_prefix()).unwrap();
    let mut forwarded = format!("{}{rest}", route.added);
    if forwarded.is_empty() {
        forwarded.push('/');
    }
    let (sent, sent_query) = match query {
        Some(query) => (format!("{forwarded}?{query}"), Some(query)),
        None => (forwarded.clone(), None),
    };
    assert_eq!(found.forwarded(&target), sent, "{path}");
    // Judged again, it is the same path, with no ambiguity that was not judged before.
    let again = Target::parse(&forwarded, sent_query).unwrap();
    assert_eq!(again.path(), forwarded);
    assert!(again.ambiguities().within(target.ambiguities()), "{path}");
    let is_replaced = !route.strip_prefix().is_empty() || !route.added.is_empty();
    assert!(!(is_replaced && forwarded.starts_with("//")), "{path}");
}
