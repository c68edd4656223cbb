//! A persistent hash trie from names to values: a clone costs one reference, and a change copies the
//! way to one small leaf, however many entries there are. So each change can publish a new snapshot.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// The children of a branch.
const FANOUT: usize = 4;
/// The bits of a hash that choose a child.
const BITS: u32 = FANOUT.trailing_zeros();
/// The levels of branches, after which no bits of a hash are left.
const MAX_DEPTH: u32 = u64::BITS / BITS;
/// A leaf with more entries is split.
const MAX_LEAF: usize = 16;
/// A branch with at most as many entries becomes a leaf again.
const MIN_BRANCH: usize = MAX_LEAF / 2;

/// The levels of branches whose children are the parts of a large map.
const PART_DEPTH: u32 = 5;
/// A map with at most as many entries is one part.
const MAX_PART: usize = 4096;

/// Names with their values, and with a user who may belong to a name.
#[derive(Clone, Debug)]
pub(super) struct NameMap<V> {
    root: Arc<Node<V>>,
    hasher: RandomState,
    len: usize,
}

/// An entry of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'m, V> {
    pub(super) name: &'m str,
    /// Empty if none belongs to the name.
    pub(super) user: &'m str,
    pub(super) value: V,
}

/// A part of a map, which is small however large the map is.
#[derive(Clone, Debug)]
pub(super) struct Part(Vec<usize>);

#[derive(Debug)]
enum Node<V> {
    Leaf(Leaf<V>),
    Branch(Box<[Arc<Self>; FANOUT]>),
}

/// Entries in two allocations, because there may be a million.
#[derive(Debug)]
struct Leaf<V> {
    slots: Box<[Slot<V>]>,
    /// The names, and behind each its user.
    text: Box<str>,
}

#[derive(Clone, Copy, Debug)]
struct Slot<V> {
    hash: u64,
    /// The bytes of the name. It begins where the slot before ends.
    name_len: u32,
    /// Where the user ends in the text of the leaf.
    end: u32,
    value: V,
}

#[derive(Clone, Copy)]
struct Hashed<'m, V> {
    hash: u64,
    named: Named<'m, V>,
}

impl Part {
    /// The whole map.
    pub(super) const ALL: Self = Self(Vec::new());

    /// The parts of a map with this many entries.
    pub(super) fn of(len: usize) -> impl Iterator<Item = Self> {
        let depth = if len > MAX_PART { PART_DEPTH } else { 0 };
        let digits = move |part: usize| (0..depth).map(move |level| child(part as u64, level));
        (0..FANOUT.pow(depth)).map(move |part| Self(digits(part).collect()))
    }
}

/// The child of a branch in which the entry with this hash is.
const fn child(hash: u64, depth: u32) -> usize {
    (hash >> (depth * BITS)) as usize % FANOUT
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        let leaf = Leaf {
            slots: Box::default(),
            text: Box::default(),
        };
        Self {
            root: Arc::new(Node::Leaf(leaf)),
            hasher: RandomState::new(),
            len: 0,
        }
    }
}

