//! The numbers for Prometheus. Handles are made once and held: looking a series up by its labels on every request
//! would cost more than counting it. Labels never hold what a client sent, so the number of series is bounded.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
/// The last but the infinite one is the most that is written.
const COOKIE_BYTES: [f64; 7] = [1024.0, 2048.0, 3072.0, 4096.0, 5120.0, 6144.0, 7168.0];

/// Every series of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    upstream_duration: HistogramVec,
    /// Logins by `app` and `outcome`.
    pub logins: IntCounterVec,
    /// Logins of native apps with a password, by `app` and `outcome`.
    pub password_logins: IntCounterVec,
    /// Logouts by `app` and `outcome`.
    pub logouts: IntCounterVec,
    /// Forms that met no session, by `app` and what became of them.
    pub post_replays: IntCounterVec,
    /// How many forms this process had the store keep.
    pub preserved_posts: IntGauge,
    /// Bytes of forms that this process had the store keep.
    pub preserved_post_bytes: IntGauge,
    /// Logouts at the apps themselves by `app` and `outcome`.
    pub app_logouts: IntCounterVec,
    /// Refreshes of a session's tokens by `app` and `outcome`.
    pub refreshes: IntCounterVec,
    /// What the provider said about the end of sessions, by `app` and `outcome`: logout tokens, webhooks, frames.
    pub revocations: IntCounterVec,
    /// Refresh tokens that came again after they had been replaced, by `app` and `outcome`.
    pub thefts: IntCounterVec,
    /// Cookies that opened no session, by `app` and `reason`.
    pub sessions_rejected: IntCounterVec,
    /// What the cookies of a session take of a request, by `app`; what does not fit included.
    pub cookie_bytes: HistogramVec,
    /// Living sessions that were last seen under a key that only opens any more: zero once a rotation is over.
    pub sessions_on_previous_keys: IntGauge,
    /// Access tokens that opened nothing, by `app` and `reason`.
    pub tokens_rejected: IntCounterVec,
    /// Questions to a provider about an opaque token, by `app` and `outcome`.
    pub introspections: IntCounterVec,
    /// Opaque tokens of which it is remembered what the provider said.
    pub introspected_tokens: IntGauge,
    /// Entries of the store that this process holds.
    pub store_entries: IntGauge,
    /// Calls to the store by `call` and `outcome`.
    pub store_calls: IntCounterVec,
    /// How long they took, by `call`.
    pub store_call_duration: HistogramVec,
    /// Calls to the store that are under way.
    pub store_calls_in_flight: IntGauge,
    /// Whether the store answered the last call.
    pub store_up: IntGauge,
    /// Sessions that were ended before their time and are remembered by name.
    pub revoked_sessions: IntGauge,
    /// Whether all that was announced of ended sessions is known here: 1 or 0.
    pub revocation_sync_up: IntGauge,
    /// Announcements of ended sessions that could not be read.
    pub revocation_events_invalid: IntGauge,
    /// Seconds by which a provider's clock is ahead of ours, by `provider`.
    pub provider_clock_skew: IntGaugeVec,
    /// Keys of a provider that can be used, by `provider`.
    pub provider_keys: IntGaugeVec,
    /// Keys of a provider that cannot be used, by `provider`.
    pub provider_keys_skipped: IntGaugeVec,
    /// Answers that the backend did not give, by `app` and `code`.
    pub upstream_errors: IntCounterVec,
    /// Connections to backends that were opened, by `app`.
    pub upstream_connections: IntCounterVec,
    /// Requests whose answer's head is not known yet, by `app`; of all apps together under the empty name.
    pub requests_in_flight: IntGaugeVec,
    /// Requests that wait until fewer are under way, by `app` likewise.
    pub requests_queued: IntGaugeVec,
    /// Requests that are under way to backends over HTTP/2.
    pub upstream_http2_streams: IntGauge,
    /// Client connections that are open, tunnels included.
    pub connections: IntGauge,
    /// Client connections that are idle and gave their buffers back.
    pub connections_hibernating: IntGauge,
    /// Client connections that were accepted.
    pub connections_accepted: IntCounter,
    /// How often accepting paused since all connections were taken.
    pub accept_pauses: IntCounter,
    /// Connections that ended otherwise than by agreement, by `reason`: the refusals that have no access line.
    pub connection_errors: IntCounterVec,
    /// How often certificates were read anew, by `outcome`.
    pub certificate_reloads: IntCounterVec,
    /// Requests that are under way over HTTP/2.
    pub http2_streams: IntGauge,
    /// Upgraded connections (WebSocket) that are open.
    pub tunnels: IntGauge,
    /// Upgraded connections that ended, by `app` and `reason`.
    pub tunnels_ended: IntCounterVec,
    /// Access lines that were lost since the writer could not keep up.
    pub dropped_log_lines: IntCounter,
}

