//! Prometheus metrics. Handles of hot series are created once and held, because a lookup by labels
//! costs more than the increment. No label holds client input, so the number of series is bounded.

use prometheus::core::Collector;
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::exemplars::Exemplars;
use super::open_metrics::{self, FamilyExemplars};

/// The histogram that has exemplars.
const RESPONSE_HEAD_DURATION: &str = "doorward_response_head_duration_seconds";

/// Upper bounds of duration buckets, in seconds. The last one is the default of `response_timeout`.
pub(super) const SECONDS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Upper bounds of buckets for the time in Doorward itself, in seconds.
const OWN_SECONDS: [f64; 12] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0,
];

/// Upper bounds of buckets for what a user does at the provider, in seconds. The last one is the
/// lifetime of a login attempt.
const LOGIN_SECONDS: [f64; 9] = [1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 1200.0];

/// Upper bounds of cookie size buckets, in bytes. The last one is the cookie budget.
const COOKIE_BYTES: [f64; 7] = [1024.0, 2048.0, 3072.0, 4096.0, 5120.0, 6144.0, 7168.0];

/// The name and help of a metric family, without its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyName {
    /// The name.
    pub name: &'static str,
    /// The type that holds it, such as `IntCounterVec`.
    pub holder: &'static str,
    /// The labels.
    pub labels: &'static [&'static str],
}

/// Declares [`Metrics`]: one field for each metric family. The doc comment is also the help text.
macro_rules! metric_families {
    ($(
        #[doc = $help:literal]
        $vis:vis $field:ident: $family:ident =
            $name:literal $(, [$($label:literal),+])? $(, $buckets:ident)?;
    )+) => {
        /// Every metric family of this process.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            pub(super) exemplars: Exemplars,
            $(
                #[doc = $help]
                $vis $field: $family,
            )+
        }

        impl Metrics {
            /// Every family. The documentation is tested against it.
            pub const FAMILIES: &[FamilyName] = &[
                $(FamilyName {
                    name: $name,
                    holder: stringify!($family),
                    labels: &[$($($label),+)?],
                },)+
            ];

            /// Registers all families. Families without labels start at zero.
            ///
            /// # Errors
            /// Two families have the same name, or a name is not valid.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                #[cfg(target_os = "linux")]
                registry.register(Box::new(ProcessCollector::for_self()))?;
                Ok(Self {
                    $($field: register(
                        &registry,
                        &Spec {
                            name: $name,
                            help: $help.trim_ascii(),
                            labels: &[$($($label),+)?],
                            buckets: &[$(&$buckets)?],
                        },
                    )?,)+
                    registry,
                    exemplars: Exemplars::default(),
                })
            }
        }
    };
}

