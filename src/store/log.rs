//! The log of the memory store, with an optional journal. It is bounded: expired entries are removed
//! first, then new ones are rejected.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::journal::{Completion, Journal};
use super::{Cursor, LogBatch, LogEntry, StoreError};
use crate::types::time::Timestamp;

/// The only epoch: log and cursors end with the process.
const EPOCH: &str = "memory";

/// The most entries in one batch.
const MAX_BATCH: usize = 5000;

/// Entries with their sequence numbers, from 1.
#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<(u64, LogEntry)>,
    last: u64,
    max_entries: usize,
    journal: Option<Journal>,
}

/// The pending write to the journal, if there is one.
pub(super) type Pending = Option<Completion>;

impl Log {
    pub(super) fn new(max_entries: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            last: 0,
            max_entries,
            journal: None,
        }
    }

    pub(super) const fn set_max_entries(&mut self, max_entries: usize) {
        self.max_entries = max_entries;
    }

    /// Restores the entries of the journal at `path`, and writes to it from now on. Blocks.
    pub(super) fn attach_journal(&mut self, path: &Path, now: Timestamp) -> io::Result<()> {
        // A compaction may add more entries than the limit of single ones.
        let (journal, recovered) = Journal::open(path, self.max_entries.saturating_mul(2), now)?;
        if recovered.invalid_lines > 0 {
            tracing::warn!(lines = recovered.invalid_lines, "journal_lines_invalid");
        }
        recovered
            .entries
            .into_iter()
            .for_each(|entry| self.push(entry));
        self.journal = Some(journal);
        Ok(())
    }

    pub(super) fn publish(
        &mut self,
        entries: Vec<LogEntry>,
        now: Timestamp,
    ) -> Result<Pending, StoreError> {
        let has_room = |log: &Self| log.entries.len() + entries.len() <= log.max_entries;
        if !has_room(self) {
            self.sweep(now);
        }
        if !has_room(self) {
            return Err(StoreError::Full);
        }
        for entry in &entries {
            self.push(entry.clone());
        }
        let count = self.entries.len();
        match &mut self.journal {
            None => Ok(None),
            Some(journal) if journal.is_long_for(count) => self.rewrite_journal(),
            Some(journal) => journal.append(&entries).map(Some),
        }
    }

    pub(super) fn read_since(&self, since: &Cursor, now: Timestamp) -> LogBatch {
        let position = position(since);
        let first = position.unwrap_or(0);
        let mut unread = self.entries.iter().filter(|(number, _)| *number > first);
        let batch: Vec<_> = unread.by_ref().take(MAX_BATCH).collect();
        let more = unread.next().is_some();
        let last_read = batch.last().filter(|_| more).map(|(number, _)| *number);
        let read = batch.len();
        let entries = batch.into_iter().map(|(_, entry)| entry);
        LogBatch {
            read,
            entries: entries
                .filter(|entry| now < entry.ends_at)
                .cloned()
                .collect(),
            cursor: Cursor {
                epoch: EPOCH.to_owned(),
                position: last_read.unwrap_or(self.last).to_string(),
            },
            held: self.entries.len(),
            more,
            lost: position.is_none(),
        }
    }

    pub(super) fn compact(
        &mut self,
        until: &Cursor,
        entries: Vec<LogEntry>,
    ) -> Result<Pending, StoreError> {
        if until.epoch != EPOCH {
            return Ok(None);
        }
        let until = position(until).unwrap_or(0);
        self.entries.retain(|(number, _)| *number > until);
        entries.into_iter().for_each(|entry| self.push(entry));
        self.rewrite_journal()
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.entries.retain(|(_, entry)| now < entry.ends_at);
    }

    fn rewrite_journal(&mut self) -> Result<Pending, StoreError> {
        let Some(journal) = &mut self.journal else {
            return Ok(None);
        };
        journal
            .rewrite(
                self.entries
                    .iter()
                    .map(|(_, entry)| entry.clone())
                    .collect(),
            )
            .map(Some)
    }

    fn push(&mut self, entry: LogEntry) {
        self.last += 1;
        self.entries.push_back((self.last, entry));
    }
}

/// The sequence number of a cursor. `None` if it belongs to another log.
fn position(cursor: &Cursor) -> Option<u64> {
    match (cursor.epoch.as_str(), cursor.position.as_str()) {
        ("", _) => Some(0),
        (EPOCH, position) => position.parse().ok(),
        (_, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_complete() {
        let (now, mut log) = (Timestamp::from_secs(0), Log::new(3 * MAX_BATCH));
        let entry = |number: usize| LogEntry {
            value: number.to_string().into(),
            ends_at: Timestamp::from_secs(10),
        };
        log.publish((0..2 * MAX_BATCH + 1).map(entry).collect(), now)
            .unwrap();
        let mut cursor = Cursor::default();
        for (read, more) in [(MAX_BATCH, true), (MAX_BATCH, true), (1, false), (0, false)] {
            let batch = log.read_since(&cursor, now);
            assert_eq!((batch.entries.len(), batch.read), (read, read));
            assert_eq!((batch.more, batch.held), (more, 2 * MAX_BATCH + 1));
            cursor = batch.cursor;
        }
    }
}
