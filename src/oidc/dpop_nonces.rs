//! The DPoP nonces of a provider (RFC 9449 section 8).

use std::collections::VecDeque;
use std::sync::Mutex;

use url::Url;

use crate::lock::lock;

/// The most origins whose nonces are known. The endpoints of a provider are at few.
const MAX_ORIGINS: usize = 8;

/// The longest nonce, in bytes.
const MAX_NONCE: usize = 512;

/// The last nonce of each origin.
#[derive(Default)]
pub(super) struct DpopNonces(Mutex<VecDeque<KnownNonce>>);

struct KnownNonce {
    origin: String,
    nonce: String,
}

impl DpopNonces {
    /// The nonce for a request to `url`.
    pub(super) fn get(&self, url: &Url) -> Option<String> {
        let origin = url.origin().ascii_serialization();
        let known = lock(&self.0);
        let found = known.iter().find(|known| known.origin == origin);
        found.map(|known| known.nonce.clone())
    }

    /// Remembers `nonce` for the next request to the origin of `url`. The oldest of too many is
    /// forgotten.
    pub(super) fn set(&self, url: &Url, nonce: &str) {
        // The characters of a nonce by section 8.1.
        let is_nonce = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if nonce.is_empty() || nonce.len() > MAX_NONCE || !nonce.bytes().all(is_nonce) {
            return;
        }
        let origin = url.origin().ascii_serialization();
        let mut known = lock(&self.0);
        known.retain(|known| known.origin != origin);
        known.push_back(KnownNonce {
            origin,
            nonce: nonce.to_owned(),
        });
        if known.len() > MAX_ORIGINS {
            known.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_of_one_origin_and_few() {
        let nonces = DpopNonces::default();
        let url = |host: usize| Url::parse(&format!("https://h{host}.example/token")).unwrap();
        for host in 0..=MAX_ORIGINS {
            nonces.set(&url(host), "old");
            nonces.set(&url(host), &format!("n{host}"));
        }
        assert_eq!(nonces.get(&url(0)), None);
        assert_eq!(nonces.get(&url(1)).as_deref(), Some("n1"));
        for nonce in ["", "a b", "a\"", "\u{e9}", &"n".repeat(MAX_NONCE + 1)] {
            nonces.set(&url(1), nonce);
        }
        assert_eq!(nonces.get(&url(1)).as_deref(), Some("n1"));
    }
}
