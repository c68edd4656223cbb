//! The order in which the addresses of a backend are tried (RFC 8305 section 4), and which of them
//! failed recently.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;

/// How long an address that failed is tried after the others.
const FAILURE_MEMORY: Duration = Duration::from_secs(30);
/// Maximum number of failed addresses that are remembered.
const MAX_FAILED: usize = 256;

/// The history of the addresses of a backend.
#[derive(Debug, Default)]
pub(super) struct AddressHistory {
    /// When addresses failed.
    failed: Mutex<HashMap<SocketAddr, Instant>>,
    /// Counts connections, to begin each with another address.
    turn: AtomicUsize,
}

impl AddressHistory {
    pub(super) fn record_failure(&self, address: SocketAddr, now: Instant) {
        let mut failed = lock(&self.failed);
        if failed.len() >= MAX_FAILED {
            failed.retain(|_, since| now < *since + FAILURE_MEMORY);
        }
        if failed.len() < MAX_FAILED {
            failed.insert(address, now);
        }
    }

    pub(super) fn record_success(&self, address: SocketAddr) {
        lock(&self.failed).remove(&address);
    }

    /// The addresses in the order in which they are tried: families alternate, IPv6 first (for
    /// loopback IPv4 first, since more servers listen on it alone), each family begins with another
    /// address each time, and addresses that failed recently come last.
    pub(super) fn order(&self, ips: &[IpAddr], port: u16, now: Instant) -> Vec<SocketAddr> {
        if let [ip] = ips {
            return vec![SocketAddr::new(*ip, port)];
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let family = |is_first: bool| {
            let v6_first = !ips.iter().all(IpAddr::is_loopback);
            let mut family: Vec<IpAddr> = ips
                .iter()
                .copied()
                .filter(|ip| (ip.is_ipv6() == v6_first) == is_first)
                .collect();
            let start = turn.checked_rem(family.len()).unwrap_or_default();
            family.rotate_left(start);
            family
        };
        let mut ordered: Vec<SocketAddr> = alternate(family(true), family(false))
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        let failed = lock(&self.failed);
        ordered.sort_by_key(|address| {
            failed
                .get(address)
                .filter(|since| now < **since + FAILURE_MEMORY)
                .copied()
        });
        ordered
    }
}

/// The elements of both lists in turn, then the rest of the longer one.
fn alternate<T>(first: Vec<T>, second: Vec<T>) -> impl Iterator<Item = T> {
    let mut next = first.into_iter();
    let mut other = second.into_iter();
    std::iter::from_fn(move || {
        let element = next.next();
        std::mem::swap(&mut next, &mut other);
        element.or_else(|| next.next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(history: &AddressHistory, ips: &[&str], now: Instant) -> Vec<String> {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        let ordered = history.order(&ips, 1, now);
        ordered
            .iter()
            .map(|address| address.ip().to_string())
            .collect()
    }

    #[test]
    fn families_alternate_and_addresses_take_turns() {
        let history = AddressHistory::default();
        let now = Instant::now();
        let ips = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"];
        for expected in [
            ["fd00::1", "10.0.0.1", "10.0.0.2", "10.0.0.3"],
            ["fd00::1", "10.0.0.2", "10.0.0.3", "10.0.0.1"],
            ["fd00::1", "10.0.0.3", "10.0.0.1", "10.0.0.2"],
        ] {
            assert_eq!(order(&history, &ips, now), expected);
        }
        assert_eq!(
            order(&history, &["127.0.0.1", "::1"], now),
            ["127.0.0.1", "::1"]
        );
    }

    #[test]
    fn failed_addresses_come_last_for_a_while() {
        let history = AddressHistory::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let address = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 1);
        let ips = ["10.0.0.1", "fd00::1"];
        history.record_failure(address("fd00::1"), start);
        assert_eq!(order(&history, &ips, at(1)), ["10.0.0.1", "fd00::1"]);
        history.record_failure(address("10.0.0.1"), at(1));
        assert_eq!(
            order(&history, &ips, at(2)),
            ["fd00::1", "10.0.0.1"],
            "the one that failed first is tried first"
        );
        assert_eq!(order(&history, &ips, at(30)), ["fd00::1", "10.0.0.1"]);
        history.record_failure(address("fd00::1"), at(30));
        history.record_success(address("fd00::1"));
        assert_eq!(order(&history, &ips, at(31)), ["fd00::1", "10.0.0.1"]);
    }

    #[test]
    fn failures_are_bounded() {
        let history = AddressHistory::default();
        let now = Instant::now();
        for port in 0..1000 {
            history.record_failure(SocketAddr::new([10, 0, 0, 1].into(), port), now);
        }
        assert_eq!(lock(&history.failed).len(), MAX_FAILED);
        let later = now + FAILURE_MEMORY;
        history.record_failure(SocketAddr::new([10, 0, 0, 2].into(), 1), later);
        assert_eq!(lock(&history.failed).len(), 1);
    }
}
