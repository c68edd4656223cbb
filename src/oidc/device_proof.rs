//! Proofs of device-bound sessions (W3C Device Bound Session Credentials): a JWT that the browser signs
//! with the key of its session. PURE.
//!
//! Its only freshness is the challenge in `jti`, which the caller checks first: the signature is the
//! most expensive check.

use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::jwks::Key;
use super::jws::{Jws, JwsError};
use crate::session::device_binding::DeviceKey;

/// Maximum size of a proof in bytes. One with a 4096-bit RSA key fits.
pub const MAX_PROOF_BYTES: usize = 4 * 1024;

/// The accepted signature algorithms, in order of preference.
pub const ALGORITHMS: [Algorithm; 2] = [Algorithm::Es256, Algorithm::Rs256];

const TYPE: &str = "dbsc+jwt";

/// Why a proof is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceProofError {
    /// Larger than [`MAX_PROOF_BYTES`].
    #[error("the proof is larger than {MAX_PROOF_BYTES} bytes")]
    TooLarge,
    /// Not a signed JWT of the type `dbsc+jwt` with a `jti`.
    #[error("the proof is malformed")]
    Malformed,
    /// `alg` is not in [`ALGORITHMS`], or does not fit the key.
    #[error("the proof's signature algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// `jwk` is missing at a registration, or not a usable public key.
    #[error("the proof's key cannot be used")]
    KeyUnusable,
    /// `jwk` is another key than that of the session.
    #[error("the proof is by another key")]
    KeyMismatch,
    /// `aud` is another URL.
    #[error("the proof is for another URL")]
    AudienceMismatch,
    /// The key did not sign it.
    #[error("the proof's signature is invalid")]
    BadSignature,
}

impl DeviceProofError {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "device_proof_too_large",
            Self::Malformed => "device_proof_malformed",
            Self::AlgorithmNotAllowed => "device_algorithm_not_allowed",
            Self::KeyUnusable => "device_key_unusable",
            Self::KeyMismatch => "device_key_mismatch",
            Self::AudienceMismatch => "device_proof_audience_mismatch",
            Self::BadSignature => "device_signature_invalid",
        }
    }
}

impl From<JwsError> for DeviceProofError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::TooLarge => Self::TooLarge,
            JwsError::Malformed | JwsError::Encrypted | JwsError::Extension => Self::Malformed,
            JwsError::AlgorithmNotAllowed | JwsError::Symmetric | JwsError::AlgorithmMismatch => {
                Self::AlgorithmNotAllowed
            }
            JwsError::UnknownKey => Self::KeyUnusable,
            JwsError::BadSignature => Self::BadSignature,
        }
    }
}

/// A parsed proof. Nothing in it is verified.
#[derive(Debug)]
pub struct UnverifiedProof<'p> {
    jws: Jws<'p>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    challenge: String,
}

impl<'p> UnverifiedProof<'p> {
    /// Parses the value of `Secure-Session-Response`. Browsers send it bare, and the specification says
    /// that it is quoted.
    ///
    /// # Errors
    /// It is no proof, or its algorithm is not allowed.
    pub fn parse(value: &'p str) -> Result<Self, DeviceProofError> {
        let proof = unquoted(value);
        if proof.len() > MAX_PROOF_BYTES {
            return Err(DeviceProofError::TooLarge);
        }
        let (jws, header) = Jws::parse_with_header(proof, &ALGORITHMS)?;
        if jws.typ() != Some(TYPE) {
            return Err(DeviceProofError::Malformed);
        }
        let claims = jws.unverified_claims()?;
        let challenge = claims.get("jti").and_then(Value::as_str);
        let challenge = challenge.ok_or(DeviceProofError::Malformed)?.to_owned();
        Ok(Self {
            jws,
            header,
            claims,
            challenge,
        })
    }

    /// The challenge that the device signed.
    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// The key of a registration, if the sender possesses it. `audience` is the URL of the endpoint.
    ///
    /// # Errors
    /// See [`DeviceProofError`].
    pub fn verify_registration(&self, audience: &str) -> Result<DeviceKey, DeviceProofError> {
        let jwk = self
            .header
            .get("jwk")
            .ok_or(DeviceProofError::KeyUnusable)?;
        // Refuses private members too.
        Key::parse(jwk).map_err(|_| DeviceProofError::KeyUnusable)?;
        let key = DeviceKey::from_jwk(jwk).ok_or(DeviceProofError::KeyUnusable)?;
        self.verify_signature(&key, audience)?;
        Ok(key)
    }

    /// Verifies that the sender possesses `key`. `audience` is the URL of the endpoint.
    ///
    /// # Errors
    /// See [`DeviceProofError`].
    pub fn verify(&self, key: &DeviceKey, audience: &str) -> Result<(), DeviceProofError> {
        let sent = self.header.get("jwk").map(DeviceKey::from_jwk);
        if sent.is_some_and(|sent| sent.as_ref() != Some(key)) {
            return Err(DeviceProofError::KeyMismatch);
        }
        self.verify_signature(key, audience)
    }

    fn verify_signature(&self, key: &DeviceKey, audience: &str) -> Result<(), DeviceProofError> {
        let sent = self.claims.get("aud");
        if sent.is_some_and(|sent| sent.as_str() != Some(audience)) {
            return Err(DeviceProofError::AudienceMismatch);
        }
        let key = Key::parse(&key.to_jwk()).map_err(|_| DeviceProofError::KeyUnusable)?;
        Ok(self.jws.verify_possession(&key)?)
    }
}

/// A structured string (RFC 9651 section 3.3.3) without its quotes, or a bare value. Proofs and
/// identifiers have no characters that are escaped.
pub fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let inner = value.strip_prefix('"');
    inner
        .and_then(|inner| inner.strip_suffix('"'))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests;
