//! Path routes: the part of an app below a path that has an upstream of its own, or that Doorward
//! answers. The most specific route applies, whatever their order in the configuration.
//!
//! Rules match the requested path. The forwarded path is the same text with another prefix, so that
//! nothing behind the prefix is read twice.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::path_pattern::{PathPattern, PatternError, comparable};
use crate::identity::header_edits::HeaderEdits;
use crate::types::net::Origin;
use crate::types::target::{Target, canonical_path};

/// The path of a route: `/shop` is that path only, `/shop/**` also everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePath {
    text: String,
    /// In canonical form, without `/**`.
    literal: String,
    has_descendants: bool,
}

/// Whole segments at the beginning of a path, such as `/shop`, in canonical form. Empty for `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathPrefix(String);

/// Why a path of a route is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutePathError {
    /// It is no path pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// It has a `*` before the end.
    #[error("a route has no `*` but `/**` at its end")]
    Wildcard,
    /// A prefix ends with a slash or `**`.
    #[error("a prefix is whole segments without a slash at the end")]
    NotAPrefix,
}

/// One route.
#[derive(Clone, Debug)]
pub struct PathRoute {
    /// Its path.
    pub path: RoutePath,
    /// The prefix that the forwarded path lacks. The path of the route begins with it.
    pub strip_prefix: PathPrefix,
    /// The prefix that the forwarded path begins with.
    pub add_prefix: PathPrefix,
    /// The prefix of Doorward's endpoints, which are never below a route.
    pub endpoints: PathPrefix,
    /// Changes of the headers of requests, beside those of the app.
    pub request_edits: HeaderEdits,
    /// Changes of the headers of responses, beside those of the app.
    pub response_edits: HeaderEdits,
    /// Doorward's own response. `None` if the route has an upstream.
    pub response: Option<RouteResponse>,
}

/// A response of Doorward in place of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteResponse {
    /// A redirect.
    Redirect {
        /// Its status.
        status: StatusCode,
        /// Where it leads.
        to: RedirectTarget,
    },
    /// A fixed response.
    Respond(FixedResponse),
    /// The file with the forwarded path below this folder.
    Files(PathBuf),
}

/// Where a redirect leads. Only the path below a fixed prefix depends on the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectTarget {
    /// Scheme and authority. `None` is the app's own origin.
    pub origin: Option<String>,
    /// The path, or its beginning.
    pub path: String,
    /// Whether the path below that of the route follows, with the query.
    pub keeps_rest: bool,
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its `Content-Type`.
    pub content_type: HeaderValue,
    /// Its body.
    pub body: Bytes,
}

/// The routes of one app, as a trie of path segments.
#[derive(Clone, Debug, Default)]
pub struct PathRoutes {
    routes: Vec<PathRoute>,
    root: Node,
    case_insensitive: bool,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Self>,
    /// The route of this path.
    exact: Option<usize>,
    /// The route of this path and everything below it.
    below: Option<usize>,
}

/// The route of a request.
#[derive(Clone, Copy, Debug)]
pub struct MatchedRoute<'a> {
    /// The index in [`PathRoutes::all`].
    pub index: usize,
    /// The route.
    pub route: &'a PathRoute,
}