metric_families! {
    /// Requests answered to the last byte of the response, by decision code and status class.
    pub(super) requests: IntCounterVec = "doorward_requests_total", ["app", "decision", "status_class"];
    /// Requests for a decision that other proxies sent, by dialect and outcome.
    pub checks: IntCounterVec = "doorward_checks_total", ["dialect", "outcome"];
    /// Time from the request head to the last byte of the response, in seconds.
    pub(super) request_duration: HistogramVec = "doorward_request_duration_seconds", ["app"], SECONDS;
    /// Time from the request head to the response head, in seconds.
    pub(super) response_head_duration: HistogramVec =
        "doorward_response_head_duration_seconds", ["app", "method_class"], SECONDS;
    /// Time in Doorward itself, without calls to provider, store and app, in seconds.
    pub(super) own_duration: HistogramVec = "doorward_own_duration_seconds", ["app"], OWN_SECONDS;
    /// Time from sending a request to the app until its response head, in seconds.
    pub upstream_duration: HistogramVec =
        "doorward_upstream_duration_seconds", ["app", "upstream"], SECONDS;
    /// Requests in flight in this process, until their response head is known.
    pub server_requests_in_flight: IntGauge = "doorward_server_requests_in_flight";
    /// Requests queued at the limit of the whole server.
    pub server_requests_queued: IntGauge = "doorward_server_requests_queued";
    /// Bodies of requests to Doorward's own endpoints that are being read.
    pub endpoint_body_reads_in_flight: IntGauge = "doorward_endpoint_body_reads_in_flight";
    /// Bytes that requests and responses in flight take of the budget.
    pub bytes_in_flight: IntGauge = "doorward_in_flight_bytes";
    /// Requests in flight for an app with a limit, until their response head is known.
    pub requests_in_flight: IntGaugeVec = "doorward_requests_in_flight", ["app"];
    /// Requests queued at the limit of an app.
    pub requests_queued: IntGaugeVec = "doorward_requests_queued", ["app"];
    /// Clients that a limit per client remembers.
    pub client_limit_entries: IntGaugeVec = "doorward_client_limit_entries", ["app", "by"];
    /// Clients that a limit per client forgot although they had used up a part of it.
    pub client_limit_evictions: IntCounterVec =
        "doorward_client_limit_evictions_total", ["app", "by"];
    /// 1 while the app is in maintenance, otherwise 0.
    pub maintenance: IntGaugeVec = "doorward_maintenance", ["app"];

    /// Logins that were started, by what started them.
    pub logins_started: IntCounterVec = "doorward_logins_started_total", ["app", "outcome", "provider"];
    /// Time from the start of a login until its session, in seconds.
    pub login_duration: HistogramVec =
        "doorward_login_duration_seconds", ["app", "provider"], LOGIN_SECONDS;
    /// Logins that came back from the provider, by outcome.
    pub logins: IntCounterVec = "doorward_logins_total", ["app", "outcome", "provider"];
    /// Password logins of native apps, by outcome.
    pub password_logins: IntCounterVec = "doorward_password_logins_total", ["app", "outcome"];
    /// Logouts, by outcome.
    pub logouts: IntCounterVec = "doorward_logouts_total", ["app", "outcome", "provider"];
    /// Calls of the app's own logout, by outcome.
    pub app_logouts: IntCounterVec = "doorward_app_logouts_total", ["app", "outcome"];
    /// Registrations of device keys, by outcome.
    pub device_registrations: IntCounterVec = "doorward_device_registrations_total", ["app", "outcome"];
    /// Proofs of device-bound sessions, by outcome.
    pub device_proofs: IntCounterVec = "doorward_device_proofs_total", ["app", "outcome"];
    /// Sessions that another client used, by outcome.
    pub client_changes: IntCounterVec = "doorward_client_changes_total", ["app", "outcome"];
    /// Token refreshes, by outcome.
    pub refreshes: IntCounterVec = "doorward_refreshes_total", ["app", "outcome", "provider"];
    /// Token refreshes in flight.
    pub refreshes_in_flight: IntGauge = "doorward_refreshes_in_flight";
    /// Superseded refresh tokens that were presented again, by outcome.
    pub refresh_tokens_reused: IntCounterVec =
        "doorward_refresh_tokens_reused_total", ["app", "outcome", "provider"];
    /// Revocations by logout token, logout frame, webhook or operator, by outcome.
    pub revocations: IntCounterVec = "doorward_revocations_total", ["app", "outcome", "provider"];
    /// Requests without a valid session, by reason.
    pub sessions_rejected: IntCounterVec = "doorward_sessions_rejected_total", ["app", "reason"];
    /// Size of the cookies of a session in one request, in bytes. More than 7168 is refused.
    pub session_cookie_bytes: HistogramVec =
        "doorward_session_cookie_bytes", ["app"], COOKIE_BYTES;
    /// Active sessions whose cookies are sealed with a previous key. Zero after a key rotation.
    pub sessions_on_previous_keys: IntGauge = "doorward_sessions_on_previous_keys";
    /// Revocations that this process remembers.
    pub revoked_sessions: IntGauge = "doorward_revoked_sessions";
    /// Revocations that the store has not taken yet.
    pub revocations_pending: IntGauge = "doorward_revocations_pending";
    /// Revocations as a part of the limit, above which they are merged.
    pub revocation_limit_ratio: GaugeVec = "doorward_revocation_limit_ratio", ["app"];
    /// 1 if all published revocations are known here, otherwise 0.
    pub revocation_sync_up: IntGauge = "doorward_revocation_sync_up";
    /// Published revocations that could not be decrypted or parsed.
    pub revocation_events_invalid: IntCounter = "doorward_revocation_events_invalid_total";
    /// Refreshed tokens that this process holds until a browser has them.
    pub successors: IntGauge = "doorward_refreshed_tokens_held";
    /// Sessions whose activity on streams this process remembers.
    pub streamed_sessions: IntGauge = "doorward_stream_activity_sessions";
    /// Sessions in the session list of this process.
    pub listed_sessions: IntGauge = "doorward_listed_sessions";
    /// Sessions that the session list left out or replaced, because it was full or their user had too many.
    pub sessions_not_listed: IntCounter = "doorward_sessions_not_listed_total";
    /// Whether the session list has what other replicas have published.
    pub session_list_sync_up: IntGauge = "doorward_session_list_sync_up";
    /// Refreshes of sessions whose rotation state was missing in the store.
    pub rotation_states_missing: IntCounterVec =
        "doorward_rotation_states_missing_total", ["app"];
    /// Form submissions without a session, by outcome.
    pub post_replays: IntCounterVec = "doorward_post_replays_total", ["app", "outcome"];
    /// Form submissions that this process stored for replay after login.
    pub preserved_posts: IntGauge = "doorward_preserved_posts";
    /// Size of the form submissions stored for replay, in bytes.
    pub preserved_post_bytes: IntGauge = "doorward_preserved_post_bytes";

    /// Access tokens that were rejected, by reason.
    pub tokens_rejected: IntCounterVec = "doorward_tokens_rejected_total", ["app", "reason"];
    /// Introspection requests to the provider, by outcome.
    pub introspections: IntCounterVec = "doorward_introspections_total", ["app", "outcome"];
    /// Introspection results in the cache.
    pub introspected_tokens: IntGauge = "doorward_introspected_tokens";
    /// Checked passwords of Basic clients in the cache.
    pub basic_cached_logins: IntGauge = "doorward_basic_cached_logins";

    /// 1 if the last fetch of the provider's metadata and keys succeeded, otherwise 0.
    pub provider_up: IntGaugeVec = "doorward_provider_up", ["provider"];
    /// When the provider's metadata and keys were last fetched, in seconds since the epoch.
    pub provider_last_fetch: IntGaugeVec =
        "doorward_provider_last_fetch_timestamp_seconds", ["provider"];
    /// Requests to the provider, by endpoint and outcome.
    pub provider_calls: IntCounterVec =
        "doorward_provider_calls_total", ["provider", "endpoint", "outcome"];
    /// Duration of requests to the provider, in seconds.
    pub provider_call_duration: HistogramVec =
        "doorward_provider_call_duration_seconds", ["provider", "endpoint"], SECONDS;
    /// Seconds by which the clock of the provider is ahead.
    pub provider_clock_skew: IntGaugeVec = "doorward_provider_clock_skew_seconds", ["provider"];
    /// Usable keys of the provider.
    pub provider_keys: IntGaugeVec = "doorward_provider_keys", ["provider"];
    /// 1 if so many refreshes failed that only one a second is sent, otherwise 0.
    pub provider_circuit_open: IntGaugeVec = "doorward_provider_circuit_open", ["provider"];
    /// Keys of the provider that cannot be used.
    pub provider_keys_skipped: IntGaugeVec = "doorward_provider_keys_skipped", ["provider"];

    /// 1 if the last store call succeeded, otherwise 0.
    pub store_up: IntGauge = "doorward_store_up";
    /// Store calls, by call and outcome.
    pub store_calls: IntCounterVec = "doorward_store_calls_total", ["call", "outcome"];
    /// Duration of store calls, in seconds.
    pub store_call_duration: HistogramVec =
        "doorward_store_call_duration_seconds", ["call"], SECONDS;
    /// Store calls in flight.
    pub store_calls_in_flight: IntGauge = "doorward_store_calls_in_flight";
    /// Times that the store was found to have lost data.
    pub store_data_losses: IntCounter = "doorward_store_data_losses_total";
    /// Entries of the memory store.
    pub store_entries: IntGauge = "doorward_store_entries";

    /// Requests that the app did not answer properly, by code.
    pub upstream_errors: IntCounterVec =
        "doorward_upstream_errors_total", ["app", "upstream", "code"];
    /// Connections opened to the app.
    pub upstream_connections: IntCounterVec =
        "doorward_upstream_connections_total", ["app", "upstream"];
    /// Labels of wildcard hosts with connections of their own, in all workers.
    pub upstream_label_pools: IntGaugeVec = "doorward_upstream_label_pools", ["app"];
    /// Labels of wildcard hosts whose connections were closed.
    pub upstream_label_pools_closed: IntCounterVec =
        "doorward_upstream_label_pools_closed_total", ["app"];
    /// Attempts to connect to one address of the app that failed or were overtaken by another.
    pub upstream_address_failures: IntCounterVec =
        "doorward_upstream_address_failures_total", ["app"];
    /// 1 if one of several addresses of the app gets requests, 0 if it is ejected or unhealthy.
    pub upstream_address_up: IntGaugeVec = "doorward_upstream_address_up", ["app", "address"];
    /// Requests to one of several addresses of the app whose response is not complete.
    pub upstream_address_requests_in_flight: IntGaugeVec =
        "doorward_upstream_address_requests_in_flight", ["app", "address"];
    /// Ejections of one of several addresses of the app.
    pub upstream_ejections: IntCounterVec =
        "doorward_upstream_ejections_total", ["app", "upstream"];
    /// Requests that were sent to another address after this one.
    pub upstream_retries: IntCounterVec = "doorward_upstream_retries_total", ["app", "upstream"];
    /// Lookups of host names, by outcome.
    pub dns_lookups: IntCounterVec = "doorward_dns_lookups_total", ["outcome"];
    /// Idle connections to apps that are kept for one client, because of NTLM or Negotiate.
    pub upstream_pinned_connections: IntGauge = "doorward_upstream_pinned_connections";
    /// Requests in flight to apps over HTTP/2.
    pub upstream_http2_streams: IntGauge = "doorward_upstream_http2_streams";
    /// Open upgraded connections (WebSocket).
    pub upgraded_connections: IntGauge = "doorward_upgraded_connections";
    /// Upgraded connections that ended, by reason.
    pub upgraded_connections_ended: IntCounterVec =
        "doorward_upgraded_connections_ended_total", ["app", "reason"];

    /// Open client connections, upgraded ones included.
    pub connections: IntGauge = "doorward_connections";
    /// Open client connections that are idle and released their buffers.
    pub connections_hibernating: IntGauge = "doorward_connections_hibernating";
    /// Accepted client connections.
    pub connections_accepted: IntCounter = "doorward_connections_accepted_total";
    /// Idle client connections closed at the connection limit, to make space for new ones.
    pub connections_evicted: IntCounter = "doorward_connections_evicted_total";
    /// Times that accepting paused at the connection limit.
    pub accept_pauses: IntCounter = "doorward_accept_pauses_total";
    /// Client connections refused or closed without an HTTP response, by reason.
    pub connection_errors: IntCounterVec = "doorward_connection_errors_total", ["reason"];
    /// Requests of clients in flight over HTTP/2.
    pub http2_streams: IntGauge = "doorward_http2_streams";
    /// When the certificate expires, in seconds since the epoch.
    pub certificate_expiry: IntGaugeVec =
        "doorward_certificate_expiry_timestamp_seconds", ["cert_file"];
    /// Hosts of apps that no certificate is valid for.
    pub hosts_without_certificate: IntGauge = "doorward_hosts_without_certificate";

    /// Configuration reloads, by trigger and outcome.
    pub config_reloads: IntCounterVec = "doorward_config_reloads_total", ["trigger", "outcome"];
    /// Whether the last attempt to load the configuration succeeded.
    pub config_last_reload_successful: IntGauge = "doorward_config_last_reload_successful";
    /// When the configuration was last loaded successfully, in seconds since the epoch.
    pub config_last_reload_success: IntGauge =
        "doorward_config_last_reload_success_timestamp_seconds";
    /// When the key that seals cookies was generated, in seconds since the epoch; 0 if unknown.
    pub sealing_key_created: IntGauge = "doorward_sealing_key_created_timestamp_seconds";
    /// The configuration in use, by its hash.
    pub config_info: IntGaugeVec = "doorward_config_info", ["hash"];
    /// Configuration keys whose values need a restart.
    pub config_restart_keys: IntGauge = "doorward_config_restart_keys";

    /// 1, with the version of this process.
    pub build_info: IntGaugeVec = "doorward_build_info", ["version"];
    /// Access log entries dropped because the writer could not keep up.
    pub access_log_dropped: IntCounter = "doorward_access_log_dropped_total";
    /// Audit events dropped because the target did not take them.
    pub audit_log_dropped: IntCounter = "doorward_audit_log_dropped_total";
    /// Spans that the collector of traces took.
    pub spans_exported: IntCounter = "doorward_spans_exported_total";
    /// Spans dropped because the collector did not take them.
    pub spans_dropped: IntCounter = "doorward_spans_dropped_total";
    /// Log events dropped because standard error did not take them.
    pub log_events_dropped: IntCounter = "doorward_log_events_dropped_total";
}

