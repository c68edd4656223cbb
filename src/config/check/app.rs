//! `[apps.NAME]`: public URL, upstream, sessions and access policy of an app.

use std::time::Duration;

use http::HeaderValue;
use rustls_pki_types::ServerName;
use url::Url;

use super::super::files::Folder;
use super::super::keywords::AuthorizationHeader;
use super::super::raw::RawApp;
use super::super::report::{Location, quoted};
use super::super::settings::{AppConfig, ClientHeaders};
use super::super::values::HumanDuration;
use super::rule_lists::RuleListFiles;
use super::rules::RuleContext;
use super::session::{cookie_name, limits};
use super::{
    app_logout, authentication, basic, bearer, check_host, check_name, client, elements,
    header_edits, headers, native, nonzero, rules, server, upstream_tls, web_origins, wildcard,
};
use crate::auth::app::{AuthSettings, OnReuse, RevocationMode, Userinfo};
use crate::policy::app::{App, LoginSite, OptionalEndpoints};
use crate::policy::background_paths::BackgroundPaths;
use crate::policy::hosts::AppHosts;
use crate::policy::request_info::is_host_and_port;
use crate::policy::rules::{AuthMethods, Rules};
use crate::session::cookie::CookieNames;
use crate::session::validity::Limits;
use crate::types::net::{Origin, is_loopback_host};
use crate::types::oauth::{AppName, ProviderName};
use crate::upstream::{
    IdleReuse, LABEL, UpstreamHost, UpstreamProtocol, UpstreamSettings, UpstreamUrl,
};

const PREFIX: &str = "/.doorward";
/// The default of `preserve_post_max_bytes`.
const PRESERVE_POST_MAX_BYTES: u32 = 64 * 1024;

/// The longest `outage_grace`.
const MAX_GRACE: Duration = Duration::from_secs(60 * 60);

