//! Reports on the certificates of a listener: their validity, and host names that none of them is
//! valid for.

use std::path::PathBuf;
use std::sync::Arc;

use crate::telemetry::certificates::CertificateReporter;
use crate::telemetry::metrics::Metrics;
use crate::types::time::Clock;
use crate::types::x509::Validity;

/// The validity of the certificate in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateValidity {
    /// The file.
    pub cert_file: PathBuf,
    /// From when until when.
    pub validity: Validity,
}

/// Reports on the certificates of a listener.
pub struct CertificateMonitor {
    reporter: CertificateReporter,
    /// The hosts that clients use, as names or IP addresses without brackets.
    hosts: Vec<String>,
}

impl CertificateMonitor {
    /// `hosts` are the host names that need a certificate.
    pub fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>, hosts: Vec<String>) -> Arc<Self> {
        Arc::new(Self {
            reporter: CertificateReporter::new(metrics, clock),
            hosts,
        })
    }

    fn metrics(&self) -> &Metrics {
        &self.reporter.metrics
    }

    /// Whether the last report is a day old.
    pub fn is_due(&self) -> bool {
        self.reporter.is_due()
    }

    /// Sets the metrics, and logs what is wrong. `is_covered`: whether a certificate is valid for a
    /// host.
    pub(super) fn report(
        &self,
        certificates: &[CertificateValidity],
        is_covered: impl Fn(&str) -> bool,
    ) {
        for certificate in certificates {
            self.reporter
                .report(&certificate.cert_file, certificate.validity);
        }
        let missing: Vec<&String> = self.hosts.iter().filter(|host| !is_covered(host)).collect();
        self.metrics()
            .hosts_without_certificate
            .set(i64::try_from(missing.len()).unwrap_or(i64::MAX));
        for host in missing {
            tracing::warn!(host, "certificate_name_missing");
        }
    }
}
