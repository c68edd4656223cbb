//! Logs of requests: the entry of each request in the access log, and refused ones in the audit log.

use std::net::IpAddr;
use std::sync::Arc;

use crate::policy::explanation::Denial;
use crate::telemetry::access::{AccessBuffer, AccessEntry, RequestTimes};
use crate::telemetry::audit::{AuditBuffer, AuditEvent, AuditedRequest};
use crate::telemetry::caller_names::Names;
use crate::telemetry::spans::SpanRecorder;
use crate::types::time::Clock;

/// The event of a request that was refused.
const DENIED: &str = "denied";

/// The logs of one worker.
pub struct RequestLogs {
    /// The time of entries.
    pub clock: Arc<dyn Clock>,
    /// The access log, if it is on.
    pub access: Option<AccessBuffer>,
    /// The audit log, if it is on.
    pub audit: Option<AuditBuffer>,
    /// Takes the spans of recorded traces, if they are exported.
    pub spans: Option<Arc<SpanRecorder>>,
}

/// A request at its end.
#[derive(Clone, Copy)]
pub(super) struct LoggedRequest<'a> {
    pub(super) request_id: &'a str,
    pub(super) trace_id: Option<&'a str>,
    pub(super) app: Option<&'a str>,
    /// The provider, if the app has several.
    pub(super) provider: Option<&'a str>,
    pub(super) caller: Option<&'a Names>,
    pub(super) client: Option<IpAddr>,
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) decision: &'a str,
    pub(super) denial: Option<&'a Denial>,
    pub(super) upstream: Option<&'a str>,
    pub(super) times: RequestTimes,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) user_agent: Option<&'a str>,
}

impl RequestLogs {
    /// Whether a log needs the caller of a request.
    pub(super) const fn name_callers(&self) -> bool {
        self.access.is_some() || self.audit.is_some()
    }

    /// Writes the entries of a request.
    pub(super) fn write(&self, request: LoggedRequest<'_>) {
        let denial = request.denial.filter(|denial| !denial.asks_for_credentials);
        let audit = self.audit.as_ref().zip(denial);
        if self.access.is_none() && audit.is_none() {
            return;
        }
        let user = request.caller.and_then(|caller| caller.user.as_deref());
        let session = request.caller.map(|caller| caller.session.as_str());
        if let Some((audit, denial)) = audit {
            audit.write(&AuditEvent {
                is_warning: true,
                request_id: Some(request.request_id),
                trace_id: request.trace_id,
                app: request.app,
                provider: request.provider,
                user,
                session,
                client: request.client,
                request: Some(AuditedRequest {
                    method: request.method,
                    host: Some(request.host),
                    path: request.path,
                    status: request.status,
                    decision: Some(request.decision),
                    rule: Some(&denial.rule),
                    missing: denial.missing.as_deref(),
                    times: Some(request.times),
                }),
                ..AuditEvent::new(DENIED)
            });
        }
        let Some(access) = &self.access else {
            return;
        };
        access.write(&AccessEntry {
            time: self.clock.now(),
            request_id: request.request_id,
            trace_id: request.trace_id,
            app: request.app,
            provider: request.provider,
            user,
            session,
            client: request.client,
            method: request.method,
            host: request.host,
            path: request.path,
            status: request.status,
            decision: request.decision,
            rule: request.denial.map(|denial| denial.rule.as_str()),
            missing: request.denial.and_then(|denial| denial.missing.as_deref()),
            upstream: request.upstream,
            times: request.times,
            bytes_in: request.bytes_in,
            bytes_out: request.bytes_out,
            user_agent: request.user_agent,
        });
    }
}
