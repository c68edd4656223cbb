//! The embedded store: named values with an end. Bounded; what has ended goes first, and when nothing has,
//! the newcomer is refused rather than somebody else's entry forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::types::time::Timestamp;

/// The store of one process.
#[derive(Debug)]
pub struct Memory {
    entries: Mutex<HashMap<String, Entry>>,
    max_entries: usize,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    ends_at: Timestamp,
}

/// There is no room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store has no room for another entry")]
pub struct StoreFull;

impl Memory {
    /// An empty store that takes at most `max_entries`.
    pub fn new(max_entries: usize) -> Self {
        Self { entries: Mutex::new(HashMap::new()), max_entries }
    }

    /// The value of `key`, if it has not ended at `now`.
    pub fn get(&self, key: &str, now: Timestamp) -> Option<Bytes> {
        self.lock().get(key).filter(|entry| now < entry.ends_at).map(|entry| entry.value.clone())
    }

    /// Keeps `value` under `key` until `ends_at`, in place of what was there.
    ///
    /// # Errors
    /// [`StoreFull`].
    pub fn put(&self, key: &str, value: Bytes, ends_at: Timestamp, now: Timestamp) -> Result<(), StoreFull> {
        let mut entries = self.lock();
        self.make_room(&mut entries, key, now)?;
        entries.insert(key.to_owned(), Entry { value, ends_at });
        Ok(())
    }

    /// Keeps `value` under `key` unless there is one already, which is then returned.
    ///
    /// # Errors
    /// [`StoreFull`].
    pub fn put_if_absent(
        &self,
        key: &str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Bytes>, StoreFull> {
        let mut entries = self.lock();
        if let Some(entry) = entries.get(key).filter(|entry| now < entry.ends_at) {
            return Ok(Some(entry.value.clone()));
        }
        self.make_room(&mut entries, key, now)?;
        entries.insert(key.to_owned(), Entry { value, ends_at });
        Ok(None)
    }

    /// Puts what `change` makes of the value of `key` in its place, as one step that no other write comes between.
    /// `change` is given nothing where there is no value that lives, and leaves all as it is by answering nothing.
    ///
    /// # Errors
    /// [`StoreFull`].
    pub fn update(
        &self,
        key: &str,
        ends_at: Timestamp,
        now: Timestamp,
        change: impl FnOnce(Option<&Bytes>) -> Option<Bytes>,
    ) -> Result<(), StoreFull> {
        let mut entries = self.lock();
        let before = entries.get(key).filter(|entry| now < entry.ends_at).map(|entry| &entry.value);
        let Some(value) = change(before) else { return Ok(()) };
        self.make_room(&mut entries, key, now)?;
        entries.insert(key.to_owned(), Entry { value, ends_at });
        Ok(())
    }

    /// How many entries there are, ended ones among them.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what has ended.
    pub fn sweep(&self, now: Timestamp) {
        self.lock().retain(|_, entry| now < entry.ends_at);
    }

    fn make_room(&self, entries: &mut HashMap<String, Entry>, key: &str, now: Timestamp) -> Result<(), StoreFull> {
        if entries.len() < self.max_entries || entries.contains_key(key) {
            return Ok(());
        }
        entries.retain(|_, entry| now < entry.ends_at);
        if entries.len() < self.max_entries { Ok(()) } else { Err(StoreFull) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn values_end() {
        let store = Memory::new(10);
        store.put("a", Bytes::from_static(b"1"), at(10), at(0)).unwrap();
        assert_eq!(store.get("a", at(9)).unwrap(), "1");
        assert_eq!(store.get("a", at(10)), None);
        store.sweep(at(10));
        assert!(store.is_empty());
    }

    #[test]
    fn only_the_first_is_kept_until_it_ends() {
        let store = Memory::new(10);
        let claim =
            |value: &'static str, now| store.put_if_absent("a", Bytes::from_static(value.as_bytes()), at(10), at(now));
        assert_eq!(claim("1", 0), Ok(None));
        assert_eq!(claim("2", 1), Ok(Some(Bytes::from_static(b"1"))));
        assert_eq!(claim("3", 10), Ok(None));
    }

    #[test]
    fn an_update_sees_what_lives_and_changes_it_or_not() {
        let store = Memory::new(1);
        let update = |now, change: fn(Option<&Bytes>) -> Option<Bytes>| store.update("a", at(10), at(now), change);
        assert_eq!(update(0, |before| before.cloned()), Ok(()));
        assert!(store.is_empty());
        assert_eq!(update(0, |before| before.is_none().then(|| Bytes::from_static(b"1"))), Ok(()));
        assert_eq!(update(1, |before| before.map(|_| Bytes::from_static(b"2"))), Ok(()));
        assert_eq!(store.get("a", at(1)).unwrap(), "2");
        assert_eq!(update(10, |before| before.map(|_| Bytes::from_static(b"3"))), Ok(()));
        assert_eq!(store.get("a", at(1)).unwrap(), "2");
        assert_eq!(store.update("b", at(10), at(1), |_| Some(Bytes::new())), Err(StoreFull));
    }

    #[test]
    fn a_full_store_refuses_and_forgets_nothing_that_lives() {
        let store = Memory::new(2);
        store.put("a", Bytes::new(), at(10), at(0)).unwrap();
        store.put("b", Bytes::new(), at(20), at(0)).unwrap();
        assert_eq!(store.put("c", Bytes::new(), at(20), at(5)), Err(StoreFull));
        assert_eq!(store.put("b", Bytes::from_static(b"2"), at(20), at(5)), Ok(()));
        assert_eq!(store.put("c", Bytes::new(), at(20), at(10)), Ok(()));
        assert!(store.get("a", at(5)).is_none());
        assert!(store.get("b", at(5)).is_some());
    }
}