/// Doorward's own response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnResponse<'a> {
    /// A redirect.
    Redirect {
        /// Its status.
        status: StatusCode,
        /// The URL.
        location: String,
    },
    /// A fixed response.
    Respond(&'a FixedResponse),
    /// The file with the forwarded path below this folder.
    File(&'a Path),
}

/// The forwarded path would begin with two slashes, which some servers read as a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeadingSlashes;

impl RoutePath {
    /// Parses a path.
    ///
    /// # Errors
    /// [`RoutePathError`].
    pub fn parse(text: &str) -> Result<Self, RoutePathError> {
        PathPattern::parse(text)?;
        let (literal, has_descendants) = match text.strip_suffix("/**") {
            Some(literal) => (literal, true),
            None => (text, false),
        };
        if literal.contains('*') {
            return Err(RoutePathError::Wildcard);
        }
        Ok(Self {
            text: text.to_owned(),
            literal: if literal.is_empty() {
                String::new()
            } else {
                canonical(literal)?
            },
            has_descendants,
        })
    }

    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path without `/**`, in canonical form.
    pub fn literal(&self) -> &str {
        &self.literal
    }

    /// Whether it includes everything below.
    pub const fn has_descendants(&self) -> bool {
        self.has_descendants
    }

    /// Whether it is the path of `prefix` or below it.
    pub fn is_below(&self, prefix: &PathPrefix) -> bool {
        prefix.rest(&self.literal).is_some()
    }
}

impl PathPrefix {
    /// Parses a prefix such as `/shop`.
    ///
    /// # Errors
    /// [`RoutePathError`].
    pub fn parse(text: &str) -> Result<Self, RoutePathError> {
        PathPattern::parse(text)?;
        if text.ends_with('/') || text.contains('*') {
            return Err(RoutePathError::NotAPrefix);
        }
        Ok(Self(canonical(text)?))
    }

    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rest of `path` after the prefix: nothing, or text that begins with a slash. `None` if
    /// `path` is not below the prefix.
    pub fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(self.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    fn segments(&self) -> usize {
        self.0.matches('/').count()
    }
}

fn canonical(text: &str) -> Result<String, RoutePathError> {
    let escaped = text.replace(' ', "%20");
    let canonical = canonical_path(&escaped).map_err(PatternError::Unmatchable)?;
    Ok(canonical.text.into_owned())
}

impl PathRoute {
    /// A route that forwards requests as they are.
    pub fn new(path: RoutePath) -> Self {
        Self {
            path,
            strip_prefix: PathPrefix::default(),
            add_prefix: PathPrefix::default(),
            endpoints: PathPrefix::default(),
            request_edits: HeaderEdits::default(),
            response_edits: HeaderEdits::default(),
            response: None,
        }
    }

    /// The stable code of requests that are permitted on this route.
    pub const fn code(&self) -> &'static str {
        match &self.response {
            None => "forward",
            Some(RouteResponse::Redirect { .. }) => "route_redirect",
            Some(RouteResponse::Respond(_)) => "route_response",
            Some(RouteResponse::Files(_)) => "route_file",
        }
    }

    /// The beginning of the forwarded path, for the path of the route.
    pub fn forwarded_literal(&self) -> String {
        let literal = self.path.literal();
        let rest = self.strip_prefix.rest(literal).unwrap_or(literal);
        match (self.add_prefix.as_str(), rest) {
            ("", "") if !self.path.has_descendants => "/".to_owned(),
            (prefix, rest) => format!("{prefix}{rest}"),
        }
    }
}

impl PathRoutes {
    /// No routes. With `case_insensitive`, paths match in any case.
    pub fn new(case_insensitive: bool) -> Self {
        Self {
            case_insensitive,
            ..Self::default()
        }
    }

    /// Adds a route.
    ///
    /// # Errors
    /// The index of a route with the same path.
    pub fn insert(&mut self, route: PathRoute) -> Result<(), usize> {
        let index = self.routes.len();
        let path = comparable(route.path.literal(), self.case_insensitive);
        let mut node = &mut self.root;
        for segment in path.split('/').skip(1) {
            node = node.children.entry(segment.into()).or_default();
        }
        let slot = if route.path.has_descendants {
            &mut node.below
        } else {
            &mut node.exact
        };
        if let Some(other) = *slot {
            return Err(other);
        }
        *slot = Some(index);
        drop(path);
        self.routes.push(route);
        Ok(())
    }

    /// The routes, in the order of the configuration.
    pub fn all(&self) -> &[PathRoute] {
        &self.routes
    }

    /// Whether paths match in any case.
    pub const fn is_case_insensitive(&self) -> bool {
        self.case_insensitive
    }

    /// The index of the route with this path.
    pub fn position(&self, path: &RoutePath) -> Option<usize> {
        let literal = comparable(path.literal(), self.case_insensitive);
        let mut segments = literal.split('/').skip(1);
        let node = segments.try_fold(&self.root, |node, segment| node.children.get(segment))?;
        if path.has_descendants {
            node.below
        } else {
            node.exact
        }
    }

    /// The most specific route for a target: that of exactly this path, or else the one that shares
    /// most segments with it.
    ///
    /// # Errors
    /// [`LeadingSlashes`]: the path cannot be forwarded.
    pub fn find(&self, target: &Target) -> Result<Option<MatchedRoute<'_>>, LeadingSlashes> {
        if self.routes.is_empty() {
            return Ok(None);
        }
        let index = self.index_of(target.path());
        let Some((index, route)) = index.and_then(|index| Some((index, self.routes.get(index)?)))
        else {
            return Ok(None);
        };
        let is_ambiguous = !route.strip_prefix.is_empty()
            && route.add_prefix.is_empty()
            && begins_like_a_host(after_segments(target.path(), route.strip_prefix.segments()));
        if is_ambiguous {
            return Err(LeadingSlashes);
        }
        Ok(Some(MatchedRoute { index, route }))
    }

    /// The index of the most specific route for a canonical path.
    pub fn index_of(&self, path: &str) -> Option<usize> {
        let path = comparable(path, self.case_insensitive);
        let mut node = &self.root;
        let mut found = node.below;
        for segment in path.split('/').skip(1) {
            match node.children.get(segment) {
                Some(child) => node = child,
                None => return found,
            }
            found = node.below.or(found);
        }
        node.exact.or(found)
    }
}

