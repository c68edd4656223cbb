//! `upstreamConfig`: `upstream` and `[[apps.NAME.routes]]`.

use super::super::super::settings::{Scope, Setting, is_true};
use super::super::super::upstream_route::{UpstreamParts, UpstreamRoute};
use super::super::super::{Import, duration, path_regex};
use super::UPSTREAMS;

/// What follows the part of a path that is rewritten.
const REST: &str = "(.*)";
const TAKEN: &str = "$1";

/// Maps the upstreams: the one of `/` is that of the app, the others are routes.
pub(in super::super) fn map(import: &mut Import, app: &str) {
    let section = ["apps", app];
    let mut has_whole_app = false;
    let mut first_at = None;
    for scope in (0..).map(Scope) {
        let Some(path) = take(import, scope, "path") else {
            break;
        };
        first_at = first_at.or(Some(path.at.clone()));
        let timeout = import.settings.take_in("upstream-timeout", Some(scope));
        let keeps_host = import.settings.take_in("pass-host-header", Some(scope));
        let keeps_host = keeps_host.is_none_or(|setting| is_true(setting.text()));
        let route = match route(import, scope, &path) {
            Ok(route) => route,
            Err(reason) => {
                import.not_mapped(&path, reason);
                continue;
            }
        };
        let response_timeout = timeout.and_then(|setting| {
            let text = duration::go(setting.text()).and_then(duration::text);
            if text.is_none() {
                import.not_mapped(&setting, "not a duration of at least one second");
            }
            text
        });
        let is_whole_app = route.path == "/**";
        if is_whole_app {
            has_whole_app = true;
            let address = route.upstream.as_str();
            import.document.set(&section, "upstream", address);
            if !keeps_host {
                import.document.set(&section, "upstream_host", "upstream");
            }
            if let Some(timeout) = &response_timeout {
                import
                    .document
                    .set(&section, "response_timeout", timeout.as_str());
            }
        }
        if is_whole_app && route.add_prefix.is_empty() {
            continue;
        }
        let route = UpstreamRoute {
            keeps_host,
            response_timeout,
            ..route
        };
        if let Err(reason) = import.route(app, route) {
            import.not_mapped(&path, reason);
        }
    }
    if !has_whole_app {
        let message = "set the app's address, such as `http://127.0.0.1:3000`";
        import.decide(&section, "upstream", first_at.as_ref(), message);
    }
}

fn take(import: &mut Import, scope: Scope, field: &str) -> Option<Setting> {
    let name = format!("{UPSTREAMS}.{field}");
    import.settings.take_all(&name, Some(scope)).pop()
}

fn route(import: &mut Import, scope: Scope, path: &Setting) -> Result<UpstreamRoute, &'static str> {
    let is_static = take(import, scope, "static");
    let uri = take(import, scope, "uri");
    let target = take(import, scope, "rewriteTarget");
    if is_static.is_some_and(|setting| is_true(setting.text())) {
        return Err("a route can `respond` with a fixed text");
    }
    let uri = uri.ok_or("it has no `uri`")?;
    let UpstreamParts {
        address,
        path: ignored,
    } = if uri.text().starts_with("file:") {
        return Err("Doorward serves no files; put a web server behind it");
    } else {
        UpstreamParts::parse(uri.text())?
    };
    if !matches!(ignored.as_str(), "" | "/") && ignored != path.text() {
        let message = "oauth2-proxy ignores the path of `uri`, and so it is left out";
        import.changed(&uri, message);
    }
    let prefixes = match target {
        Some(target) => Prefixes::rewritten(path.text(), target.text())?,
        None => Prefixes::unchanged(path.text())?,
    };
    Ok(UpstreamRoute {
        path: prefixes.path,
        upstream: address,
        strip_prefix: prefixes.strip,
        add_prefix: prefixes.add,
        keeps_host: true,
        response_timeout: None,
    })
}

/// The path of a route, and how it is changed.
struct Prefixes {
    path: String,
    strip: String,
    add: String,
}

impl Prefixes {
    /// A path with a slash at the end is for everything below. One that begins with `^` is an expression.
    fn unchanged(path: &str) -> Result<Self, &'static str> {
        let path = if path.starts_with('^') {
            let patterns = path_regex::patterns(path).unwrap_or_default();
            let [pattern] = patterns.as_slice() else {
                return Err("no single path matches the same paths");
            };
            pattern.clone()
        } else {
            match path.strip_suffix('/') {
                Some(prefix) => format!("{prefix}/**"),
                None => path.to_owned(),
            }
        };
        Ok(Self {
            path,
            strip: String::new(),
            add: String::new(),
        })
    }

    /// `^/baz/(.*)$` with the target `/foo/$1`.
    fn rewritten(path: &str, target: &str) -> Result<Self, &'static str> {
        let path = path.strip_suffix('$').unwrap_or(path);
        let strip = path.strip_prefix('^');
        let strip = strip.and_then(|path| path.strip_suffix(REST)?.strip_suffix('/'));
        let add = target
            .strip_suffix(TAKEN)
            .and_then(|target| target.strip_suffix('/'));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_');
        let strip = strip.filter(|strip| strip.chars().all(is_plain));
        let (Some(strip), Some(add)) = (strip, add) else {
            return Err("a path is rewritten by replacing its first segments");
        };
        Ok(Self {
            path: format!("{strip}/**"),
            strip: strip.to_owned(),
            add: add.to_owned(),
        })
    }
}
