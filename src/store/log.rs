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
        entry: LogEntry,
        now: Timestamp,
    ) -> Result<Pending, StoreError> {
        if self.entries.len() >= self.max_entries {
            self.sweep(now);
        }
        if self.entries.len() >= self.max_entries {
            return Err(StoreError::Full);
        }
        self.push(entry.clone());
        let count = self.entries.len();
        match &mut self.journal {
            None => Ok(None),
            Some(journal) if journal.is_long_for(count) => self.rewrite_journal(),
            Some(journal) => journal.append(&entry).map(Some),
        }
    }

    pub(super) fn read_since(&self, since: &Cursor, now: Timestamp) -> LogBatch {
        let position = position(since);
        let entries = self
            .entries
            .iter()
            .filter(|(number, entry)| *number > position.unwrap_or(0) && now < entry.ends_at);
        LogBatch {
            entries: entries.map(|(_, entry)| entry.clone()).collect(),
            cursor: Cursor {
                epoch: EPOCH.to_owned(),
                position: self.last.to_string(),
            },
            held: self.entries.len(),
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
