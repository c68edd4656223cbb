//! The request metrics of one app.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec};

use super::exemplars::SeriesExemplars;
use super::metrics::{Metrics, SECONDS};
use crate::types::time::SystemClock;
use crate::types::trace_context::TraceId;

const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Classes of methods: those that only read (RFC 9110 section 9.2.1), and all others.
const METHOD_CLASSES: [&str; 2] = ["read", "write"];

/// The request metrics of one app, held by each worker.
#[derive(Debug)]
pub struct AppMetrics {
    app: String,
    requests: IntCounterVec,
    cached: Vec<CachedDecision>,
    duration: Histogram,
    /// By class of methods.
    response_head_duration: [Histogram; METHOD_CLASSES.len()],
    /// Of the response head, by class of methods.
    exemplars: [Arc<SeriesExemplars>; METHOD_CLASSES.len()],
    own_duration: Histogram,
}

/// A request at the end of its response.
#[derive(Clone, Copy, Debug)]
pub struct ObservedRequest {
    /// The code of the decision.
    pub decision: &'static str,
    /// The response status.
    pub status: u16,
    /// Whether the method only reads.
    pub is_read: bool,
    /// Until the last byte of the response.
    pub duration: Duration,
    /// Until the response head.
    pub response_head: Duration,
    /// In Doorward itself.
    pub own: Duration,
    /// The trace, if it is recorded.
    pub recorded_trace: Option<TraceId>,
}

/// The counters of a frequent decision, by status class, created on first use.
#[derive(Debug)]
struct CachedDecision {
    decision: &'static str,
    by_class: [OnceLock<IntCounter>; STATUS_CLASSES.len()],
}

impl Metrics {
    /// The request metrics of one app. The counters of `frequent` decisions are cached.
    pub fn app(&self, name: &str, frequent: &[&'static str]) -> AppMetrics {
        let cached = frequent.iter().map(|decision| CachedDecision {
            decision,
            by_class: [const { OnceLock::new() }; STATUS_CLASSES.len()],
        });
        AppMetrics {
            app: name.to_owned(),
            requests: self.requests.clone(),
            cached: cached.collect(),
            duration: self.request_duration.with_label_values(&[name]),
            response_head_duration: METHOD_CLASSES.map(|class| {
                let labels = [name, class];
                self.response_head_duration.with_label_values(&labels)
            }),
            exemplars: METHOD_CLASSES.map(|class| self.exemplars.series(&[name, class], &SECONDS)),
            own_duration: self.own_duration.with_label_values(&[name]),
        }
    }
}

impl AppMetrics {
    /// Counts a request that was answered to the last byte of the response.
    pub fn observe_request(&self, request: ObservedRequest) {
        let ObservedRequest {
            decision,
            status,
            is_read,
            duration,
            response_head,
            own,
            recorded_trace,
        } = request;
        let class = usize::from(status / 100)
            .saturating_sub(1)
            .min(STATUS_CLASSES.len() - 1);
        let class_label = STATUS_CLASSES.get(class).copied().unwrap_or_default();
        let counter = || {
            self.requests
                .with_label_values(&[self.app.as_str(), decision, class_label])
        };
        let cached = self
            .cached
            .iter()
            .find(|cached| cached.decision == decision)
            .and_then(|cached| cached.by_class.get(class));
        match cached {
            Some(cached) => cached.get_or_init(counter).inc(),
            None => counter().inc(),
        }
        self.duration.observe(duration.as_secs_f64());
        let [read, write] = &self.response_head_duration;
        let by_method = if is_read { read } else { write };
        by_method.observe(response_head.as_secs_f64());
        if let Some(trace) = recorded_trace {
            let [read, write] = &self.exemplars;
            let by_method = if is_read { read } else { write };
            by_method.observe(response_head, trace, SystemClock::precise());
        }
        self.own_duration.observe(own.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_app_decision_and_class() {
        let metrics = Metrics::new().unwrap();
        let store = metrics.app("store", &["forwarded"]);
        let request = ObservedRequest {
            decision: "forwarded",
            status: 204,
            is_read: true,
            duration: Duration::from_millis(3),
            response_head: Duration::from_millis(2),
            own: Duration::from_micros(80),
            recorded_trace: None,
        };
        store.observe_request(request);
        store.observe_request(ObservedRequest {
            status: 200,
            is_read: false,
            ..request
        });
        store.observe_request(ObservedRequest {
            decision: "rare",
            status: 599,
            ..request
        });
        let text = metrics.text().unwrap();
        for line in [
            r#"doorward_requests_total{app="store",decision="forwarded",status_class="2xx"} 2"#,
            r#"doorward_requests_total{app="store",decision="rare",status_class="5xx"} 1"#,
            r#"doorward_request_duration_seconds_count{app="store"} 3"#,
            r#"doorward_response_head_duration_seconds_count{app="store",method_class="read"} 2"#,
            r#"doorward_response_head_duration_seconds_count{app="store",method_class="write"} 1"#,
            r#"doorward_own_duration_seconds_bucket{app="store",le="0.0001"} 3"#,
            "doorward_connections 0",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
