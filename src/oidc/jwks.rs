//! JSON Web Key Set of the provider (RFC 7517). Keys are parsed one by one, so that an invalid key
//! does not affect others. PURE.

use std::collections::HashMap;

pub use crate::types::oauth::KeyFingerprint;
use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, KeyType};
use super::json;

/// The secret members of a JWK (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Maximum number of keys of a set that are parsed.
const MAX_KEYS: usize = 256;

/// An immutable snapshot of the provider's keys.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    by_kid: HashMap<String, Vec<usize>>,
    skipped: Vec<Skipped>,
}

/// One usable public key.
#[derive(Debug)]
pub struct Key {
    kid: Option<String>,
    fingerprint: KeyFingerprint,
    /// One for each algorithm that its type and its `alg` allow.
    verifiers: Vec<Verifier>,
}

/// A key that was parsed for one algorithm. What verifications need beside it is computed at the
/// first one and kept.
#[derive(Debug)]
struct Verifier {
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

/// A key of the set that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its `kid`, if any, safe for logs.
    pub kid: Option<String>,
    /// Why.
    pub reason: SkipReason,
}

/// Why a key of the set is not used. The set as a whole stays valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SkipReason {
    /// Not an object, or a required member is missing or has the wrong type.
    #[error("malformed")]
    Malformed,
    /// `use` or `key_ops` exclude signature verification.
    #[error("not for signatures")]
    NotForSignatures,
    /// A symmetric key (`oct`), which must not be published.
    #[error("symmetric")]
    Symmetric,
    /// It contains private members.
    #[error("contains private members")]
    Private,
    /// An unsupported type, curve or algorithm, or an algorithm that does not fit the type.
    #[error("unsupported")]
    Unsupported,
    /// RSA below 2048 bits, or with an unusable exponent.
    #[error("weak")]
    Weak,
    /// RSA above 8192 bits.
    #[error("too large")]
    TooLarge,
    /// The set has more keys than are parsed.
    #[error("too many keys")]
    TooMany,
}

impl SkipReason {
    /// A stable code for log lines and metric labels.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotForSignatures => "not_for_signatures",
            Self::Symmetric => "symmetric",
            Self::Private => "private",
            Self::Unsupported => "unsupported",
            Self::Weak => "weak",
            Self::TooLarge => "too_large",
            Self::TooMany => "too_many",
        }
    }
}

/// Why a document is not a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Not an object with an array `keys`.
    #[error("the provider's key set is not a JSON Web Key Set")]
    NotAKeySet,
    /// No key can be used. A provider that signs with HMAC publishes none.
    #[error(
        "the provider's key set has no usable key; if it signs with HMAC, configure it to sign with an RSA, EC or Ed25519 key"
    )]
    NoUsableKey,
}

impl KeysError {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotAKeySet => "provider_keys_malformed",
            Self::NoUsableKey => "provider_keys_unusable",
        }
    }
}

impl KeySet {
    /// Parses a JSON Web Key Set.
    ///
    /// # Errors
    /// It is invalid, or has no usable key.
    pub fn parse(document: &[u8]) -> Result<Self, KeysError> {
        let document = json::object(document).ok_or(KeysError::NotAKeySet)?;
        let members = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeysError::NotAKeySet)?;
        let mut set = Self {
            keys: Vec::new(),
            by_kid: HashMap::new(),
            skipped: Vec::new(),
        };
        for member in members.iter().take(MAX_KEYS) {
            match Key::parse(member) {
                Ok(key) => set.add(key),
                Err(reason) => set.skipped.push(Skipped {
                    kid: kid_for_log(member),
                    reason,
                }),
            }
        }
        if members.len() > MAX_KEYS {
            set.skipped.push(Skipped {
                kid: None,
                reason: SkipReason::TooMany,
            });
        }
        if set.keys.is_empty() {
            Err(KeysError::NoUsableKey)
        } else {
            Ok(set)
        }
    }

    fn add(&mut self, key: Key) {
        if let Some(kid) = &key.kid {
            self.by_kid
                .entry(kid.clone())
                .or_default()
                .push(self.keys.len());
        }
        self.keys.push(key);
    }

    /// The keys with this `kid`: usually one, but more are allowed.
    pub(super) fn with_kid(&self, kid: &str) -> impl Iterator<Item = &Key> {
        self.by_kid
            .get(kid)
            .into_iter()
            .flatten()
            .filter_map(|index| self.keys.get(*index))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Whether a key with this `kid` is in the set.
    pub fn has_kid(&self, kid: &str) -> bool {
        self.by_kid.contains_key(kid)
    }

    /// Whether this key is in the set. Tokens verified with a key that was removed are no longer
    /// valid.
    pub fn contains(&self, key: &KeyFingerprint) -> bool {
        self.keys.iter().any(|known| known.fingerprint == *key)
    }

    /// Whether a key of the set can verify signatures of this algorithm.
    pub fn supports(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.fits(algorithm))
    }

    /// The number of usable keys.
    pub fn usable(&self) -> usize {
        self.keys.len()
    }

    /// The keys that are not used, with reasons.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

