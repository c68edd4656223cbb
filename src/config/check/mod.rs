//! Validation of the configuration. A check continues after a problem, so that all are reported at
//! once. Checks that involve several tables are in `across`.

mod across;
mod app;
mod app_logout;
mod assertion;
mod authentication;
mod basic;
mod bearer;
mod certificates;
mod client;
mod client_auth;
mod client_key;
mod client_limits;
mod conditions;
mod credentials;
mod device_binding;
mod fusionauth;
mod header_edits;
mod headers;
mod health_check;
mod listeners;
mod log;
mod login_host;
mod maintenance;
mod native;
mod page_languages;
mod pages;
mod provider;
mod provider_endpoints;
mod provider_proxy;
mod public_url;
mod registrations;
mod route_overlaps;
mod route_responses;
mod routes;
mod rule_advice;
mod rule_lists;
mod rules;
mod security_profile;
mod server;
mod session;
mod session_list;
mod shared_backends;
mod shared_origin;
mod store;
mod token_exchange;
mod tracing;
mod unbound_sessions;
mod unix_socket;
mod upstream;
mod upstream_tls;
mod web_origins;
mod wildcard;

use std::net::Ipv6Addr;
use std::time::Duration;

use url::{Host, Url};

use super::files::Folder;
use super::raw::{List, RawConfig};
use super::report::{Location, quoted};
use super::settings::Config;
use super::values::HumanDuration;
use crate::types::net::is_loopback_host;
use app::AppDefaults;
use pages::PageChecks;
use rule_lists::RuleListFiles;

/// Checks the whole configuration. `None` if a required part is invalid.
pub(super) fn check(raw: RawConfig, root: &Location<'_>, folder: &Folder) -> Option<Config> {
    across::check(&raw, root);
    rule_advice::check(&raw, root);
    shared_origin::check(&raw, root);
    let server = server::check(raw.server.unwrap_or_default(), &root.key("server"), folder);
    let log = log::check(raw.log.unwrap_or_default(), &root.key("log"), folder);
    let tracing = tracing::check(raw.tracing.unwrap_or_default(), &root.key("tracing"));
    let mut session = raw.session.unwrap_or_default();
    let list = session.list.take().unwrap_or_default();
    let session_list = session_list::check(list, &root.key("session").key("list"));
    let session_cache_size = session::cache_size(session.session_cache_size, &root.key("session"));
    let (keys, limits) = session::check(session, &root.key("session"), folder);
    let store = store::check(raw.store.unwrap_or_default(), &root.key("store"), folder);

    let at = root.key("providers");
    let mut providers = Vec::new();
    let mut login_hosts = Vec::new();
    let mut described = Vec::new();
    for (name, mut raw) in raw.providers.unwrap_or_default() {
        let at = at.key(&name);
        if let Some(raw) = &mut raw {
            login_hosts.extend(login_host::check(&name, raw, &at, limits));
            described.push(registrations::describe(&name, raw, &at, folder));
        }
        providers.extend(raw.and_then(|raw| provider::check(&name, raw, &at, folder)));
    }
    let maintenance_at = root.key("maintenance");
    let maintenance = raw.maintenance.unwrap_or_default();
    let maintenance = maintenance::check(maintenance, &maintenance_at, folder);
    let assertion_at = root.key("assertion");
    let assertion_keys = raw.assertion.unwrap_or_default();
    let assertion_keys = assertion::keys(assertion_keys, &assertion_at, folder);
    let at = root.key("apps");
    let rule_lists = RuleListFiles::new(folder);
    let mut apps = Vec::new();
    let pages = raw.pages.unwrap_or_default();
    let mut pages = PageChecks::new(pages, &root.key("pages"), folder);
    for (name, mut raw) in raw.apps.unwrap_or_default() {
        let at = at.key(&name);
        if let Some(raw) = raw.as_mut().and_then(|raw| raw.pages.take()) {
            pages.add(&name, raw, &at.key("pages"));
        }
        let defaults = AppDefaults {
            limits,
            maintenance: &maintenance,
        };
        let app = raw.and_then(|raw| app::check(&name, raw, &at, folder, &rule_lists, defaults));
        apps.extend(app);
    }
    for app in &mut apps {
        let at = root.key("apps").key(app.policy.name.as_str());
        security_profile::check_app(app, &providers, &at);
        app.policy.optional_endpoints.sessions = session_list.has_page;
        registrations::offer_posted_callback(app);
        fusionauth::offer_webhooks(app, &providers);
        registrations::complete(app, &providers, &described);
        login_host::join(app, &mut login_hosts);
    }
    assertion::check_keys(&assertion_keys, &apps, root);
    shared_origin::join(&mut apps);
    shared_backends::check(&apps, root);
    let mut server = server?;
    certificates::check(&mut server, &apps, root);
    listeners::check_hsts(&server, &apps, root);
    certificates::check_login_hosts(&mut server, &login_hosts, root);
    let store = store?;
    login_host::check_store(&store, &login_hosts, root);
    Some(Config {
        server,
        log,
        tracing,
        keys: keys?,
        session_cache_size,
        session_list,
        store,
        providers,
        login_hosts,
        apps,
        pages: pages.into_pages()?,
        maintenance_file: maintenance.file,
        assertion_keys,
        rule_lists: rule_lists.into_files(),
    })
}

