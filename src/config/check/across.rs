//! Checks across tables: references by name, hosts of several apps, upstreams that are Doorward.
//! They use the raw values, so that an error in one key does not hide others.

use std::net::{IpAddr, SocketAddr};

use url::Url;

use super::super::keywords::DeviceBindingMode;
use super::super::raw::{RawApp, RawConfig, RawListener, RawProvider};
use super::super::report::{Location, did_you_mean, quoted};
use super::fusionauth;
use super::listeners::LISTEN;
use super::security_profile;
use super::session::{COOKIE_NAME, default_cookie_name};
use crate::session::cookie::is_named_after;
use crate::types::loosest_reading::loosest_reading;
use crate::types::net::{Origin, is_loopback_host};
use crate::types::public_url::{BasePath, PublicUrl};

pub(super) fn check(raw: &RawConfig, root: &Location<'_>) {
    const NO_APPS: &str = "add a table such as `[apps.store]` with `provider`, `public_url`, `upstream` and `client_id`";
    match &raw.apps {
        None => root.missing("apps", NO_APPS),
        Some(apps) if apps.is_empty() => root.key("apps").error("no app is configured", NO_APPS),
        Some(_) => {}
    }
    providers(raw, root);
    hosts(raw, root);
    upstreams(raw, root);
    proxies(raw, root);
    app_cookies(raw, root);
    device_bindings(raw, root);
}

/// Warns if a proxy is in front that is not trusted: all clients then count as one.
fn proxies(raw: &RawConfig, root: &Location<'_>) {
    let server = raw.server.as_ref();
    let is_behind_proxy = listeners(raw).iter().any(|listener| {
        let names_clients = listener.proxy_protocol || listener.address.starts_with("unix:");
        !listener.tls && !listener.redirects_to_https && !names_clients
    });
    let trusts_none = server
        .and_then(|server| server.trusted_proxies.as_ref())
        .is_none_or(Vec::is_empty);
    let is_https = |app: &RawApp| {
        let url = app.public_url.as_deref().map(PublicUrl::parse);
        url.is_some_and(|url| url.is_ok_and(|url| url.origin.is_secure()))
    };
    let has_https = apps(raw, root).any(|(_, _, app)| is_https(app));
    if has_https && is_behind_proxy && trusts_none {
        root.key("server").key("trusted_proxies").warning(
            "a proxy terminates TLS in front of doorward, but `trusted_proxies` is empty: all clients count as one",
            "list the addresses of your proxies, such as `[\"10.0.0.0/8\"]`; limits then apply to each client",
        );
    }
}

/// Another proxy that asks for decisions passes on neither the headers nor the redirects that bind a
/// session. Its requests would never be bound.
fn device_bindings(raw: &RawConfig, root: &Location<'_>) {
    let server = raw.server.as_ref();
    if server.is_none_or(|server| server.decision_listen.is_none()) {
        return;
    }
    for (at, _, app) in apps(raw, root) {
        let mode = app.device_binding.as_ref().and_then(|table| table.mode);
        if mode.is_some_and(|mode| mode != DeviceBindingMode::Off) {
            at.key("device_binding").key("mode").error(
                "sessions cannot be bound to devices with `server.decision_listen`",
                "other proxies do not pass on what binds a session; set `mode = \"off\"`, or remove `decision_listen`",
            );
        }
    }
}

/// A listener for clients, as far as it is known before the checks.
struct RawListening<'c> {
    address: &'c str,
    tls: bool,
    proxy_protocol: bool,
    redirects_to_https: bool,
}

impl<'c> RawListening<'c> {
    fn of(raw: &'c RawListener, has_tls: bool) -> Option<Self> {
        Some(Self {
            address: raw.address.as_deref()?,
            tls: raw.tls.unwrap_or(has_tls),
            proxy_protocol: raw.proxy_protocol == Some(true),
            redirects_to_https: raw.redirect_to_https == Some(true),
        })
    }
}

fn listeners(raw: &RawConfig) -> Vec<RawListening<'_>> {
    let server = raw.server.as_ref();
    let has_tls = server.is_some_and(|server| server.tls.is_some());
    let listed = server.and_then(|server| server.listeners.as_ref());
    match listed {
        Some(listed) => {
            let listed = listed.iter().flatten();
            listed
                .filter_map(|one| RawListening::of(one, has_tls))
                .collect()
        }
        None => vec![RawListening {
            address: server
                .and_then(|server| server.listen.as_deref())
                .unwrap_or(LISTEN),
            tls: has_tls,
            proxy_protocol: server.is_some_and(|server| server.proxy_protocol == Some(true)),
            redirects_to_https: false,
        }],
    }
}

