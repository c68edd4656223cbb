//! A bounded map: when it is full, an insertion evicts the oldest entry.

use std::collections::{BTreeMap, HashMap};

/// A map from names to values with at most `limit` entries.
pub(super) struct BoundedMap<V> {
    limit: usize,
    next: u64,
    entries: HashMap<String, (u64, V)>,
    by_age: BTreeMap<u64, String>,
}

impl<V> BoundedMap<V> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            next: 0,
            entries: HashMap::new(),
            by_age: BTreeMap::new(),
        }
    }

    /// Inserts `value` as the newest entry, and replaces the entry of this name, if any.
    pub(super) fn insert(&mut self, name: String, value: V) {
        self.remove(&name);
        while self.entries.len() >= self.limit {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                break;
            };
            self.entries.remove(&oldest);
        }
        self.by_age.insert(self.next, name.clone());
        self.entries.insert(name, (self.next, value));
        self.next = self.next.saturating_add(1);
    }

    pub(super) fn get(&self, name: &str) -> Option<&V> {
        self.entries.get(name).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.entries.get_mut(name).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<V> {
        let (age, value) = self.entries.remove(name)?;
        self.by_age.remove(&age);
        Some(value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().map(|(_, value)| value)
    }

    /// Removes the entries for which `keep` is false. Returns the number of removed entries.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) -> usize {
        let before = self.entries.len();
        let by_age = &mut self.by_age;
        self.entries.retain(|_, (age, value)| {
            let kept = keep(value);
            if !kept {
                by_age.remove(age);
            }
            kept
        });
        before.saturating_sub(self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_map_evicts_the_oldest_entry() {
        let mut map = BoundedMap::new(2);
        map.insert("a".into(), 1);
        map.insert("b".into(), 2);
        map.insert("a".into(), 3);
        map.insert("c".into(), 4);
        assert_eq!(
            (map.get("a"), map.get("b"), map.get("c")),
            (Some(&3), None, Some(&4))
        );
    }

    #[test]
    fn removed_entries_free_capacity() {
        let mut map = BoundedMap::new(2);
        map.insert("a".into(), 1);
        map.insert("b".into(), 2);
        assert_eq!(map.remove("a"), Some(1));
        assert_eq!(map.retain(|value| *value != 2), 1);
        map.insert("c".into(), 3);
        map.insert("d".into(), 4);
        assert_eq!((map.get("c"), map.get("d")), (Some(&3), Some(&4)));
        assert_eq!(map.by_age.len(), map.entries.len());
    }
}
