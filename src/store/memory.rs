//! The memory store, for a single replica. It is bounded: expired entries are removed first, then new
//! ones are rejected. Others are never evicted.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use super::log::{Log, Pending};
use super::{Cursor, LogBatch, LogEntry, Store, StoreError, StoreFuture};
use crate::lock::lock;
use crate::types::time::Timestamp;

/// The store of one process.
#[derive(Debug)]
pub struct Memory {
    entries: Mutex<HashMap<String, Entry>>,
    max_entries: usize,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    ends_at: Timestamp,
}

impl Memory {
    /// An empty store for at most `max_entries`, and as many log entries.
    pub fn new(max_entries: usize) -> Self {
        Self {
            entries: Mutex::default(),
            max_entries,
            log: Mutex::new(Log::new(max_entries)),
        }
    }

    /// Sets another limit of log entries, and clears the log.
    #[must_use]
    pub fn with_log_limit(self, max_entries: usize) -> Self {
        Self {
            log: Mutex::new(Log::new(max_entries)),
            ..self
        }
    }

    /// Restores the log from a journal, and keeps it there across restarts. Blocks.
    ///
    /// # Errors
    /// The file cannot be read or written, is not a journal, is in use, or has too many entries.
    pub fn with_journal(self, path: &Path, now: Timestamp) -> io::Result<Self> {
        self.log().attach_journal(path, now)?;
        Ok(self)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        lock(&self.entries)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    fn insert(
        &self,
        entries: &mut HashMap<String, Entry>,
        key: &str,
        entry: Entry,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if entries.len() >= self.max_entries && !entries.contains_key(key) {
            entries.retain(|_, entry| now < entry.ends_at);
            if entries.len() >= self.max_entries {
                return Err(StoreError::Full);
            }
        }
        entries.insert(key.to_owned(), entry);
        Ok(())
    }
}

fn unexpired<'e>(
    entries: &'e HashMap<String, Entry>,
    key: &str,
    now: Timestamp,
) -> Option<&'e Bytes> {
    entries
        .get(key)
        .filter(|entry| now < entry.ends_at)
        .map(|entry| &entry.value)
}

fn ready<'a, T: Send + 'a>(result: Result<T, StoreError>) -> StoreFuture<'a, T> {
    Box::pin(std::future::ready(result))
}

/// Waits for the write to the journal, if there is one.
fn completed<'a>(pending: Result<Pending, StoreError>) -> StoreFuture<'a, ()> {
    match pending {
        Ok(None) => ready(Ok(())),
        Ok(Some(completion)) => Box::pin(async move {
            completion.await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable(
                    "the journal's writer has ended".to_owned(),
                ))
            })
        }),
        Err(error) => ready(Err(error)),
    }
}

impl Store for Memory {
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> StoreFuture<'a, Option<Bytes>> {
        ready(Ok(unexpired(&self.lock(), key, now).cloned()))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        ready(self.insert(&mut self.lock(), key, Entry { value, ends_at }, now))
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Option<Bytes>> {
        let mut entries = self.lock();
        if let Some(existing) = unexpired(&entries, key, now) {
            return ready(Ok(Some(existing.clone())));
        }
        ready(
            self.insert(&mut entries, key, Entry { value, ends_at }, now)
                .map(|()| None),
        )
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        before: &'a [u8],
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        let mut entries = self.lock();
        let matches = unexpired(&entries, key, now).is_some_and(|current| current == before);
        if matches {
            entries.insert(key.to_owned(), Entry { value, ends_at });
        }
        ready(Ok(matches))
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        value: &'a [u8],
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        let mut entries = self.lock();
        let matches = unexpired(&entries, key, now).is_some_and(|current| current == value);
        if matches {
            entries.remove(key);
        }
        ready(Ok(matches))
    }

    fn publish(&self, entry: LogEntry, now: Timestamp) -> StoreFuture<'_, ()> {
        completed(self.log().publish(entry, now))
    }

    fn read_since<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogBatch> {
        ready(Ok(self.log().read_since(since, now)))
    }

    fn compact<'a>(
        &'a self,
        until: &'a Cursor,
        entries: Vec<LogEntry>,
        _now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        completed(self.log().compact(until, entries))
    }

    fn held(&self) -> Option<usize> {
        Some(self.lock().len())
    }

    fn sweep(&self, now: Timestamp) {
        self.lock().retain(|_, entry| now < entry.ends_at);
        self.log().sweep(now);
    }
}
