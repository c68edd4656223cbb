//! Network hints: keyed hashes of a client's network and of its user agent. They tell whether a later
//! request comes from the same network and program, and reveal neither address nor name. PURE.

use std::net::IpAddr;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use super::seal::{Key, KeyRing};
use crate::types::network_prefix::NetworkPrefix;

/// A truncated hash. It is keyed, so that a client cannot compute it to find a collision.
pub type HintTag = [u8; 8];

/// The traits of a client that its hint is made from.
#[derive(Clone, Copy, Debug)]
pub struct ClientTraits<'r> {
    /// Its address. `None`: it is not known, as over a Unix domain socket.
    pub address: Option<IpAddr>,
    /// `User-Agent`.
    pub agent: &'r [u8],
}

/// The hashes of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkHint {
    /// Of the network.
    pub network: HintTag,
    /// Of the program.
    pub agent: HintTag,
}

impl NetworkHint {
    /// The change since `earlier` was made by the same key.
    pub fn change_since(&self, earlier: &Self) -> HintChange {
        HintChange {
            network: self.network != earlier.network,
            agent: self.agent != earlier.agent,
        }
    }
}

/// The difference between a hint and a client, or between two hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HintChange {
    /// The network.
    pub network: bool,
    /// The program.
    pub agent: bool,
}

impl HintChange {
    /// Whether it is the same program.
    pub const fn is_same_agent(self) -> bool {
        !self.agent
    }

    /// Whether it is the same network and program.
    pub const fn is_none(self) -> bool {
        !self.network && !self.agent
    }
}

/// A client, by each key of the ring.
#[derive(Clone, Debug)]
pub struct HintedClient {
    hint: NetworkHint,
    /// By the older keys.
    older: Vec<NetworkHint>,
}

impl HintedClient {
    /// The client with these traits.
    pub fn new(ring: &KeyRing, traits: ClientTraits<'_>) -> Self {
        let hint_by = |key: &Key| NetworkHint {
            network: network_tag(key.hint_key(), traits.address),
            agent: agent_tag(key.hint_key(), traits.agent),
        };
        Self {
            hint: hint_by(ring.sealing()),
            older: ring.older().iter().map(hint_by).collect(),
        }
    }

    /// Its hint by the current key.
    pub const fn hint(&self) -> NetworkHint {
        self.hint
    }

    /// The change since `earlier` was made, by any key of the ring.
    pub fn change_since(&self, earlier: &NetworkHint) -> HintChange {
        let hints = || std::iter::once(&self.hint).chain(&self.older);
        HintChange {
            network: hints().all(|hint| hint.network != earlier.network),
            agent: hints().all(|hint| hint.agent != earlier.agent),
        }
    }
}

/// Unknown addresses are a network of their own: a client may be able to hide its address.
fn network_tag(key: &hmac::Key, address: Option<IpAddr>) -> HintTag {
    let network = address.map(|address| NetworkPrefix::of(address).to_bytes());
    tag(key, b"network", network.as_ref().map_or(&[], |bytes| bytes))
}

fn agent_tag(key: &hmac::Key, agent: &[u8]) -> HintTag {
    tag(key, b"agent", agent)
}

/// No name is the beginning of another.
fn tag(key: &hmac::Key, name: &[u8], value: &[u8]) -> HintTag {
    let mut mac = hmac::Context::with_key(key);
    mac.update(name);
    mac.update(value);
    let mac = mac.sign();
    mac.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::secret::Secret;

    fn key(byte: u8) -> Key {
        Key::new(&Secret::new([byte; 32])).unwrap()
    }

    fn traits<'r>(address: &str, agent: &'r [u8]) -> ClientTraits<'r> {
        ClientTraits {
            address: Some(address.parse().unwrap()),
            agent,
        }
    }

    const AGENT: &[u8] = b"Mozilla/5.0 (Linux)";

    fn change(ring: &KeyRing, from: ClientTraits<'_>, to: ClientTraits<'_>) -> HintChange {
        HintedClient::new(ring, to).change_since(&HintedClient::new(ring, from).hint())
    }

    #[test]
    fn addresses_of_one_prefix_are_one_network() {
        let ring = KeyRing::new(key(1), vec![]);
        for (one, other, changed) in [
            ("192.0.2.1", "192.0.2.254", false),
            ("192.0.2.1", "::ffff:192.0.2.9", false),
            ("192.0.2.1", "192.0.3.1", true),
            ("192.0.2.1", "2001:db8::1", true),
            ("2001:db8:1::1", "2001:db8:1:ffff::9", false),
            ("2001:db8:1::1", "2001:db8:2::1", true),
            ("0.0.0.1", "::1", true),
        ] {
            let change = change(&ring, traits(one, AGENT), traits(other, AGENT));
            let expected = HintChange {
                network: changed,
                agent: false,
            };
            assert_eq!(change, expected, "{one} {other}");
        }
        let unknown = ClientTraits {
            address: None,
            agent: AGENT,
        };
        assert!(change(&ring, unknown, unknown).is_none());
        assert!(change(&ring, unknown, traits("0.0.0.0", AGENT)).network);
    }

    #[test]
    fn agent_is_compared_apart_from_the_network() {
        let ring = KeyRing::new(key(1), vec![]);
        let at = |agent| traits("192.0.2.1", agent);
        let others: [&[u8]; 3] = [b"", b"Mozilla/5.0", b"Mozilla/5.0 (Windows)"];
        for other in others {
            let expected = HintChange {
                network: false,
                agent: true,
            };
            assert_eq!(change(&ring, at(AGENT), at(other)), expected, "{other:?}");
        }
        let both = change(&ring, at(AGENT), traits("198.51.100.1", b""));
        assert!(both.network && both.agent);
    }

    #[test]
    fn hint_survives_a_key_rotation_and_differs_by_key() {
        let [old, rotated, foreign] = [
            KeyRing::new(key(1), vec![]),
            KeyRing::new(key(2), vec![key(1)]),
            KeyRing::new(key(2), vec![]),
        ];
        let client = traits("192.0.2.1", AGENT);
        let hint = HintedClient::new(&old, client).hint();
        assert!(
            HintedClient::new(&rotated, client)
                .change_since(&hint)
                .is_none()
        );
        let moved = traits("198.51.100.1", AGENT);
        let change = HintedClient::new(&rotated, moved).change_since(&hint);
        assert!(change.network && !change.agent);
        let change = HintedClient::new(&foreign, client).change_since(&hint);
        assert!(change.network && change.agent);
    }
}
