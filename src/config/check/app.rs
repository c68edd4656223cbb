//! `[apps.NAME]`: where an app is, inside and outside, and how it is guarded.

use std::time::Duration;

use rustls_pki_types::ServerName;
use url::Url;

use super::super::files::Folder;
use super::super::raw::RawApp;
use super::super::report::{At, quoted};
use super::super::settings::AppConfig;
use super::super::words::{self, Span};
use super::session::limits;
use super::{
    bearer, client, elements, leaving, name_is_good, native, rules, server, upstream_tls, wait,
    web_origins,
};
use crate::auth::app::{AuthSettings, OnReuse, RevocationMode, Userinfo};
use crate::policy::app::{App, Offers};
use crate::policy::polling::PollingPaths;
use crate::policy::rules::{Rules, Via};
use crate::session::assess::Limits;
use crate::session::cookie::CookieNames;
use crate::types::net::Origin;
use crate::types::oauth::{AppName, ProviderName};
use crate::upstream::{UpstreamProtocol, UpstreamSettings, UpstreamUrl};

const PREFIX: &str = "/.doorward";
pub(super) const COOKIE_NAME: &str = "doorward";
const LONGEST_COOKIE_NAME: usize = 32;
const MAX_KEPT_FORM: u32 = 64 * 1024;

/// Longest grace that can be set.
const LONGEST_GRACE: Duration = Duration::from_secs(60 * 60);

pub(super) fn check(
    name: &str,
    mut raw: RawApp,
    at: &At<'_>,
    folder: &Folder,
    defaults: Limits,
) -> Option<AppConfig> {
    name_is_good(name, at);
    let provider = at.required(
        "provider",
        raw.provider.take(),
        "the name of a table under `[providers]`",
    );
    let allow_http = raw.dangerously_allow_http_public_url.unwrap_or(false);
    let public_url = raw.public_url.take();
    let public_url = at.required(
        "public_url",
        public_url,
        "where people reach the app: `https://store.example.com`",
    );
    let origin = public_url.and_then(|url| public_origin(&url, &at.key("public_url"), allow_http));
    let aliases = elements(raw.aliases.take(), &at.key("aliases"))
        .filter_map(|(at, url)| public_origin(&url, &at, allow_http))
        .collect();
    let prefix = prefix(raw.prefix.take(), &at.key("prefix"));
    let callback = origin
        .as_ref()
        .and_then(|origin| Url::parse(&format!("{origin}{prefix}/callback")).ok());
    let client = client::check(&mut raw, callback, at, folder);
    let cookie_name = cookie_name(raw.cookie_name.take(), &at.key("cookie_name"));
    let limits = limits(raw.idle_timeout, raw.absolute_timeout, at, defaults);
    let tolerates = rules::tolerated(raw.tolerate_paths.take(), &at.key("tolerate_paths"));
    let headers = rules::headers(raw.headers.take(), &at.key("headers"));
    let via = if raw.bearer.is_some() {
        Via::BOTH
    } else {
        Via::BROWSER
    };
    let rules = rules::check(raw.rules.take(), via, &at.key("rules"));
    let case_insensitive = raw.case_insensitive_paths.unwrap_or(false);
    let rules = Rules::new(rules, case_insensitive, via);
    let polling = rules::polling(raw.polling_paths.take(), &at.key("polling_paths"));
    let polling = PollingPaths::new(polling, case_insensitive);
    let (native, takes_tokens) = (raw.native.take(), raw.bearer.is_some());
    let native =
        native.and_then(|raw| native::check(raw, &at.key("native"), client.as_ref(), takes_tokens));
    let names: Vec<&str> = headers
        .iter()
        .map(|template| template.name().as_str())
        .collect();
    let bearer = raw
        .bearer
        .take()
        .map(|raw| bearer::check(raw, &names, &at.key("bearer")));
    let offers = Offers {
        frontchannel_logout: raw.frontchannel_logout.unwrap_or(false),
        // Follows from the provider.
        fusionauth_webhooks: false,
    };
    let max_kept_form = max_kept_form(raw.max_kept_form_bytes, &at.key("max_kept_form_bytes"));
    let max_requests = server::max_requests(raw.max_requests, &at.key("max_requests"));
    let websocket_origins = web_origins(raw.websocket_origins.take(), &at.key("websocket_origins"));
    let leaving = leaving::check(&mut raw, origin.as_ref(), &prefix, at);
    let auth = auth_settings(&raw, at);
    let upstream = upstream_settings(raw, at, folder);

    let (origin, client, provider) = (origin?, client?, ProviderName::new(provider?));
    let (takes_tokens, bearer) = match bearer {
        Some(bearer) => {
            let bearer = bearer?;
            (
                Some(bearer.policy),
                Some(bearer.verification.of_app(&provider, &client.audiences)),
            )
        }
        None => (None, None),
    };
    let cookies = CookieNames::new(&cookie_name, &origin);
    let name = AppName::new(name);
    let policy = App {
        name,
        origin,
        aliases,
        prefix,
        rules,
        polling,
        tolerates,
        headers,
        cookies,
        limits,
        offers,
        leaving,
        max_kept_form,
        websocket_origins,
        native,
        bearer: takes_tokens,
    };
    Some(AppConfig {
        policy,
        provider,
        client,
        auth,
        max_requests,
        upstream: upstream?,
        bearer,
    })
}

