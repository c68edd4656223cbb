//! Access log: one entry per request on one line. Each worker appends to its own buffer, and one thread
//! writes all buffers. If that thread falls behind, entries are dropped and counted; requests never
//! wait.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::entry::EntryWriter;
use super::entry_log::{EntryBuffer, EntryLog, EntryLogNames};
use super::line_writer::{BufferSize, LineWriter};
use super::log_format::LogFormat;
use super::metrics::Metrics;
use super::request_scope::CallTimes;
use crate::types::time::Timestamp;

const NAMES: EntryLogNames = EntryLogNames {
    dependency: "access_log",
    full: "access_log_full",
    failed: "access_log_failed",
};

const SIZE: BufferSize = BufferSize {
    wake_at: 32 * 1024,
    max: BufferSize::MAX,
};

/// The access log entry of one request.
#[derive(Clone, Copy, Debug)]
pub struct AccessEntry<'a> {
    /// When the response ended.
    pub time: Timestamp,
    /// The request ID, which error pages show too.
    pub request_id: &'a str,
    /// The trace, if requests have one.
    pub trace_id: Option<&'a str>,
    /// The app, if the host belongs to one.
    pub app: Option<&'a str>,
    /// The provider of the session, the token or the endpoint, if the app has several.
    pub provider: Option<&'a str>,
    /// The name of the user in the logs.
    pub user: Option<&'a str>,
    /// The name of the session in the logs.
    pub session: Option<&'a str>,
    /// The peer address, or the client address from a trusted proxy.
    pub client: Option<IpAddr>,
    /// The request method.
    pub method: &'a str,
    /// The request's host.
    pub host: &'a str,
    /// The path. The query is not written, because it can hold codes and tokens.
    pub path: &'a str,
    /// The response status.
    pub status: u16,
    /// The code of the decision, the same as the metric label.
    pub decision: &'a str,
    /// The rule because of which the request was refused.
    pub rule: Option<&'a str>,
    /// The missing permission.
    pub missing: Option<&'a str>,
    /// The address of the upstream, if the request was sent to it.
    pub upstream: Option<&'a str>,
    /// How long it took.
    pub times: RequestTimes,
    /// Size of the request body, in bytes.
    pub bytes_in: u64,
    /// Size of the response body, in bytes.
    pub bytes_out: u64,
    /// The client's `User-Agent`.
    pub user_agent: Option<&'a str>,
}

/// How long a request took, and where its time went until the response head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTimes {
    /// From the request head to the last byte of the response.
    pub total: Duration,
    /// In Doorward, queues included.
    pub own: Duration,
    /// In calls to the provider and the store.
    pub calls: CallTimes,
    /// In the app, from sending the request until the response head.
    pub upstream: Option<Duration>,
}

/// The access log's writer. Dropping it writes the pending entries.
#[derive(Debug)]
pub struct AccessLog(EntryLog);

/// The buffer of one worker.
#[derive(Debug)]
pub struct AccessBuffer {
    entries: EntryBuffer,
    format: LogFormat,
}

impl AccessLog {
    /// Writes to `writer`, which other logs may use too.
    pub fn on(writer: Arc<LineWriter>) -> Self {
        Self(EntryLog::on(writer, NAMES))
    }

    /// Adds the buffer of a worker.
    pub fn buffer(&self, format: LogFormat, metrics: &Metrics) -> AccessBuffer {
        AccessBuffer {
            entries: self.0.buffer(SIZE, &metrics.access_log_dropped),
            format,
        }
    }
}

impl AccessBuffer {
    /// Appends one entry. Never waits for output.
    pub fn write(&self, entry: &AccessEntry<'_>) {
        self.entries.append(|out| entry.format(self.format, out));
    }
}

impl RequestTimes {
    /// Writes the fields of an entry.
    pub(super) fn write(&self, entry: &mut EntryWriter<'_>) {
        let CallTimes { provider, store } = self.calls;
        entry.milliseconds("duration_ms", self.total);
        entry.milliseconds("own_ms", self.own);
        for (key, duration) in [
            ("provider_ms", Some(provider).filter(|time| !time.is_zero())),
            ("store_ms", Some(store).filter(|time| !time.is_zero())),
            ("upstream_ms", self.upstream),
        ] {
            if let Some(duration) = duration {
                entry.milliseconds(key, duration);
            }
        }
    }
}

impl AccessEntry<'_> {
    fn format(&self, format: LogFormat, out: &mut Vec<u8>) {
        let mut entry = EntryWriter::begin(out, format, self.time);
        entry.text("request_id", self.request_id);
        entry.optional("trace_id", self.trace_id);
        entry.optional("app", self.app);
        entry.optional("provider", self.provider);
        entry.optional("user", self.user);
        entry.optional("session", self.session);
        entry.address("client_ip", self.client);
        entry.text("method", self.method);
        entry.text("host", self.host);
        entry.text("path", without_query(self.path));
        entry.number("status", self.status.into());
        entry.text("decision", self.decision);
        entry.optional("rule", self.rule);
        entry.optional("missing", self.missing);
        entry.optional("upstream", self.upstream);
        self.times.write(&mut entry);
        entry.number("bytes_in", self.bytes_in);
        entry.number("bytes_out", self.bytes_out);
        entry.optional("user_agent", self.user_agent);
        entry.end();
    }
}

