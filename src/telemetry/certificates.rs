//! Reports on the validity of certificates: a metric for when each expires, and log events for
//! those that are not valid now or expire soon.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::metrics::Metrics;
use crate::types::time::{Clock, Timestamp};
use crate::types::x509::{Validity, ValidityProblem};

/// How often a problem that persists is logged.
const REPORT_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Reports on some certificates.
pub struct CertificateReporter {
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// In seconds since the epoch; zero before the first report.
    last_report: AtomicU64,
}

impl CertificateReporter {
    /// A reporter that is due at once.
    pub const fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            metrics,
            clock,
            last_report: AtomicU64::new(0),
        }
    }

    /// Whether the last report is a day old.
    pub fn is_due(&self) -> bool {
        let last = Timestamp::from_secs(self.last_report.load(Ordering::Relaxed));
        self.clock.now().since(last) >= REPORT_INTERVAL
    }

    /// Sets the metric of one certificate, and logs what is wrong with its validity.
    pub fn report(&self, cert_file: &Path, validity: Validity) {
        let now = self.clock.now();
        self.last_report.store(now.secs(), Ordering::Relaxed);
        let file = cert_file.display().to_string();
        self.metrics
            .certificate_expiry
            .with_label_values(&[&file])
            .set(i64::try_from(validity.not_after.secs()).unwrap_or(i64::MAX));
        match validity.problem(now) {
            None => {}
            Some(ValidityProblem::Expired) => tracing::error!(file, "certificate_expired"),
            Some(ValidityProblem::NotYetValid) => {
                tracing::error!(file, "certificate_not_yet_valid");
            }
            Some(ValidityProblem::ExpiresSoon(remaining)) => {
                let hours = remaining.as_secs() / 3600;
                tracing::warn!(file, hours, "certificate_expires_soon");
            }
        }
    }
}