/// The declaration of one metric family.
struct Spec {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    /// The upper bounds of a histogram's buckets: one list, or none for another type.
    buckets: &'static [&'static [f64]],
}

impl Spec {
    fn options(&self) -> Opts {
        Opts::new(self.name, self.help)
    }
}

/// A type of metric family.
trait Family: Collector + Clone + Sized + 'static {
    fn create(spec: &Spec) -> Result<Self, prometheus::Error>;
}

impl Family for IntCounter {
    fn create(spec: &Spec) -> Result<Self, prometheus::Error> {
        Self::with_opts(spec.options())
    }
}

impl Family for IntGauge {
    fn create(spec: &Spec) -> Result<Self, prometheus::Error> {
        Self::with_opts(spec.options())
    }
}

impl Family for GaugeVec {
    fn create(spec: &Spec) -> Result<Self, prometheus::Error> {
        Self::new(spec.options(), spec.labels)
    }
}

impl Family for IntCounterVec {
    fn create(spec: &Spec) -> Result<Self, prometheus::Error> {
        Self::new(spec.options(), spec.labels)
    }
}

impl Family for IntGaugeVec {
    fn create(spec: &Spec) -> Result<Self, prometheus::Error> {
        Self::new(spec.options(), spec.labels)
    }
}

impl Family for HistogramVec {
    fn create(spec: &Spec) -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::from(spec.options()).buckets(spec.buckets.concat());
        Self::new(options, spec.labels)
    }
}

