//! What was announced in one process, in order, and in its journal if it has one. Bounded; what has ended goes first,
//! and when nothing has, the newcomer is refused.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::journal::{Journal, Written};
use super::{Cursor, LogBatch, LogEntry, StoreError};
use crate::types::time::Timestamp;

/// The only memory that there is: it ends with the process, and so do the cursors.
const EPOCH: &str = "memory";

/// Items with their numbers, which count from 1.
#[derive(Debug)]
pub(super) struct Feed {
    items: VecDeque<(u64, LogEntry)>,
    last: u64,
    max_items: usize,
    journal: Option<Journal>,
}

/// What has to come before an announcement counts as made; `None`: nothing.
pub(super) type Pending = Option<Written>;

impl Feed {
    pub(super) fn new(max_items: usize) -> Self {
        Self {
            items: VecDeque::new(),
            last: 0,
            max_items,
            journal: None,
        }
    }

    /// Takes in what the journal at `path` has kept, and keeps it from now on. Blocks.
    pub(super) fn keep_in(&mut self, path: &Path, now: Timestamp) -> io::Result<()> {
        // Words that somebody condensed may be a little more than what is announced one by one.
        let (journal, kept) = Journal::open(path, self.max_items.saturating_mul(2), now)?;
        if kept.unreadable > 0 {
            tracing::warn!(lines = kept.unreadable, "journal_lines_invalid");
        }
        kept.items.into_iter().for_each(|item| self.push(item));
        self.journal = Some(journal);
        Ok(())
    }

    pub(super) fn publish(
        &mut self,
        item: LogEntry,
        now: Timestamp,
    ) -> Result<Pending, StoreError> {
        if self.items.len() >= self.max_items {
            self.sweep(now);
        }
        if self.items.len() >= self.max_items {
            return Err(StoreError::Full);
        }
        self.push(item.clone());
        let needed = self.items.len();
        match &mut self.journal {
            None => Ok(None),
            Some(journal) if journal.is_long_for(needed) => self.rewrite_journal(),
            Some(journal) => journal.append(&item).map(Some),
        }
    }

    pub(super) fn read_since(&self, since: &Cursor, now: Timestamp) -> LogBatch {
        let read = read_until(since);
        let items = self
            .items
            .iter()
            .filter(|(number, item)| *number > read.unwrap_or(0) && now < item.ends_at);
        LogBatch {
            items: items.map(|(_, item)| item.clone()).collect(),
            cursor: Cursor {
                epoch: EPOCH.to_owned(),
                position: self.last.to_string(),
            },
            held: self.items.len(),
            lost: read.is_none(),
        }
    }

    pub(super) fn compact(
        &mut self,
        until: &Cursor,
        items: Vec<LogEntry>,
    ) -> Result<Pending, StoreError> {
        if until.epoch != EPOCH {
            return Ok(None);
        }
        let until = read_until(until).unwrap_or(0);
        self.items.retain(|(number, _)| *number > until);
        items.into_iter().for_each(|item| self.push(item));
        self.rewrite_journal()
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.items.retain(|(_, item)| now < item.ends_at);
    }

    fn rewrite_journal(&mut self) -> Result<Pending, StoreError> {
        let Some(journal) = &mut self.journal else {
            return Ok(None);
        };
        journal
            .rewrite(self.items.iter().map(|(_, item)| item.clone()).collect())
            .map(Some)
    }

    fn push(&mut self, item: LogEntry) {
        self.last += 1;
        self.items.push_back((self.last, item));
    }
}

/// `None`: not in this memory.
fn read_until(cursor: &Cursor) -> Option<u64> {
    match (cursor.epoch.as_str(), cursor.position.as_str()) {
        ("", _) => Some(0),
        (EPOCH, position) => position.parse().ok(),
        (_, _) => None,
    }
}
