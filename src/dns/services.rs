//! Services of SRV records (RFC 2782): targets with their priorities and weights.

use std::cmp::Reverse;
use std::time::Duration;

/// Maximum number of records that are used.
const MAX_SERVICES: usize = 256;

/// One target of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Targets with a larger number are used only if no target with a smaller one works.
    pub priority: u16,
    /// The share of requests among targets of the same priority.
    pub weight: u16,
    /// The host name.
    pub target: String,
    /// The port.
    pub port: u16,
}

impl Service {
    /// Its place among others, which its weight does not change.
    fn place(&self) -> (u16, &str, u16) {
        (self.priority, &self.target, self.port)
    }
}

/// The targets of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// Sorted by priority and name, whatever their weights are. Empty if the service is decidedly not available.
    pub targets: Vec<Service>,
    /// How long they may be used.
    pub(super) ttl: Duration,
}

impl Services {
    /// The targets of these records. The target `.` means that the service is not available.
    pub(super) fn new(mut targets: Vec<Service>, ttl: Duration) -> Self {
        targets.retain_mut(|service| {
            let name = service.target.trim_end_matches('.');
            service.target = name.to_ascii_lowercase();
            !service.target.is_empty() && service.port != 0
        });
        // The larger weight of a target that is listed twice stays.
        targets.sort_by_key(|service| Reverse(service.weight));
        targets.sort_by(|one, other| one.place().cmp(&other.place()));
        targets.dedup_by(|one, other| one.place() == other.place());
        targets.sort_by_key(|service| (service.priority, Reverse(service.weight)));
        targets.truncate(MAX_SERVICES);
        targets.sort_by(|one, other| one.place().cmp(&other.place()));
        Self { targets, ttl }
    }

    /// How long they may be used.
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, target: &str, port: u16) -> Service {
        Service {
            priority,
            weight: 1,
            target: target.to_owned(),
            port,
        }
    }

    #[test]
    fn records_without_a_target_or_port_are_left_out() {
        let records = vec![
            service(2, "B.test.", 1),
            service(1, "c.test.", 2),
            service(1, ".", 3),
            service(1, "d.test.", 0),
            service(2, "b.test.", 1),
        ];
        let services = Services::new(records, Duration::ZERO);
        let expected = [service(1, "c.test", 2), service(2, "b.test", 1)];
        assert_eq!(services.targets, expected);
    }

    #[test]
    fn number_of_targets_is_bounded_and_the_best_stay() {
        let records = (1..=1000).rev();
        let records = records.map(|n| service(n, "a.test.", 1)).collect();
        let services = Services::new(records, Duration::ZERO);
        let last = services.targets.last().map(|service| service.priority);
        assert_eq!((services.targets.len(), last), (256, Some(256)));
    }

    #[test]
    fn larger_weights_stay_and_order_no_targets() {
        let record = |weight, port| Service {
            weight,
            ..service(1, "a.test.", port)
        };
        let records = (1..=1000).map(|n| record(n, n)).collect();
        let services = Services::new(records, Duration::ZERO).targets;
        let ports: Vec<_> = services.iter().map(|service| service.port).collect();
        assert_eq!(ports, Vec::from_iter(745..=1000));
        let twice = vec![record(1, 2), record(9, 2), record(3, 2), record(5, 1)];
        let twice = Services::new(twice, Duration::ZERO).targets;
        let found = twice.iter().map(|service| (service.port, service.weight));
        assert_eq!(Vec::from_iter(found), [(1, 5), (2, 9)]);
    }
}