/// The path of a target. The query can hold codes and tokens.
pub(super) fn without_query(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::Blocked;

    const ENTRY: AccessEntry<'_> = AccessEntry {
        time: Timestamp::from_secs(951_827_696),
        request_id: "00000000000000r1",
        trace_id: None,
        app: Some("store"),
        provider: None,
        user: Some("a1b2"),
        session: Some("0123"),
        client: None,
        method: "GET",
        host: "store.test",
        path: "/cart",
        status: 200,
        decision: "forwarded",
        rule: None,
        missing: None,
        upstream: None,
        times: RequestTimes {
            total: Duration::from_micros(1234),
            own: Duration::from_micros(200),
            calls: CallTimes {
                provider: Duration::ZERO,
                store: Duration::ZERO,
            },
            upstream: Some(Duration::from_micros(1000)),
        },
        bytes_in: 0,
        bytes_out: 7,
        user_agent: None,
    };

    fn parsed(entry: &AccessEntry<'_>) -> serde_json::Value {
        let mut out = Vec::new();
        entry.format(LogFormat::Json, &mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(
            out.iter()
                .all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n'))
        );
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn entry_is_one_json_object() {
        let entry = parsed(&ENTRY);
        assert_eq!(entry["time"], "2000-02-29T12:34:56Z");
        assert_eq!(
            (entry["duration_ms"].as_f64(), entry["upstream_ms"].as_f64()),
            (Some(1.234), Some(1.0))
        );
        assert_eq!(
            (&entry["status"], &entry["bytes_out"], &entry["session"]),
            (&200.into(), &7.into(), &"0123".into())
        );
        assert_eq!((&entry["user"], entry.get("rule")), (&"a1b2".into(), None));
        assert_eq!(
            parsed(&AccessEntry {
                time: Timestamp::from_secs(0),
                ..ENTRY
            })["time"],
            "1970-01-01T00:00:00Z"
        );
        let end_of_year = Timestamp::from_secs(1_798_761_599);
        assert_eq!(
            parsed(&AccessEntry {
                time: end_of_year,
                ..ENTRY
            })["time"],
            "2026-12-31T23:59:59Z"
        );
    }

    #[test]
    fn text_entry_is_logfmt() {
        let written = |entry: AccessEntry<'_>| {
            let mut out = Vec::new();
            entry.format(LogFormat::Text, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(AccessEntry {
                client: Some("203.0.113.7".parse().unwrap()),
                missing: Some("roles any of [\"admin\"]"),
                ..ENTRY
            }),
            "time=2000-02-29T12:34:56Z request_id=00000000000000r1 app=store user=a1b2 session=0123 \
             client_ip=203.0.113.7 method=GET host=store.test path=/cart status=200 \
             decision=forwarded missing=\"roles any of [\\\"admin\\\"]\" duration_ms=1.234 own_ms=0.200 \
             upstream_ms=1.000 bytes_in=0 bytes_out=7\n"
        );
        let hostile = written(AccessEntry {
            host: "a status=0\r\n\"",
            path: "",
            ..ENTRY
        });
        assert_eq!(hostile.lines().count(), 1);
        let expected = r#" host="a status=0\u000d\u000a\"" path="" status=200 "#;
        assert!(hostile.contains(expected), "{hostile}");
    }

    #[test]
    fn calls_and_user_agent_are_there_if_there_were_any() {
        let entry = parsed(&AccessEntry {
            times: RequestTimes {
                calls: CallTimes {
                    provider: Duration::from_millis(40),
                    store: Duration::from_micros(300),
                },
                upstream: None,
                ..ENTRY.times
            },
            user_agent: Some("curl/8.0 \u{1b}[31m"),
            ..ENTRY
        });
        assert_eq!(entry["provider_ms"].as_f64(), Some(40.0));
        assert_eq!(entry["store_ms"].as_f64(), Some(0.3));
        assert_eq!(entry.get("upstream_ms"), None);
        assert_eq!(entry["user_agent"], "curl/8.0 \u{1b}[31m");
        let plain = parsed(&ENTRY);
        for name in ["provider_ms", "store_ms", "user_agent"] {
            assert_eq!(plain.get(name), None, "{name}");
        }
    }

    /// No authorization codes in the log, and no injection by CR LF, quotes or escape sequences.
    #[test]
    fn client_input_is_escaped_and_query_dropped() {
        assert_eq!(
            parsed(&AccessEntry {
                path: "/callback?code=s3cret",
                ..ENTRY
            })["path"],
            "/callback"
        );
        assert_eq!(
            parsed(&AccessEntry {
                path: "/a#code=s3cret",
                ..ENTRY
            })["path"],
            "/a"
        );
        let hostile = "a\r\n\",\"status\":0,\\ \x1b[31m\u{202e}\u{1f600}\u{85}";
        assert_eq!(
            parsed(&AccessEntry {
                host: hostile,
                ..ENTRY
            })["host"],
            hostile
        );
        let missing = "roles any of [\"admin\"], got [\"\u{1b}[31m\"]";
        let denied = parsed(&AccessEntry {
            rule: Some("admins"),
            missing: Some(missing),
            ..ENTRY
        });
        assert_eq!(
            (&denied["rule"], &denied["missing"]),
            (&"admins".into(), &missing.into())
        );
        let long = "x".repeat(100_000);
        assert!(
            parsed(&AccessEntry {
                path: &long,
                ..ENTRY
            })["path"]
                .as_str()
                .unwrap()
                .len()
                < 2100
        );
    }

    #[test]
    fn dropped_entries_are_counted() {
        let (release, blocked) = std::sync::mpsc::channel();
        let writer = LineWriter::start("test", Blocked(blocked)).unwrap();
        let log = AccessLog::on(Arc::new(writer));
        let metrics = Metrics::new().unwrap();
        let buffer = log.buffer(LogFormat::Json, &metrics);
        (0..20_000).for_each(|_| buffer.write(&ENTRY));
        assert!(metrics.access_log_dropped.get() > 0);
        drop(release);
    }
}
