//! The access log: one JSON object a request on one line, formatted by hand since a general logger costs more than
//! the proxying itself. Workers append to buffers of their own; one thread writes them out. A writer that cannot
//! keep up costs lines, which are counted, never requests.

use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::IntCounter;

use super::metrics::Metrics;
use crate::types::time::Timestamp;

/// Lines wait at most this long.
const PAUSE: Duration = Duration::from_millis(200);
/// A buffer of this many bytes wakes the writer.
const HIGH: usize = 32 * 1024;
/// A buffer never holds more than this many bytes.
const FULL: usize = 1024 * 1024;
/// No text from a client takes more than this many bytes of a line before escaping.
const LONGEST: usize = 2048;

/// One answered request.
#[derive(Clone, Copy, Debug)]
pub struct AccessLine<'a> {
    /// When the answer ended.
    pub time: Timestamp,
    /// The reference that error pages show too.
    pub request_id: [u8; 16],
    /// The app, if the host named one.
    pub app: Option<&'a str>,
    /// The peer, or whom a trusted proxy names.
    pub client: Option<IpAddr>,
    /// The method as it came.
    pub method: &'a str,
    /// The host as it came.
    pub host: &'a str,
    /// The path; whatever follows a `?` is left out, since codes and tokens travel there.
    pub path: &'a str,
    /// The status that was sent.
    pub status: u16,
    /// The code of the decision.
    pub code: &'a str,
    /// The session's id, of which only the first eight characters are written.
    pub session: Option<&'a str>,
    /// From the request's head to the last byte of the answer.
    pub took: Duration,
    /// How much of it was the backend's time to its answer's head.
    pub upstream: Option<Duration>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
}

