//! `[tracing]`.

use url::Url;

use super::super::raw::RawTracing;
use super::super::report::{Location, quoted};
use super::super::settings::TracingConfig;
use crate::types::net::is_loopback_host;
use crate::types::trace_context::{TraceSettings, TraceSource};

pub(super) fn check(raw: RawTracing, at: &Location<'_>) -> TracingConfig {
    let source = raw.context.unwrap_or_default();
    let ratio = raw.sampling_ratio.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&ratio) {
        at.key("sampling_ratio").error(
            "the ratio must be from 0 to 1",
            "`0.1` for one trace in ten",
        );
    }
    let endpoint = raw.otlp_endpoint;
    let endpoint = endpoint.and_then(|text| endpoint_url(&text, &at.key("otlp_endpoint")));
    if endpoint.is_some() && source == TraceSource::Off {
        at.key("otlp_endpoint").error(
            "there are no traces to export without `context`",
            "`context = \"trusted\"`",
        );
    }
    TracingConfig {
        requests: TraceSettings {
            source,
            sampling_ratio: ratio,
        },
        otlp_endpoint: endpoint,
    }
}

fn endpoint_url(text: &str, at: &Location<'_>) -> Option<Url> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    let Some(url) = url else {
        at.error(
            format!("{} is no URL of a collector", quoted(text)),
            "`http://127.0.0.1:4318/v1/traces`",
        );
        return None;
    };
    let is_local = url.host_str().is_some_and(is_loopback_host);
    if url.scheme() == "http" && !is_local {
        at.warning(
            "spans have paths and client addresses, and go over the network without TLS",
            "use https, or a collector on this machine",
        );
    }
    Some(url)
}
