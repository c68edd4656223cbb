//! Background writer for log lines: bounded buffers and one thread. Callers never wait for the output,
//! also if it blocks or fails. Bytes that the output does not take are kept and tried again, and lines that do
//! not fit into their buffer meanwhile are dropped and counted.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Duration;

use crate::lock::lock;

/// How often the buffers are written out, and an output that failed is tried again.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// How long dropping the writer waits for an output that blocks.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// The writer thread of one output and its buffers. Logs with the same output share it: with a thread each,
/// an output that takes a part of a line would get another log's line next. Dropping it writes all pending
/// lines, unless the output fails, or blocks for longer than a second.
#[derive(Debug)]
pub struct LineWriter {
    shared: Arc<Shared>,
    thread: Thread,
    ended: Mutex<Receiver<()>>,
}

/// A buffer of lines. Clones share it.
#[derive(Clone, Debug)]
pub struct LineBuffer {
    buffer: Arc<Buffer>,
    writer: Thread,
}

/// The sizes of a buffer, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct BufferSize {
    /// It wakes the writer once it holds so much. Less is written within 200 ms.
    pub wake_at: usize,
    /// Lines are dropped while it holds so much.
    pub max: usize,
}

impl BufferSize {
    /// The largest size of a buffer without a setting of its own.
    pub const MAX: usize = 1024 * 1024;
}

/// Writes a line about so many lines that were dropped.
type LostLine = Box<dyn Fn(u64, &mut Vec<u8>) + Send + Sync>;

struct Buffer {
    pending: Mutex<Pending>,
    size: BufferSize,
    lost_line: Option<LostLine>,
    dropped: AtomicU64,
    /// How many of the dropped ones were reported.
    reported: AtomicU64,
}

#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    /// How many were dropped after these.
    lost: u64,
}

/// Gets the result of each round that writes something.
type Report = Box<dyn Fn(&io::Result<()>) + Send>;

#[derive(Default)]
struct Shared {
    buffers: Mutex<Vec<Arc<Buffer>>>,
    reports: Mutex<Vec<Report>>,
    stop: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl LineWriter {
    /// Starts the writer thread.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start(name: &str, out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let (alive, ended) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _alive = alive;
                for_thread.write_to(out);
            })?;
        Ok(Self {
            shared,
            thread: thread.thread().clone(),
            ended: Mutex::new(ended),
        })
    }

    /// From now on, `report` gets the result of each round that writes something.
    pub fn report_to(&self, report: impl Fn(&io::Result<()>) + Send + 'static) {
        lock(&self.shared.reports).push(Box::new(report));
    }

    /// Adds a buffer.
    pub fn buffer(&self, size: BufferSize) -> LineBuffer {
        self.add(size, None)
    }

    /// Adds a buffer that writes what `lost_line` makes of the number of dropped lines, where they are
    /// missing.
    pub fn buffer_with_notice(
        &self,
        size: BufferSize,
        lost_line: impl Fn(u64, &mut Vec<u8>) + Send + Sync + 'static,
    ) -> LineBuffer {
        self.add(size, Some(Box::new(lost_line)))
    }

    fn add(&self, size: BufferSize, lost_line: Option<LostLine>) -> LineBuffer {
        let buffer = Arc::new(Buffer {
            pending: Mutex::default(),
            size,
            lost_line,
            dropped: AtomicU64::new(0),
            reported: AtomicU64::new(0),
        });
        lock(&self.shared.buffers).push(Arc::clone(&buffer));
        LineBuffer {
            buffer,
            writer: self.thread.clone(),
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.unpark();
        // The sender is dropped when the thread ends. A thread whose output blocks is left behind.
        let _ = lock(&self.ended).recv_timeout(SHUTDOWN_TIMEOUT);
    }
}

impl LineBuffer {
    /// Appends what `format` writes, at least one whole line. Returns `false` if it was dropped.
    pub fn append(&self, format: impl FnOnce(&mut Vec<u8>)) -> bool {
        let BufferSize { wake_at, max } = self.buffer.size;
        let mut pending = lock(&self.buffer.pending);
        let before = pending.lines.len();
        if before >= max {
            pending.lost += 1;
            self.buffer.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        format(&mut pending.lines);
        if before < wake_at && pending.lines.len() >= wake_at {
            self.writer.unpark();
        }
        true
    }

    /// How many times [`append`](Self::append) dropped something.
    pub fn dropped(&self) -> u64 {
        self.buffer.dropped.load(Ordering::Relaxed)
    }

    /// The same since the last call. Of concurrent callers, one gets each.
    pub fn newly_dropped(&self) -> u64 {
        let dropped = self.dropped();
        let reported = self.buffer.reported.fetch_max(dropped, Ordering::Relaxed);
        dropped.saturating_sub(reported)
    }
}

/// Appends each write as a whole. Never fails.
impl Write for LineBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    /// Moves the lines to `empty`, with a line about those that were dropped after them.
    fn take(&self, empty: &mut Vec<u8>) {
        let mut pending = lock(&self.pending);
        std::mem::swap(&mut pending.lines, empty);
        let lost = std::mem::take(&mut pending.lost);
        drop(pending);
        if let (Some(line), 1..) = (&self.lost_line, lost) {
            line(lost, empty);
        }
    }

