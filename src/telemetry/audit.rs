//! Audit log: who logged in, what ended sessions, who was refused, and what operators changed. One JSON
//! object per event, to standard output, a file or syslog.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::access::{RequestTimes, without_query};
use super::entry::EntryWriter;
use super::entry_log::{EntryBuffer, EntryLog, EntryLogNames};
use super::line_writer::{BufferSize, LineWriter};
use super::log_file::LogFile;
use super::log_format::LogFormat;
use super::metrics::Metrics;
use super::request_scope::RequestTag;
use super::syslog::{Severity, Syslog, SyslogAddress, SyslogHeader};
use crate::types::time::{Clock, Timestamp};
use crate::types::trace_context::TraceId;

const NAMES: EntryLogNames = EntryLogNames {
    dependency: "audit_log",
    full: "audit_log_full",
    failed: "audit_log_failed",
};

/// The event in the place of events that were dropped.
const EVENTS_LOST: &str = "audit_events_lost";

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
    /// A syslog server.
    Syslog(SyslogAddress),
}

impl fmt::Display for AuditTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Syslog(address) => address.fmt(f),
        }
    }
}

/// The settings of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where it goes.
    pub target: AuditTarget,
    /// The most bytes of events that wait for the target. More are dropped and counted.
    pub max_buffered: usize,
}

/// One event. The names of its fields are those of the access log.
#[derive(Clone, Copy, Debug)]
pub struct AuditEvent<'a> {
    /// The name of the event, a stable code.
    pub event: &'static str,
    /// How it ended, a stable code.
    pub outcome: Option<&'a str>,
    /// Whether it is a warning to syslog.
    pub is_warning: bool,
    /// The ID of the request, if the event belongs to one.
    pub request_id: Option<&'a str>,
    /// The trace, if requests have one.
    pub trace_id: Option<&'a str>,
    /// The app.
    pub app: Option<&'a str>,
    /// The provider, if the app has several.
    pub provider: Option<&'a str>,
    /// The name of the user in the logs.
    pub user: Option<&'a str>,
    /// The name of the session in the logs.
    pub session: Option<&'a str>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Of a denial or a call of an operator: the request.
    pub request: Option<AuditedRequest<'a>>,
    /// Of a reload: what started it.
    pub trigger: Option<&'a str>,
    /// Of a reload: the number of changes.
    pub changes: Option<u64>,
    /// Of a reload: the hash of the configuration in use.
    pub hash: Option<&'a str>,
    /// Why something was refused, in one sentence.
    pub error: Option<&'a str>,
    /// How many events were dropped.
    pub count: Option<u64>,
}

/// A request that was refused, or that is a command.
#[derive(Clone, Copy, Debug)]
pub struct AuditedRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The host.
    pub host: Option<&'a str>,
    /// The path. Its query is not written.
    pub path: &'a str,
    /// The response status.
    pub status: u16,
    /// The code of the decision.
    pub decision: Option<&'a str>,
    /// The rule because of which it was refused.
    pub rule: Option<&'a str>,
    /// The missing permission.
    pub missing: Option<&'a str>,
    /// How long it took, if it has ended.
    pub times: Option<RequestTimes>,
}

/// The audit log's writer. Dropping it writes the pending events.
#[derive(Debug)]
pub struct AuditLog {
    _log: EntryLog,
    buffer: AuditBuffer,
}

/// Takes events. Clones share the buffer.
#[derive(Clone)]
pub struct AuditBuffer {
    entries: EntryBuffer,
    format: EventFormat,
}

/// How an event becomes a line.
#[derive(Clone)]
struct EventFormat {
    clock: Arc<dyn Clock>,
    syslog: Option<SyslogHeader>,
}

impl AuditLog {
    /// Opens the target and starts the writer thread. A syslog server may be down. `stdout` is the writer of
    /// standard output, if the process has one already.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be created.
    pub fn start(
        settings: &AuditSettings,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
        stdout: Option<&Arc<LineWriter>>,
    ) -> io::Result<Self> {
        let (log, syslog) = match &settings.target {
            AuditTarget::Stdout => {
                let log = match stdout {
                    Some(stdout) => EntryLog::on(Arc::clone(stdout), NAMES),
                    None => EntryLog::start(NAMES, io::stdout())?,
                };
                (log, None)
            }
            AuditTarget::File(path) => (EntryLog::start(NAMES, LogFile::open(path)?)?, None),
            AuditTarget::Syslog(address) => {
                let header = SyslogHeader::of_process(address);
                let syslog = Syslog::new(address.clone());
                (EntryLog::start(NAMES, syslog)?, Some(header))
            }
        };
        let size = BufferSize {
            // Events are rare, and are wanted at once.
            wake_at: 1,
            max: settings.max_buffered,
        };
        let format = EventFormat { clock, syslog };
        let notices = format.clone();
        let notice = move |lost, out: &mut Vec<u8>| {
            let event = AuditEvent {
                count: Some(lost),
                is_warning: true,
                ..AuditEvent::new(EVENTS_LOST)
            };
            notices.write(&event, out);
        };
        let entries = log.buffer_with_notice(size, &metrics.audit_log_dropped, notice);
        Ok(Self {
            _log: log,
            buffer: AuditBuffer { entries, format },
        })
    }

    /// Takes events.
    pub fn buffer(&self) -> AuditBuffer {
        self.buffer.clone()
    }
}

impl AuditBuffer {
    /// Appends one event. Never waits for output.
    pub fn write(&self, event: &AuditEvent<'_>) {
        self.entries.append(|out| self.format.write(event, out));
    }
}

impl fmt::Debug for AuditBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditBuffer").finish_non_exhaustive()
    }
}