impl<V: Copy + PartialEq> NameMap<V> {
    /// The number of entries.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The entry with this name.
    pub(super) fn get(&self, name: &str) -> Option<Named<'_, V>> {
        if self.len == 0 {
            return None;
        }
        let hash = self.hasher.hash_one(name);
        let (mut node, mut depth) = (&*self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let found = leaf.entries().find(|entry| entry.is(hash, name));
                    return found.map(|entry| entry.named);
                }
                Node::Branch(children) => node = children.get(child(hash, depth))?,
            }
            depth += 1;
        }
    }

    /// Sets the entry with this name. Returns whether it is new or different.
    pub(super) fn insert(&mut self, named: Named<'_, V>) -> bool {
        let known = self.get(named.name);
        if known == Some(named) {
            return false;
        }
        self.len += usize::from(known.is_none());
        let hash = self.hasher.hash_one(named.name);
        self.root = Arc::new(self.root.with(Hashed { hash, named }, 0));
        true
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Named<'_, V>> {
        let mut nodes = vec![&*self.root];
        let leaves = std::iter::from_fn(move || {
            loop {
                match nodes.pop()? {
                    Node::Leaf(leaf) => return Some(leaf.entries()),
                    Node::Branch(children) => nodes.extend(children.iter().map(|child| &**child)),
                }
            }
        });
        leaves.flatten().map(|entry| entry.named)
    }

    /// Removes the entries that `keep` rejects.
    pub(super) fn retain(&mut self, keep: impl Fn(Named<'_, V>) -> bool) {
        self.retain_in(&Part::ALL, keep);
    }

    /// Removes the entries of `part` that `keep` rejects.
    pub(super) fn retain_in(&mut self, part: &Part, keep: impl Fn(Named<'_, V>) -> bool) {
        let mut removal = Removal { keep, removed: 0 };
        if let Some(root) = removal.without(&self.root, &part.0) {
            self.root = Arc::new(root);
            self.len -= removal.removed;
        }
    }
}

impl<V: Copy> Hashed<'_, V> {
    fn is(&self, hash: u64, name: &str) -> bool {
        self.hash == hash && self.named.name == name
    }
}

impl<V: Copy> Node<V> {
    fn of(entries: Vec<Hashed<'_, V>>, depth: u32) -> Self {
        if entries.len() <= MAX_LEAF || depth == MAX_DEPTH {
            return Self::Leaf(Leaf::of(&entries));
        }
        let mut parts = [const { Vec::new() }; FANOUT];
        for entry in entries {
            if let Some(part) = parts.get_mut(child(entry.hash, depth)) {
                part.push(entry);
            }
        }
        let children = parts.map(|part| Arc::new(Self::of(part, depth + 1)));
        Self::Branch(Box::new(children))
    }

    /// The same with this entry, in place of the one with its name.
    fn with(&self, new: Hashed<'_, V>, depth: u32) -> Self {
        match self {
            Self::Leaf(leaf) => {
                let others = leaf.entries();
                let others = others.filter(|entry| !entry.is(new.hash, new.named.name));
                Self::of(others.chain([new]).collect(), depth)
            }
            Self::Branch(children) => {
                let mut children = children.clone();
                if let Some(child) = children.get_mut(child(new.hash, depth)) {
                    *child = Arc::new(child.with(new, depth + 1));
                }
                Self::Branch(children)
            }
        }
    }
}

impl<V: Copy> Leaf<V> {
    fn of(entries: &[Hashed<'_, V>]) -> Self {
        let named = || entries.iter().map(|entry| entry.named);
        let length = named().map(|named| named.name.len() + named.user.len());
        let mut text = String::with_capacity(length.sum());
        let slots = entries.iter().map(|Hashed { hash, named }| {
            text.push_str(named.name);
            text.push_str(named.user);
            // A name is part of a token, so a leaf is far from 4 GiB.
            Slot {
                hash: *hash,
                name_len: named.name.len() as u32,
                end: text.len() as u32,
                value: named.value,
            }
        });
        Self {
            slots: slots.collect(),
            text: text.into(),
        }
    }

    fn entries(&self) -> impl Iterator<Item = Hashed<'_, V>> {
        let mut start = 0;
        self.slots.iter().map(move |slot| {
            let end = slot.end as usize;
            let names = self.text.get(start..end).unwrap_or_default();
            start = end;
            let split = names.split_at_checked(slot.name_len as usize);
            let (name, user) = split.unwrap_or_default();
            let named = Named {
                name,
                user,
                value: slot.value,
            };
            Hashed {
                hash: slot.hash,
                named,
            }
        })
    }
}

/// Removes entries.
struct Removal<F> {
    keep: F,
    removed: usize,
}

