//! What was announced in one process, in order. Bounded; what has ended goes first, and when nothing has, the newcomer
//! is refused.

use std::collections::VecDeque;

use super::{Cursor, Item, News, StoreError};
use crate::types::time::Timestamp;

/// The only memory that there is: it ends with the process, and so do the cursors.
const EPOCH: &str = "memory";

/// Items with their numbers, which count from 1.
#[derive(Debug)]
pub(super) struct Feed {
    items: VecDeque<(u64, Item)>,
    last: u64,
    max_items: usize,
}

impl Feed {
    pub(super) fn new(max_items: usize) -> Self {
        Self { items: VecDeque::new(), last: 0, max_items }
    }

    pub(super) fn announce(&mut self, item: Item, now: Timestamp) -> Result<(), StoreError> {
        if self.items.len() >= self.max_items {
            self.sweep(now);
        }
        if self.items.len() >= self.max_items {
            return Err(StoreError::Full);
        }
        self.push(item);
        Ok(())
    }

    pub(super) fn news(&self, since: &Cursor, now: Timestamp) -> News {
        let read = read_until(since);
        let items = self.items.iter().filter(|(number, item)| *number > read.unwrap_or(0) && now < item.ends_at);
        News {
            items: items.map(|(_, item)| item.clone()).collect(),
            cursor: Cursor { epoch: EPOCH.to_owned(), position: self.last.to_string() },
            held: self.items.len(),
            lost: read.is_none(),
        }
    }

    /// Says whether it did.
    pub(super) fn condense(&mut self, until: &Cursor, items: Vec<Item>) -> bool {
        let Some(until) = read_until(until) else { return false };
        let first = self.items.front().map(|(number, _)| *number);
        // Otherwise somebody else was faster, or there was nothing.
        let is_due = first.is_some_and(|first| first <= until);
        if is_due {
            self.items.retain(|(number, _)| *number > until);
            items.into_iter().for_each(|item| self.push(item));
        }
        is_due
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.items.retain(|(_, item)| now < item.ends_at);
    }

    fn push(&mut self, item: Item) {
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