impl<'a> AuditEvent<'a> {
    /// An event without fields.
    pub const fn new(event: &'static str) -> Self {
        Self {
            event,
            outcome: None,
            is_warning: false,
            request_id: None,
            trace_id: None,
            app: None,
            provider: None,
            user: None,
            session: None,
            client: None,
            request: None,
            trigger: None,
            changes: None,
            hash: None,
            error: None,
            count: None,
        }
    }

    /// The event of a task that works for `request`.
    #[must_use]
    pub fn of_request(self, request: Option<&'a RequestTag>) -> Self {
        Self {
            request_id: request.map(|request| request.id.as_str()),
            trace_id: request.and_then(|request| request.trace.as_ref().map(TraceId::as_str)),
            client: request.and_then(|request| request.client),
            ..self
        }
    }

    fn format(&self, time: Timestamp, out: &mut Vec<u8>) {
        let mut entry = EntryWriter::begin(out, LogFormat::Json, time);
        entry.text("event", self.event);
        entry.optional("outcome", self.outcome);
        entry.optional("request_id", self.request_id);
        entry.optional("trace_id", self.trace_id);
        entry.optional("app", self.app);
        entry.optional("provider", self.provider);
        entry.optional("user", self.user);
        entry.optional("session", self.session);
        entry.address("client_ip", self.client);
        if let Some(request) = &self.request {
            request.format(&mut entry);
        }
        entry.optional("trigger", self.trigger);
        if let Some(changes) = self.changes {
            entry.number("changes", changes);
        }
        entry.optional("hash", self.hash);
        entry.optional("error", self.error);
        if let Some(count) = self.count {
            entry.number("count", count);
        }
        entry.end();
    }
}

impl<'a> AuditedRequest<'a> {
    /// A request whose status is not known yet.
    pub const fn new(method: &'a str, path: &'a str) -> Self {
        Self {
            method,
            host: None,
            path,
            status: 0,
            decision: None,
            rule: None,
            missing: None,
            times: None,
        }
    }

    fn format(&self, entry: &mut EntryWriter<'_>) {
        entry.text("method", self.method);
        entry.optional("host", self.host);
        entry.text("path", without_query(self.path));
        entry.number("status", self.status.into());
        entry.optional("decision", self.decision);
        entry.optional("rule", self.rule);
        entry.optional("missing", self.missing);
        if let Some(times) = &self.times {
            times.write(entry);
        }
    }
}

impl EventFormat {
    fn write(&self, event: &AuditEvent<'_>, out: &mut Vec<u8>) {
        let time = self.clock.now();
        if let Some(header) = &self.syslog {
            let severity = if event.is_warning {
                Severity::Warning
            } else {
                Severity::Notice
            };
            header.write(severity, time, event.event, out);
        }
        event.format(time, out);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::types::time::SystemClock;

    fn start(target: AuditTarget, metrics: &Metrics) -> AuditLog {
        let settings = AuditSettings {
            target,
            max_buffered: 2000,
        };
        AuditLog::start(&settings, Arc::new(SystemClock), metrics, None).unwrap()
    }

    #[test]
    fn file_gets_one_json_object_per_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = start(AuditTarget::File(path.clone()), &Metrics::new().unwrap());
        log.buffer().write(&AuditEvent {
            request_id: Some("8f3a"),
            client: Some("203.0.113.7".parse().unwrap()),
            request: Some(AuditedRequest {
                status: 403,
                rule: Some("admins"),
                missing: Some("roles any of [\"admin\"]\n"),
                times: Some(RequestTimes {
                    total: Duration::from_micros(1234),
                    own: Duration::from_micros(200),
                    ..RequestTimes::default()
                }),
                ..AuditedRequest::new("GET", "/admin?code=s3cret")
            }),
            ..AuditEvent::new("denied")
        });
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut event: Value = serde_json::from_str(&text).unwrap();
        assert!(event["time"].take().as_str().unwrap().ends_with('Z'));
        let expected = serde_json::json!({
            "time": null, "event": "denied", "request_id": "8f3a", "client_ip": "203.0.113.7",
            "method": "GET", "path": "/admin", "status": 403, "rule": "admins",
            "missing": "roles any of [\"admin\"]\n", "duration_ms": 1.234, "own_ms": 0.2,
        });
        assert_eq!(event, expected);
        let gone = AuditTarget::File(folder.path().join("no/audit.log"));
        let settings = AuditSettings {
            target: gone,
            max_buffered: 2000,
        };
        let clock = Arc::new(SystemClock);
        assert!(AuditLog::start(&settings, clock, &Metrics::new().unwrap(), None).is_err());
    }

    /// A server that does not read blocks the writer. Events are dropped meanwhile, and one says so where
    /// they are missing.
    #[test]
    fn events_that_syslog_does_not_take_are_counted_and_noted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let metrics = Metrics::new().unwrap();
        let log = start(AuditTarget::Syslog(SyslogAddress::Unix(path)), &metrics);
        let buffer = log.buffer();
        while metrics.audit_log_dropped.get() == 0 {
            buffer.write(&AuditEvent::new("logout"));
        }
        let dropped = metrics.audit_log_dropped.get();
        let mut received = [0; 300];
        let (header, event) = loop {
            let size = server.recv(&mut received).unwrap();
            let message = std::str::from_utf8(&received[..size]).unwrap();
            let (header, event) = message.split_once(": ").unwrap();
            let event: Value = serde_json::from_str(event).unwrap();
            if event["event"] == EVENTS_LOST {
                break (header.to_owned(), event);
            }
            assert_eq!(event["event"], "logout");
        };
        assert!(header.starts_with("<84>doorward["), "{header}");
        assert_eq!(event["count"], dropped);
    }
}