/// Whether a server that decodes slashes, or drops parameters, may read `path` as `//host`.
fn begins_like_a_host(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let escaped = rest.get(..3).unwrap_or_default();
    rest.starts_with(['/', ';', '\\'])
        || ["%2F", "%5C", "%3B"]
            .iter()
            .any(|slash| slash.eq_ignore_ascii_case(escaped))
}

impl<'a> MatchedRoute<'a> {
    /// Path and query for the upstream: those of `target` with another prefix.
    pub fn forwarded<'t>(&self, target: &'t Target) -> Cow<'t, str> {
        let PathRoute {
            strip_prefix,
            add_prefix,
            ..
        } = self.route;
        if strip_prefix.is_empty() && add_prefix.is_empty() {
            return Cow::Borrowed(target.as_str());
        }
        Cow::Owned(replaced_prefix(
            target,
            strip_prefix.segments(),
            add_prefix.as_str(),
        ))
    }

    /// Doorward's own response, if the route has no upstream. `origin` is the app's.
    pub fn own_response(&self, target: &Target, origin: &Origin) -> Option<OwnResponse<'a>> {
        Some(match self.route.response.as_ref()? {
            RouteResponse::Redirect { status, to } => OwnResponse::Redirect {
                status: *status,
                location: self.location(to, target, origin),
            },
            RouteResponse::Respond(response) => OwnResponse::Respond(response),
            RouteResponse::Files(folder) => OwnResponse::File(folder),
        })
    }

    fn location(&self, to: &RedirectTarget, target: &Target, origin: &Origin) -> String {
        let origin = match &to.origin {
            Some(other) => other.clone(),
            None => origin.to_string(),
        };
        let path = if to.keeps_rest {
            let segments = self.route.path.literal().matches('/').count();
            replaced_prefix(target, segments, &to.path)
        } else {
            to.path.clone()
        };
        format!("{origin}{path}")
    }
}

/// Path and query with `prefix` in place of the first segments. A path is never empty.
fn replaced_prefix(target: &Target, segments: usize, prefix: &str) -> String {
    let rest = after_segments(target.path(), segments);
    let slash = if prefix.is_empty() && rest.is_empty() {
        "/"
    } else {
        ""
    };
    let query = target.query();
    let (mark, query) = query.map_or(("", ""), |query| ("?", query));
    [prefix, slash, rest, mark, query].concat()
}

