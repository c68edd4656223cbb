//! Reports on the certificates of a configuration: those of the listeners and those that apps get.

use std::sync::Arc;

use crate::config::{AppConfig, Config};
use crate::downstream::{CertificateMonitor, Certificates};
use crate::telemetry::certificates::CertificateReporter;
use crate::telemetry::metrics::Metrics;
use crate::types::time::Clock;
use crate::upstream::ClientCertificate;

/// The certificates of one configuration.
pub(super) struct CertificateReports {
    listeners: Option<ListenerReport>,
    clients: Vec<ClientReport>,
}

struct ListenerReport {
    certificates: Arc<Certificates>,
    monitor: Arc<CertificateMonitor>,
}

struct ClientReport {
    certificate: Arc<ClientCertificate>,
    reporter: CertificateReporter,
}

impl CertificateReports {
    pub(super) fn new(config: &Config, metrics: &Arc<Metrics>, clock: &Arc<dyn Clock>) -> Self {
        let (metrics, clock) = (|| Arc::clone(metrics), || Arc::clone(clock));
        let listeners = config.server.tls.as_ref().map(|tls| ListenerReport {
            certificates: Arc::clone(&tls.certificates),
            monitor: CertificateMonitor::new(metrics(), clock(), tls.hosts.clone()),
        });
        let clients = config
            .apps
            .iter()
            .flat_map(AppConfig::upstreams)
            .filter_map(|upstream| upstream.client_certificate.as_ref());
        let clients = clients.map(|certificate| ClientReport {
            certificate: Arc::clone(certificate),
            reporter: CertificateReporter::new(metrics(), clock()),
        });
        Self {
            listeners,
            clients: clients.collect(),
        }
    }

    /// Makes each report whose last one is a day old.
    pub(super) fn report_due(&self) {
        if let Some(report) = &self.listeners
            && report.monitor.is_due()
        {
            report.certificates.report_to(&report.monitor);
        }
        for report in &self.clients {
            if report.reporter.is_due() {
                report.certificate.report_to(&report.reporter);
            }
        }
    }
}
