//! ES256 signing keys and the published key set (RFC 7517).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::random_name;

/// One signing key.
pub struct SigningKey {
    pub(super) kid: String,
    pair: EcdsaKeyPair,
}

/// The published keys. The last one signs.
pub(super) struct Keys(Vec<SigningKey>);

impl SigningKey {
    pub(super) fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self {
            kid: random_name(6),
            pair,
        }
    }

    /// A key from a fixture, as PKCS #8 (RFC 5208).
    pub fn from_pkcs8(kid: &str, pkcs8: &[u8]) -> Self {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).expect("a key");
        Self {
            kid: kid.to_owned(),
            pair,
        }
    }

    /// `r || s` (RFC 7518 section 3.4).
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair
            .sign(&SystemRandom::new(), message)
            .expect("a signature")
            .as_ref()
            .to_vec()
    }

    /// The uncompressed point.
    pub(super) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.public().get(1..).expect("a point").split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y })
    }
}

impl Keys {
    pub(super) fn new() -> Self {
        Self(vec![SigningKey::new()])
    }

    pub(super) fn replace(&mut self, key: SigningKey) {
        self.0 = vec![key];
    }

    pub(super) fn current(&self) -> &SigningKey {
        self.0.last().expect("there is always a key")
    }

    pub(super) fn rotate(&mut self, keep_old: bool) {
        if !keep_old {
            self.0.clear();
        }
        self.0.push(SigningKey::new());
    }

    pub(super) fn jwks(&self, with_junk: bool) -> Value {
        let junk = json!({ "kty": "EC", "crv": "P-256", "kid": "junk", "x": 7 });
        let junk = if with_junk { vec![junk] } else { Vec::new() };
        json!({ "keys": junk.into_iter().chain(self.0.iter().map(SigningKey::jwk)).collect::<Vec<_>>() })
    }
}
