//! A device with its own key that creates DPoP proofs (RFC 9449). It shares no code with Doorward's
//! verification.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward::types::time::Timestamp;
use serde_json::{Value, json};

use super::random_name;

/// The device.
pub struct Device(EcdsaKeyPair);

impl Device {
    /// A device with a new key.
    pub fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    fn coordinates(&self) -> [String; 2] {
        let (x, y) = self
            .0
            .public_key()
            .as_ref()
            .get(1..)
            .expect("a point")
            .split_at(32);
        [x, y].map(|part| URL_SAFE_NO_PAD.encode(part))
    }

    /// The key's thumbprint (RFC 7638), to which a token can be bound.
    pub fn thumbprint(&self) -> String {
        let [x, y] = self.coordinates();
        sha256(&format!(
            r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#
        ))
    }

    /// The claims that bind a token to the key (section 6.1).
    pub fn binding(&self) -> Value {
        json!({ "cnf": { "jkt": self.thumbprint() } })
    }

    /// A proof for one request; `more` adds claims, and `null` removes one.
    pub fn proof(
        &self,
        request: (&str, &str),
        token: &str,
        now: Timestamp,
        more: &Value,
    ) -> String {
        let (method, url) = request;
        let mut claims = json!({
            "jti": random_name(12), "htm": method, "htu": url, "iat": now.secs(), "ath": sha256(token),
        });
        let members = claims.as_object_mut().expect("an object");
        members.extend(more.as_object().cloned().unwrap_or_default());
        members.retain(|_, value| !value.is_null());
        self.signed(&claims)
    }

    fn signed(&self, claims: &Value) -> String {
        let [x, y] = self.coordinates();
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk });
        let message = [&header, claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        let signature = self
            .0
            .sign(&SystemRandom::new(), message.as_bytes())
            .expect("a signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Default for Device {
    fn default() -> Self {
        Self::new()
    }
}

fn sha256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
