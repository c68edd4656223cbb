//! Shares of a limit: how much each client holds. Counting takes no lock and no allocation, and the
//! memory does not depend on the number of clients.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::client_key::ClientKey;

/// Cells of each row.
const WIDTH: usize = 1024;

/// Whether a client that holds `held` of a limit may take more while `free` is left.
pub const fn within_share(held: usize, free: usize) -> bool {
    held <= free
}

/// How much each client holds: a count-min sketch of two rows. Each client has one cell in each
/// row, and the smaller one counts. A client is charged for another only if both of its cells are
/// shared with heavy ones.
#[derive(Debug)]
pub(super) struct ClientCounts {
    rows: [Box<[AtomicUsize]>; 2],
}

impl ClientCounts {
    pub(super) fn new() -> Self {
        let row = || (0..WIDTH).map(|_| AtomicUsize::new(0)).collect();
        Self {
            rows: [row(), row()],
        }
    }

    /// Adds to what a client holds. Returns how much it held before.
    pub(super) fn add(&self, client: ClientKey, amount: usize) -> usize {
        let before = self
            .cells(client)
            .map(|cell| cell.fetch_add(amount, Ordering::SeqCst));
        before.min().unwrap_or_default()
    }

    /// Removes from what a client holds.
    pub(super) fn remove(&self, client: ClientKey, amount: usize) {
        for cell in self.cells(client) {
            cell.fetch_sub(amount, Ordering::SeqCst);
        }
    }

    /// How much a client holds.
    pub(super) fn held(&self, client: ClientKey) -> usize {
        let held = self.cells(client).map(|cell| cell.load(Ordering::SeqCst));
        held.min().unwrap_or_default()
    }

    fn cells(&self, client: ClientKey) -> impl Iterator<Item = &AtomicUsize> {
        let [first, second] = &self.rows;
        let hash = client.hash();
        let index = |bits: u64| usize::try_from(bits % WIDTH as u64).unwrap_or_default();
        [first.get(index(hash)), second.get(index(hash >> 32))]
            .into_iter()
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_per_client_and_return_to_zero() {
        let counts = ClientCounts::new();
        let clients: Vec<_> = (0..50)
            .map(|number| ClientKey::of_test(&number.to_string()))
            .collect();
        for (amount, client) in clients.iter().enumerate() {
            assert_eq!(counts.add(*client, amount), counts.held(*client) - amount);
        }
        let overcounted = clients
            .iter()
            .enumerate()
            .filter(|(amount, client)| counts.held(**client) != *amount)
            .count();
        assert!(overcounted <= 5, "{overcounted} of 50 share both cells");
        for (amount, client) in clients.iter().enumerate() {
            counts.remove(*client, amount);
        }
        assert!(clients.iter().all(|client| counts.held(*client) == 0));
    }

    /// How many slots of a limit each of `clients` greedy clients gets.
    fn greedy(limit: usize, clients: usize) -> Vec<usize> {
        let (mut held, mut free) = (vec![0; clients], limit);
        loop {
            let mut taken = false;
            for held in &mut held {
                if free > 0 && within_share(*held, free) {
                    (*held, free, taken) = (*held + 1, free - 1, true);
                }
            }
            if !taken {
                return held;
            }
        }
    }

    #[test]
    fn share_leaves_some_of_the_limit_to_others() {
        assert_eq!(greedy(1, 1), [1]);
        assert_eq!(greedy(2, 1), [2]);
        assert_eq!(greedy(200, 1), [101]);
        assert_eq!(greedy(200, 2), [67, 67]);
        assert_eq!(greedy(200, 9).iter().sum::<usize>(), 181);
    }
}