/// Checks the name of an app or provider. Names occur in logs, metric labels and variables.
fn check_name(name: &str, at: &Location<'_>) {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 63 || name.starts_with('-') || !name.bytes().all(good) {
        let hint = "at most 63 lower-case letters, digits and `-`, not beginning with `-`";
        at.key_error(format!("invalid name {}", quoted(name)), hint);
    }
}

/// The valid elements of a list with their locations.
fn elements<'r, T>(
    list: Option<List<T>>,
    at: &Location<'r>,
) -> impl Iterator<Item = (Location<'r>, T)> {
    let at = at.clone();
    let elements = list.unwrap_or_default().into_iter().enumerate();
    elements.filter_map(move |(index, element)| Some((at.index(index), element?)))
}

/// A duration that must not be zero.
fn nonzero(HumanDuration(duration): HumanDuration, at: &Location<'_>) -> Duration {
    if duration.is_zero() {
        at.error(
            "the duration must not be zero",
            "for no limit in practice, use a long duration such as `\"1d\"`",
        );
    }
    duration
}

/// A URL of the provider. http is allowed to loopback addresses, and to others with `allow_http`.
fn provider_url(text: &str, at: &Location<'_>, allow_http: bool) -> Option<Url> {
    let Ok(url) = Url::parse(text) else {
        at.error(
            format!("{} is not a URL", quoted(text)),
            "for example `https://login.example.com`",
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
        let hint = "use https: over http, an attacker on the network can log in as any user";
        at.error(format!("{} is not an https URL", quoted(text)), hint);
        return None;
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        at.error(
            format!("{} has more than scheme, host and path", quoted(text)),
            "remove the query, fragment, user name and password",
        );
        return None;
    }
    Some(url)
}

/// Whether `host`, as in a URL, is an IP address or a host name: labels of letters, digits, `-` and
/// `_` (which some private names have). The URL parser accepts more, such as `*`.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_ipv6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    is_ipv6 || (name.len() <= 253 && name.split('.').all(is_label))
}

/// Reports a host that is neither an address nor a name.
fn check_host(text: &str, host: &str, at: &Location<'_>) -> Option<()> {
    if is_host(host) {
        return Some(());
    }
    let hint = if host.contains('*') {
        "list each host: wildcards are supported as the first label of `public_url` only"
    } else {
        "a host name has letters, digits, `-` and dots"
    };
    at.error(format!("the host of {} is not a name", quoted(text)), hint);
    None
}