pub(super) fn check(
    name: &str,
    mut raw: RawApp,
    at: &Location<'_>,
    folder: &Folder,
    rule_lists: &RuleListFiles<'_>,
    defaults: Limits,
) -> Option<AppConfig> {
    check_name(name, at);
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
        "the URL of the app for browsers, such as `https://store.example.com`",
    );
    let origin =
        public_url.and_then(|url| public_origin(&url, &at.key("public_url"), allow_http, true));
    let aliases = elements(raw.aliases.take(), &at.key("aliases"))
        // An alias only redirects, so that it may be plain http.
        .filter_map(|(at, url)| public_origin(&url, &at, true, false))
        .collect();
    let hsts = raw.hsts.unwrap_or(false);
    if hsts && origin.as_ref().is_some_and(|origin| !origin.is_secure()) {
        at.key("hsts").error(
            "`hsts` needs an https `public_url`",
            "browsers ignore the header over http",
        );
    }
    let prefix = prefix(raw.endpoint_prefix.take(), &at.key("endpoint_prefix"));
    let hosts = wildcard::hosts(&mut raw, origin.as_ref(), &prefix, at);
    let callback = origin
        .as_ref()
        .and_then(|origin| Url::parse(&format!("{origin}{prefix}/callback")).ok());
    let client = client::check(&mut raw, callback, at, folder);
    let cookie_name = cookie_name(raw.cookie_name.take(), &at.key("cookie_name"));
    let limits = limits(raw.idle_timeout, raw.absolute_timeout, at, defaults);
    let allowed_ambiguities = rules::ambiguities(
        raw.allow_ambiguous_paths.take(),
        &at.key("allow_ambiguous_paths"),
    );
    let headers = headers::check(raw.headers.take(), &at.key("headers"));
    let auth_methods = if raw.bearer.is_some() {
        AuthMethods::BOTH
    } else {
        AuthMethods::SESSION
    };
    let case_insensitive = raw.case_insensitive_paths.unwrap_or(false);
    let rule_context = RuleContext {
        auth_methods,
        prefix: &prefix,
        case_insensitive,
        files: rule_lists,
    };
    let rules_at = at.key("rules");
    let rules = rules::check(raw.rules.take(), &rule_context, &rules_at);
    authentication::check_reachable(&rules, client.as_ref(), &rules_at);
    let logout_return_to = app_logout::return_targets(&mut raw, at);
    let login_parameters = authentication::check_parameters(&mut raw, client.as_ref(), at);
    let rules = Rules::new(rules, case_insensitive, auth_methods);
    let background_paths =
        rules::background_paths(raw.background_paths.take(), &at.key("background_paths"));
    let background_paths = BackgroundPaths::new(background_paths, case_insensitive);
    let stream_activity = raw.stream_activity.unwrap_or(true);
    let accepts_bearer = raw.bearer.is_some();
    let raw_native = raw.native.take().unwrap_or_default();
    let at_native = at.key("native");
    let throttle = native::throttle(&raw_native, &at_native);
    let native = native::check(
        raw_native,
        &at_native,
        client.as_ref(),
        accepts_bearer,
        throttle,
    );
    let basic = basic::check(raw.basic.take(), &rules, throttle, &at.key("basic"));
    let names: Vec<&str> = headers
        .iter()
        .map(|template| template.name().as_str())
        .collect();
    let client_headers = ClientHeaders {
        removes_authorization: raw.authorization_header == Some(AuthorizationHeader::Remove),
        forwarded_identity: headers::check_forwarded(
            raw.dangerously_forward_headers.take(),
            &names,
            &at.key("dangerously_forward_headers"),
        ),
    };
    let header_edits = header_edits::check(&mut raw, &names, at);
    let bearer = raw
        .bearer
        .take()
        .map(|raw| bearer::check(raw, &names, &at.key("bearer")));
    let optional_endpoints = OptionalEndpoints {
        frontchannel_logout: raw.frontchannel_logout.unwrap_or(false),
        // Set when the providers are known.
        fusionauth_webhooks: false,
    };
    let max_preserved_post = preserve_post_max_bytes(
        raw.preserve_post_max_bytes,
        &at.key("preserve_post_max_bytes"),
    );
    let max_in_flight_requests = server::max_in_flight_requests(
        raw.max_in_flight_requests,
        &at.key("max_in_flight_requests"),
    );
    let websocket_origins =
        web_origins::origins(raw.websocket_origins.take(), &at.key("websocket_origins"));
    let cors = web_origins::cors(&mut raw, at);
    let app_logout = app_logout::check(&mut raw, origin.as_ref(), &prefix, at);
    let auth = auth_settings(&raw, at);
    let upstream = upstream_settings(raw, &hosts, at, folder);

    let origin = origin?;
    let client = client?;
    let provider = ProviderName::new(provider?);
    let (bearer_policy, bearer) = match bearer {
        Some(bearer) => {
            let bearer = bearer?;
            (
                Some(bearer.policy),
                Some(
                    bearer
                        .verification
                        .with_defaults(&provider, &client.audiences),
                ),
            )
        }
        None => (None, None),
    };
    let cookies = CookieNames::new(&cookie_name, &origin);
    let name = AppName::new(name);
    let policy = App {
        name,
        origin,
        hosts,
        aliases,
        hsts,
        // Set when the login hosts are known.
        login: LoginSite::Own,
        login_parameters,
        prefix,
        rules,
        background_paths,
        stream_activity,
        allowed_ambiguities,
        headers,
        request_edits: header_edits.requests,
        response_edits: header_edits.responses,
        cookies,
        limits,
        // Set when the providers are known.
        leeway: Duration::ZERO,
        optional_endpoints,
        logout_return_to,
        app_logout,
        max_preserved_post,
        websocket_origins,
        cors,
        native,
        bearer: bearer_policy,
        basic,
    };
    Some(AppConfig {
        policy,
        provider,
        client,
        auth,
        max_in_flight_requests,
        upstream: upstream?,
        client_headers,
        bearer,
    })
}

fn auth_settings(raw: &RawApp, at: &Location<'_>) -> AuthSettings {
    let outage_grace = raw
        .outage_grace
        .map_or(Duration::ZERO, |duration| duration.0);
    if outage_grace > MAX_GRACE {
        let hint = "at most `\"1h\"`: users that the provider has locked keep access for this long";
        at.key("outage_grace")
            .error(format!("{} s is too long", outage_grace.as_secs()), hint);
    }
    AuthSettings {
        userinfo: raw.userinfo.unwrap_or(Userinfo::WhenNeeded),
        on_refresh_token_reuse: raw.on_refresh_token_reuse.unwrap_or(OnReuse::EndSession),
        outage_grace,
        revocation: raw.revocation_mode.unwrap_or(RevocationMode::FailOpen),
    }
}

