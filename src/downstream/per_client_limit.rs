//! Per-client connection limit, so that one client cannot occupy every connection slot. Shared by
//! all workers, updated once per connection, and at most one entry per open connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::lock::lock;
use crate::types::net::client_network;

/// The connection counts of one listener.
#[derive(Clone, Debug, Default)]
pub(super) struct PerClientLimit(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of a client; dropping it releases the slot.
#[derive(Debug)]
pub(super) struct ClientSlot {
    limit: PerClientLimit,
    network: IpAddr,
}

impl PerClientLimit {
    /// Acquires a slot for a client; `None` if it already has `max`.
    pub(super) fn acquire(&self, client: IpAddr, max: usize) -> Option<ClientSlot> {
        let network = client_network(client);
        let mut counts = self.counts();
        let count = counts.entry(network).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(ClientSlot {
            limit: self.clone(),
            network,
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // No critical section can leave the counts inconsistent, so a poisoned lock is safe to use.
        lock(&self.0)
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        let mut counts = self.limit.counts();
        match counts.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                counts.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acquire_limits_each_client_and_forgets_released_slots() {
        let limit = PerClientLimit::default();
        let acquire = |address: &str| limit.acquire(address.parse().unwrap(), 2);
        let first = acquire("192.0.2.1");
        let second = acquire("::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(acquire("192.0.2.1").is_none());
        let ipv6 = [acquire("2001:db8::1"), acquire("2001:db8::2")];
        assert!(ipv6.iter().all(Option::is_some));
        assert!(acquire("2001:db8::3").is_none());
        assert!(acquire("2001:db8:0:1::1").is_some() && acquire("192.0.2.2").is_some());
        drop(first);
        assert!(acquire("192.0.2.1").is_some());
        drop(second);
        drop(ipv6);
        assert!(limit.counts().is_empty());
    }
}
