//! Examination of an app's host and upstream: whether the app can be reached through Doorward, and
//! whether it can be reached without.
//!
//! The examination runs where Doorward runs. So it cannot show that other machines reach the app,
//! only that the app itself would not stop them.

use std::error::Error as _;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;

use super::connection::TlsFault;
use super::finding::{Explained, Finding, Findings, Subject};
use crate::config::AppConfig;
use crate::dns::Resolver;
use crate::policy::app::App;
use crate::server::app_plans;
use crate::telemetry::metrics::Metrics;
use crate::types::net::is_loopback_host;
use crate::upstream::{
    HeaderPolicy, Tunnels, Upstream, UpstreamError, UpstreamPlan, UpstreamSettings, UpstreamUrl,
    probe,
};

/// The time limit for looking up the host of an app.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings that all clients of upstreams share.
#[derive(Clone)]
pub(super) struct ClientParts {
    pub(super) resolver: Resolver,
    pub(super) metrics: Arc<Metrics>,
}

impl ClientParts {
    fn client(&self, plan: Arc<UpstreamPlan>) -> Upstream {
        let tunnels = Tunnels::new(&self.metrics);
        Upstream::new(plan, self.resolver.clone(), tunnels, &self.metrics)
    }
}

/// Sends a request as Doorward does, and one without anything that only Doorward has, to each upstream of
/// the app and its routes.
pub(super) async fn examine(app: AppConfig, parts: ClientParts) -> Vec<Finding> {
    let mut findings = Findings::about(Subject::App(app.policy.name.to_string()));
    judge_host(&app, &parts.resolver, &mut findings).await;
    let plans = match app_plans(&app.policy, &app, NonZeroUsize::MIN, &[]) {
        Ok(plans) => plans,
        Err(error) => {
            let code = "upstream_not_checked";
            findings.error(code, "upstream", Explained::new(error.to_string(), ""));
            return findings.into_list();
        }
    };
    let policy = &app.policy;
    // Routes may share them with the app.
    let mut upstreams: Vec<&Arc<UpstreamPlan>> = Vec::new();
    for plan in plans.all() {
        let mut others = upstreams.iter();
        if others.all(|other| other.settings() != plan.settings()) {
            upstreams.push(plan);
        }
    }
    let mut addresses = Vec::new();
    let mut has_labels = false;
    for plan in upstreams {
        if plan.settings().by_label.is_some() {
            has_labels = true;
        } else {
            addresses.extend(plan.each_address(&parts.resolver).await);
        }
    }
    if has_labels {
        let message =
            "upstreams of a wildcard host were not checked, because their labels are unknown";
        findings.advice(
            "upstream_not_checked",
            "upstream",
            Explained::new(message, ""),
        );
    }
    let is_one = addresses.len() == 1;
    for plan in addresses {
        let mut of_address = Findings::about(Subject::App(app.policy.name.to_string()));
        judge_address(&plan, policy, &parts, &mut of_address).await;
        let prefix = if is_one { None } else { Some(plan.address()) };
        findings.extend(of_address, prefix.as_deref());
    }
    findings.into_list()
}

/// Sends both requests to one address.
async fn judge_address(
    plan: &Arc<UpstreamPlan>,
    policy: &App,
    parts: &ClientParts,
    findings: &mut Findings,
) {
    let response = probe(&parts.client(Arc::clone(plan)), policy).await;
    judge_response(&response, findings);
    let settings = plan.settings();
    if response.is_err() || is_local(&settings.url) {
        return;
    }
    let has_certificate = settings.client_certificate.is_some();
    let bare = UpstreamSettings {
        client_certificate: None,
        ..settings.clone()
    };
    if let Ok(bare) = UpstreamPlan::new(plan.app(), bare, HeaderPolicy::new([], &[])) {
        let bypass = probe(&parts.client(bare.at_address_of(plan)), policy).await;
        judge_bypass(&bypass, has_certificate, findings);
    }
}

