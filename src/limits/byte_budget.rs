//! Byte budget: how many bytes the requests and responses in flight may take in memory, with a
//! share per client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::client_key::ClientKey;
use super::shares::{ClientCounts, within_share};

/// The bytes in flight of a process.
#[derive(Debug)]
pub struct ByteBudget {
    max: usize,
    used: AtomicUsize,
    clients: ClientCounts,
}

/// Reserved bytes, until it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<ByteBudget>,
    client: Option<ClientKey>,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of which nothing is used.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            used: AtomicUsize::new(0),
            clients: ClientCounts::new(),
        }
    }

    /// How many bytes are in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Reserves bytes for a client. `None`: the budget or the client's share is exhausted.
    pub fn reserve(
        self: &Arc<Self>,
        client: Option<ClientKey>,
        bytes: usize,
    ) -> Option<Reservation> {
        self.try_take(client, bytes).then(|| Reservation {
            budget: Arc::clone(self),
            client,
            bytes,
        })
    }

    /// Whether a client may take more.
    pub fn has_share(&self, client: Option<ClientKey>) -> bool {
        let free = self.max.saturating_sub(self.used());
        free > 0 && client.is_none_or(|client| within_share(self.clients.held(client), free))
    }

    /// Takes bytes that exist already, whatever is free.
    pub fn take(&self, client: Option<ClientKey>, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(client) = client {
            self.clients.add(client, bytes);
        }
    }

    /// Gives taken bytes back.
    pub fn give_back(&self, client: Option<ClientKey>, bytes: usize) {
        if let Some(client) = client {
            self.clients.remove(client, bytes);
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn try_take(&self, client: Option<ClientKey>, bytes: usize) -> bool {
        let before = client.map_or(0, |client| self.clients.add(client, bytes));
        let held = if client.is_some() { before + bytes } else { 0 };
        let take = |used: usize| {
            let free = self.max.saturating_sub(used);
            (bytes <= free && within_share(held, free)).then(|| used + bytes)
        };
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok();
        if let (false, Some(client)) = (taken, client) {
            self.clients.remove(client, bytes);
        }
        taken
    }
}

impl Reservation {
    /// Reserves more bytes. `false`: the budget or the client's share is exhausted.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let grown = self.budget.try_take(self.client, bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Gives all but `bytes` back.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(excess) = self.bytes.checked_sub(bytes) {
            self.bytes = bytes;
            self.budget.give_back(self.client, excess);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.client, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_gets_half_and_the_rest_is_left_to_others() {
        let budget = Arc::new(ByteBudget::new(1000));
        let (greedy, other) = (ClientKey::of_test("a"), ClientKey::of_test("b"));
        let mut held = budget.reserve(Some(greedy), 300).unwrap();
        assert!(held.grow(200) && !held.grow(1), "half");
        assert!(!budget.has_share(Some(greedy)) || budget.reserve(Some(greedy), 1).is_none());
        let others = budget.reserve(Some(other), 250).unwrap();
        assert!(budget.has_share(Some(other)) && !budget.has_share(Some(greedy)));
        assert!(budget.reserve(None, 251).is_none(), "250 are free");
        held.shrink_to(100);
        assert_eq!(budget.used(), 350);
        assert!(held.grow(200));
        drop((held, others));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn bytes_that_exist_are_taken_beyond_the_limit() {
        let budget = Arc::new(ByteBudget::new(100));
        let client = Some(ClientKey::of_test("a"));
        budget.take(client, 150);
        assert!(!budget.has_share(client) && !budget.has_share(None));
        assert!(budget.reserve(None, 1).is_none());
        budget.give_back(client, 150);
        assert!(budget.has_share(client) && budget.reserve(client, 50).is_some());
    }
}
