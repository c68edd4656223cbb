//! Background writer for log lines: bounded buffers and one thread. Callers never wait for the output,
//! also if it blocks or fails. Lines that do not fit are dropped and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Duration;

use crate::lock::lock;

/// How often the buffers are written out.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// Lines are dropped while a buffer has this size, in bytes.
const MAX_BUFFERED: usize = 1024 * 1024;
/// How long dropping the writer waits for an output that blocks.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// The writer thread and its buffers. Dropping it writes all pending lines, unless the output
/// blocks for longer than a second.
#[derive(Debug)]
pub struct LineWriter {
    shared: Arc<Shared>,
    thread: Thread,
    ended: Mutex<Receiver<()>>,
}

/// A buffer of lines. Clones share it.
#[derive(Clone, Debug)]
pub struct LineBuffer {
    lines: Arc<Mutex<Vec<u8>>>,
    writer: Thread,
    wake_at: usize,
    dropped: Arc<AtomicU64>,
    /// How many of the dropped ones were reported.
    reported: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Shared {
    buffers: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    stop: AtomicBool,
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

    /// Adds a buffer that wakes the writer once it holds `wake_at` bytes. Smaller amounts are written
    /// within 200 ms.
    pub fn buffer(&self, wake_at: usize) -> LineBuffer {
        let lines = Arc::new(Mutex::new(Vec::new()));
        lock(&self.shared.buffers).push(Arc::clone(&lines));
        LineBuffer {
            lines,
            writer: self.thread.clone(),
            wake_at,
            dropped: Arc::default(),
            reported: Arc::default(),
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
        let mut lines = lock(&self.lines);
        if lines.len() >= MAX_BUFFERED {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let before = lines.len();
        format(&mut lines);
        if before < self.wake_at && lines.len() >= self.wake_at {
            self.writer.unpark();
        }
        true
    }

    /// How many times [`append`](Self::append) dropped something.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The same since the last call. Of concurrent callers, one gets each.
    pub fn newly_dropped(&self) -> u64 {
        let dropped = self.dropped();
        let reported = self.reported.fetch_max(dropped, Ordering::Relaxed);
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

impl Shared {
    fn write_to(&self, mut out: impl Write) {
        let mut pending = Vec::new();
        loop {
            let is_last = self.stop.load(Ordering::Acquire);
            let buffers = lock(&self.buffers).clone();
            for buffer in &buffers {
                std::mem::swap(&mut *lock(buffer), &mut pending);
                // A write error, such as a full disk, loses lines but does not stop the service.
                let _ = out.write_all(&pending);
                pending.clear();
            }
            let _ = out.flush();
            lock(&self.buffers)
                .retain(|buffer| Arc::strong_count(buffer) > 1 || !lock(buffer).is_empty());
            if is_last {
                return;
            }
            drop(buffers);
            std::thread::park_timeout(FLUSH_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    struct Blocked(Receiver<()>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !bytes.is_empty() {
                let _ = self.0.recv();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Failing;

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }
    }

    #[test]
    fn drop_writes_pending_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = LineWriter::start("test", file.reopen().unwrap()).unwrap();
        let buffers = [writer.buffer(1), writer.buffer(1000)];
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
        let writer = LineWriter::start("test", Blocked(blocked)).unwrap();
        let buffer = writer.buffer(1);
        let line = [b'x'; 1000];
        (0..5000).for_each(|_| {
            buffer.append(|out| out.extend_from_slice(&line));
        });
        let dropped = buffer.dropped();
        assert!(dropped > 1000);
        assert_eq!(buffer.newly_dropped(), dropped);
        assert_eq!(buffer.newly_dropped(), 0, "each is reported once");
        assert!(lock(&buffer.lines).len() <= MAX_BUFFERED + line.len());
        drop(release);
    }

    #[test]
    fn blocked_output_does_not_block_shutdown() {
        let (_held, blocked) = mpsc::channel();
        let writer = LineWriter::start("test", Blocked(blocked)).unwrap();
        writer.buffer(1).append(|out| out.push(b'x'));
        let start = Instant::now();
        drop(writer);
        // Without the limit this would wait for ever.
        assert!(start.elapsed() < SHUTDOWN_TIMEOUT * 30);
    }

    #[test]
    fn failing_output_stops_nothing() {
        let writer = LineWriter::start("test", Failing).unwrap();
        let mut buffer = writer.buffer(1);
        buffer.write_all(b"line\n").unwrap();
        drop(writer);
        assert!(buffer.append(|out| out.push(b'x')));
    }
}
