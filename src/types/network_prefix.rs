//! Networks of clients, by a fixed prefix of their addresses.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A network: the first 24 bits of an IPv4 address, or the first 48 bits of an IPv6 address. An
/// IPv4-mapped address is one of IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkPrefix(u64);

impl NetworkPrefix {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits() >> 8)),
            // Every IPv6 prefix is above those of IPv4.
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                Self(1 << 48 | u64::from(a) << 32 | u64::from(b) << 16 | u64::from(c))
            }
        }
    }

    /// Distinguishes it from all others.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// It belongs in no log.
impl fmt::Debug for NetworkPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkPrefix")
    }
}
