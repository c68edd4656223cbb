//! The networks in which a device has proven its key. A change of network needs a new signature, of which
//! browsers make few: beyond a budget, changes of network are accepted by a known program. PURE.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::network_hint::{HintChange, HintedClient, NetworkHint};
use crate::types::time::Timestamp;

/// Within this time Chromium makes six signatures for a site. Challenges of the default length need three
/// of them, and a login one.
const QUOTA_PERIOD: Duration = Duration::from_secs(9 * 60);
/// The signatures that changes of network may need within it.
const MAX_CHANGES: usize = 2;
/// How many networks are known at once, such as those of IPv4 and IPv6.
const MAX_NETWORKS: usize = 3;

/// The recent networks of a device, in a challenge. The signature of the device makes them trustworthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenNetworks {
    networks: Vec<ProvenNetwork>,
    /// When changes of network needed a signature, the latest first.
    changes: Vec<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ProvenNetwork {
    hint: NetworkHint,
    proven_at: Timestamp,
}

/// The networks that the next proof must count in.
#[derive(Clone, Debug)]
pub struct RequestedNetworks {
    /// The client that renews the proof.
    pub client: HintedClient,
    /// The network of the request before, which had a proof of others: one client may have several
    /// addresses at once.
    pub refused: Option<NetworkHint>,
}

impl RequestedNetworks {
    fn hints(&self) -> impl Iterator<Item = NetworkHint> {
        let refused = self.refused.filter(|refused| !self.is_here(refused));
        std::iter::once(self.client.hint()).chain(refused)
    }

    fn is_here(&self, hint: &NetworkHint) -> bool {
        self.client.change_since(hint).is_none()
    }

    fn contain(&self, hint: &NetworkHint) -> bool {
        self.is_here(hint) || self.refused.is_some_and(|refused| refused == *hint)
    }
}

impl ProvenNetworks {
    /// Whether the device has proven its key in these networks. `is_same` tells which change does not
    /// count.
    fn contain(&self, requested: &RequestedNetworks, is_same: fn(HintChange) -> bool) -> bool {
        let mut known = self.networks.iter().map(|network| network.hint);
        let is_here = |hint: NetworkHint| is_same(requested.client.change_since(&hint));
        let has_here = known.clone().any(is_here);
        let has_refused = |refused: NetworkHint| {
            is_here(refused) || known.any(|hint| is_same(refused.change_since(&hint)))
        };
        has_here && requested.refused.is_none_or(has_refused)
    }

    /// Whether no network is known, as before the first signature with networks.
    pub const fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Whether only known networks are accepted: the budget of changes is not used up.
    pub fn are_enforced(&self, now: Timestamp) -> bool {
        let recent = self.changes.iter().filter(|at| is_recent(**at, now));
        recent.count() < MAX_CHANGES
    }

    /// Whether a proof is made in these networks without a new signature. Another program always needs
    /// one.
    pub fn permit(&self, requested: &RequestedNetworks, now: Timestamp) -> bool {
        let is_same = if self.are_enforced(now) {
            HintChange::is_none
        } else {
            HintChange::is_same_agent
        };
        self.contain(requested, is_same)
    }

    /// The networks of the next challenge, which the device signs in these.
    #[must_use]
    pub fn proven_in(&self, requested: &RequestedNetworks, now: Timestamp) -> Self {
        let is_change = !self.is_empty() && !self.permit(requested, now);
        let current = requested.hints().map(|hint| ProvenNetwork {
            hint,
            proven_at: now,
        });
        let others = self.networks.iter().copied().filter(|network| {
            !requested.contain(&network.hint) && is_recent(network.proven_at, now)
        });
        let changes = self.changes.iter().copied();
        let changes = changes.filter(|at| is_recent(*at, now));
        let changes = is_change.then_some(now).into_iter().chain(changes);
        Self {
            networks: current.chain(others).take(MAX_NETWORKS).collect(),
            changes: changes.take(MAX_CHANGES).collect(),
        }
    }

