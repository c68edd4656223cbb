//! Logs of entries that must not delay what they are about: dropped entries are counted, and both full
//! buffers and failed writes are outages in the event log.

use std::io::{self, Write};
use std::sync::Arc;

use prometheus::IntCounter;

use super::line_writer::{BufferSize, LineBuffer, LineWriter};
use crate::outage::OutageLog;

/// The names of a log in outage events.
#[derive(Clone, Copy, Debug)]
pub struct EntryLogNames {
    /// The dependency, which also names the thread.
    pub dependency: &'static str,
    /// The code while entries are dropped.
    pub full: &'static str,
    /// The code while the output fails.
    pub failed: &'static str,
}

/// A log. Dropping it writes the pending entries, unless other logs share its writer.
#[derive(Debug)]
pub struct EntryLog {
    writer: Arc<LineWriter>,
    outages: Arc<OutageLog>,
    names: EntryLogNames,
}

/// A buffer of a log. Clones share it.
#[derive(Clone, Debug)]
pub struct EntryBuffer {
    lines: LineBuffer,
    dropped: IntCounter,
    outages: Arc<OutageLog>,
    names: EntryLogNames,
}

impl EntryLog {
    /// Starts a writer for this log alone.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start(names: EntryLogNames, out: impl Write + Send + 'static) -> io::Result<Self> {
        let writer = LineWriter::start(names.dependency, out)?;
        Ok(Self::on(Arc::new(writer), names))
    }

    /// Uses a writer that other logs may use too.
    pub fn on(writer: Arc<LineWriter>, names: EntryLogNames) -> Self {
        let outages = Arc::new(OutageLog::new(names.dependency, ""));
        let reported = Arc::clone(&outages);
        writer.report_to(move |result| match result {
            Ok(()) => reported.succeeded(),
            Err(error) => reported.failed(names.failed, error),
        });
        Self {
            writer,
            outages,
            names,
        }
    }

    /// Adds a buffer, whose dropped entries are counted in `dropped`.
    pub fn buffer(&self, size: BufferSize, dropped: &IntCounter) -> EntryBuffer {
        self.counted(self.writer.buffer(size), dropped)
    }

    /// The same with an entry about dropped ones. See [`LineWriter::buffer_with_notice`].
    pub fn buffer_with_notice(
        &self,
        size: BufferSize,
        dropped: &IntCounter,
        lost_entry: impl Fn(u64, &mut Vec<u8>) + Send + Sync + 'static,
    ) -> EntryBuffer {
        self.counted(self.writer.buffer_with_notice(size, lost_entry), dropped)
    }

    fn counted(&self, lines: LineBuffer, dropped: &IntCounter) -> EntryBuffer {
        EntryBuffer {
            lines,
            dropped: dropped.clone(),
            outages: Arc::clone(&self.outages),
            names: self.names,
        }
    }
}

impl EntryBuffer {
    /// Appends one entry, with its newline. Never waits for output.
    pub fn append(&self, format: impl FnOnce(&mut Vec<u8>)) {
        if self.lines.append(format) {
            self.outages.succeeded();
        } else {
            self.dropped.inc();
            let error = "its reader is too slow, or the disk is full";
            self.outages.failed(self.names.full, &error);
        }
    }
}
