//! `upstream` and `upstream_…` of `[apps.NAME]` and of its routes: the address and its connections.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use rustls_pki_types::ServerName;

use super::super::files::Folder;
use super::super::raw::{OneOrMany, RawApp};
use super::super::report::{Location, quoted};
use super::super::values::HumanDuration;
use super::{check_host, elements, health_check, nonzero, server, upstream_tls, wildcard};
use crate::policy::hosts::AppHosts;
use crate::policy::request_info::is_host_and_port;
use crate::types::net::is_loopback_host;
use crate::upstream::{
    ByLabel, IdleReuse, LABEL, UpstreamHost, UpstreamProtocol, UpstreamSettings, UpstreamUrl,
};

/// The most addresses of an upstream.
const MAX_ADDRESSES: usize = 64;

pub(super) fn check(
    mut raw: RawApp,
    hosts: &AppHosts,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<UpstreamSettings> {
    let addresses = at.required(
        "upstream",
        raw.upstream.take(),
        "the address of the app, such as `http://127.0.0.1:3000`",
    );
    let addresses = addresses.map(|raw| addresses_of(raw, hosts, &at.key("upstream")));
    if let Some(addresses) = &addresses {
        affinity(
            raw.upstream_affinity,
            addresses,
            &at.key("upstream_affinity"),
        );
    }
    let url = addresses
        .as_ref()
        .and_then(|addresses| addresses.url.as_ref());
    let tls = upstream_tls::check(&mut raw, url, at, folder);
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

    let balancing = balancing(&mut raw, at);
    let health_check = raw.health_check.take();
    let health_check = health_check.map(|raw| health_check::check(raw, &at.key("health_check")));
    let host = upstream_host(raw.upstream_host.take(), &at.key("upstream_host"));
    let limits = upstream_limits(&raw, protocol, at);

    let addresses = addresses?;
    let mut settings = UpstreamSettings::at(addresses.url?);
    limits.apply_to(&mut settings);
    balancing.apply_to(&mut settings);
    settings.other_urls = addresses.others;
    settings.health_check = match health_check {
        Some(check) => Some(check?),
        None => None,
    };
    settings.by_label = addresses.by_label?;
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

/// The addresses of an upstream.
struct Addresses {
    /// The first one, if it is valid.
    url: Option<UpstreamUrl>,
    others: Vec<UpstreamUrl>,
    /// `None` if it is not valid.
    by_label: Option<Option<ByLabel>>,
}

fn addresses_of(raw: OneOrMany, hosts: &AppHosts, at: &Location<'_>) -> Addresses {
    let list = match raw {
        OneOrMany::One(text) => {
            if text.contains(LABEL) && text.starts_with("srv+") {
                let hint = "write the addresses themselves, with the label in their host";
                at.error(
                    format!("`{LABEL}` is not possible in the name of SRV records"),
                    hint,
                );
            }
            // Every label gives an address of the same form.
            let url = address(&text.replace(LABEL, "label"), at);
            return Addresses {
                url,
                others: Vec::new(),
                by_label: wildcard::by_label(&text, hosts, at),
            };
        }
        OneOrMany::Many(list) => list,
    };
    if list.is_empty() {
        at.error("no address is listed", "list one or more");
    } else if list.len() > MAX_ADDRESSES {
        at.error("too many addresses", format!("at most {MAX_ADDRESSES}"));
    }
    let mut urls: Vec<UpstreamUrl> = Vec::new();
    for (at, text) in elements(Some(list), at) {
        if text.contains(LABEL) {
            let hint = "a wildcard host has one upstream, with one address for each label";
            at.error(format!("`{LABEL}` is not possible in a list"), hint);
            continue;
        }
        let Some(url) = address(&text, &at) else {
            continue;
        };
        if matches!(url, UpstreamUrl::Srv(_)) {
            let hint = "SRV records are a list already";
            at.error("SRV records are not possible in a list", hint);
        } else if urls.contains(&url) {
            at.error(format!("{} is listed twice", quoted(&text)), "remove one");
        } else if urls
            .first()
            .is_some_and(|first| first.uses_tls() != url.uses_tls())
        {
            let hint = "`https` for all of them or for none";
            at.error("the addresses do not all use TLS", hint);
        } else {
            urls.push(url);
        }
    }
    let mut urls = urls.into_iter();
    Addresses {
        url: urls.next(),
        others: urls.collect(),
        by_label: Some(None),
    }
}

/// Affinity needs several addresses.
fn affinity(raw: Option<bool>, addresses: &Addresses, at: &Location<'_>) {
    if raw != Some(true) {
        return;
    }
    if matches!(addresses.by_label, Some(Some(_))) {
        at.error(
            format!("an upstream with `{LABEL}` has one address for each label"),
            "remove the key",
        );
    } else if addresses.others.is_empty()
        && addresses.url.as_ref().is_some_and(UpstreamUrl::is_fixed)
    {
        at.advice(
            "the upstream has one address only, so this has no effect",
            "list the other addresses in `upstream`, or remove the key",
        );
    }
}

/// How requests are spread among several addresses. `None` is the default.
struct Balancing {
    address_timeout: Option<Duration>,
    max_ejected_percent: Option<u32>,
    retry_statuses: Vec<StatusCode>,
    affinity: bool,
}

fn balancing(raw: &mut RawApp, at: &Location<'_>) -> Balancing {
    let at_percent = at.key("upstream_max_ejected_percent");
    let at_statuses = at.key("upstream_retry_statuses");
    let statuses = elements(raw.upstream_retry_statuses.take(), &at_statuses);
    Balancing {
        address_timeout: raw
            .upstream_address_timeout
            .map(|duration| nonzero(duration, &at.key("upstream_address_timeout"))),
        max_ejected_percent: raw
            .upstream_max_ejected_percent
            .map(|percent| server::bounded(Some(percent), &at_percent, "percent", 50, 0..=100)),
        retry_statuses: statuses
            .filter_map(|(at, number)| {
                let status = u16::try_from(number).ok();
                let status = status.and_then(|number| StatusCode::from_u16(number).ok());
                let status = status.filter(StatusCode::is_server_error);
                if status.is_none() {
                    let message = format!("{} is not the status of an error", quoted(number));
                    at.error(message, "500 to 599, such as 503");
                }
                status
            })
            .collect(),
        affinity: raw.upstream_affinity.take().unwrap_or_default(),
    }
}

impl Balancing {
    fn apply_to(self, settings: &mut UpstreamSettings) {
        settings.address_timeout = self.address_timeout.unwrap_or(settings.address_timeout);
        let percent = self.max_ejected_percent.map(u8::try_from);
        if let Some(Ok(percent)) = percent {
            settings.max_ejected_percent = percent;
        }
        settings.retry_statuses = self.retry_statuses;
        settings.affinity = self.affinity;
    }
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

fn address(text: &str, at: &Location<'_>) -> Option<UpstreamUrl> {
    const HINT: &str = "such as `http://127.0.0.1:3000`, `https://store.internal`, \
                        `unix:/run/store.sock` or `srv+http://_web._tcp.store.internal`";
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
                advise_tls(text, at);
            }
        }
        UpstreamUrl::Https(authority) => check_host(text, &authority.host, at)?,
        UpstreamUrl::Srv(service) if !service.is_tls => advise_tls(text, at),
        UpstreamUrl::Unix(_) | UpstreamUrl::Srv(_) => {}
    }
    let tls_name = match &url {
        UpstreamUrl::Https(authority) => Some(authority.host.trim_matches(['[', ']'])),
        UpstreamUrl::Srv(service) if service.is_tls => Some(service.domain()),
        UpstreamUrl::Http(_) | UpstreamUrl::Unix(_) | UpstreamUrl::Srv(_) => None,
    };
    if tls_name.is_some_and(|name| ServerName::try_from(name).is_err()) {
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

fn advise_tls(text: &str, at: &Location<'_>) {
    at.advice(
        format!(
            "{} is on another machine and reached without TLS: any client that can reach it directly can \
             send identity headers and act as any user",
            quoted(text)
        ),
        "let a firewall or network policy admit only doorward, or use `https` with \
         `upstream_cert_file`",
    );
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