pub(super) fn apps<'c, 'r>(
    raw: &'c RawConfig,
    root: &Location<'r>,
) -> impl Iterator<Item = (Location<'r>, &'c str, &'c RawApp)> {
    let at = root.key("apps");
    let apps = raw.apps.iter().flatten();
    apps.filter_map(move |(name, app)| Some((at.key(name), name.as_str(), app.as_ref()?)))
}

/// Every reference of an app to a provider: for logins, and for access tokens.
fn provider_references<'c, 'r>(
    raw: &'c RawConfig,
    root: &Location<'r>,
) -> Vec<(Location<'r>, &'c str)> {
    let mut references = Vec::new();
    for (at, _, app) in apps(raw, root) {
        references.extend(
            app.provider
                .as_deref()
                .map(|name| (at.key("provider"), name)),
        );
        let several = app.providers.iter().flatten().enumerate();
        let several = several
            .filter_map(|(index, name)| Some((at.key("providers").index(index), name.as_deref()?)));
        references.extend(several);
        let at = at.key("bearer").key("providers");
        let listed = token_issuers(app).enumerate();
        references.extend(listed.filter_map(|(index, name)| Some((at.index(index), name?))));
    }
    references
}

fn token_issuers(app: &RawApp) -> impl Iterator<Item = Option<&str>> {
    let listed = app
        .bearer
        .iter()
        .flat_map(|bearer| bearer.providers.iter().flatten());
    listed.map(Option::as_deref)
}

fn providers(raw: &RawConfig, root: &Location<'_>) {
    let known: Vec<&str> = raw
        .providers
        .iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    let references = provider_references(raw, root);
    for (at, name) in references.iter().filter(|(_, name)| !known.contains(name)) {
        let hint = if known.is_empty() {
            format!("add a table `[providers.{name}]` with its `issuer`")
        } else {
            did_you_mean(name, known.iter().copied())
        };
        at.error(format!("unknown provider {}", quoted(name)), hint);
    }
    one_issuer_each(raw, root);
    for (at, _, app) in apps(raw, root) {
        let mut webhooks = 0;
        for name in app.login_providers() {
            let provider = raw.providers.as_ref().and_then(|known| known.get(name));
            let Some(provider) = provider.and_then(Option::as_ref) else {
                continue;
            };
            let at_registration = match app.providers {
                Some(_) => at.key("registrations").key(name),
                None => at.clone(),
            };
            fusionauth::check_app(provider, app.session_jwt_at(name), &at_registration);
            security_profile::check_registration(provider, app, name, &at_registration);
            frontchannel(provider, app, &at);
            webhooks += usize::from(provider.webhooks.is_some());
        }
        if webhooks > 1 {
            at.key("providers").error(
                "more than one of them sends webhooks",
                "the app has one endpoint for webhooks: use back-channel logout for the others",
            );
        }
    }
    if !references.iter().all(|(_, name)| known.contains(name)) {
        return;
    }
    for unused in known
        .iter()
        .filter(|name| !references.iter().any(|(_, used)| used == *name))
    {
        root.key("providers")
            .key(unused)
            .warning("no app uses this provider", "");
    }
}

/// The `iss` claim selects the provider of a token, so the issuers of an app must differ.
fn one_issuer_each(raw: &RawConfig, root: &Location<'_>) {
    let issuer = |name: &str| {
        raw.providers
            .as_ref()?
            .get(name)?
            .as_ref()?
            .issuer
            .as_deref()
    };
    for (at, _, app) in apps(raw, root) {
        // With one login provider, the source of a token tells logins and access tokens apart.
        let of_logins = app.login_providers().enumerate();
        let of_logins = of_logins.filter(|_| app.providers.is_some());
        let of_logins = of_logins.map(|(index, name)| (at.key("providers").index(index), name));
        let of_tokens = token_issuers(app).enumerate();
        let of_tokens = of_tokens.filter_map(|(index, name)| {
            Some((at.key("bearer").key("providers").index(index), name?))
        });
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for (at, name) in of_logins.chain(of_tokens) {
            let Some(issuer) = issuer(name) else {
                continue;
            };
            if let Some((other, _)) = seen
                .iter()
                .find(|(other, known)| *known == issuer && *other != name)
            {
                at.error(
                    format!("{} has the same issuer as {}", quoted(name), quoted(other)),
                    "list one of them: their tokens cannot be distinguished",
                );
            }
            seen.push((name, issuer));
        }
    }
}

