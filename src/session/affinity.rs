//! Affinity cookie: a sealed hash of the upstream address that served a browser. It selects one of the
//! configured addresses and names no other.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::seal::Purpose;

/// The purpose of `__Host-doorward_upstream`.
#[derive(Debug)]
pub struct AffinityCookie;

impl Purpose for AffinityCookie {
    type Payload = AddressHash;
    const NAME: &'static str = "upstream address";
}

/// The hash of an upstream address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressHash([u8; 16]);

impl AddressHash {
    /// The hash of an address as text.
    pub fn of(address: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, address.as_bytes());
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }
}
