//! The identity of a recorded deployment: issuer, sealing key and the provider's signing key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward::config::SealingKey;
use serde::Deserialize;

use super::provider::SigningKey;

/// The keys and the issuer that recorded cookies and tokens depend on.
#[derive(Clone, Debug, Deserialize)]
pub struct Deployment {
    pub issuer: String,
    /// The text of a key file.
    pub sealing_key: String,
    /// `kid` of the provider's ES256 key.
    pub signing_key_id: String,
    /// The provider's ES256 key, PKCS #8 in base64.
    pub signing_key: String,
    /// The time of the recording, in seconds since 1970.
    pub recorded_at: u64,
}

impl Deployment {
    /// The sealing key.
    pub fn sealing_key(&self) -> SealingKey {
        SealingKey::parse(&self.sealing_key).expect("a sealing key")
    }

    /// The signing key.
    pub fn signing_key(&self) -> SigningKey {
        let pkcs8 = STANDARD.decode(&self.signing_key).expect("base64");
        SigningKey::from_pkcs8(&self.signing_key_id, &pkcs8)
    }
}