/// Warns if front-channel logout cannot work, because browsers send no cookies in a frame of
/// another site.
fn frontchannel(provider: &RawProvider, app: &RawApp, at: &Location<'_>) {
    let host =
        |url: &Option<String>| Some(Url::parse(url.as_deref()?).ok()?.host_str()?.to_owned());
    if app.frontchannel_logout != Some(true) {
        return;
    }
    let Some(app_host) = host(&app.public_url) else {
        return;
    };
    let urls = [
        &provider.end_session_endpoint,
        &provider.discovery_url,
        &provider.issuer,
    ];
    let Some(provider_host) = urls.into_iter().find_map(host) else {
        return;
    };
    // An approximation without the public suffix list: a site has at least two labels.
    let labels = |host: &str| {
        host.rsplit('.')
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let is_same_site = labels(&app_host) == labels(&provider_host) && labels(&app_host).len() >= 2;
    if app_host != provider_host && !is_same_site {
        at.key("frontchannel_logout").warning(
            format!(
                "front-channel logout will not work: {} and the provider {} are different sites",
                quoted(app_host),
                quoted(provider_host)
            ),
            "browsers send no cookies in a frame of another site; use back-channel logout or webhooks",
        );
    }
}

/// A URL of an app or a login host, and its cookie name.
struct Claimed<'c> {
    url: PublicUrl,
    owner: Owner<'c>,
    cookie_name: String,
    is_alias: bool,
}

fn hosts(raw: &RawConfig, root: &Location<'_>) {
    let mut claimed: Vec<Claimed<'_>> = Vec::new();
    for (name, provider) in raw.providers.iter().flatten() {
        let url = provider.as_ref().and_then(|one| one.login_url.as_deref());
        let Some((url, Ok(origin))) = url.map(|url| (url, Origin::parse(url))) else {
            continue;
        };
        let claim = Claimed {
            url: PublicUrl {
                origin,
                base: BasePath::default(),
            },
            owner: Owner::LoginHost(name),
            cookie_name: COOKIE_NAME.to_owned(),
            is_alias: false,
        };
        let other = claimed
            .iter()
            .find(|other| other.is_at_same_place(&claim) || other.shares_cookies_with(&claim));
        if let Some(other) = other {
            let at = root.key("providers").key(name).key("login_url");
            at.error(
                format!("{} belongs to {}", quoted(url), other.owner),
                "a login host belongs to one provider: responses of two could be mixed up",
            );
        }
        claimed.push(claim);
    }
    for (at, name, app) in apps(raw, root) {
        let main = app
            .public_url
            .iter()
            .map(|url| (at.key("public_url"), url, false));
        let listed = app.aliases.iter().flatten().enumerate();
        let aliases = listed
            .filter_map(|(index, url)| Some((at.key("aliases").index(index), url.as_ref()?, true)));
        let cookie_name = cookie_name(name, app);
        for (at, text, is_alias) in main.chain(aliases) {
            let Ok(url) = PublicUrl::parse(text) else {
                continue;
            };
            let claim = Claimed {
                url,
                owner: Owner::App(name),
                cookie_name: cookie_name.clone(),
                is_alias,
            };
            if let Some(other) = claimed.iter().find(|other| other.is_at_same_place(&claim)) {
                let hint = "each host and port belongs to one app and is listed once; only the paths of \
                     `public_url`, such as `https://example.com/shop`, tell apps of one origin apart";
                at.error(format!("{} belongs to {}", quoted(text), other.owner), hint);
            } else if let Some(other) = claimed
                .iter()
                .find(|other| other.shares_cookies_with(&claim))
            {
                at.error(
                    format!(
                        "{} has the same host and cookie name, and cookies ignore ports",
                        other.owner
                    ),
                    "use another host, or set another `cookie_name` for one of them",
                );
            }
            claimed.push(claim);
        }
    }
}