impl<F> Removal<F> {
    /// The node without the entries that are rejected, if there are such entries below `path`.
    fn without<V: Copy>(&mut self, node: &Node<V>, path: &[usize]) -> Option<Node<V>>
    where
        F: Fn(Named<'_, V>) -> bool,
    {
        match node {
            Node::Leaf(leaf) => {
                let kept = leaf.entries().filter(|entry| (self.keep)(entry.named));
                let kept: Vec<_> = kept.collect();
                let removed = leaf.slots.len() - kept.len();
                self.removed += removed;
                (removed > 0).then(|| Node::Leaf(Leaf::of(&kept)))
            }
            Node::Branch(children) => {
                let (only, rest) = match path.split_first() {
                    Some((only, rest)) => (Some(*only), rest),
                    None => (None, path),
                };
                let mut changed = None;
                for (index, child) in children.iter().enumerate() {
                    if only.is_none_or(|only| only == index)
                        && let Some(child) = self.without(child, rest)
                        && let Some(place) = changed
                            .get_or_insert_with(|| children.clone())
                            .get_mut(index)
                    {
                        *place = Arc::new(child);
                    }
                }
                changed.map(joined)
            }
        }
    }
}

/// The branch, or a leaf if it has few entries.
fn joined<V: Copy>(children: Box<[Arc<Node<V>>; FANOUT]>) -> Node<V> {
    let mut entries = Vec::new();
    for child in children.iter() {
        match &**child {
            Node::Leaf(leaf) if entries.len() + leaf.slots.len() <= MIN_BRANCH => {
                entries.extend(leaf.entries());
            }
            Node::Leaf(_) | Node::Branch(_) => {
                drop(entries);
                return Node::Branch(children);
            }
        }
    }
    Node::Leaf(Leaf::of(&entries))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn insert(map: &mut NameMap<u8>, name: u16, value: u8) -> bool {
        let name = name.to_string();
        map.insert(Named {
            name: &name,
            user: user_of(value),
            value,
        })
    }

    fn user_of(value: u8) -> &'static str {
        ["", "alice", "b\u{f6}b"][usize::from(value % 3)]
    }

    proptest! {
        #[test]
        fn name_map_behaves_like_a_map_and_keeps_snapshots(
            changes in prop::collection::vec((0..2000_u16, 0..10_u8), 0..3000),
            removed in 0..10_u8,
        ) {
            let mut map = NameMap::default();
            let mut model = BTreeMap::new();
            let mut snapshot = None;
            for (at, (name, value)) in changes.iter().enumerate() {
                if at == changes.len() / 2 {
                    snapshot = Some((map.clone(), model.clone()));
                }
                let is_new = insert(&mut map, *name, *value);
                prop_assert_eq!(is_new, model.insert(name.to_string(), *value) != Some(*value));
            }
            map.retain(|named| named.value != removed);
            model.retain(|_, value| *value != removed);
            let states = snapshot.into_iter().chain([(map, model)]);
            for (map, model) in states {
                let all: BTreeMap<String, u8> =
                    map.iter().map(|named| (named.name.to_owned(), named.value)).collect();
                prop_assert_eq!(&all, &model);
                prop_assert_eq!(map.len(), model.len());
                for name in 0..2000_u16 {
                    let name = name.to_string();
                    let found = map.get(&name).map(|named| (named.user, named.value));
                    let expected = model.get(&name).map(|value| (user_of(*value), *value));
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn parts_of_a_large_map_are_all_of_it_and_small() {
        let mut map = NameMap::default();
        for name in 0..u16::MAX {
            insert(&mut map, name, (name % 2) as u8);
        }
        let mut left = map.len();
        for part in Part::of(map.len()) {
            map.retain_in(&part, |named| named.value == 0);
            assert!(left - map.len() < 200, "{}", left - map.len());
            left = map.len();
        }
        assert_eq!(map.len(), usize::from(u16::MAX / 2) + 1);
        assert!(map.iter().all(|named| named.value == 0));
        assert_eq!(Part::of(1000).count(), 1);
    }

    #[test]
    fn map_that_shrinks_releases_its_branches() {
        let mut map = NameMap::default();
        for name in 0..10_000 {
            insert(&mut map, name, 0);
        }
        map.retain(|named| named.name == "7");
        assert!(matches!(&*map.root, Node::Leaf(leaf) if leaf.slots.len() == 1));
    }
}
