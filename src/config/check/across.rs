//! What no table can see by itself: names that others refer to, hosts that two apps share, an app that is
//! Doorward itself. Works on what could be read, so that one bad key hides nothing else.

use std::net::{IpAddr, SocketAddr};

use url::Url;

use super::super::raw::{RawApp, RawConfig, RawProvider};
use super::super::report::{Location, did_you_mean, quoted};
use super::app::COOKIE_NAME;
use super::fusionauth;
use super::server::LISTEN;
use crate::session::cookie::is_named_after;
use crate::types::net::{Origin, is_loopback_host};

pub(super) fn check(raw: &RawConfig, root: &Location<'_>) {
    const NO_APPS: &str =
        "an app needs `provider`, `public_url`, `upstream` and `client_id`: `[apps.store]`";
    match &raw.apps {
        None => root.refuse_missing("apps", NO_APPS),
        Some(apps) if apps.is_empty() => root.key("apps").error("there is no app", NO_APPS),
        Some(_) => {}
    }
    providers(raw, root);
    hosts(raw, root);
    itself(raw, root);
    app_cookies(raw, root);
}

fn apps<'c, 'r>(
    raw: &'c RawConfig,
    root: &Location<'r>,
) -> impl Iterator<Item = (Location<'r>, &'c str, &'c RawApp)> {
    let at = root.key("apps");
    let apps = raw.apps.iter().flatten();
    apps.filter_map(move |(name, app)| Some((at.key(name), name.as_str(), app.as_ref()?)))
}

/// Every name by which an app refers to a provider: for logins, and for access tokens.
fn wanted<'c, 'r>(raw: &'c RawConfig, root: &Location<'r>) -> Vec<(Location<'r>, &'c str)> {
    let mut wanted = Vec::new();
    for (at, _, app) in apps(raw, root) {
        wanted.extend(
            app.provider
                .as_deref()
                .map(|name| (at.key("provider"), name)),
        );
        let at = at.key("bearer").key("providers");
        let listed = token_issuers(app).enumerate();
        wanted.extend(listed.filter_map(|(index, name)| Some((at.index(index), name?))));
    }
    wanted
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
    let wanted = wanted(raw, root);
    for (at, wanted) in wanted.iter().filter(|(_, wanted)| !known.contains(wanted)) {
        let hint = if known.is_empty() {
            format!("there is none: begin with `[providers.{wanted}]` and its `issuer`")
        } else {
            did_you_mean(wanted, known.iter().copied())
        };
        at.error(format!("there is no provider {}", quoted(wanted)), hint);
    }
    one_issuer_each(raw, root);
    for (at, _, app) in apps(raw, root) {
        let provider = app
            .provider
            .as_ref()
            .and_then(|name| raw.providers.as_ref()?.get(name)?.as_ref());
        if let Some(provider) = provider {
            fusionauth::check_app(provider, app, &at);
            frontchannel(provider, app, &at);
        }
    }
    if !wanted.iter().all(|(_, name)| known.contains(name)) {
        return;
    }
    for unused in known
        .iter()
        .filter(|name| !wanted.iter().any(|(_, wanted)| wanted == *name))
    {
        root.key("providers")
            .key(unused)
            .advise("no app uses this provider", "");
    }
}

/// A token names its provider by the issuer: two of one issuer could not be told apart.
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
        let at = at.key("bearer").key("providers");
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for (index, name) in token_issuers(app).enumerate() {
            let Some((name, issuer)) = name.and_then(|name| Some((name, issuer(name)?))) else {
                continue;
            };
            if let Some((other, _)) = seen
                .iter()
                .find(|(other, known)| *known == issuer && *other != name)
            {
                let what = format!("{} has the same issuer as {}", quoted(name), quoted(other));
                at.index(index).error(
                    what,
                    "a token could not be told from the other's; list one of them",
                );
            }
            seen.push((name, issuer));
        }
    }
}

