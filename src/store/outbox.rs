//! Outbox: revocations of this process that the shared store has not taken yet. They are published
//! as soon as it does. With a journal they also survive a restart of the process.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use super::journal::{Completion, Journal};
use super::{LogEntry, StoreError};
use crate::lock::lock;
use crate::types::time::Timestamp;

/// Log entries that wait for the store, in order.
#[derive(Debug)]
pub struct Outbox {
    inner: Mutex<Inner>,
    max_entries: usize,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<LogEntry>,
    journal: Option<Journal>,
}

impl Outbox {
    /// An empty outbox for at most `max_entries`.
    pub fn new(max_entries: usize) -> Self {
        Self {
            inner: Mutex::default(),
            max_entries,
        }
    }

    /// Restores the entries of the journal at `path`, and keeps further ones there. Blocks.
    ///
    /// # Errors
    /// The file cannot be read or written, is not a journal, is in use, or has too many entries.
    pub fn with_journal(self, path: &Path, now: Timestamp) -> io::Result<Self> {
        let (journal, recovered) = Journal::open(path, self.max_entries, now)?;
        if recovered.invalid_lines > 0 {
            tracing::warn!(lines = recovered.invalid_lines, "journal_lines_invalid");
        }
        *lock(&self.inner) = Inner {
            entries: recovered.entries.into(),
            journal: Some(journal),
        };
        Ok(self)
    }

    /// Adds entries, and waits until they are in the journal, if there is one.
    ///
    /// # Errors
    /// The outbox is full, or the journal cannot be written. In the second case the entries are kept
    /// in memory.
    pub async fn add(&self, entries: Vec<LogEntry>) -> Result<(), StoreError> {
        let written = self.push(entries)?;
        match written {
            None => Ok(()),
            Some(completion) => completion.await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable(
                    "the journal's writer has ended".to_owned(),
                ))
            }),
        }
    }

    /// Adds entries, and does not wait for the journal.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_later(&self, entries: Vec<LogEntry>) -> Result<(), StoreError> {
        self.push(entries).map(|_| ())
    }

    fn push(&self, entries: Vec<LogEntry>) -> Result<Option<Completion>, StoreError> {
        let mut inner = lock(&self.inner);
        if inner.entries.len() + entries.len() > self.max_entries {
            return Err(StoreError::Full);
        }
        let queued = match &mut inner.journal {
            Some(journal) => journal.append(&entries).map(Some),
            None => Ok(None),
        };
        inner.entries.extend(entries);
        queued
    }

    /// The first entries, at most `count`.
    pub fn first(&self, count: usize) -> Vec<LogEntry> {
        lock(&self.inner)
            .entries
            .iter()
            .take(count)
            .cloned()
            .collect()
    }

    /// Removes the first `count` entries, which the store has taken, from memory and from the
    /// journal.
    pub fn remove_first(&self, count: usize) {
        let mut inner = lock(&self.inner);
        let count = count.min(inner.entries.len());
        inner.entries.drain(..count);
        let left: Vec<_> = inner.entries.iter().cloned().collect();
        if let Some(journal) = &mut inner.journal
            && let Err(error) = journal.rewrite(left)
        {
            // They would only be published once more.
            tracing::debug!(%error, "journal_not_shortened");
        }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        lock(&self.inner).entries.len()
    }

    /// Whether all entries were taken by the store.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the entries survive a restart of the process.
    pub fn is_durable(&self) -> bool {
        lock(&self.inner).journal.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1);

    fn entry(text: &str) -> LogEntry {
        LogEntry {
            value: text.to_owned().into(),
            ends_at: Timestamp::from_secs(100),
        }
    }

    fn texts(outbox: &Outbox) -> Vec<String> {
        let first = outbox.first(usize::MAX);
        let text = |entry: &LogEntry| String::from_utf8(entry.value.to_vec()).unwrap();
        first.iter().map(text).collect()
    }

    #[tokio::test]
    async fn journaled_outbox_survives_a_restart_without_published_entries() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revocations.journal");
        let open = |now| Outbox::new(10).with_journal(&path, now).unwrap();
        let outbox = open(NOW);
        outbox.add(vec![entry("a"), entry("b")]).await.unwrap();
        outbox.add(vec![entry("c")]).await.unwrap();
        outbox.remove_first(1);
        drop(outbox);
        let outbox = open(NOW);
        assert_eq!(texts(&outbox), ["b", "c"]);
        assert!(outbox.is_durable());
        drop(outbox);
        assert!(open(Timestamp::from_secs(100)).is_empty(), "expired");
    }

    #[tokio::test]
    async fn full_outbox_rejects_entries() {
        let outbox = Outbox::new(2);
        outbox.add(vec![entry("a"), entry("b")]).await.unwrap();
        assert_eq!(outbox.add(vec![entry("c")]).await, Err(StoreError::Full));
        outbox.remove_first(5);
        outbox.add(vec![entry("c")]).await.unwrap();
        assert_eq!(texts(&outbox), ["c"]);
        assert!(!outbox.is_durable());
    }
}