    /// Their hints.
    pub fn hints(&self) -> Vec<NetworkHint> {
        self.networks.iter().map(|network| network.hint).collect()
    }
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < QUOTA_PERIOD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::network_hint::ClientTraits;
    use crate::session::seal::{Key, KeyRing};
    use crate::types::secret::Secret;

    /// A client in one of many networks.
    fn client(network: u8) -> HintedClient {
        client_by(network, b"Mozilla/5.0")
    }

    fn client_by(network: u8, agent: &[u8]) -> HintedClient {
        let ring = KeyRing::new(Key::new(&Secret::new([1; 32])).unwrap(), vec![]);
        let traits = ClientTraits {
            address: Some([192, 0, network, 1].into()),
            agent,
        };
        HintedClient::new(&ring, traits)
    }

    fn from(network: u8) -> RequestedNetworks {
        RequestedNetworks {
            client: client(network),
            refused: None,
        }
    }

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn first_network_needs_no_budget() {
        let none = ProvenNetworks::default();
        assert!(!none.permit(&from(1), at(0)));
        let first = none.proven_in(&from(1), at(0));
        assert!(first.permit(&from(1), at(0)) && first.changes.is_empty());
        assert!(!first.permit(&from(2), at(0)));
        assert_eq!(first.hints(), [client(1).hint()]);
    }

    #[test]
    fn client_between_known_networks_needs_no_further_signature() {
        let networks = ProvenNetworks::default().proven_in(&from(1), at(0));
        let networks = networks.proven_in(&from(2), at(10));
        assert_eq!(networks.changes, [at(10)]);
        for network in [1, 2, 1, 2] {
            assert!(networks.permit(&from(network), at(20)));
        }
        // Each new challenge is signed in one of them.
        let networks = networks.proven_in(&from(1), at(400));
        let networks = networks.proven_in(&from(2), at(549));
        assert_eq!(networks.changes, [at(10)]);
        assert!(networks.permit(&from(1), at(900)));
        // One that is not used any more is forgotten.
        let networks = networks.proven_in(&from(2), at(940));
        assert!(!networks.permit(&from(1), at(940)));
    }

    #[test]
    fn network_of_the_refused_request_is_proven_too() {
        let both = RequestedNetworks {
            client: client(1),
            refused: Some(client(2).hint()),
        };
        let networks = ProvenNetworks::default().proven_in(&from(1), at(0));
        assert!(!networks.permit(&both, at(1)));
        let networks = networks.proven_in(&both, at(1));
        assert!(networks.permit(&both, at(2)) && networks.permit(&from(2), at(2)));
        assert_eq!(networks.networks.len(), 2);
        let same = RequestedNetworks {
            client: client(1),
            refused: Some(client(1).hint()),
        };
        assert!(networks.permit(&same, at(2)));
        assert_eq!(networks.proven_in(&same, at(2)).networks.len(), 2);
    }

    #[test]
    fn changes_beyond_the_budget_are_accepted_until_it_recovers() {
        let mut networks = ProvenNetworks::default().proven_in(&from(0), at(0));
        for network in 1..=2 {
            assert!(!networks.permit(&from(network), at(100)));
            networks = networks.proven_in(&from(network), at(100));
        }
        assert!(!networks.are_enforced(at(101)));
        let other = RequestedNetworks {
            client: client_by(1, b"curl/8.0"),
            refused: None,
        };
        assert!(!networks.permit(&other, at(101)), "another program");
        let refused = RequestedNetworks {
            refused: Some(other.client.hint()),
            ..from(3)
        };
        assert!(!networks.permit(&refused, at(101)), "for another program");
        let known = networks.proven_in(&other, at(101));
        assert_eq!(known.changes, [at(101), at(100)]);
        assert!(networks.permit(&from(3), at(639)));
        let next = networks.proven_in(&from(3), at(639));
        assert_eq!(next.changes.len(), 2, "it needed no signature of its own");
        assert_eq!(next.networks.len(), MAX_NETWORKS);
        assert!(!networks.permit(&from(3), at(640)));
        assert!(networks.are_enforced(at(640)));
    }
}
