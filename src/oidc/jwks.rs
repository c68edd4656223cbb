//! The provider's public keys (RFC 7517): read one by one, so that one bad key spoils nothing. PURE.

use std::collections::HashMap;

pub use crate::types::oauth::KeyFingerprint;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::json;
use super::jws::Algorithm;

/// The members of a JWK that hold something secret (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The most keys of a set that are read.
const MAX_KEYS: usize = 256;

/// The provider's keys at one moment, as an immutable snapshot.
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
    family: Family,
    algorithm: Option<Algorithm>,
    fingerprint: KeyFingerprint,
    decoding: DecodingKey,
}

/// The kinds of keys, each fitting its own algorithms only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// A member of the set that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its `kid`, if it has one, fit to be logged.
    pub kid: Option<String>,
    /// Why.
    pub reason: SkipReason,
}

/// Why a key of the set is not used. None of these is an error of the set as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SkipReason {
    /// Not an object, or a needed member is missing or of the wrong type.
    #[error("malformed")]
    Malformed,
    /// `use` or `key_ops` say that it is not for verifying signatures.
    #[error("not for signatures")]
    NotForSignatures,
    /// A symmetric key (`oct`), which must not be in a public document.
    #[error("symmetric")]
    Symmetric,
    /// A private part is published with it.
    #[error("private part is published")]
    Private,
    /// A type, curve or algorithm that is not supported, or an algorithm that does not fit the type.
    #[error("unsupported")]
    Unsupported,
    /// RSA below 2048 bits, or with an unusable exponent.
    #[error("weak")]
    Weak,
    /// RSA above 8192 bits.
    #[error("too large")]
    TooLarge,
    /// There are more keys than are read.
    #[error("one too many")]
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
    /// None of its keys can be used; a provider that signs with HMAC publishes none.
    #[error(
        "the provider's key set has no usable key; where it signs with HMAC, let it sign with an RSA, EC or Ed25519 key"
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
    /// Reads a JSON Web Key Set.
    ///
    /// # Errors
    /// It is not one, or has no key that could be used.
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

    /// The keys of that `kid`: usually one, but nothing forbids more.
    pub(super) fn named(&self, kid: &str) -> impl Iterator<Item = &Key> {
        self.by_kid
            .get(kid)
            .into_iter()
            .flatten()
            .filter_map(|index| self.keys.get(*index))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Whether a key of that `kid` is in the set.
    pub fn has_kid(&self, kid: &str) -> bool {
        self.by_kid.contains_key(kid)
    }

    /// Whether this very key is in the set: what was verified with a key that has left it no longer counts.
    pub fn contains(&self, key: &KeyFingerprint) -> bool {
        self.keys.iter().any(|known| known.fingerprint == *key)
    }

    /// How many keys can be used.
    pub fn usable(&self) -> usize {
        self.keys.len()
    }

    /// Which keys are not used, and why.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

impl Key {
    /// Reads one public key.
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
        let (family, material) = match (kty, text(jwk, "crv")?) {
            ("RSA", _) => (Family::Rsa, rsa(jwk)?),
            ("EC", Some("P-256")) => (Family::P256, point(jwk, 32)?),
            ("EC", Some("P-384")) => (Family::P384, point(jwk, 48)?),
            ("OKP", Some("Ed25519")) => (Family::Ed25519, edwards(jwk)?),
            _ => return Err(SkipReason::Unsupported),
        };
        let algorithm = match text(jwk, "alg")? {
            None => None,
            Some(name) => Some(Algorithm::from_name(name).ok_or(SkipReason::Unsupported)?),
        };
        if algorithm.is_some_and(|algorithm| algorithm.family() != family) {
            return Err(SkipReason::Unsupported);
        }
        let kid = text(jwk, "kid")?.map(str::to_owned);
        Ok(Self {
            kid,
            family,
            algorithm,
            fingerprint: material.fingerprint,
            decoding: material.decoding,
        })
    }

    /// Whether the key may be used with `algorithm`, by its type and by its own `alg`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        algorithm.family() == self.family && self.algorithm.is_none_or(|own| own == algorithm)
    }

    pub(super) const fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }

    pub(super) const fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

struct Material {
    decoding: DecodingKey,
    fingerprint: KeyFingerprint,
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
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    // Some providers publish the sign byte that ASN.1 puts in front; the verifier refuses it.
    let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
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
    Ok(Material {
        decoding: DecodingKey::from_rsa_raw_components(n, e),
        fingerprint: fingerprint(b"RSA", &[n, e]),
    })
}

fn point(jwk: &Map<String, Value>, coordinate: usize) -> Result<Material, SkipReason> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != coordinate || y.len() != coordinate {
        return Err(SkipReason::Malformed);
    }
    let uncompressed = [&[4], x.as_slice(), y.as_slice()].concat();
    let on_curve = match coordinate {
        32 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &uncompressed),
        _ => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &uncompressed),
    };
    on_curve.map_err(|_| SkipReason::Malformed)?;
    Ok(Material {
        decoding: DecodingKey::from_ec_der(&uncompressed),
        fingerprint: fingerprint(b"EC", &[&uncompressed]),
    })
}

fn edwards(jwk: &Map<String, Value>) -> Result<Material, SkipReason> {
    let x = bytes(jwk, "x")?;
    if x.len() != 32 {
        return Err(SkipReason::Malformed);
    }
    ParsedPublicKey::new(&ED25519, &x).map_err(|_| SkipReason::Malformed)?;
    Ok(Material {
        decoding: DecodingKey::from_ed_der(&x),
        fingerprint: fingerprint(b"OKP", &[&x]),
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