/// The beginning of the names of an app's cookies.
fn cookie_name(name: &str, app: &RawApp) -> String {
    let url = app.public_url.as_deref().map(PublicUrl::parse);
    let base = url.and_then(Result::ok).map(|url| url.base);
    let default = || default_cookie_name(name, &base.unwrap_or_default());
    app.cookie_name.clone().unwrap_or_else(default)
}

/// The owner of a host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner<'c> {
    App(&'c str),
    /// The login host of a provider.
    LoginHost(&'c str),
}

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::App(name) => write!(f, "the app {}", quoted(name)),
            Self::LoginHost(name) => write!(f, "the login host of the provider {}", quoted(name)),
        }
    }
}

impl Claimed<'_> {
    /// Whether a request could belong to both.
    fn is_at_same_place(&self, other: &Self) -> bool {
        let origin = &self.url.origin;
        let other_origin = &other.url.origin;
        let are_two_apps = matches!((self.owner, other.owner), (Owner::App(_), Owner::App(_)));
        let have_paths =
            are_two_apps && !self.is_alias && !other.is_alias && origin == other_origin;
        let base = |claim: &Self| loosest_reading(claim.url.base.as_str());
        origin.host() == other_origin.host()
            && origin.port() == other_origin.port()
            && (!have_paths || base(self) == base(other))
    }

    fn shares_cookies_with(&self, other: &Self) -> bool {
        let are_two = self.owner != other.owner && !self.is_alias && !other.is_alias;
        are_two
            && self.url.origin.host() == other.url.origin.host()
            && self.cookie_name == other.cookie_name
    }
}

/// Rejects Doorward's own cookies of any app: removing them would log users out.
fn app_cookies(raw: &RawConfig, root: &Location<'_>) {
    let stems = apps(raw, root).map(|(_, name, app)| cookie_name(name, app));
    let stems: Vec<String> = stems.collect();
    for (at, _, app) in apps(raw, root) {
        for (at, cookie) in app
            .app_cookies
            .iter()
            .flatten()
            .enumerate()
            .map(|(i, c)| (at.key("app_cookies").index(i), c))
        {
            let Some(name) = cookie.as_ref().and_then(|cookie| cookie.name.as_deref()) else {
                continue;
            };
            if stems.iter().any(|stem| is_named_after(stem, name)) {
                let hint = "list only cookies of the app: doorward removes its own";
                at.key("name")
                    .error(format!("{} is a cookie of doorward", quoted(name)), hint);
            }
        }
    }
}

fn upstreams(raw: &RawConfig, root: &Location<'_>) {
    let listeners = listeners(raw);
    for (at, _, app) in apps(raw, root) {
        let own = app.upstream.as_ref();
        let own = own.map(|upstream| (at.clone(), upstream));
        let routes = app.routes.iter().flatten().enumerate();
        let of_routes = routes.filter_map(|(index, route)| {
            let upstream = route.as_ref()?.upstream.as_ref()?;
            Some((at.key("routes").index(index), upstream))
        });
        for (at, upstream) in own.into_iter().chain(of_routes) {
            let mut addresses = upstream.texts();
            let is_own = |address: &&str| {
                let mut listeners = listeners.iter();
                listeners.any(|listener| is_at(address, listener.address))
            };
            if let Some(address) = addresses.find(is_own) {
                let hint = "set the address of the app, or change `server.listen`";
                at.key("upstream").error(
                    format!("{} is the address of doorward itself", quoted(address)),
                    hint,
                );
            }
        }
    }
}

/// Whether an upstream is the address of a listener.
fn is_at(upstream: &str, listen: &str) -> bool {
    match (listen.strip_prefix("unix:"), upstream.strip_prefix("unix:")) {
        (Some(one), Some(other)) => one == other,
        (None, None) => Origin::parse(upstream).is_ok_and(|origin| reaches(&origin, listen)),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn reaches(origin: &Origin, listen: &str) -> bool {
    let Ok(listen) = listen.parse::<SocketAddr>() else {
        return false;
    };
    if listen.port() == 0 || listen.port() != origin.port() {
        return false;
    }
    let address = origin
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
        .ok();
    let to_this_machine =
        is_loopback_host(origin.host()) || address.is_some_and(|address| address.is_unspecified());
    if address == Some(listen.ip()) {
        return true;
    }
    to_this_machine
        && (listen.ip().is_unspecified()
            || (listen.ip().is_loopback()
                && address.is_none_or(|address| address.is_unspecified())))
}
