//! Access log: one JSON object per request on one line. Entries are formatted by hand, because a
//! general logger costs more than proxying the request. Each worker appends to its own buffer, and
//! one thread writes all buffers. If that thread falls behind, entries are dropped and counted;
//! requests never wait.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;

use super::line_writer::{LineBuffer, LineWriter};
use super::metrics::Metrics;
use crate::outage::OutageLog;
use crate::types::time::Timestamp;

/// A buffer of this size wakes the writer early, in bytes.
const WAKE_WRITER_AT: usize = 32 * 1024;
/// The most that an entry holds of one text from the client, in bytes before escaping.
const MAX_TEXT: usize = 2048;

/// The access log entry of one request.
#[derive(Clone, Copy, Debug)]
pub struct AccessEntry<'a> {
    /// When the response ended.
    pub time: Timestamp,
    /// The request ID, which error pages show too.
    pub request_id: &'a str,
    /// The app, if the host belongs to one.
    pub app: Option<&'a str>,
    /// What the log calls the user.
    pub user: Option<&'a str>,
    /// What the log calls the session.
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
    /// What was missing.
    pub missing: Option<&'a str>,
    /// Time from the request head to the last byte of the response.
    pub duration: Duration,
    /// Time until the response head of the app.
    pub upstream_duration: Option<Duration>,
    /// Size of the request body, in bytes.
    pub bytes_in: u64,
    /// Size of the response body, in bytes.
    pub bytes_out: u64,
}

/// The access log's writer. Dropping it writes the pending entries.
#[derive(Debug)]
pub struct AccessLog {
    writer: LineWriter,
    outages: Arc<OutageLog>,
}

/// The buffer of one worker.
#[derive(Debug)]
pub struct AccessBuffer {
    lines: LineBuffer,
    dropped: IntCounter,
    outages: Arc<OutageLog>,
}

impl AccessLog {
    /// Starts the writer thread.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        Ok(Self {
            writer: LineWriter::start("access-log", out)?,
            outages: Arc::new(OutageLog::new("access_log", "")),
        })
    }

    /// Adds the buffer of a worker.
    pub fn buffer(&self, metrics: &Metrics) -> AccessBuffer {
        AccessBuffer {
            lines: self.writer.buffer(WAKE_WRITER_AT),
            dropped: metrics.access_log_dropped.clone(),
            outages: Arc::clone(&self.outages),
        }
    }
}

impl AccessBuffer {
    /// Appends one entry. Never waits for output.
    pub fn write(&self, entry: &AccessEntry<'_>) {
        if self.lines.append(|out| entry.format(out)) {
            self.outages.succeeded();
        } else {
            self.dropped.inc();
            let error = "its reader is too slow, or the disk is full";
            self.outages.failed("access_log_full", &error);
        }
    }
}

impl AccessEntry<'_> {
    fn format(&self, out: &mut Vec<u8>) {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        out.extend_from_slice(b"{\"time\":\"");
        push_time(out, self.time);
        out.extend_from_slice(b"\",\"request_id\":\"");
        out.extend_from_slice(self.request_id.as_bytes());
        out.push(b'"');
        optional(out, b",\"app\":\"", self.app);
        optional(out, b",\"user\":\"", self.user);
        optional(out, b",\"session\":\"", self.session);
        if let Some(client) = self.client {
            out.extend_from_slice(b",\"client_ip\":\"");
            push_address(out, client);
            out.push(b'"');
        }
        text(out, b",\"method\":\"", self.method);
        text(out, b",\"host\":\"", self.host);
        text(out, b",\"path\":\"", path);
        out.extend_from_slice(b",\"status\":");
        push_number(out, self.status.into());
        text(out, b",\"decision\":\"", self.decision);
        optional(out, b",\"rule\":\"", self.rule);
        optional(out, b",\"missing\":\"", self.missing);
        milliseconds(out, b",\"duration_ms\":", self.duration);
        if let Some(upstream) = self.upstream_duration {
            milliseconds(out, b",\"upstream_ms\":", upstream);
        }
        out.extend_from_slice(b",\"bytes_in\":");
        push_number(out, self.bytes_in);
        out.extend_from_slice(b",\"bytes_out\":");
        push_number(out, self.bytes_out);
        out.extend_from_slice(b"}\n");
    }
}

fn optional(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        text(out, key, value);
    }
}

/// A string member. Everything except printable ASCII is escaped, because client input must not
/// inject entries or terminal escape sequences.
fn text(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if value.len() <= MAX_TEXT && value.as_bytes().iter().all(is_plain) {
        out.extend_from_slice(value.as_bytes());
    } else {
        escaped(out, value);
    }
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, value: &str) {
    for (at, char) in value.char_indices() {
        if at >= MAX_TEXT {
            out.extend_from_slice(b"...");
            break;
        }
        match char {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            ' '..='~' => out.push(char as u8),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    // Writing to a Vec cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}

fn milliseconds(out: &mut Vec<u8>, key: &[u8], duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    out.extend_from_slice(key);
    push_number(out, micros / 1000);
    out.push(b'.');
    push_digits::<3>(out, micros % 1000);
}

fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                push_number(out, octet.into());
            }
        }
        // Writing to a Vec cannot fail; addresses need no escaping.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Writes a number. `std::fmt` takes five times as long, and an entry has ten numbers.
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let start = out.len();
    loop {
        out.push(digit(number));
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(written) = out.get_mut(start..) {
        written.reverse();
    }
}

/// The last `N` digits, with leading zeros.
fn push_digits<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; N];
    for slot in digits.iter_mut().rev() {
        *slot = digit(number);
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

const fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// RFC 3339 in UTC. The calendar arithmetic starts years in March, so that a leap day is the last day.
fn push_time(out: &mut Vec<u8>, time: Timestamp) {
    let (days, second) = (time.secs() / 86_400, time.secs() % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    push_digits::<4>(out, year);
    for (separator, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', hour),
        (b':', minute),
        (b':', second),
    ] {
        out.push(separator);
        push_digits::<2>(out, number);
    }
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: AccessEntry<'_> = AccessEntry {
        time: Timestamp::from_secs(951_827_696),
        request_id: "00000000000000r1",
        app: Some("store"),
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
        duration: Duration::from_micros(1234),
        upstream_duration: Some(Duration::from_micros(1000)),
        bytes_in: 0,
        bytes_out: 7,
    };

    fn parsed(entry: &AccessEntry<'_>) -> serde_json::Value {
        let mut out = Vec::new();
        entry.format(&mut out);
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
        let log = AccessLog::start(BlockedWriter(blocked)).unwrap();
        let metrics = Metrics::new().unwrap();
        let buffer = log.buffer(&metrics);
        (0..20_000).for_each(|_| buffer.write(&ENTRY));
        assert!(metrics.access_log_dropped.get() > 0);
        drop(release);
    }

    struct BlockedWriter(std::sync::mpsc::Receiver<()>);

    impl Write for BlockedWriter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if !bytes.is_empty() {
                let _ = self.0.recv();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
