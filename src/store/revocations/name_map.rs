//! A persistent hash map from names to values: a clone costs one reference, and a change copies a
//! few nodes only, however many entries there are. So each change can publish a new snapshot.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// The children of a node. Two levels of nodes make 4096 buckets.
const FANOUT: usize = 64;

/// Names with their values.
#[derive(Clone, Debug)]
pub(super) struct NameMap<V> {
    root: Arc<Node<Node<Bucket<V>>>>,
    hasher: RandomState,
    len: usize,
}

/// The children of a node by a part of the hash.
#[derive(Clone, Debug)]
struct Node<T>([Option<Arc<T>>; FANOUT]);

/// The entries with equal parts of the hash.
type Bucket<V> = Vec<Named<V>>;

#[derive(Clone, Debug)]
struct Named<V> {
    hash: u64,
    name: Arc<str>,
    value: V,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self([const { None }; FANOUT])
    }
}

impl<T: Clone + Default> Node<T> {
    fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index)?.as_deref()
    }

    /// The child, which is created or copied if necessary.
    fn entry(&mut self, index: usize) -> Option<&mut T> {
        let child = self.0.get_mut(index)?;
        Some(Arc::make_mut(child.get_or_insert_default()))
    }

    fn children(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten().map(|child| &**child)
    }
}

/// The positions of a hash in both levels.
const fn path(hash: u64) -> [usize; 2] {
    let fanout = FANOUT as u64;
    [(hash % fanout) as usize, (hash / fanout % fanout) as usize]
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        Self {
            root: Arc::default(),
            hasher: RandomState::new(),
            len: 0,
        }
    }
}

impl<V: Clone> NameMap<V> {
    /// The number of entries.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        if self.len == 0 {
            return None;
        }
        let hash = self.hasher.hash_one(name);
        let [first, second] = path(hash);
        let bucket = self.root.get(first)?.get(second)?;
        let named = bucket
            .iter()
            .find(|named| named.hash == hash && *named.name == *name)?;
        Some(&named.value)
    }

    /// Sets the value of `name`.
    pub(super) fn insert(&mut self, name: &str, value: V) {
        let hash = self.hasher.hash_one(name);
        let [first, second] = path(hash);
        let root = Arc::make_mut(&mut self.root);
        let Some(bucket) = root.entry(first).and_then(|node| node.entry(second)) else {
            return;
        };
        let known = bucket
            .iter_mut()
            .find(|named| named.hash == hash && *named.name == *name);
        if let Some(known) = known {
            known.value = value;
        } else {
            let name = Arc::from(name);
            bucket.push(Named { hash, name, value });
            self.len += 1;
        }
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        let buckets = self.root.children().flat_map(Node::children);
        buckets.flatten().map(|named| (&*named.name, &named.value))
    }

    /// Removes the entries that `keep` rejects. Copies the buckets that have such entries.
    pub(super) fn retain(&mut self, keep: impl Fn(&str, &V) -> bool) {
        let rejected: Vec<u64> = self
            .root
            .children()
            .flat_map(Node::children)
            .flatten()
            .filter(|named| !keep(&named.name, &named.value))
            .map(|named| named.hash)
            .collect();
        if rejected.is_empty() {
            return;
        }
        let root = Arc::make_mut(&mut self.root);
        for hash in rejected {
            let [first, second] = path(hash);
            if let Some(bucket) = root.entry(first).and_then(|node| node.entry(second)) {
                let before = bucket.len();
                bucket.retain(|named| keep(&named.name, &named.value));
                self.len -= before - bucket.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn name_map_behaves_like_a_map_and_keeps_snapshots(
            changes in prop::collection::vec((0..200_u16, 0..10_u8), 0..400),
            removed in 0..10_u8,
        ) {
            let mut map = NameMap::default();
            let mut model = BTreeMap::new();
            let mut snapshot = None;
            for (at, (name, value)) in changes.iter().enumerate() {
                if at == changes.len() / 2 {
                    snapshot = Some((map.clone(), model.clone()));
                }
                map.insert(&name.to_string(), *value);
                model.insert(name.to_string(), *value);
            }
            map.retain(|_, value| *value != removed);
            model.retain(|_, value| *value != removed);
            let states = snapshot.into_iter().chain([(map, model)]);
            for (map, model) in states {
                let all: BTreeMap<String, u8> =
                    map.iter().map(|(name, value)| (name.to_owned(), *value)).collect();
                prop_assert_eq!(&all, &model);
                prop_assert_eq!(map.len(), model.len());
                for name in 0..200_u16 {
                    let name = name.to_string();
                    prop_assert_eq!(map.get(&name), model.get(&name));
                }
            }
        }
    }
}