fn register<F: Family>(registry: &Registry, spec: &Spec) -> Result<F, prometheus::Error> {
    let family = F::create(spec)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

impl Metrics {
    /// All metrics in the Prometheus text format.
    ///
    /// # Errors
    /// A family cannot be encoded.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// All metrics in the OpenMetrics text format, with exemplars. `None` if there are no exemplars,
    /// because no trace is recorded.
    pub fn text_with_exemplars(&self) -> Option<String> {
        let series = self.exemplars.all();
        let exemplars = FamilyExemplars {
            name: RESPONSE_HEAD_DURATION,
            series: &series,
        };
        let has_exemplars = series.iter().any(|series| !series.is_empty());
        has_exemplars.then(|| open_metrics::text(&self.registry.gather(), &exemplars))
    }
}

#[cfg(test)]
mod tests {
    use prometheus::proto::MetricType;

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn process_is_measured() {
        let text = Metrics::new().unwrap().text().unwrap();
        for name in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_threads",
        ] {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            assert!(line.unwrap().parse::<u64>().unwrap() > 0, "{name}");
        }
    }

    /// In OpenMetrics a counter's family has the name without `_total`.
    #[test]
    fn names_of_families_are_unique_in_openmetrics_too() {
        let names = Metrics::FAMILIES.iter().map(|family| family.name);
        let names = names.map(|name| name.strip_suffix("_total").unwrap_or(name));
        let mut seen = std::collections::HashSet::new();
        for name in names {
            assert!(seen.insert(name), "{name}");
        }
    }

    /// The conventions that `promtool check metrics` tests, for families without labels.
    #[test]
    fn names_and_help_texts_follow_the_conventions() {
        let families = Metrics::new().unwrap().registry.gather();
        assert!(families.len() > 15, "{}", families.len());
        for family in families {
            let (name, help) = (family.name(), family.help());
            if name.starts_with("process_") {
                continue;
            }
            assert!(name.starts_with("doorward_"), "{name}");
            let is_counter = family.get_field_type() == MetricType::COUNTER;
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            assert!(help.len() > 10 && help.ends_with('.'), "{name}: {help:?}");
        }
    }
}
