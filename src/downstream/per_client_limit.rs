//! How many connections each client has: one of them must not take all places. Counted over all workers, once a
//! connection and never a request; as many entries as there are connections.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counts of one listener.
#[derive(Clone, Debug, Default)]
pub(super) struct PerClientLimit(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of a client.
#[derive(Debug)]
pub(super) struct ClientSlot {
    per_client_limit: PerClientLimit,
    network: IpAddr,
}

impl PerClientLimit {
    /// One more of this client; `None`: it has `most` already.
    pub(super) fn count(&self, client: IpAddr, most: usize) -> Option<ClientSlot> {
        let network = network(client);
        let mut counts = self.counts();
        let count = counts.entry(network).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(ClientSlot {
            per_client_limit: self.clone(),
            network,
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing in here can break off halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        let mut counts = self.per_client_limit.counts();
        match counts.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                counts.remove(&self.network);
            }
        }
    }
}

/// Over IPv6 one client has a whole network of 64 bits.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_limit_and_nothing_is_kept_of_who_left() {
        let per_client_limit = PerClientLimit::default();
        let count = |address: &str| per_client_limit.count(address.parse().unwrap(), 2);
        let (one, two) = (count("192.0.2.1"), count("::ffff:192.0.2.1"));
        assert!(one.is_some() && two.is_some() && count("192.0.2.1").is_none());
        let six = (count("2001:db8::1"), count("2001:db8::2"));
        assert!(six.0.is_some() && six.1.is_some() && count("2001:db8::3").is_none());
        assert!(count("2001:db8:0:1::1").is_some() && count("192.0.2.2").is_some());
        drop(one);
        assert!(count("192.0.2.1").is_some());
        drop((two, six));
        assert!(per_client_limit.counts().is_empty());
    }
}