/// The thread that writes, and the buffers that it empties. Dropped, it writes what is left.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// One worker's end of the access log.
#[derive(Debug)]
pub struct AccessBuffer {
    lines: Arc<Mutex<Vec<u8>>>,
    writer: std::thread::Thread,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Shared {
    buffers: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    stop: AtomicBool,
}

impl AccessLog {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || theirs.write_to(out))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// A new buffer for one worker; `None` once the log has ended.
    pub fn buffer(&self, metrics: &Metrics) -> Option<AccessBuffer> {
        let writer = self.thread.as_ref()?.thread().clone();
        let lines = Arc::new(Mutex::new(Vec::new()));
        lock(&self.shared.buffers).push(Arc::clone(&lines));
        Some(AccessBuffer {
            lines,
            writer,
            dropped: metrics.dropped_log_lines.clone(),
        })
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the thread was already reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl AccessBuffer {
    /// Appends one line; never waits for the disk.
    pub fn write(&self, line: &AccessLine<'_>) {
        let mut lines = lock(&self.lines);
        if lines.len() >= FULL {
            self.dropped.inc();
            return;
        }
        let before = lines.len();
        line.format(&mut lines);
        if before < HIGH && lines.len() >= HIGH {
            self.writer.unpark();
        }
    }
}

impl Shared {
    fn write_to(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        loop {
            let last = self.stop.load(Ordering::Acquire);
            let buffers = lock(&self.buffers).clone();
            for buffer in &buffers {
                std::mem::swap(&mut *lock(buffer), &mut taken);
                // A full disk must not end the service; what fails is lost.
                let _ = out.write_all(&taken);
                taken.clear();
            }
            let _ = out.flush();
            lock(&self.buffers)
                .retain(|buffer| Arc::strong_count(buffer) > 1 || !lock(buffer).is_empty());
            if last {
                return;
            }
            drop(buffers);
            std::thread::park_timeout(PAUSE);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AccessLine<'_> {
    fn format(&self, out: &mut Vec<u8>) {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        let session = self.session.map(|sid| sid.get(..8).unwrap_or_default());
        out.extend_from_slice(b"{\"time\":\"");
        push_time(out, self.time);
        out.extend_from_slice(b"\",\"request_id\":\"");
        out.extend_from_slice(&self.request_id);
        out.push(b'"');
        optional(out, b",\"app\":\"", self.app);
        if let Some(client) = self.client {
            out.extend_from_slice(b",\"client\":\"");
            push_address(out, client);
            out.push(b'"');
        }
        text(out, b",\"method\":\"", self.method);
        text(out, b",\"host\":\"", self.host);
        text(out, b",\"path\":\"", path);
        out.extend_from_slice(b",\"status\":");
        push_number(out, self.status.into());
        text(out, b",\"code\":\"", self.code);
        optional(out, b",\"session\":\"", session);
        milliseconds(out, b",\"ms\":", self.took);
        if let Some(upstream) = self.upstream {
            milliseconds(out, b",\"upstream_ms\":", upstream);
        }
        out.extend_from_slice(b",\"in\":");
        push_number(out, self.bytes_in);
        out.extend_from_slice(b",\"out\":");
        push_number(out, self.bytes_out);
        out.extend_from_slice(b"}\n");
    }
}

fn optional(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        text(out, key, value);
    }
}

/// A member whose value may come from anybody: everything but printable ASCII is escaped, so that neither a
/// terminal nor a reader of lines can be fooled.
fn text(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if value.len() <= LONGEST && value.as_bytes().iter().all(is_plain) {
        out.extend_from_slice(value.as_bytes());
    } else {
        escaped(out, value);
    }
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, value: &str) {
    for (at, char) in value.char_indices() {
        if at >= LONGEST {
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

fn milliseconds(out: &mut Vec<u8>, key: &[u8], span: Duration) {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
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

/// `std::fmt` takes five times as long, which shows: a line has ten numbers.
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

/// The last `N` digits, with zeros in front.
fn push_digits<const N: usize>(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; N];
    for place in digits.iter_mut().rev() {
        *place = digit(number);
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

const fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// RFC 3339 in UTC; the calendar's arithmetic counts years from March, so that leap days come last.
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
    for (before, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', hour),
        (b':', minute),
        (b':', second),
    ] {
        out.push(before);
        push_digits::<2>(out, number);
    }
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: AccessLine<'_> = AccessLine {
        time: Timestamp::from_secs(951_827_696),
        request_id: *b"00000000000000r1",
        app: Some("store"),
        client: None,
        method: "GET",
        host: "store.test",
        path: "/cart",
        status: 200,
        code: "forwarded",
        session: Some("0123456789abcdef"),
        took: Duration::from_micros(1234),
        upstream: Some(Duration::from_micros(1000)),
        bytes_in: 0,
        bytes_out: 7,
    };

    fn parsed(line: &AccessLine<'_>) -> serde_json::Value {
        let mut out = Vec::new();
        line.format(&mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(
            out.iter()
                .all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n'))
        );
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_line_is_one_object_with_the_facts() {
        let line = parsed(&LINE);
        assert_eq!(line["time"], "2000-02-29T12:34:56Z");
        assert_eq!(
            (line["ms"].as_f64(), line["upstream_ms"].as_f64()),
            (Some(1.234), Some(1.0))
        );
        assert_eq!(
            (&line["status"], &line["out"], &line["session"]),
            (&200.into(), &7.into(), &"01234567".into())
        );
        assert_eq!(
            parsed(&AccessLine {
                time: Timestamp::from_secs(0),
                ..LINE
            })["time"],
            "1970-01-01T00:00:00Z"
        );
        let end_of_year = Timestamp::from_secs(1_798_761_599);
        assert_eq!(
            parsed(&AccessLine {
                time: end_of_year,
                ..LINE
            })["time"],
            "2026-12-31T23:59:59Z"
        );
    }

    /// LESSONS, Operation: codes in logs; CR LF, escapes and JSON breaks in log lines.
    #[test]
    fn what_a_client_sent_neither_leaks_nor_breaks_out() {
        assert_eq!(
            parsed(&AccessLine {
                path: "/callback?code=s3cret",
                ..LINE
            })["path"],
            "/callback"
        );
        assert_eq!(
            parsed(&AccessLine {
                path: "/a#code=s3cret",
                ..LINE
            })["path"],
            "/a"
        );
        let odd = "a\r\n\",\"status\":0,\\ \x1b[31m\u{202e}\u{1f600}\u{85}";
        assert_eq!(parsed(&AccessLine { host: odd, ..LINE })["host"], odd);
        let long = "x".repeat(100_000);
        assert!(
            parsed(&AccessLine {
                path: &long,
                ..LINE
            })["path"]
                .as_str()
                .unwrap()
                .len()
                < 2100
        );
    }

    #[test]
    fn what_was_written_before_the_end_is_in_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = AccessLog::start(file.reopen().unwrap()).unwrap();
        let metrics = Metrics::new().unwrap();
        let buffers = [log.buffer(&metrics).unwrap(), log.buffer(&metrics).unwrap()];
        for buffer in &buffers {
            (0..1000).for_each(|_| buffer.write(&LINE));
        }
        drop(log);
        assert_eq!(
            std::fs::read_to_string(file.path())
                .unwrap()
                .lines()
                .count(),
            2000
        );
        assert_eq!(metrics.dropped_log_lines.get(), 0);
    }

    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
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

    #[test]
    fn a_stuck_disk_costs_lines_not_memory() {
        let (release, stuck) = std::sync::mpsc::channel();
        let log = AccessLog::start(Stuck(stuck)).unwrap();
        let metrics = Metrics::new().unwrap();
        let buffer = log.buffer(&metrics).unwrap();
        (0..20_000).for_each(|_| buffer.write(&LINE));
        assert!(metrics.dropped_log_lines.get() > 0);
        assert!(lock(&buffer.lines).len() < FULL + 1000);
        drop(release);
    }
}
