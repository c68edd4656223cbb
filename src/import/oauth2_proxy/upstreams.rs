//! `upstream` and `[[apps.NAME.routes]]`.

use super::super::Import;
use super::super::settings::SettingValue;
use super::super::upstream_route::{UpstreamParts, UpstreamRoute};
use crate::upstream::UpstreamUrl;

/// Maps the upstreams: the one of `/` is that of the app, the others are routes. The path of an
/// upstream's URL is the path of the requests that it gets; they are not changed.
pub(super) fn map(import: &mut Import, app: &str) {
    let section = ["apps", app];
    let keeps_host = import.settings.take_switch("pass-host-header", true);
    let values = import.settings.take_values("upstream");
    let mut mapped: Vec<Upstream> = Vec::new();
    for value in &values {
        match Upstream::parse(&value.text) {
            Ok(upstream) if mapped.iter().any(|other| other.path == upstream.path) => {
                import.not_mapped(value, "an earlier upstream has the same path");
            }
            Ok(upstream) => {
                add(import, app, value, &upstream, keeps_host);
                mapped.push(upstream);
            }
            Err(reason) => import.not_mapped(value, reason),
        }
    }
    if !mapped.iter().any(Upstream::is_whole_app) {
        let message = "set the app's address, such as `http://127.0.0.1:3000`";
        let at = values.first().map(|value| &value.at);
        import.decide(&section, "upstream", at, message);
    }
    if !keeps_host {
        import.document.set(&section, "upstream_host", "upstream");
    }
}

fn add(
    import: &mut Import,
    app: &str,
    value: &SettingValue,
    upstream: &Upstream,
    keeps_host: bool,
) {
    if upstream.is_whole_app() {
        let address = upstream.address.as_str();
        import.document.set(&["apps", app], "upstream", address);
        return;
    }
    let path = match upstream.path.strip_suffix('/') {
        Some(prefix) => format!("{prefix}/**"),
        None => upstream.path.clone(),
    };
    let route = UpstreamRoute {
        path,
        upstream: upstream.address.clone(),
        strip_prefix: String::new(),
        add_prefix: String::new(),
        keeps_host,
        response_timeout: None,
    };
    if let Err(reason) = import.route(app, route) {
        import.not_mapped(value, reason);
    }
}

/// An upstream, and the path of its requests: one path, or with a slash at the end everything below.
struct Upstream {
    address: String,
    path: String,
}

impl Upstream {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with("static:") {
            return Err(
                "a route can `respond` with a fixed text, at a path of your choice. If nginx or \
                 another proxy asks for decisions, see `server.decision_listen`",
            );
        }
        if text.starts_with("file:") {
            return Err("Doorward serves no files; put a web server behind it");
        }
        if let Some(path) = text.strip_prefix("unix://") {
            let address = format!("unix:{path}");
            let path = "/".to_owned();
            return match address.parse::<UpstreamUrl>() {
                Ok(_) => Ok(Self { address, path }),
                Err(_) => Err("not the path of a socket"),
            };
        }
        let UpstreamParts { address, mut path } = UpstreamParts::parse(text)?;
        if path.is_empty() {
            path.push('/');
        }
        Ok(Self { address, path })
    }

    fn is_whole_app(&self) -> bool {
        self.path == "/"
    }
}