impl Key {
    /// Parses one public key.
    pub(super) fn parse(member: &Value) -> Result<Self, SkipReason> {
        let jwk = member.as_object().ok_or(SkipReason::Malformed)?;
        let kty = text(jwk, "kty")?.ok_or(SkipReason::Malformed)?;
        if kty == "oct" {
            return Err(SkipReason::Symmetric);
        }
        if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
            return Err(SkipReason::Private);
        }
        if !is_for_signatures(jwk)? {
            return Err(SkipReason::NotForSignatures);
        }
        let (key_type, material) = match (kty, text(jwk, "crv")?) {
            ("RSA", _) => (KeyType::Rsa, rsa(jwk)?),
            ("EC", Some("P-256")) => (KeyType::P256, ec(jwk, 32)?),
            ("EC", Some("P-384")) => (KeyType::P384, ec(jwk, 48)?),
            ("OKP", Some("Ed25519")) => (KeyType::Ed25519, ed25519(jwk)?),
            _ => return Err(SkipReason::Unsupported),
        };
        let algorithm = match text(jwk, "alg")? {
            None => None,
            Some(name) => Some(Algorithm::from_name(name).ok_or(SkipReason::Unsupported)?),
        };
        if algorithm.is_some_and(|algorithm| algorithm.key_type() != key_type) {
            return Err(SkipReason::Unsupported);
        }
        let algorithms = Algorithm::ALL.into_iter().filter(|allowed| {
            allowed.key_type() == key_type && algorithm.is_none_or(|own| own == *allowed)
        });
        let verifiers = algorithms.map(|algorithm| material.parse(algorithm));
        Ok(Self {
            kid: text(jwk, "kid")?.map(str::to_owned),
            fingerprint: material.fingerprint,
            verifiers: verifiers.collect::<Result<_, _>>()?,
        })
    }

    /// Whether the key's type and its `alg` allow `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.verifier(algorithm).is_some()
    }

    /// Whether `signature` is that of `message` by this key.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verifier = self.verifier(algorithm);
        verifier.is_some_and(|verifier| verifier.key.verify_sig(message, signature).is_ok())
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&Verifier> {
        let mut verifiers = self.verifiers.iter();
        verifiers.find(|verifier| verifier.algorithm == algorithm)
    }

    pub(super) const fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }
}

/// A public key as aws-lc-rs parses it.
struct Material {
    /// RSA: X.509 `SubjectPublicKeyInfo` in DER. EC: the uncompressed point (SEC 1 section 2.3.3).
    /// Ed25519: the key itself.
    encoded: Vec<u8>,
    fingerprint: KeyFingerprint,
}

impl Material {
    /// Fails for a point that is not on its curve.
    fn parse(&self, algorithm: Algorithm) -> Result<Verifier, SkipReason> {
        let key = ParsedPublicKey::new(algorithm.verification(), &self.encoded);
        let key = key.map_err(|_| SkipReason::Malformed)?;
        Ok(Verifier { algorithm, key })
    }
}

fn is_for_signatures(jwk: &Map<String, Value>) -> Result<bool, SkipReason> {
    if text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Ok(false);
    }
    match jwk.get("key_ops") {
        None => Ok(true),
        Some(Value::Array(operations)) => {
            Ok(operations.iter().any(|operation| operation == "verify"))
        }
        Some(_) => Err(SkipReason::Malformed),
    }
}

fn rsa(jwk: &Map<String, Value>) -> Result<Material, SkipReason> {
    let n = bytes(jwk, "n")?;
    let e = bytes(jwk, "e")?;
    // Some providers publish the sign byte of the ASN.1 encoding, which the verifier rejects.
    let n = without_leading_zeros(&n);
    let e = without_leading_zeros(&e);
    let bits = n
        .first()
        .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if bits < 2048 {
        return Err(SkipReason::Weak);
    }
    if bits > 8192 {
        return Err(SkipReason::TooLarge);
    }
    let is_usable = match e {
        [] => false,
        [only] => *only >= 3 && only % 2 == 1,
        [.., last] => e.len() <= 4 && last % 2 == 1,
    };
    if !is_usable {
        return Err(SkipReason::Weak);
    }
    let der = RsaPublicKeyComponents { n, e }.as_der();
    Ok(Material {
        encoded: der.map_err(|_| SkipReason::Malformed)?.as_ref().to_vec(),
        fingerprint: fingerprint(b"RSA", &[n, e]),
    })
}

fn ec(jwk: &Map<String, Value>, coordinate_len: usize) -> Result<Material, SkipReason> {
    let x = bytes(jwk, "x")?;
    let y = bytes(jwk, "y")?;
    if x.len() != coordinate_len || y.len() != coordinate_len {
        return Err(SkipReason::Malformed);
    }
    let uncompressed = [&[4], x.as_slice(), y.as_slice()].concat();
    Ok(Material {
        fingerprint: fingerprint(b"EC", &[&uncompressed]),
        encoded: uncompressed,
    })
}

fn ed25519(jwk: &Map<String, Value>) -> Result<Material, SkipReason> {
    let x = bytes(jwk, "x")?;
    if x.len() != 32 {
        return Err(SkipReason::Malformed);
    }
    Ok(Material {
        fingerprint: fingerprint(b"OKP", &[&x]),
        encoded: x,
    })
}

fn fingerprint(kind: &[u8], parts: &[&[u8]]) -> KeyFingerprint {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(kind);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut half = [0; 16];
    half.iter_mut()
        .zip(context.finish().as_ref())
        .for_each(|(to, from)| *to = *from);
    KeyFingerprint::new(half)
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, SkipReason> {
    let encoded = text(jwk, name)?.ok_or(SkipReason::Malformed)?;
    URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| SkipReason::Malformed)
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<Option<&'j str>, SkipReason> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(SkipReason::Malformed),
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn kid_for_log(member: &Value) -> Option<String> {
    member
        .get("kid")
        .and_then(Value::as_str)
        .map(|kid| json::printable(kid, 80))
}

#[cfg(test)]
mod tests;