/// In a frame of another site a browser sends no cookie, so nothing would ever end.
fn frontchannel(provider: &RawProvider, app: &RawApp, at: &Location<'_>) {
    let host =
        |url: &Option<String>| Some(Url::parse(url.as_deref()?).ok()?.host_str()?.to_owned());
    let theirs = host(&provider.discovery_url).or_else(|| host(&provider.issuer));
    let (true, Some(ours), Some(theirs)) = (
        app.frontchannel_logout == Some(true),
        host(&app.public_url),
        theirs,
    ) else {
        return;
    };
    // Where registrable domains begin is known to browsers only; one label in common is never enough.
    let labels = |host: &str| {
        host.rsplit('.')
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    if ours != theirs && (labels(&ours) != labels(&theirs) || labels(&ours).len() < 2) {
        at.key("frontchannel_logout").advise(
            format!("{} is not on the site of the provider {}, so nothing will ever end", quoted(ours), quoted(theirs)),
            "in a frame of another site browsers send no cookie; use webhooks or back-channel logout",
        );
    }
}

/// One origin of an app: who has it, and what its cookies are called there.
struct Claimed<'c> {
    origin: Origin,
    app: &'c str,
    cookie_name: &'c str,
    alias: bool,
}

fn hosts(raw: &RawConfig, root: &Location<'_>) {
    let mut claimed: Vec<Claimed<'_>> = Vec::new();
    for (at, name, app) in apps(raw, root) {
        let main = app
            .public_url
            .iter()
            .map(|url| (at.key("public_url"), url, false));
        let listed = app.aliases.iter().flatten().enumerate();
        let aliases = listed
            .filter_map(|(index, url)| Some((at.key("aliases").index(index), url.as_ref()?, true)));
        let cookie_name = app.cookie_name.as_deref().unwrap_or(COOKIE_NAME);
        for (at, url, alias) in main.chain(aliases) {
            let Ok(origin) = Origin::parse(url) else {
                continue;
            };
            let claim = Claimed {
                origin,
                app: name,
                cookie_name,
                alias,
            };
            if let Some(other) = claimed.iter().find(|other| other.is_named_as(&claim)) {
                let hint = "every host and port leads to one app, and is named once";
                at.error(
                    format!("{} is taken by the app {}", quoted(url), quoted(other.app)),
                    hint,
                );
            } else if let Some(other) = claimed
                .iter()
                .find(|other| other.shares_cookies_with(&claim))
            {
                at.error(
                    format!(
                        "the app {} is on the same host; cookies ignore ports",
                        quoted(other.app)
                    ),
                    "give each a host of its own, or one of them another `cookie_name`",
                );
            }
            claimed.push(claim);
        }
    }
}

impl Claimed<'_> {
    fn is_named_as(&self, other: &Self) -> bool {
        self.origin.host() == other.origin.host() && self.origin.port() == other.origin.port()
    }

    fn shares_cookies_with(&self, other: &Self) -> bool {
        let both_apps = self.app != other.app && !self.alias && !other.alias;
        both_apps
            && self.origin.host() == other.origin.host()
            && self.cookie_name == other.cookie_name
    }
}

/// A cookie of doorward's own, of whichever app: taking it away would log people out.
fn app_cookies(raw: &RawConfig, root: &Location<'_>) {
    let stems =
        || apps(raw, root).map(|(_, _, app)| app.cookie_name.as_deref().unwrap_or(COOKIE_NAME));
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
            if stems().any(|stem| is_named_after(stem, name)) {
                let hint = "the app's own cookies; doorward's are taken away by themselves";
                at.key("name")
                    .error(format!("{} is one of doorward's own", quoted(name)), hint);
            }
        }
    }
}

fn itself(raw: &RawConfig, root: &Location<'_>) {
    let listen = raw
        .server
        .as_ref()
        .and_then(|server| server.listen.as_deref())
        .unwrap_or(LISTEN);
    for (at, _, app) in apps(raw, root) {
        let Some(upstream) = app.upstream.as_deref() else {
            continue;
        };
        let is_same = match (listen.strip_prefix("unix:"), upstream.strip_prefix("unix:")) {
            (Some(one), Some(other)) => one == other,
            (None, None) => Origin::parse(upstream).is_ok_and(|origin| leads_to(&origin, listen)),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if is_same {
            let hint = "name the address of the app itself, and let doorward listen at another";
            at.key("upstream").error(
                format!("{} is where doorward itself listens", quoted(upstream)),
                hint,
            );
        }
    }
}

fn leads_to(origin: &Origin, listen: &str) -> bool {
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
