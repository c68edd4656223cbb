//! Wildcard hosts of an app: `public_url`, `wildcard_labels`, `wildcard_max_hosts` and the addresses
//! of `upstream` by label.

use super::super::raw::RawApp;
use super::super::report::{Location, quoted};
use super::server::{bounded, size};
use super::{elements, is_host};
use crate::policy::hosts::{AppHosts, Wildcard};
use crate::types::host_label::HostLabel;
use crate::types::net::Origin;
use crate::upstream::{ByLabel, LABEL, UpstreamTemplate};

const MAX_HOSTS: u32 = 1000;

/// Whether `host` is a wildcard: `*` in place of one label, before a host name.
pub(super) fn is_wildcard(host: &str) -> bool {
    let domain = host.strip_prefix("*.");
    domain.is_some_and(|domain| {
        is_host(domain) && domain.split('.').any(|label| label.parse::<u32>().is_err())
    })
}

/// Takes the keys of wildcard hosts out of `raw`.
pub(super) fn hosts(
    raw: &mut RawApp,
    origin: Option<&Origin>,
    prefix: &str,
    at: &Location<'_>,
) -> AppHosts {
    let labels = raw.wildcard_labels.take();
    let max_hosts = raw.wildcard_max_hosts.take();
    let Some(origin) = origin.filter(|origin| origin.host().starts_with("*.")) else {
        for (key, is_set) in [
            ("wildcard_labels", labels.is_some()),
            ("wildcard_max_hosts", max_hosts.is_some()),
        ] {
            if is_set && origin.is_some() {
                let hint =
                    "remove the key, or use a `public_url` such as `https://*.apps.example.com`";
                at.key(key).error("the app has one host", hint);
            }
        }
        return AppHosts::One;
    };
    let at_labels = at.key("wildcard_labels");
    let labels = labels.map(|labels| {
        let labels = elements(Some(labels), &at_labels);
        labels
            .filter_map(|(at, text)| {
                let label = HostLabel::parse(&text);
                if label.is_none() {
                    let hint =
                        "lower-case letters, digits and `-`, no `-` at either end, no `xn--`";
                    at.error(format!("{} is not a host label", quoted(&text)), hint);
                }
                label
            })
            .collect::<Vec<_>>()
    });
    if labels.as_ref().is_some_and(Vec::is_empty) && !at_labels.has_invalid() {
        at_labels.error("no label is listed", "list labels, or remove the key");
    }
    let callback = match raw.providers {
        Some(_) => "callback/PROVIDER",
        None => "callback",
    };
    let endpoints = Endpoints { prefix, callback };
    advise_registration(origin, labels.as_deref(), &endpoints, at);

    AppHosts::Wildcard(Wildcard {
        labels,
        max_hosts: size(bounded(
            max_hosts,
            &at.key("wildcard_max_hosts"),
            "hosts in memory",
            MAX_HOSTS,
            1..=100_000,
        )),
    })
}

/// The endpoints that a provider redirects to.
struct Endpoints<'a> {
    prefix: &'a str,
    callback: &'a str,
}

/// Says what the provider must know: each host has a redirect URI of its own.
fn advise_registration(
    origin: &Origin,
    labels: Option<&[HostLabel]>,
    endpoints: &Endpoints<'_>,
    at: &Location<'_>,
) {
    let Endpoints { prefix, callback } = endpoints;
    let hosts = match labels {
        Some([first, others @ ..]) => {
            let first = origin.at_label(first).map(|origin| origin.to_string());
            let first = first.unwrap_or_default();
            format!(
                "`{first}{prefix}/{callback}`, and the same for {} more",
                others.len()
            )
        }
        Some([]) | None => {
            let pattern = origin.to_string().replacen('*', LABEL, 1);
            format!("`{pattern}{prefix}/{callback}` for every host")
        }
    };
    at.key("public_url").advice(
        format!("the provider must have registered the redirect URI {hosts}"),
        format!(
            "the same holds for `{prefix}/signed-out` after a logout; most providers refuse wildcards, so register each host, or set `login_url` of the provider"
        ),
    );
}

/// The addresses by label, if `upstream` has `{label}`. `None` if there is an error.
pub(super) fn by_label(
    upstream: &str,
    hosts: &AppHosts,
    at: &Location<'_>,
) -> Option<Option<ByLabel>> {
    if !upstream.contains(LABEL) {
        return Some(None);
    }
    let Some(wildcard) = hosts.wildcard() else {
        let hint = "use a `public_url` such as `https://*.apps.example.com`";
        at.error("`{label}` needs a wildcard host", hint);
        return None;
    };
    let Some(template) = UpstreamTemplate::parse(upstream) else {
        let hint = "put it into the host or the path of a Unix socket, such as `http://{label}.apps.internal:8080`";
        at.error(
            format!("{} is not an address with a label", quoted(upstream)),
            hint,
        );
        return None;
    };
    if wildcard.labels.is_none() && !template.is_under_domain() {
        at.error(
            format!("{} lets clients choose any host", quoted(upstream)),
            "list `wildcard_labels`, or let the label stand before a domain, such as `http://{label}.apps.internal:8080`",
        );
        return None;
    }
    Some(Some(ByLabel {
        template,
        max_labels: wildcard.max_hosts,
    }))
}