fn auth_settings(raw: &RawApp, at: &At<'_>) -> AuthSettings {
    let outage_grace = raw.outage_grace.map_or(Duration::ZERO, |span| span.0);
    if outage_grace > LONGEST_GRACE {
        let hint =
            "at most `\"1h\"`; so long would somebody go on whom the provider no longer lets in";
        at.key("outage_grace").refuse(
            format!("{} s is too much grace", outage_grace.as_secs()),
            hint,
        );
    }
    AuthSettings {
        userinfo: match raw.userinfo.unwrap_or(words::Userinfo::WhenNeeded) {
            words::Userinfo::WhenNeeded => Userinfo::WhenNeeded,
            words::Userinfo::Never => Userinfo::Never,
        },
        on_reuse: match raw.on_reuse.unwrap_or(words::OnReuse::EndSession) {
            words::OnReuse::EndSession => OnReuse::EndSession,
            words::OnReuse::Refuse => OnReuse::Refuse,
        },
        outage_grace,
        revocation: match raw.revocation.unwrap_or(words::Revocation::Available) {
            words::Revocation::Available => RevocationMode::Available,
            words::Revocation::Strict => RevocationMode::Strict,
        },
    }
}

fn upstream_settings(mut raw: RawApp, at: &At<'_>, folder: &Folder) -> Option<UpstreamSettings> {
    let url = at.required(
        "upstream",
        raw.upstream.take(),
        "where the app itself is: `http://127.0.0.1:3000`",
    );
    let url = url.and_then(|text| upstream(&text, &at.key("upstream")));
    let tls = upstream_tls::check(&mut raw, url.as_ref(), at, folder);
    let protocol = match raw
        .upstream_protocol
        .unwrap_or(words::UpstreamProtocol::Http1)
    {
        words::UpstreamProtocol::Http1 => UpstreamProtocol::Http1,
        words::UpstreamProtocol::Http2 => UpstreamProtocol::Http2,
    };
    let ping_interval = raw
        .upstream_ping_interval
        .map(|span| ping_interval(span, protocol, at));
    let connect_timeout = raw
        .connect_timeout
        .map(|span| wait(span, &at.key("connect_timeout")));
    let response_timeout = raw
        .response_timeout
        .map(|span| wait(span, &at.key("response_timeout")));
    let stream_idle_timeout = raw
        .stream_idle_timeout
        .map(|span| wait(span, &at.key("stream_idle_timeout")));
    let stream_max_age = raw
        .stream_max_age
        .map(|span| wait(span, &at.key("stream_max_age")));

    let mut settings = UpstreamSettings::at(url?);
    let tls = tls?;
    settings.ca_certificates = tls.ca_certificates;
    settings.client_certificate = tls.client_certificate;
    settings.server_name = tls.server_name;
    settings.protocol = protocol;
    settings.ping_interval = ping_interval;
    settings.preserve_host = raw.preserve_host.unwrap_or(settings.preserve_host);
    settings.connect_timeout = connect_timeout.unwrap_or(settings.connect_timeout);
    settings.response_timeout = response_timeout.unwrap_or(settings.response_timeout);
    settings.body_idle_timeout = stream_idle_timeout.unwrap_or(settings.body_idle_timeout);
    settings.tunnel_idle_timeout = stream_idle_timeout.unwrap_or(settings.tunnel_idle_timeout);
    settings.stream_max_age = stream_max_age;
    Some(settings)
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
        at.refuse(
            format!("{} is not https, and not this machine", quoted(text)),
            hint,
        );
        return None;
    }
    Some(origin)
}

