//! Metrics of the requests to one provider: number and duration by endpoint and outcome.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec};

use super::error::{Endpoint, ProviderError};
use crate::telemetry::metrics::Metrics;
use crate::types::oauth::ProviderName;

/// The endpoints that a running server calls.
const ENDPOINTS: [Endpoint; 8] = [
    Endpoint::Discovery,
    Endpoint::Keys,
    Endpoint::Token,
    Endpoint::UserInfo,
    Endpoint::Revocation,
    Endpoint::Introspection,
    Endpoint::PushedAuthorization,
    Endpoint::JwtRefresh,
];

const OUTCOMES: [&str; 5] = ["ok", "rejected", "failed", "unreachable", "no_response"];

/// The metrics of one provider.
#[derive(Debug)]
pub(super) struct CallMetrics {
    provider: String,
    calls: IntCounterVec,
    duration: HistogramVec,
}

impl CallMetrics {
    /// All series begin at zero.
    pub(super) fn new(provider: &ProviderName, metrics: &Metrics) -> Self {
        let own = Self {
            provider: provider.to_string(),
            calls: metrics.provider_calls.clone(),
            duration: metrics.provider_call_duration.clone(),
        };
        for endpoint in ENDPOINTS {
            for outcome in OUTCOMES {
                own.calls
                    .with_label_values(&[own.provider.as_str(), endpoint.name(), outcome]);
            }
            own.duration
                .with_label_values(&[own.provider.as_str(), endpoint.name()]);
        }
        own
    }

    /// Records a request that got a response with `status`, or failed.
    pub(super) fn record(
        &self,
        endpoint: Endpoint,
        status: Result<u16, &ProviderError>,
        duration: Duration,
    ) {
        let outcome = match status {
            Ok(status) => outcome(status),
            Err(ProviderError::Unreachable { .. }) => "unreachable",
            Err(_) => "no_response",
        };
        self.calls
            .with_label_values(&[self.provider.as_str(), endpoint.name(), outcome])
            .inc();
        self.duration
            .with_label_values(&[self.provider.as_str(), endpoint.name()])
            .observe(duration.as_secs_f64());
    }
}

const fn outcome(status: u16) -> &'static str {
    match status {
        0..400 => "ok",
        408 | 425 | 429 => "failed",
        400..500 => "rejected",
        500.. => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_begin_at_zero_and_count_by_outcome() {
        let metrics = Metrics::new().unwrap();
        let own = CallMetrics::new(&ProviderName::new("login"), &metrics);
        let series = |endpoint: &str, outcome: &str| {
            let labels = ["login", endpoint, outcome];
            metrics.provider_calls.with_label_values(&labels).get()
        };
        let text = metrics.text().unwrap();
        let zero = r#"doorward_provider_calls_total{endpoint="userinfo",outcome="no_response",provider="login"} 0"#;
        assert!(text.contains(zero), "{text}");
        let unreachable = || ProviderError::Unreachable {
            endpoint: Endpoint::Token,
            url: String::new(),
            cause: String::new(),
        };
        let millis = Duration::from_millis;
        own.record(Endpoint::Token, Err(&unreachable()), millis(10));
        own.record(
            Endpoint::Token,
            Err(&ProviderError::CircuitOpen),
            millis(10),
        );
        assert_eq!(series("token", "unreachable"), 1);
        assert_eq!(series("token", "no_response"), 1);
        let labels = ["login", "token"];
        let duration = metrics.provider_call_duration.with_label_values(&labels);
        assert_eq!(duration.get_sample_count(), 2);
    }

    #[test]
    fn overload_is_a_failure_and_no_rejection() {
        for (status, expected) in [
            (200, "ok"),
            (302, "ok"),
            (400, "rejected"),
            (401, "rejected"),
            (429, "failed"),
            (503, "failed"),
        ] {
            assert_eq!(outcome(status), expected, "{status}");
        }
    }
}