fn upstream_settings(
    mut raw: RawApp,
    hosts: &AppHosts,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<UpstreamSettings> {
    let url = at.required(
        "upstream",
        raw.upstream.take(),
        "the address of the app, such as `http://127.0.0.1:3000`",
    );
    let at_url = at.key("upstream");
    let by_label = match &url {
        Some(text) => wildcard::by_label(text, hosts, &at_url),
        None => Some(None),
    };
    // Every label gives an address of the same form.
    let url = url.map(|text| text.replace(LABEL, "label"));
    let url = url.and_then(|text| upstream(&text, &at_url));
    let tls = upstream_tls::check(&mut raw, url.as_ref(), at, folder);
    let protocol = raw.upstream_protocol.unwrap_or(UpstreamProtocol::Http1);
    let ping_interval = raw
        .upstream_ping_interval
        .map(|interval| ping_interval(interval, protocol, at));
    let connect_timeout = raw
        .connect_timeout
        .map(|duration| nonzero(duration, &at.key("connect_timeout")));
    let response_timeout = raw
        .response_timeout
        .map(|duration| nonzero(duration, &at.key("response_timeout")));
    let stream_idle_timeout = raw
        .stream_idle_timeout
        .map(|duration| nonzero(duration, &at.key("stream_idle_timeout")));
    let stream_max_age = raw
        .stream_max_age
        .map(|duration| nonzero(duration, &at.key("stream_max_age")));

    let host = upstream_host(raw.upstream_host.take(), &at.key("upstream_host"));
    let limits = upstream_limits(&raw, protocol, at);

    let mut settings = UpstreamSettings::at(url?);
    limits.apply_to(&mut settings);
    settings.by_label = by_label?;
    let tls = tls?;
    settings.ca_certificates = tls.ca_certificates;
    settings.client_certificate = tls.client_certificate;
    settings.server_name = tls.server_name;
    settings.protocol = protocol;
    settings.ping_interval = ping_interval;
    settings.host = host?;
    settings.connect_timeout = connect_timeout.unwrap_or(settings.connect_timeout);
    settings.response_timeout = response_timeout.unwrap_or(settings.response_timeout);
    settings.body_idle_timeout = stream_idle_timeout.unwrap_or(settings.body_idle_timeout);
    settings.tunnel_idle_timeout = stream_idle_timeout.unwrap_or(settings.tunnel_idle_timeout);
    settings.stream_max_age = stream_max_age;
    Some(settings)
}

/// `"client"`, `"upstream"`, or a host with an optional port.
fn upstream_host(raw: Option<String>, at: &Location<'_>) -> Option<UpstreamHost> {
    match raw.as_deref() {
        None | Some("client") => Some(UpstreamHost::Client),
        Some("upstream") => Some(UpstreamHost::Upstream),
        Some(host) => {
            let value = HeaderValue::from_str(host).ok();
            let value = value.filter(|_| is_host_and_port(host) && host.contains(['.', ':']));
            if value.is_none() {
                at.error(
                    format!("{} is not a host", quoted(host)),
                    "`\"client\"`, `\"upstream\"`, or a name with a dot or port, such as \
                     `\"store.internal\"`",
                );
            }
            value.map(UpstreamHost::Fixed)
        }
    }
}

/// The limits of the connections to an upstream. `None` is the default.
struct UpstreamLimits {
    max_connections: Option<u32>,
    max_http2_streams: Option<u32>,
    idle_timeout: Option<Duration>,
    tcp_keepalive: Option<Option<Duration>>,
}

fn upstream_limits(raw: &RawApp, protocol: UpstreamProtocol, at: &Location<'_>) -> UpstreamLimits {
    let number = |raw: Option<u32>, key: &str, what: &str, default: u32, max: u32| {
        raw.map(|number| server::bounded(Some(number), &at.key(key), what, default, 1..=max))
    };
    if raw.upstream_max_http2_streams.is_some() && protocol == UpstreamProtocol::Http1 {
        at.key("upstream_max_http2_streams").error(
            "HTTP/1.1 has no streams",
            "remove the key, or set `upstream_protocol = \"http2\"`",
        );
    }
    UpstreamLimits {
        max_connections: number(
            raw.upstream_max_connections,
            "upstream_max_connections",
            "connections",
            10_000,
            1_000_000,
        ),
        max_http2_streams: number(
            raw.upstream_max_http2_streams,
            "upstream_max_http2_streams",
            "concurrent streams",
            100,
            10_000,
        ),
        idle_timeout: raw
            .upstream_idle_timeout
            .map(|duration| nonzero(duration, &at.key("upstream_idle_timeout"))),
        tcp_keepalive: server::keepalive(raw.upstream_tcp_keepalive),
    }
}

impl UpstreamLimits {
    fn apply_to(self, settings: &mut UpstreamSettings) {
        if let Some(max) = self.max_connections {
            settings.max_connections = server::size(max);
        }
        if let Some(max) = self.max_http2_streams {
            settings.max_http2_streams = server::size(max);
        }
        if let Some(timeout) = self.idle_timeout {
            settings.reuse = IdleReuse::up_to(timeout);
            settings.http2_idle_timeout = timeout;
        }
        if let Some(keepalive) = self.tcp_keepalive {
            settings.tcp_keepalive = keepalive;
        }
    }
}

pub(super) fn public_origin(
    text: &str,
    at: &Location<'_>,
    allow_http: bool,
    allows_wildcard: bool,
) -> Option<Origin> {
    let origin = match Origin::parse(text) {
        Ok(origin) => origin,
        Err(error) => {
            let hint = "scheme, host and non-default port, such as `https://store.example.com`";
            at.error(format!("{} is not an origin: {error}", quoted(text)), hint);
            return None;
        }
    };
    if !(allows_wildcard && wildcard::is_wildcard(origin.host())) {
        check_host(text, origin.host(), at)?;
    }
    if !origin.is_secure() && !origin.is_loopback() && !allow_http {
        let hint = "use https: over http, an attacker on the network can steal the session";
        at.error(
            format!("{} is neither https nor a loopback address", quoted(text)),
            hint,
        );
        return None;
    }
    Some(origin)
}

fn upstream(text: &str, at: &Location<'_>) -> Option<UpstreamUrl> {
    const HINT: &str =
        "such as `http://127.0.0.1:3000`, `https://store.internal` or `unix:/run/store.sock`";
    let url = match text.parse::<UpstreamUrl>() {
        Ok(url) => url,
        Err(error) => {
            at.error(
                format!("{} is not an upstream: {error}", quoted(text)),
                HINT,
            );
            return None;
        }
    };
    match &url {
        UpstreamUrl::Http(authority) => {
            check_host(text, &authority.host, at)?;
            if !is_loopback_host(&authority.host) {
                at.advice(
                    format!(
                        "{} is on another machine and reached without TLS: any client that can \
                         reach it directly can send identity headers and act as any user",
                        quoted(text)
                    ),
                    "let a firewall or network policy admit only doorward, or use `https` with \
                     `upstream_cert_file`",
                );
            }
        }
        UpstreamUrl::Https(authority) => check_host(text, &authority.host, at)?,
        UpstreamUrl::Unix(_) => {}
    }
    if let UpstreamUrl::Https(authority) = &url
        && ServerName::try_from(authority.host.trim_matches(['[', ']'])).is_err()
    {
        at.error(
            format!(
                "the host of {} is not a valid name for a certificate",
                quoted(text)
            ),
            HINT,
        );
        return None;
    }
    Some(url)
}

fn ping_interval(
    interval: HumanDuration,
    protocol: UpstreamProtocol,
    at: &Location<'_>,
) -> Duration {
    let at = at.key("upstream_ping_interval");
    if protocol == UpstreamProtocol::Http1 {
        at.error(
            "HTTP/1.1 has no pings",
            "remove the key, or set `upstream_protocol = \"http2\"`",
        );
    }
    nonzero(interval, &at)
}

pub(super) fn prefix(raw: Option<String>, at: &Location<'_>) -> String {
    let Some(prefix) = raw else {
        return PREFIX.to_owned();
    };
    let is_plain = |segment: &str| {
        let is_plain_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain_byte)
    };
    let is_valid = prefix
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(is_plain))
        && prefix.len() <= 64;
    if !is_valid {
        let hint = "such as `/.doorward`: letters, digits and `-._~`, no trailing slash";
        at.error(format!("invalid path prefix {}", quoted(&prefix)), hint);
    }
    prefix
}

fn preserve_post_max_bytes(raw: Option<u32>, at: &Location<'_>) -> usize {
    let bytes = raw.unwrap_or(PRESERVE_POST_MAX_BYTES);
    if bytes != 0 && !(1024..=1024 * 1024).contains(&bytes) {
        at.error(
            format!("{} is out of range", quoted(bytes)),
            "from 1024 to 1048576 bytes, or 0 to preserve none",
        );
    }
    usize::try_from(bytes).unwrap_or_default()
}