/// Whether browsers can find the host, as far as this machine's DNS knows.
async fn judge_host(app: &AppConfig, resolver: &Resolver, findings: &mut Findings) {
    let host = app.policy.origin.host();
    if is_loopback_host(host) || app.policy.hosts.wildcard().is_some() {
        return;
    }
    let lookup = resolver.resolve(host.trim_matches(['[', ']']));
    let failure = match timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the lookup took too long".to_owned()),
    };
    if let Some(failure) = failure {
        let message = format!("the host `{host}` has no address here: {failure}");
        let hint = "browsers need a DNS record for it";
        findings.warning(
            "host_unresolved",
            "public_url",
            Explained::new(message, hint),
        );
    }
}

fn judge_response(response: &Result<StatusCode, UpstreamError>, findings: &mut Findings) {
    let status = match response {
        Ok(status) => *status,
        Err(error) => {
            let message = match error.source() {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            };
            judge_failure(error, message, findings);
            return;
        }
    };
    if matches!(
        status,
        StatusCode::MISDIRECTED_REQUEST | StatusCode::BAD_REQUEST
    ) {
        let message =
            format!("the app answers `GET /` with {status}: does it know the public host?");
        let hint = "let the app accept its public host, or set `upstream_host`";
        findings.warning(
            "upstream_rejects_host",
            "upstream_host",
            Explained::new(message, hint),
        );
    } else if status.is_server_error() {
        let message = format!("the app answers `GET /` with {status}");
        let hint = "look into the app's log";
        findings.warning(
            "upstream_failing",
            "upstream",
            Explained::new(message, hint),
        );
    }
}

fn judge_failure(error: &UpstreamError, message: String, findings: &mut Findings) {
    if let (UpstreamError::Tls(_), Some(fault)) = (error, TlsFault::in_text(&message)) {
        let key = match fault {
            TlsFault::UnknownAuthority => "upstream_ca_file",
            TlsFault::OtherName => "upstream_server_name",
            TlsFault::Expired | TlsFault::NotYetValid | TlsFault::NotTls => "upstream",
        };
        findings.error(
            fault.finding_code(),
            key,
            Explained::new(message, fault.hint()),
        );
        return;
    }
    let hint = match error {
        UpstreamError::Unresolved(_) => "correct the host of `upstream`",
        UpstreamError::ConnectRefused(_) | UpstreamError::ConnectTimeout => {
            "does the app run, and at this address? `curl` it on this machine"
        }
        UpstreamError::Tls(_) => "compare `upstream_cert_file` with what the app requires",
        UpstreamError::ConnectionClosed(_) | UpstreamError::BadResponse(_) => {
            "does the port speak TLS? Then begin `upstream` with `https`"
        }
        UpstreamError::ResponseTimeout => "look into the app's log",
        UpstreamError::NotForwardable(_)
        | UpstreamError::Loop
        | UpstreamError::Saturated
        | UpstreamError::RequestStalled
        | UpstreamError::RequestBodyAborted => "",
    };
    findings.error(error.code(), "upstream", Explained::new(message, hint));
}

/// `bypass` is the response to a request without client certificate and configured headers.
fn judge_bypass(
    bypass: &Result<StatusCode, UpstreamError>,
    has_certificate: bool,
    findings: &mut Findings,
) {
    let Ok(status) = bypass else { return };
    if matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return;
    }
    if has_certificate {
        let message =
            "the app answers requests without the client certificate of `upstream_cert_file`";
        let hint = "let the app require client certificates of your authority";
        let code = "upstream_certificate_not_required";
        findings.warning(code, "upstream_cert_file", Explained::new(message, hint));
    } else {
        let message = "the app answers requests that do not come from Doorward: who reaches its \
                       address can send identity headers";
        let hint = "close every other way to the app: a firewall, a network policy, or client \
                    certificates";
        findings.advice("upstream_open", "upstream", Explained::new(message, hint));
    }
}

/// Whether only this machine can reach the address.
fn is_local(url: &UpstreamUrl) -> bool {
    match url {
        UpstreamUrl::Unix(_) => true,
        UpstreamUrl::Http(address) | UpstreamUrl::Https(address) => is_loopback_host(&address.host),
        UpstreamUrl::Srv(_) => false,
    }
}

#[cfg(test)]
mod tests;
