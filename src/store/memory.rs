//! The memory store, for a single replica. It is bounded, with a share per client: expired entries
//! are removed first, then new ones are rejected. Others are never evicted.

use std::collections::{HashMap, hash_map};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::log::{Log, Pending};
use super::{
    Claim, Claimed, Cursor, LogBatch, LogEntry, LogLimits, LogState, Store, StoreError,
    StoreFuture, StoreTime,
};
use crate::limits::{ClientKey, current_client, within_share};
use crate::lock::lock;
use crate::types::time::Timestamp;

/// The store of one process.
#[derive(Debug)]
pub struct Memory {
    entries: Mutex<Entries>,
    max_entries: usize,
    log: Mutex<Log>,
    /// The last time that was given out, in milliseconds. It never repeats: within one second of the
    /// callers' clock it counts.
    last_time: AtomicU64,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<String, Entry>,
    /// The number of entries of each owner that has any.
    owned: HashMap<ClientKey, usize>,
    /// No entry expires before this time.
    next_end: Timestamp,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    ends_at: Timestamp,
    /// The client or user on whose behalf it was made.
    owner: Option<ClientKey>,
}

impl Memory {
    /// An empty store for at most `max_entries`, and as many log entries.
    pub fn new(max_entries: usize) -> Self {
        Self {
            entries: Mutex::default(),
            max_entries,
            log: Mutex::new(Log::new(max_entries)),
            last_time: AtomicU64::new(0),
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

    fn lock(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    fn next_time(&self, now: Timestamp) -> StoreTime {
        let clock = now.secs().saturating_mul(1000);
        let next = |last: u64| Some(last.saturating_add(1).max(clock));
        let before = self
            .last_time
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let (Ok(last) | Err(last)) = before;
        StoreTime::from_millis(last.saturating_add(1).max(clock))
    }

    fn insert(
        &self,
        entries: &mut Entries,
        key: &str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if entries.unexpired(key, now).is_some() {
            entries.replace(key, value, ends_at);
            return Ok(());
        }
        entries.remove(key);
        let owner = current_client();
        if !entries.have_space(owner, self.max_entries) {
            entries.sweep(now);
            if !entries.have_space(owner, self.max_entries) {
                return Err(StoreError::Full);
            }
        }
        let entry = Entry {
            value,
            ends_at,
            owner,
        };
        entries.add(key.to_owned(), entry);
        Ok(())
    }
}

impl Entries {
    fn unexpired(&self, key: &str, now: Timestamp) -> Option<&Bytes> {
        self.by_key
            .get(key)
            .filter(|entry| now < entry.ends_at)
            .map(|entry| &entry.value)
    }

    /// Whether `owner` may have another entry.
    fn have_space(&self, owner: Option<ClientKey>, max: usize) -> bool {
        let free = max.saturating_sub(self.by_key.len());
        let owned = owner.and_then(|owner| self.owned.get(&owner)).copied();
        free > 0 && within_share(owned.unwrap_or_default(), free)
    }

    fn add(&mut self, key: String, entry: Entry) {
        if let Some(owner) = entry.owner {
            *self.owned.entry(owner).or_default() += 1;
        }
        self.next_end = self.next_end.min(entry.ends_at);
        self.by_key.insert(key, entry);
    }

    /// Replaces the value of an entry, which keeps its owner.
    fn replace(&mut self, key: &str, value: Bytes, ends_at: Timestamp) {
        if let Some(entry) = self.by_key.get_mut(key) {
            (entry.value, entry.ends_at) = (value, ends_at);
            self.next_end = self.next_end.min(ends_at);
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.by_key.remove(key) {
            disown(&mut self.owned, &entry);
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        if now < self.next_end {
            return;
        }
        let owned = &mut self.owned;
        let mut next_end = Timestamp::from_secs(u64::MAX);
        self.by_key.retain(|_, entry| {
            let lives = now < entry.ends_at;
            if lives {
                next_end = next_end.min(entry.ends_at);
            } else {
                disown(owned, entry);
            }
            lives
        });
        self.next_end = next_end;
    }
}

/// One entry less of the owner of `entry`.
fn disown(owned: &mut HashMap<ClientKey, usize>, entry: &Entry) {
    if let Some(owner) = entry.owner
        && let hash_map::Entry::Occupied(mut count) = owned.entry(owner)
    {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
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
        ready(Ok(self.lock().unexpired(key, now).cloned()))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        ready(self.insert(&mut self.lock(), key, value, ends_at, now))
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Option<Bytes>> {
        let mut entries = self.lock();
        if let Some(existing) = entries.unexpired(key, now) {
            return ready(Ok(Some(existing.clone())));
        }
        ready(
            self.insert(&mut entries, key, value, ends_at, now)
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
        let matches = entries
            .unexpired(key, now)
            .is_some_and(|current| current == before);
        if matches {
            entries.replace(key, value, ends_at);
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
        let matches = entries
            .unexpired(key, now)
            .is_some_and(|current| current == value);
        if matches {
            entries.remove(key);
        }
        ready(Ok(matches))
    }

    fn append<'a>(
        &'a self,
        key: &'a str,
        part: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Bytes> {
        let mut entries = self.lock();
        let mut whole = BytesMut::from(
            entries
                .unexpired(key, now)
                .map(|value| &**value)
                .unwrap_or_default(),
        );
        whole.extend_from_slice(&part);
        let value = whole.freeze();
        let inserted = self.insert(&mut entries, key, value.clone(), ends_at, now);
        ready(inserted.map(|()| value))
    }

    fn expire<'a>(
        &'a self,
        key: &'a str,
        prefix: &'a [u8],
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        let mut entries = self.lock();
        let value = entries.unexpired(key, now).cloned();
        let value = value.filter(|value| value.starts_with(prefix));
        let matches = value.is_some();
        if let Some(value) = value {
            entries.replace(key, value, ends_at);
        }
        ready(Ok(matches))
    }

    fn claim<'a>(
        &'a self,
        claim: Claim<'a>,
        others: [&'a str; 2],
        now: Timestamp,
    ) -> StoreFuture<'a, Claimed> {
        let Claim {
            key,
            value,
            ends_at,
        } = claim;
        let mut entries = self.lock();
        let holder = entries.unexpired(key, now).cloned();
        if holder.is_none()
            && let Err(error) = self.insert(&mut entries, key, value, ends_at, now)
        {
            return ready(Err(error));
        }
        ready(Ok(Claimed {
            holder,
            others: others.map(|key| entries.unexpired(key, now).cloned()),
        }))
    }

    fn publish(&self, entries: Vec<LogEntry>, now: Timestamp) -> StoreFuture<'_, ()> {
        completed(self.log().publish(entries, now))
    }

    fn read_since<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogBatch> {
        ready(Ok(self.log().read_since(since, now)))
    }

    fn log_state<'a>(&'a self, _since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogState> {
        ready(Ok(LogState {
            time: self.next_time(now),
            intact_for: Duration::MAX,
        }))
    }

    fn time_bound(&self, now: Timestamp) -> Option<StoreTime> {
        Some(self.next_time(now))
    }

    fn set_log_limits(&self, limits: LogLimits) {
        self.log().set_max_entries(limits.max_entries);
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
        Some(self.lock().by_key.len())
    }

    fn sweep(&self, now: Timestamp) {
        self.lock().sweep(now);
        self.log().sweep(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::on_behalf_of;

    const NOW: Timestamp = Timestamp::from_secs(1000);
    const END: Timestamp = Timestamp::from_secs(1100);

    async fn put(store: &Memory, owner: Option<ClientKey>, key: &str) -> Result<(), StoreError> {
        on_behalf_of(owner, async {
            store.put(key, Bytes::new(), END, NOW).await
        })
        .await
    }

    #[tokio::test]
    async fn one_owner_leaves_entries_to_others_until_its_own_end() {
        let store = Memory::new(10);
        let owner = |name| Some(ClientKey::of_test(name));
        let mut stored = 0;
        for number in 0..20 {
            stored += usize::from(put(&store, owner("a"), &number.to_string()).await.is_ok());
        }
        assert_eq!(stored, 6);
        assert_eq!(
            put(&store, owner("a"), "0").await,
            Ok(()),
            "an entry that exists"
        );
        assert_eq!(put(&store, owner("b"), "b").await, Ok(()));
        assert_eq!(store.remove("0", b"", NOW).await, Ok(true));
        assert_eq!(store.remove("1", b"", NOW).await, Ok(true));
        assert_eq!(put(&store, owner("a"), "x").await, Ok(()), "4 of 5 free");
        assert_eq!(put(&store, owner("a"), "y").await, Err(StoreError::Full));
        store.sweep(END);
        let entries = store.lock();
        assert!(entries.by_key.is_empty() && entries.owned.is_empty());
    }

    #[tokio::test]
    async fn full_store_removes_expired_entries_first() {
        let store = Memory::new(2);
        store.put("a", Bytes::new(), END, NOW).await.unwrap();
        let late = END.plus(Duration::from_secs(100));
        store.put("b", Bytes::new(), late, NOW).await.unwrap();
        assert_eq!(put(&store, None, "c").await, Err(StoreError::Full));
        assert_eq!(store.put("c", Bytes::new(), late, END).await, Ok(()));
        assert_eq!(
            store.put("d", Bytes::new(), late, END).await,
            Err(StoreError::Full)
        );
    }
}
