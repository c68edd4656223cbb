//! The state of a worker's telemetry, whatever its configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::proxy::request_logs::RequestLogs;
use crate::telemetry::app_metrics::AppMetrics;
use crate::telemetry::metrics::Metrics;

/// The telemetry that all configurations of a worker share.
pub(super) struct WorkerTelemetry {
    pub(super) logs: RequestLogs,
    pub(super) metrics: Arc<Metrics>,
    pub(super) without_app: AppMetrics,
    pub(super) request_ids: AtomicU64,
    /// Whether the drain has started.
    pub(super) draining: watch::Sender<bool>,
    /// Whether the remaining connections are closed, because the drain timeout has passed.
    pub(super) cut_off: AtomicBool,
}

impl WorkerTelemetry {
    /// An odd step through all 64 bits: unique within a worker, and does not reveal the number of
    /// requests.
    pub(super) fn next_number(&self) -> u64 {
        self.request_ids
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }

    /// The code of a request or response that did not reach its end.
    pub(super) fn early_end(&self) -> &'static str {
        if self.cut_off.load(Ordering::Relaxed) {
            "shutting_down"
        } else {
            "client_disconnected"
        }
    }
}