fn upstream(text: &str, at: &At<'_>) -> Option<UpstreamUrl> {
    const HINT: &str =
        "such as `http://127.0.0.1:3000`, `https://store.internal` or `unix:/run/store.sock`";
    let url = match text.parse::<UpstreamUrl>() {
        Ok(url) => url,
        Err(error) => {
            at.refuse(
                format!("{} is not an upstream: {error}", quoted(text)),
                HINT,
            );
            return None;
        }
    };
    if let UpstreamUrl::Https(place) = &url
        && ServerName::try_from(place.host.trim_matches(['[', ']'])).is_err()
    {
        at.refuse(
            format!(
                "{} names no host that a certificate could name",
                quoted(text)
            ),
            HINT,
        );
        return None;
    }
    Some(url)
}

fn ping_interval(span: Span, protocol: UpstreamProtocol, at: &At<'_>) -> Duration {
    let at = at.key("upstream_ping_interval");
    if protocol == UpstreamProtocol::Http1 {
        at.refuse(
            "HTTP/1.1 has no pings",
            "take the key away, or set `upstream_protocol = \"http2\"`",
        );
    }
    wait(span, &at)
}

fn prefix(raw: Option<String>, at: &At<'_>) -> String {
    let Some(prefix) = raw else {
        return PREFIX.to_owned();
    };
    let good = |segment: &str| {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
    };
    let is_good = prefix
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(good))
        && prefix.len() <= 64;
    if !is_good {
        let hint = "such as `/.doorward`: letters, digits and `-._~`, no slash at the end";
        at.refuse(
            format!(
                "{} cannot be the path of doorward's own pages",
                quoted(&prefix)
            ),
            hint,
        );
    }
    prefix
}

fn max_kept_form(raw: Option<u32>, at: &At<'_>) -> usize {
    let bytes = raw.unwrap_or(MAX_KEPT_FORM);
    if bytes != 0 && !(1024..=1024 * 1024).contains(&bytes) {
        at.refuse(
            format!("{} is no sensible limit", quoted(bytes)),
            "from 1024 to 1048576 bytes, or 0 to keep none",
        );
    }
    usize::try_from(bytes).unwrap_or_default()
}

fn cookie_name(raw: Option<String>, at: &At<'_>) -> String {
    let Some(name) = raw else {
        return COOKIE_NAME.to_owned();
    };
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // No `_`: what stands behind one tells our cookies apart, so one name could look like another's.
    if name.is_empty() || name.len() > LONGEST_COOKIE_NAME || !name.bytes().all(good) {
        let hint = "lower-case letters a to z, digits and `-`, at most 32 of them";
        at.refuse(
            format!("{} cannot be what our cookies are called", quoted(&name)),
            hint,
        );
    }
    name
}
