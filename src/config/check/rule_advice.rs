//! Warnings about access rules that involve other tables: providers at which anybody can register,
//! and networks of trusted proxies.

use ipnet::IpNet;
use url::Url;

use super::super::raw::{RawApp, RawConfig};
use super::super::raw_rules::{RawAllow, RawCondition, RawValues};
use super::super::report::{Location, quoted};
use crate::policy::rule_lists::parse_network;

/// Hosts of issuers at which anybody can register.
const OPEN_HOSTS: [&str; 9] = [
    "accounts.google.com",
    "github.com",
    "gitlab.com",
    "appleid.apple.com",
    "www.facebook.com",
    "www.linkedin.com",
    "api.login.yahoo.com",
    "id.twitch.tv",
    "discord.com",
];

/// Tenants of Entra ID for all accounts, all organizations, and personal accounts.
const OPEN_TENANTS: [&str; 4] = [
    "common",
    "organizations",
    "consumers",
    "9188040d-6c67-4c5b-b112-36a304b66dad",
];

pub(super) fn check(raw: &RawConfig, root: &Location<'_>) {
    let at = root.key("apps");
    for (name, app) in raw.apps.iter().flatten() {
        let Some(app) = app else { continue };
        let at = at.key(name);
        open_registration(raw, app, &at);
        proxies_as_clients(raw, app, &at);
    }
}

/// Warns if everybody who registers at the provider may use the app, and no rule tells users apart
/// by what the provider knows of their organization.
fn open_registration(raw: &RawConfig, app: &RawApp, at: &Location<'_>) {
    let issuer = |name| {
        let provider = raw.providers.as_ref()?.get(name)?.as_ref()?;
        provider.issuer.as_deref()
    };
    let mut issuers = app.login_providers().filter_map(issuer);
    let Some(issuer) = issuers.find(|issuer| is_open(issuer)) else {
        return;
    };
    let key = if app.providers.is_some() {
        "providers"
    } else {
        "provider"
    };
    let rules = || app.rules.iter().flatten().flatten();
    let admits_all = rules().any(|rule| matches!(rule.allow, Some(RawAllow::Authenticated)));
    let has_last_rule = rules().any(|rule| {
        let mut paths = rule.paths.iter().flatten().flatten();
        rule.methods.is_none() && paths.any(|path| path == "/**")
    });
    let tells_apart = rules().any(|rule| rule.allow.as_ref().is_some_and(names_users));
    if (admits_all || !has_last_rule) && !tells_apart {
        at.key(key).warning(
            format!(
                "anybody can register at {}, and `authenticated` admits all of them",
                quoted(issuer)
            ),
            "end the rules with `paths = [\"/**\"]` and `allow = { email_domains = [\"example.com\"] }`",
        );
    }
}

fn is_open(issuer: &str) -> bool {
    let Ok(url) = Url::parse(issuer) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let tenant = url.path_segments().and_then(|mut path| path.next());
    OPEN_HOSTS.contains(&host)
        || (host == "login.microsoftonline.com"
            && tenant.is_some_and(|tenant| OPEN_TENANTS.contains(&tenant)))
}

/// Whether a condition is about the user's address, or about a claim.
fn names_users(allow: &RawAllow) -> bool {
    let RawAllow::If(condition) = allow else {
        return false;
    };
    condition.email_domains.is_some()
        || condition.emails.is_some()
        || condition.claim.is_some()
        || nested(condition).any(names_users)
}

fn nested(condition: &RawCondition) -> impl Iterator<Item = &RawAllow> {
    let lists = condition.all.iter().chain(&condition.any);
    lists.flatten().flatten().chain(&condition.not)
}

/// Warns of networks of clients that are networks of trusted proxies.
fn proxies_as_clients(raw: &RawConfig, app: &RawApp, at: &Location<'_>) {
    let server = raw.server.as_ref();
    let trusted: Vec<IpNet> = server
        .and_then(|server| server.trusted_proxies.as_ref())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|text| parse_network(text))
        .collect();
    let at = at.key("rules");
    for (index, rule) in app.rules.iter().flatten().enumerate() {
        if let Some(RawAllow::If(condition)) = rule.as_ref().and_then(|rule| rule.allow.as_ref()) {
            proxies_in(condition, &trusted, &at.index(index).key("allow"));
        }
    }
}

fn proxies_in(condition: &RawCondition, trusted: &[IpNet], at: &Location<'_>) {
    if let Some(RawValues::Listed(networks)) = &condition.from {
        for (index, text) in networks.iter().enumerate() {
            let Some(network) = text.as_deref().and_then(parse_network) else {
                continue;
            };
            if trusted.iter().any(|proxies| proxies.contains(&network)) {
                at.key("from").index(index).warning(
                    format!(
                        "{} is in `trusted_proxies`, and a proxy is no client",
                        quoted(network)
                    ),
                    "list only the addresses of the proxies themselves in `trusted_proxies`",
                );
            }
        }
    }
    let lists = [("all", &condition.all), ("any", &condition.any)];
    for (key, list) in lists {
        for (index, allow) in list.iter().flatten().enumerate() {
            if let Some(RawAllow::If(inner)) = allow {
                proxies_in(inner, trusted, &at.key(key).index(index));
            }
        }
    }
    if let Some(RawAllow::If(inner)) = &condition.not {
        proxies_in(inner, trusted, &at.key("not"));
    }
}
