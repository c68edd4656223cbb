//! From the file as it is written to a configuration that makes sense. Every check goes on after a problem, so that
//! all are told at once; a configuration comes out only if there was none.

mod across;
mod app;
mod app_logout;
mod bearer;
mod client;
mod fusionauth;
mod native;
mod provider;
mod rules;
mod server;
mod session;
mod store;
mod upstream_tls;

use std::time::Duration;

use url::{Host, Url};

use super::files::Folder;
use super::raw::{List, RawConfig};
use super::report::{Location, quoted};
use super::settings::Config;
use super::values::HumanDuration;
use crate::types::net::is_loopback_host;

/// Checks everything; `None` if something needed could not be made.
pub(super) fn check(raw: RawConfig, root: &Location<'_>, folder: &Folder) -> Option<Config> {
    across::check(&raw, root);
    let server = server::check(raw.server.unwrap_or_default(), &root.key("server"), folder);
    let log = server::check_log(raw.log.unwrap_or_default());
    let session = raw.session.unwrap_or_default();
    let max_cached_sessions =
        session::session_cache_size(session.session_cache_size, &root.key("session"));
    let (keys, limits) = session::check(session, &root.key("session"), folder);
    let store = store::check(raw.store.unwrap_or_default(), &root.key("store"), folder);

    let at = root.key("providers");
    let mut providers = Vec::new();
    for (name, raw) in raw.providers.unwrap_or_default() {
        providers.extend(raw.and_then(|raw| provider::check(&name, raw, &at.key(&name), folder)));
    }
    let at = root.key("apps");
    let mut apps = Vec::new();
    for (name, raw) in raw.apps.unwrap_or_default() {
        apps.extend(raw.and_then(|raw| app::check(&name, raw, &at.key(&name), folder, limits)));
    }
    for app in &mut apps {
        fusionauth::offer_webhooks(app, &providers);
    }
    Some(Config {
        server: server?,
        log,
        keys: keys?,
        max_cached_sessions,
        store: store?,
        providers,
        apps,
    })
}

/// A name of the operator's choice: it becomes part of log lines, metric labels and variables' names.
fn name_is_good(name: &str, at: &Location<'_>) {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 63 || name.starts_with('-') || !name.bytes().all(good) {
        let hint = "lower-case letters a to z, digits and `-`, at most 63 of them";
        at.refuse_key(format!("{} cannot be a name", quoted(name)), hint);
    }
}

/// The elements of a list that could be read, each with its place.
fn elements<'r, T>(
    list: Option<List<T>>,
    at: &Location<'r>,
) -> impl Iterator<Item = (Location<'r>, T)> {
    let at = at.clone();
    let elements = list.unwrap_or_default().into_iter().enumerate();
    elements.filter_map(move |(index, element)| Some((at.index(index), element?)))
}

/// A wait, which must not be zero.
fn wait(HumanDuration(span): HumanDuration, at: &Location<'_>) -> Duration {
    if span.is_zero() {
        at.error(
            "`0` is no time at all",
            "to wait long, write a long time, such as `\"1d\"`",
        );
    }
    span
}

/// A URL at the provider: https, or http to this machine, or http by the operator's explicit wish.
fn provider_url(text: &str, at: &Location<'_>, allow_http: bool) -> Option<Url> {
    let Ok(url) = Url::parse(text) else {
        at.error(
            format!("{} is not a URL", quoted(text)),
            "such as `https://login.example.com`",
        );
        return None;
    };
    let loopback = match url.host() {
        Some(Host::Domain(host)) => is_loopback_host(host),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && (loopback || allow_http)) {
        let hint = "use https; over http, whoever is on the way can log in as anybody";
        at.error(format!("{} is not an https URL", quoted(text)), hint);
        return None;
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        at.error(
            format!("{} has more than host and path", quoted(text)),
            "no query, fragment or user name",
        );
        return None;
    }
    Some(url)
}

/// Origins as browsers write them; those of web views may have schemes of their own.
fn web_origins(raw: Option<List<String>>, at: &Location<'_>) -> Vec<String> {
    let mut origins = Vec::new();
    for (at, text) in elements(raw, at) {
        let good = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte)
        };
        let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
            let word = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
            };
            !scheme.is_empty()
                && scheme.bytes().all(word)
                && !host.is_empty()
                && host.bytes().all(good)
        });
        if is_origin {
            origins.push(text);
        } else {
            let hint =
                "scheme, host and port if it is unusual, in lower case: `https://shop.example.com`";
            at.error(format!("{} is not an origin", quoted(&text)), hint);
        }
    }
    origins
}