/// The rest of a path after its first segments.
fn after_segments(path: &str, segments: usize) -> &str {
    let start = path.match_indices('/').nth(segments);
    start.map_or("", |(start, _)| path.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str, strip: &str, add: &str) -> PathRoute {
        let prefix = |text: &str| match text {
            "" => PathPrefix::default(),
            text => PathPrefix::parse(text).unwrap(),
        };
        PathRoute {
            strip_prefix: prefix(strip),
            add_prefix: prefix(add),
            ..PathRoute::new(RoutePath::parse(path).unwrap())
        }
    }

    fn routes(paths: &[&str], case_insensitive: bool) -> PathRoutes {
        let mut routes = PathRoutes::new(case_insensitive);
        for path in paths {
            routes.insert(route(path, "", "")).unwrap();
        }
        routes
    }

    fn target(path: &str) -> Target {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        Target::parse(path, query).unwrap()
    }

    #[test]
    fn most_specific_route_is_found_in_any_order() {
        let mut paths = ["/**", "/shop/**", "/shop", "/shop/api/**", "/a%40b/**", "/"];
        let cases = [
            ("/", Some("/")),
            ("/x", Some("/**")),
            ("/shop", Some("/shop")),
            ("/shop/", Some("/shop/**")),
            ("/shop/x", Some("/shop/**")),
            ("/shopping", Some("/**")),
            ("/shop;x/y", Some("/**")),
            ("/shop%2Fx", Some("/**")),
            ("//shop/x", Some("/**")),
            ("/shop//x", Some("/shop/**")),
            ("/shop/api", Some("/shop/api/**")),
            ("/shop/api/x/y", Some("/shop/api/**")),
            ("/shop/apix", Some("/shop/**")),
            ("/Shop/x", Some("/**")),
            ("/a@b/x", Some("/a%40b/**")),
            ("/a%40b", Some("/a%40b/**")),
            ("/%73hop/x", Some("/shop/**")),
        ];
        for _ in 0..paths.len() {
            paths.rotate_left(1);
            let routes = routes(&paths, false);
            for (path, expected) in cases {
                let found = routes.find(&target(path)).unwrap();
                let found = found.map(|found| found.route.path.as_str());
                assert_eq!(found, expected, "{path} of {paths:?}");
            }
        }
        let routes = routes(&["/shop/**"], true);
        assert!(routes.find(&target("/SHOP/x")).unwrap().is_some());
        assert!(routes.find(&target("/x")).unwrap().is_none());
    }

    #[test]
    fn equal_paths_are_refused() {
        for (first, second, case_insensitive, is_equal) in [
            ("/a/**", "/a/**", false, true),
            ("/a@b", "/a%40b", false, true),
            ("/a", "/a/**", false, false),
            ("/a", "/a/", false, false),
            ("/a", "/A", false, false),
            ("/a", "/A", true, true),
        ] {
            let mut routes = routes(&[first], case_insensitive);
            let inserted = routes.insert(route(second, "", ""));
            assert_eq!(inserted == Err(0), is_equal, "{first} {second}");
        }
    }

    #[test]
    fn forwarded_path_has_the_prefix_replaced() {
        for (path, strip, add, requested, expected) in [
            ("/shop/**", "", "", "/shop/x?y", Some("/shop/x?y")),
            (
                "/shop/**",
                "/shop",
                "",
                "/shop/x?y=/shop",
                Some("/x?y=/shop"),
            ),
            ("/shop/**", "/shop", "", "/shop", Some("/")),
            ("/shop/**", "/shop", "", "/shop?a", Some("/?a")),
            ("/shop/**", "/shop", "", "/shop/", Some("/")),
            ("/shop/**", "/shop", "", "/shop/shop/x", Some("/shop/x")),
            ("/shop/**", "/shop", "", "/shop//evil.test", None),
            ("/shop/**", "/shop", "", "/shop/x//y", Some("/x//y")),
            ("/shop/**", "/shop", "/app", "/shop//y", Some("/app//y")),
            ("/shop/**", "/shop", "/app", "/shop", Some("/app")),
            ("/shop/**", "/shop", "/app", "/shop/", Some("/app/")),
            ("/shop/**", "", "/app", "/shop/x", Some("/app/shop/x")),
            ("/a/b/**", "/a", "", "/a/b/c", Some("/b/c")),
            ("/a%40b/**", "/a%40b", "", "/a@b/c", Some("/c")),
            ("/**", "", "/app", "/x", Some("/app/x")),
            ("/**", "", "", "//x", Some("//x")),
        ] {
            let mut routes = PathRoutes::new(false);
            routes.insert(route(path, strip, add)).unwrap();
            let target = target(requested);
            let found = routes.find(&target).ok();
            let forwarded = found.map(|found| found.unwrap().forwarded(&target));
            assert_eq!(forwarded.as_deref(), expected, "{requested}");
        }
    }

    #[test]
    fn redirect_stays_at_its_origin() {
        let to = |origin: Option<&str>, path: &str, keeps_rest| RedirectTarget {
            origin: origin.map(str::to_owned),
            path: path.to_owned(),
            keeps_rest,
        };
        let evil = Some("https://new.test");
        for (to, requested, expected) in [
            (to(None, "/new/", false), "/old/x?y", "https://a.test/new/"),
            (to(None, "/new", true), "/old/x?y", "https://a.test/new/x?y"),
            (to(None, "", true), "/old", "https://a.test/"),
            (to(None, "", true), "/old//b.test", "https://a.test//b.test"),
            (
                to(evil, "", true),
                "/old/@b.test",
                "https://new.test/@b.test",
            ),
            (to(evil, "", true), "/old", "https://new.test/"),
        ] {
            let routes = routes(&["/old/**"], false);
            let target = target(requested);
            let found = routes.find(&target).unwrap().unwrap();
            let origin = Origin::parse("https://a.test").unwrap();
            assert_eq!(found.location(&to, &target, &origin), expected);
        }
    }

    #[test]
    fn invalid_paths_are_refused() {
        for path in ["/a/*/**", "/**/a", "/a*", "/a//b", "/a/../b", "a", "/:id"] {
            assert!(RoutePath::parse(path).is_err(), "{path}");
        }
        for prefix in ["/", "/a/", "/a/**", "a", "//a", "/a?b"] {
            assert!(PathPrefix::parse(prefix).is_err(), "{prefix}");
        }
    }
}