/// One app's handles, held by each worker.
#[derive(Debug)]
pub struct AppMetrics {
    app: String,
    requests: IntCounterVec,
    by_code: Vec<(&'static str, [OnceLock<IntCounter>; 5])>,
    seconds: Histogram,
    upstream_duration: Histogram,
}

impl Metrics {
    /// All series, at zero.
    ///
    /// # Errors
    /// Two series bear one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let histograms = |name: &str, help: &str, label: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histograms = HistogramVec::new(options, &[label])?;
            registry.register(Box::new(histograms.clone()))?;
            Ok::<_, prometheus::Error>(histograms)
        };
        Ok(Self {
            requests: counters(
                "doorward_requests_total",
                "Answered requests by app, decision and status class.",
                &["app", "code", "status"],
            )?,
            request_duration: histograms(
                "doorward_request_duration_seconds",
                "From a request's head to its answer's last byte.",
                "app",
                &SECONDS,
            )?,
            upstream_duration: histograms(
                "doorward_upstream_duration_seconds",
                "The backend's time to its answer's head.",
                "app",
                &SECONDS,
            )?,
            logins: counters(
                "doorward_logins_total",
                "Logins by outcome.",
                &["app", "outcome"],
            )?,
            password_logins: counters(
                "doorward_password_logins_total",
                "Logins of native apps with a password, by outcome.",
                &["app", "outcome"],
            )?,
            logouts: counters(
                "doorward_logouts_total",
                "Logouts by outcome.",
                &["app", "outcome"],
            )?,
            post_replays: counters(
                "doorward_post_replays_total",
                "Forms that met no session, by what became of them.",
                &["app", "outcome"],
            )?,
            preserved_posts: gauge(
                "doorward_preserved_posts",
                "Forms that wait for their senders.",
            )?,
            preserved_post_bytes: gauge(
                "doorward_preserved_post_bytes",
                "Room that forms which wait for their senders take, in bytes.",
            )?,
            app_logouts: counters(
                "doorward_app_logouts_total",
                "Calls of the apps' own logouts by outcome.",
                &["app", "outcome"],
            )?,
            refreshes: counters(
                "doorward_refreshes_total",
                "Token refreshes by outcome.",
                &["app", "outcome"],
            )?,
            revocations: counters(
                "doorward_revocations_total",
                "Logout tokens, webhooks and logout frames from the provider by outcome.",
                &["app", "outcome"],
            )?,
            thefts: counters(
                "doorward_refresh_tokens_reused_total",
                "Refresh tokens that came again after they had been replaced.",
                &["app", "outcome"],
            )?,
            sessions_rejected: counters(
                "doorward_sessions_rejected_total",
                "Cookies that opened no session, by reason.",
                &["app", "reason"],
            )?,
            cookie_bytes: histograms(
                "doorward_session_cookie_bytes",
                "What a session's cookies take of a request, at most 7168; more is refused.",
                "app",
                &COOKIE_BYTES,
            )?,
            sessions_on_previous_keys: gauge(
                "doorward_sessions_on_previous_keys",
                "Sessions used within their idle limit whose cookies an older key sealed.",
            )?,
            tokens_rejected: counters(
                "doorward_tokens_rejected_total",
                "Access tokens that opened nothing, by reason.",
                &["app", "reason"],
            )?,
            introspections: counters(
                "doorward_introspections_total",
                "Questions to a provider about an opaque token, by outcome.",
                &["app", "outcome"],
            )?,
            introspected_tokens: gauge(
                "doorward_introspected_tokens",
                "Opaque tokens of which it is remembered what the provider said.",
            )?,
            store_entries: gauge(
                "doorward_store_entries",
                "Entries of the store in this process.",
            )?,
            store_calls: counters(
                "doorward_store_calls_total",
                "Calls to the store by outcome.",
                &["call", "outcome"],
            )?,
            store_call_duration: histograms(
                "doorward_store_call_duration_seconds",
                "The store's time to its answer.",
                "call",
                &SECONDS,
            )?,
            store_calls_in_flight: gauge(
                "doorward_store_calls_in_flight",
                "Calls to the store under way.",
            )?,
            store_up: gauge(
                "doorward_store_up",
                "Whether the store answered the last call.",
            )?,
            revoked_sessions: gauge(
                "doorward_revoked_sessions",
                "Sessions ended before their time, by name.",
            )?,
            revocation_sync_up: gauge(
                "doorward_revocation_sync_up",
                "Whether all that replicas announced of ended sessions is known here.",
            )?,
            revocation_events_invalid: gauge(
                "doorward_revocation_events_invalid_total",
                "Announcements of ended sessions that could not be read.",
            )?,
            provider_clock_skew: gauges(
                "doorward_provider_clock_skew_seconds",
                "Seconds by which a provider's clock is ahead of ours.",
                "provider",
            )?,
            provider_keys: gauges(
                "doorward_provider_keys",
                "Keys of a provider that can be used.",
                "provider",
            )?,
            provider_keys_skipped: gauges(
                "doorward_provider_keys_skipped",
                "Keys of a provider that cannot be used.",
                "provider",
            )?,
            upstream_errors: counters(
                "doorward_upstream_errors_total",
                "Requests that the backend did not answer properly.",
                &["app", "code"],
            )?,
            upstream_connections: counters(
                "doorward_upstream_connections_total",
                "Connections opened to backends.",
                &["app"],
            )?,
            requests_in_flight: gauges(
                "doorward_requests_in_flight",
                "Requests whose answer's head is not known yet; of all apps together under the empty name.",
                "app",
            )?,
            requests_queued: gauges(
                "doorward_requests_queued",
                "Requests that wait until fewer are under way, in all or at their app.",
                "app",
            )?,
            upstream_http2_streams: gauge(
                "doorward_upstream_http2_streams",
                "Requests under way to backends over HTTP/2.",
            )?,
            connections: gauge("doorward_connections", "Open client connections.")?,
            connections_hibernating: gauge(
                "doorward_connections_hibernating",
                "Open client connections that are idle and hold little more than a socket.",
            )?,
            connections_accepted: counter(
                "doorward_connections_accepted_total",
                "Accepted client connections.",
            )?,
            accept_pauses: counter(
                "doorward_accept_pauses_total",
                "Pauses of accepting at the connection limit.",
            )?,
            connection_errors: counters(
                "doorward_connection_errors_total",
                "Connections refused or cut below HTTP requests.",
                &["reason"],
            )?,
            certificate_reloads: counters(
                "doorward_certificate_reloads_total",
                "Certificates read anew since their files changed; refused: the old ones stay.",
                &["outcome"],
            )?,
            http2_streams: gauge("doorward_http2_streams", "Requests under way over HTTP/2.")?,
            tunnels: gauge(
                "doorward_upgraded_connections",
                "Open upgraded connections.",
            )?,
            tunnels_ended: counters(
                "doorward_upgraded_connections_ended_total",
                "Upgraded connections that ended, by reason.",
                &["app", "reason"],
            )?,
            dropped_log_lines: counter(
                "doorward_access_log_dropped_total",
                "Access lines lost to a slow writer.",
            )?,
            registry,
        })
    }

    /// The handles of one app; `codes` are the decisions' codes that it will count.
    pub fn app(&self, name: &str, codes: &[&'static str]) -> AppMetrics {
        AppMetrics {
            app: name.to_owned(),
            requests: self.requests.clone(),
            by_code: codes
                .iter()
                .map(|code| (*code, [const { OnceLock::new() }; 5]))
                .collect(),
            seconds: self.request_duration.with_label_values(&[name]),
            upstream_duration: self.upstream_duration.with_label_values(&[name]),
        }
    }

    /// Everything in the text format that Prometheus reads.
    ///
    /// # Errors
    /// A series cannot be written.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl AppMetrics {
    /// One request was answered to its last byte.
    pub fn answered(
        &self,
        code: &'static str,
        status: u16,
        took: Duration,
        upstream: Option<Duration>,
    ) {
        let class = usize::from(status / 100)
            .saturating_sub(1)
            .min(CLASSES.len() - 1);
        let label = CLASSES.get(class).copied().unwrap_or_default();
        let series = || {
            self.requests
                .with_label_values(&[self.app.as_str(), code, label])
        };
        let held = self
            .by_code
            .iter()
            .find(|(known, _)| *known == code)
            .and_then(|(_, classes)| classes.get(class));
        match held {
            Some(held) => held.get_or_init(series).inc(),
            None => series().inc(),
        }
        self.seconds.observe(took.as_secs_f64());
        if let Some(upstream) = upstream {
            self.upstream_duration.observe(upstream.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_app_code_and_class() {
        let metrics = Metrics::new().unwrap();
        let store = metrics.app("store", &["forwarded"]);
        store.answered(
            "forwarded",
            204,
            Duration::from_millis(3),
            Some(Duration::from_millis(2)),
        );
        store.answered("forwarded", 200, Duration::from_millis(3), None);
        store.answered("unforeseen", 599, Duration::from_millis(3), None);
        let text = metrics.text().unwrap();
        for line in [
            r#"doorward_requests_total{app="store",code="forwarded",status="2xx"} 2"#,
            r#"doorward_requests_total{app="store",code="unforeseen",status="5xx"} 1"#,
            r#"doorward_request_duration_seconds_count{app="store"} 3"#,
            r#"doorward_upstream_duration_seconds_count{app="store"} 1"#,
            "doorward_connections 0",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
