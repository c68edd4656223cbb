//! `[apps.NAME]`: where an app is, inside and outside, and how it is guarded.

use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use url::Url;

use super::super::files::Folder;
use super::super::raw::RawApp;
use super::super::report::{At, quoted};
use super::super::settings::{AppConfig, Upstream, UpstreamConfig};
use super::super::words::Userinfo;
use super::session::limits;
use super::{client, elements, name_is_good, rules, wait};
use crate::policy::app::App;
use crate::policy::rules::Rules;
use crate::session::assess::Limits;
use crate::session::cookie::CookieNames;
use crate::types::net::Origin;
use crate::types::oauth::{AppName, ProviderName};

const PREFIX: &str = "/.doorward";
pub(super) const COOKIE_NAME: &str = "doorward";
const LONGEST_COOKIE_NAME: usize = 32;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn check(name: &str, mut raw: RawApp, at: &At<'_>, folder: &Folder, defaults: Limits) -> Option<AppConfig> {
    name_is_good(name, at);
    let provider = at.required("provider", raw.provider.take(), "the name of a table under `[providers]`");
    let allow_http = raw.dangerously_allow_http_public_url.unwrap_or(false);
    let public_url = raw.public_url.take();
    let public_url = at.required("public_url", public_url, "where people reach the app: `https://store.example.com`");
    let origin = public_url.and_then(|url| public_origin(&url, &at.key("public_url"), allow_http));
    let aliases = elements(raw.aliases.take(), &at.key("aliases"))
        .filter_map(|(at, url)| public_origin(&url, &at, allow_http))
        .collect();
    let prefix = prefix(raw.prefix.take(), &at.key("prefix"));
    let callback = origin.as_ref().and_then(|origin| Url::parse(&format!("{origin}{prefix}/callback")).ok());
    let client = client::check(&mut raw, callback, at, folder);
    let cookie_name = cookie_name(raw.cookie_name.take(), &at.key("cookie_name"));
    let limits = limits(raw.idle_timeout, raw.absolute_timeout, at, defaults);
    let tolerates = rules::tolerated(raw.tolerate_paths.take(), &at.key("tolerate_paths"));
    let headers = rules::headers(raw.headers.take(), &at.key("headers"));
    let rules = rules::check(raw.rules.take(), &at.key("rules"));
    let rules = Rules::new(rules, raw.case_insensitive_paths.unwrap_or(false));
    let userinfo = raw.userinfo.unwrap_or(Userinfo::WhenNeeded);
    let upstream = upstream_config(raw, at, folder);

    let origin = origin?;
    let cookies = CookieNames::new(&cookie_name, &origin);
    let name = AppName::new(name);
    let policy = App { name, origin, aliases, prefix, rules, tolerates, headers, cookies, limits };
    Some(AppConfig { policy, provider: ProviderName::new(provider?), client: client?, userinfo, upstream: upstream? })
}

fn upstream_config(raw: RawApp, at: &At<'_>, folder: &Folder) -> Option<UpstreamConfig> {
    let target = at.required("upstream", raw.upstream, "where the app itself is: `http://127.0.0.1:3000`");
    let target = target.and_then(|text| upstream(&text, &at.key("upstream")));
    let ca_certificates = upstream_ca(raw.upstream_ca_file, target.as_ref(), at, folder);
    Some(UpstreamConfig {
        preserve_host: raw.preserve_host.unwrap_or(true),
        connect_timeout: wait(raw.connect_timeout, at, "connect_timeout", CONNECT_TIMEOUT),
        response_timeout: wait(raw.response_timeout, at, "response_timeout", RESPONSE_TIMEOUT),
        target: target?,
        ca_certificates,
    })
}

fn public_origin(text: &str, at: &At<'_>, allow_http: bool) -> Option<Origin> {
    let origin = match Origin::parse(text) {
        Ok(origin) => origin,
        Err(error) => {
            let hint = "scheme, host and port if it is unusual: `https://store.example.com`";
            at.refuse(format!("{} is not an origin: {error}", quoted(text)), hint);
            return None;
        }
    };
    if !origin.is_secure() && !origin.is_loopback() && !allow_http {
        let hint = "use https; over http, whoever is on the way can take the session";
        at.refuse(format!("{} is not https, and not this machine", quoted(text)), hint);
        return None;
    }
    Some(origin)
}

fn upstream(text: &str, at: &At<'_>) -> Option<Upstream> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.starts_with('/') && !path.ends_with('/') {
            return Some(Upstream::Unix(PathBuf::from(path)));
        }
        at.refuse(format!("{} names no socket", quoted(text)), "an absolute path, such as `unix:/run/store.sock`");
        return None;
    }
    match Origin::parse(text) {
        Ok(origin) => Some(Upstream::Origin(origin)),
        Err(error) => {
            let hint = "such as `http://127.0.0.1:3000`, `https://store.internal` or `unix:/run/store.sock`";
            at.refuse(format!("{} is not an upstream: {error}", quoted(text)), hint);
            None
        }
    }
}

fn upstream_ca(
    file: Option<String>,
    upstream: Option<&Upstream>,
    at: &At<'_>,
    folder: &Folder,
) -> Vec<CertificateDer<'static>> {
    let Some(name) = file else { return Vec::new() };
    let at = at.key("upstream_ca_file");
    let secure = match upstream {
        Some(Upstream::Origin(origin)) => origin.is_secure(),
        Some(Upstream::Unix(_)) => false,
        None => true,
    };
    if !secure {
        at.refuse("there is no TLS to this upstream", "take the key away, or make the upstream `https://…`");
    }
    folder.certificates(&at, &name).unwrap_or_default()
}

fn prefix(raw: Option<String>, at: &At<'_>) -> String {
    let Some(prefix) = raw else { return PREFIX.to_owned() };
    let good = |segment: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
    };
    let is_good = prefix.strip_prefix('/').is_some_and(|rest| rest.split('/').all(good)) && prefix.len() <= 64;
    if !is_good {
        let hint = "such as `/.doorward`: letters, digits and `-._~`, no slash at the end";
        at.refuse(format!("{} cannot be the path of doorward's own pages", quoted(&prefix)), hint);
    }
    prefix
}

fn cookie_name(raw: Option<String>, at: &At<'_>) -> String {
    let Some(name) = raw else { return COOKIE_NAME.to_owned() };
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // No `_`: what stands behind one tells our cookies apart, so one name could look like another's.
    if name.is_empty() || name.len() > LONGEST_COOKIE_NAME || !name.bytes().all(good) {
        let hint = "lower-case letters a to z, digits and `-`, at most 32 of them";
        at.refuse(format!("{} cannot be what our cookies are called", quoted(&name)), hint);
    }
    name
}
