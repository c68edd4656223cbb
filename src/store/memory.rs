//! The embedded store: named values with an end, and the feed. Bounded; what has ended goes first, and when nothing has,
//! the newcomer is refused rather than somebody else's entry forgotten.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::feed::{Feed, Pending};
use super::{Cursor, LogBatch, LogEntry, Store, StoreError, StoreFuture};
use crate::types::time::Timestamp;

/// The store of one process.
#[derive(Debug)]
pub struct Memory {
    entries: Mutex<HashMap<String, Entry>>,
    max_entries: usize,
    feed: Mutex<Feed>,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    ends_at: Timestamp,
}

impl Memory {
    /// An empty store that takes at most `max_entries`, and as many announcements.
    pub fn new(max_entries: usize) -> Self {
        Self {
            entries: Mutex::default(),
            max_entries,
            feed: Mutex::new(Feed::new(max_entries)),
        }
    }

    /// With room for another number of announcements; there are none yet.
    #[must_use]
    pub fn with_room_for(self, max_items: usize) -> Self {
        Self {
            feed: Mutex::new(Feed::new(max_items)),
            ..self
        }
    }

    /// With a journal that keeps the announcements through a restart; what it has kept is announced already. Blocks.
    ///
    /// # Errors
    /// The file cannot be read or written, is no journal, is in use, or has more than there is room for.
    pub fn with_journal(self, path: &Path, now: Timestamp) -> io::Result<Self> {
        self.feed().keep_in(path, now)?;
        Ok(self)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
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

fn living<'e>(entries: &'e HashMap<String, Entry>, key: &str, now: Timestamp) -> Option<&'e Bytes> {
    entries
        .get(key)
        .filter(|entry| now < entry.ends_at)
        .map(|entry| &entry.value)
}

fn at_once<'a, T: Send + 'a>(result: Result<T, StoreError>) -> StoreFuture<'a, T> {
    Box::pin(std::future::ready(result))
}

/// Waits for the journal, if there is one.
fn written<'a>(pending: Result<Pending, StoreError>) -> StoreFuture<'a, ()> {
    match pending {
        Ok(None) => at_once(Ok(())),
        Ok(Some(written)) => Box::pin(async move {
            written.await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable("the journal has ended".to_owned()))
            })
        }),
        Err(error) => at_once(Err(error)),
    }
}

impl Store for Memory {
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> StoreFuture<'a, Option<Bytes>> {
        at_once(Ok(living(&self.lock(), key, now).cloned()))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        at_once(self.insert(&mut self.lock(), key, Entry { value, ends_at }, now))
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Option<Bytes>> {
        let mut entries = self.lock();
        if let Some(there) = living(&entries, key, now) {
            return at_once(Ok(Some(there.clone())));
        }
        at_once(
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
        let matches = living(&entries, key, now).is_some_and(|there| there == before);
        if matches {
            entries.insert(key.to_owned(), Entry { value, ends_at });
        }
        at_once(Ok(matches))
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        value: &'a [u8],
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        let mut entries = self.lock();
        let matches = living(&entries, key, now).is_some_and(|there| there == value);
        if matches {
            entries.remove(key);
        }
        at_once(Ok(matches))
    }

    fn publish(&self, item: LogEntry, now: Timestamp) -> StoreFuture<'_, ()> {
        written(self.feed().publish(item, now))
    }

    fn read_since<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogBatch> {
        at_once(Ok(self.feed().read_since(since, now)))
    }

    fn compact<'a>(
        &'a self,
        until: &'a Cursor,
        items: Vec<LogEntry>,
        _now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        written(self.feed().compact(until, items))
    }

    fn held(&self) -> Option<usize> {
        Some(self.lock().len())
    }

    fn sweep(&self, now: Timestamp) {
        self.lock().retain(|_, entry| now < entry.ends_at);
        self.feed().sweep(now);
    }
}
