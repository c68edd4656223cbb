//! Routes of the imported configuration: parts of an app with an upstream of their own.

use super::Import;
use super::document::Element;
use crate::policy::path_routes::{PathPrefix, RoutePath};
use crate::upstream::UpstreamUrl;

/// A route to an upstream. Prefixes may be empty.
#[derive(Debug)]
pub(super) struct UpstreamRoute {
    /// `/wiki/**`, or one path.
    pub(super) path: String,
    pub(super) upstream: String,
    pub(super) strip_prefix: String,
    pub(super) add_prefix: String,
    /// Whether the upstream gets the client's `Host`.
    pub(super) keeps_host: bool,
    /// `None` for that of the app.
    pub(super) response_timeout: Option<String>,
}

/// The address and the path of an upstream's URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UpstreamParts {
    pub(super) address: String,
    /// Empty, or a path that begins with a slash.
    pub(super) path: String,
}

impl UpstreamParts {
    /// Splits an `http` or `https` URL.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or("not a URL")?;
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let address = format!("{scheme}://{host}");
        if address.parse::<UpstreamUrl>().is_err() {
            return Err("an upstream is `http` or `https` with a host, without a user name");
        }
        if path.contains(['?', '#']) {
            return Err("an upstream has no query or fragment here");
        }
        let path = path.to_owned();
        Ok(Self { address, path })
    }
}

impl Import {
    /// Adds a route to an app.
    pub(super) fn route(&mut self, app: &str, route: UpstreamRoute) -> Result<(), &'static str> {
        let prefixes = [&route.strip_prefix, &route.add_prefix];
        let are_prefixes = prefixes
            .iter()
            .all(|prefix| prefix.is_empty() || PathPrefix::parse(prefix).is_ok());
        if !are_prefixes || RoutePath::parse(&route.path).is_err() {
            return Err("a route cannot have this path");
        }
        let mut entries = vec![
            ("path", route.path.into()),
            ("upstream", route.upstream.into()),
        ];
        if !route.keeps_host {
            entries.push(("upstream_host", "upstream".into()));
        }
        for (key, prefix) in [
            ("strip_prefix", route.strip_prefix),
            ("add_prefix", route.add_prefix),
        ] {
            if !prefix.is_empty() {
                entries.push((key, prefix.into()));
            }
        }
        if let Some(timeout) = route.response_timeout {
            entries.push(("response_timeout", timeout.into()));
        }
        let comments = Vec::new();
        let element = Element { comments, entries };
        self.document.push(&["apps", app, "routes"], element);
        Ok(())
    }
}
