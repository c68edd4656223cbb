//! `ProxyPass`: `upstream` and `[[apps.NAME.routes]]`.

use super::super::Import;
use super::super::settings::{Setting, is_true};
use super::super::upstream_route::{UpstreamParts, UpstreamRoute};
use super::Host;
use crate::upstream::UpstreamUrl;

/// Maps the upstreams of a virtual host: the one of `/` is that of the app, the others are routes. The first
/// `ProxyPass` that matches a request applies.
pub(super) fn map(import: &mut Import, host: &Host, app: &str) {
    let section = ["apps", app];
    let keeps_host = import.settings.take_in("proxypreservehost", host.scope);
    let keeps_host = keeps_host.is_some_and(|setting| is_true(setting.text()));
    let general = import.settings.take_all("proxypass", None);
    let own = host.scope.map_or(Vec::new(), |scope| {
        import.settings.take_all("proxypass", Some(scope))
    });
    let mut earlier: Vec<String> = Vec::new();
    let mut has_whole_app = false;
    for setting in general.into_iter().chain(own) {
        let pass = match ProxyPass::parse(&setting) {
            Ok(pass) => pass,
            Err(reason) => {
                import.not_mapped(&setting, reason);
                continue;
            }
        };
        if earlier.iter().any(|prefix| is_below(&pass.prefix, prefix)) {
            import.not_mapped(&setting, "an earlier `ProxyPass` gets its requests");
            continue;
        }
        earlier.push(pass.prefix.clone());
        let Some(target) = pass.target else {
            let message = "Apache serves this path itself; here it goes to an upstream, too";
            import.not_mapped(&setting, message);
            continue;
        };
        if pass.has_parameters {
            import.changed(
                &setting,
                "its parameters, such as `timeout`, are not mapped",
            );
        }
        if pass.prefix.is_empty() {
            has_whole_app = true;
            let address = target.address.as_str();
            import.document.set(&section, "upstream", address);
            if !keeps_host {
                import.document.set(&section, "upstream_host", "upstream");
            }
            if target.path.is_empty() {
                continue;
            }
        }
        let route = route(pass.prefix, target, keeps_host);
        if let Err(reason) = import.route(app, route) {
            import.not_mapped(&setting, reason);
        }
    }
    if !has_whole_app {
        let message = "set the app's address. Apache may stay as the app: let it listen on \
                       `127.0.0.1:3000` without the module, and set `http://127.0.0.1:3000`";
        import.decide(&section, "upstream", host.at.as_ref(), message);
    }
}

/// A prefix that both have is not replaced.
fn route(prefix: String, target: UpstreamParts, keeps_host: bool) -> UpstreamRoute {
    let path = format!("{prefix}/**");
    let (strip_prefix, add_prefix) = if prefix == target.path {
        (String::new(), String::new())
    } else {
        (prefix, target.path)
    };
    UpstreamRoute {
        path,
        upstream: target.address,
        strip_prefix,
        add_prefix,
        keeps_host,
        response_timeout: None,
    }
}

/// Whether `path` is `prefix` or below it, both without a slash at the end.
fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A `ProxyPass` with a path of its own. Paths are without a slash at the end.
struct ProxyPass {
    prefix: String,
    /// `None` for `!`, which excludes the path.
    target: Option<UpstreamParts>,
    has_parameters: bool,
}

impl ProxyPass {
    fn parse(setting: &Setting) -> Result<Self, &'static str> {
        let mut values = setting.values.iter().map(|value| value.text.as_str());
        let (Some(path), Some(url)) = (values.next(), values.next()) else {
            return Err("one without a path is not mapped");
        };
        if !path.starts_with('/') {
            return Err("a path begins with `/`");
        }
        let has_parameters = values.next().is_some();
        let prefix = path.strip_suffix('/').unwrap_or(path).to_owned();
        if url == "!" {
            return Ok(Self {
                prefix,
                target: None,
                has_parameters,
            });
        }
        let mut target = target(url)?;
        let has_slash = target.path.ends_with('/');
        // The address of a whole app is often written without its slash.
        if path.ends_with('/') != has_slash && !(prefix.is_empty() && target.path.is_empty()) {
            return Err("the path and the path of the URL must both end with a slash, or neither");
        }
        if has_slash {
            target.path.pop();
        }
        Ok(Self {
            prefix,
            target: Some(target),
            has_parameters,
        })
    }
}

/// The URL of an upstream. Doorward passes WebSockets on to every upstream.
fn target(url: &str) -> Result<UpstreamParts, &'static str> {
    if let Some((socket, url)) = url.split_once('|') {
        if socket.parse::<UpstreamUrl>().is_err() || !url.starts_with("http://") {
            return Err("upstreams speak HTTP");
        }
        return Ok(UpstreamParts {
            address: socket.to_owned(),
            ..UpstreamParts::parse(url)?
        });
    }
    let (scheme, rest) = url.split_once("://").ok_or("not a URL")?;
    match scheme {
        "http" | "https" => UpstreamParts::parse(url),
        "ws" => UpstreamParts::parse(&format!("http://{rest}")),
        "wss" => UpstreamParts::parse(&format!("https://{rest}")),
        _ => Err("upstreams speak HTTP, and there are no balancers"),
    }
}