    fn is_empty(&self) -> bool {
        lock(&self.pending).lines.is_empty()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").finish_non_exhaustive()
    }
}

impl Shared {
    fn write_to(&self, mut out: impl Write) {
        let mut unwritten = Vec::new();
        loop {
            let is_last = self.stop.load(Ordering::Acquire);
            let buffers = lock(&self.buffers).clone();
            let is_idle = unwritten.is_empty() && buffers.iter().all(|buffer| buffer.is_empty());
            if !is_idle {
                let result = write_buffers(&buffers, &mut unwritten, &mut out);
                for report in &*lock(&self.reports) {
                    report(&result);
                }
            }
            if is_last {
                return;
            }
            drop(buffers);
            lock(&self.buffers)
                .retain(|buffer| Arc::strong_count(buffer) > 1 || !buffer.is_empty());
            std::thread::park_timeout(FLUSH_INTERVAL);
        }
    }
}

/// Writes the rest in `unwritten`, then the buffers. After an error the buffers that follow fill up.
fn write_buffers(
    buffers: &[Arc<Buffer>],
    unwritten: &mut Vec<u8>,
    out: &mut impl Write,
) -> io::Result<()> {
    write_lines(unwritten, out)?;
    for buffer in buffers {
        buffer.take(unwritten);
        write_lines(unwritten, out)?;
    }
    out.flush()
}

/// Writes `lines`, and leaves in it what `out` did not take.
fn write_lines(lines: &mut Vec<u8>, out: &mut impl Write) -> io::Result<()> {
    let mut rest = lines.as_slice();
    let result = loop {
        if rest.is_empty() {
            break Ok(());
        }
        match out.write(rest) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    lines.drain(..lines.len() - rest.len());
    result
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::telemetry::testing::{Blocked, Faulty};

    const SMALL: BufferSize = BufferSize {
        wake_at: 1,
        max: 1000,
    };
    const LARGE: BufferSize = BufferSize {
        wake_at: 1,
        max: BufferSize::MAX,
    };

    fn start(out: impl Write + Send + 'static) -> LineWriter {
        LineWriter::start("test", out).unwrap()
    }

    #[test]
    fn drop_writes_pending_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = start(file.reopen().unwrap());
        let late = BufferSize {
            wake_at: 1000,
            ..LARGE
        };
        let buffers = [writer.buffer(LARGE), writer.buffer(late)];
        for buffer in &buffers {
            (0..1000).for_each(|_| assert!(buffer.append(|out| out.extend_from_slice(b"line\n"))));
        }
        drop(writer);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text, "line\n".repeat(2000));
        assert_eq!(buffers.map(|buffer| buffer.dropped()), [0, 0]);
    }

    #[test]
    fn blocked_output_drops_lines_and_bounds_memory() {
        let (release, blocked) = mpsc::channel();
        let writer = start(Blocked(blocked));
        let buffer = writer.buffer(LARGE);
        let line = [b'x'; 1000];
        (0..5000).for_each(|_| {
            buffer.append(|out| out.extend_from_slice(&line));
        });
        let dropped = buffer.dropped();
        assert!(dropped > 1000);
        assert_eq!(buffer.newly_dropped(), dropped);
        assert_eq!(buffer.newly_dropped(), 0, "each is reported once");
        assert!(lock(&buffer.buffer.pending).lines.len() <= LARGE.max + line.len());
        drop(release);
    }

    #[test]
    fn blocked_output_does_not_block_shutdown() {
        let (_held, blocked) = mpsc::channel();
        let writer = start(Blocked(blocked));
        writer.buffer(LARGE).append(|out| out.push(b'x'));
        let start = Instant::now();
        drop(writer);
        // Without the limit this would never end.
        assert!(start.elapsed() < SHUTDOWN_TIMEOUT * 30);
    }

    #[test]
    fn failing_output_stops_nothing() {
        let out = Faulty::default();
        out.fail();
        let writer = start(out);
        let mut buffer = writer.buffer(LARGE);
        buffer.write_all(b"line\n").unwrap();
        drop(writer);
        assert!(buffer.append(|out| out.push(b'x')));
    }

    /// A full disk, which takes a part of a line and then nothing.
    #[test]
    fn failed_lines_are_written_later_and_lost_ones_noted_where_they_are_missing() {
        let out = Faulty::default();
        out.fail_after(3);
        let (results, reported) = mpsc::channel();
        let results = Mutex::new(results);
        let writer = start(out.clone());
        writer.report_to(move |result| {
            let _ = lock(&results).send(result.is_ok());
        });
        let buffer = writer.buffer_with_notice(SMALL, |lost, out| {
            out.extend_from_slice(format!("lost {lost}\n").as_bytes());
        });
        let append = |text: &str| buffer.append(|out| out.extend_from_slice(text.as_bytes()));
        assert!(append("first\n"));
        assert_eq!(reported.recv(), Ok(false), "the output failed");
        assert!(append(&"x".repeat(SMALL.max)) && append("") == append(""));
        assert_eq!(buffer.dropped(), 2);
        out.heal();
        while reported.recv() != Ok(true) {}
        assert!(append("last\n"));
        drop(writer);
        let expected = format!("first\n{}lost 2\nlast\n", "x".repeat(SMALL.max));
        assert_eq!(out.text(), expected);
    }
}
