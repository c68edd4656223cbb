//! Signed tokens in compact form (RFC 7515): taken apart safely, and checked against the provider's keys. PURE.
//!
//! The algorithm is never the token's choice: a key has a family, the operator has a list, and what the
//! token names must be in both. Keys that a token brings or points at (`jwk`, `jku`, `x5c`, `x5u`) are
//! not looked at, but for the `jwk` of a DPoP proof, which shows nothing else than that somebody holds that key.
//! `jsonwebtoken` checks the signature and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json;
use super::jwks::{Family, Key, KeyFingerprint, KeySet};

/// The largest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The most keys that are tried for a token that names none.
const MAX_KEYS_TRIED: usize = 8;

/// The signature algorithms that Doorward can accept (RFC 7518 section 3.1, RFC 8037); all are asymmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519, called `EdDSA` (RFC 8037) or `Ed25519` (RFC 9864).
    EdDsa,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The algorithm of that name, letter by letter; `none`, HMAC and unknown ones have none here.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The one family of keys that it works with.
    pub(super) const fn family(self) -> Family {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                Family::Rsa
            }
            Self::Es256 => Family::P256,
            Self::Es384 => Family::P384,
            Self::EdDsa => Family::Ed25519,
        }
    }

    const fn at_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Ps384 => jsonwebtoken::Algorithm::PS384,
            Self::Ps512 => jsonwebtoken::Algorithm::PS512,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// Why a token is not one that the provider signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Larger than [`MAX_TOKEN_BYTES`].
    #[error("the token is larger than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
    /// Not three segments of base64url, or header or payload is not a JSON object with unique members.
    #[error("the token is not a signed JWT in compact form")]
    Malformed,
    /// Five segments: an encrypted token.
    #[error("the token is encrypted (JWE), which is not supported")]
    Encrypted,
    /// `crit`, `b64` or `zip` in the header: an extension that would have to be understood.
    #[error("the token's header demands an extension that is not supported")]
    Extension,
    /// `alg` is absent, `none`, unknown, or not in the operator's list.
    #[error("the token's signature algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// `alg` is HMAC: a secret that everybody who checks a token could make others with.
    #[error(
        "the token is signed with HMAC, which is never accepted; let the provider sign with an RSA, EC or Ed25519 key"
    )]
    Symmetric,
    /// The key that the token names is not for the algorithm that the token names.
    #[error("the token's signature algorithm does not fit its key")]
    AlgorithmMismatch,
    /// No key of that `kid`, or none that could be meant.
    #[error("the token's key is not in the provider's key set")]
    UnknownKey,
    /// No key verifies the signature.
    #[error("the token's signature is wrong")]
    BadSignature,
}

impl JwsError {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "token_too_large",
            Self::Malformed => "token_malformed",
            Self::Encrypted => "token_encrypted",
            Self::Extension => "token_extension",
            Self::AlgorithmNotAllowed | Self::Symmetric => "token_algorithm_not_allowed",
            Self::AlgorithmMismatch => "token_algorithm_mismatch",
            Self::UnknownKey => "token_key_unknown",
            Self::BadSignature => "token_signature_invalid",
        }
    }
}

/// A token taken apart, believed in nothing: its payload comes out only through [`Jws::verify`].
#[derive(Debug)]
pub struct Jws<'t> {
    raw: &'t str,
    signed: &'t str,
    payload: &'t str,
    signature: &'t str,
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

/// What a key of the provider vouches for. Proof: only [`Jws::verify`] makes one.
#[derive(Debug)]
pub struct Signed {
    pub(super) raw: String,
    pub(super) claims: Map<String, Value>,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
    pub(super) key: KeyFingerprint,
}

impl<'t> Jws<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// Anything that is not a plainly signed JWT whose algorithm is in `allowed`.
    pub fn parse(raw: &'t str, allowed: &[Algorithm]) -> Result<Self, JwsError> {
        Self::take_apart(raw, allowed).map(|(jws, _)| jws)
    }

    /// Takes a token apart, and hands out its whole header: for tokens that bring their own key.
    pub(super) fn take_apart(
        raw: &'t str,
        allowed: &[Algorithm],
    ) -> Result<(Self, Map<String, Value>), JwsError> {
        if raw.len() > MAX_TOKEN_BYTES {
            return Err(JwsError::TooLarge);
        }
        let (signed, payload, signature) = match raw.bytes().filter(|byte| *byte == b'.').count() {
            2 => split(raw).ok_or(JwsError::Malformed)?,
            4 => return Err(JwsError::Encrypted),
            _ => return Err(JwsError::Malformed),
        };
        let (header, _) = signed.split_once('.').ok_or(JwsError::Malformed)?;
        let header = URL_SAFE_NO_PAD
            .decode(header)
            .map_err(|_| JwsError::Malformed)?;
        let header = json::object(&header).ok_or(JwsError::Malformed)?;
        if ["crit", "zip"]
            .iter()
            .any(|name| header.contains_key(*name))
        {
            return Err(JwsError::Extension);
        }
        if header
            .get("b64")
            .is_some_and(|b64| *b64 != Value::Bool(true))
        {
            return Err(JwsError::Extension);
        }
        let name = header.get("alg").and_then(Value::as_str);
        if name.is_some_and(|name| name.starts_with("HS")) {
            return Err(JwsError::Symmetric);
        }
        let algorithm = name.and_then(Algorithm::from_name);
        let algorithm = algorithm.filter(|algorithm| allowed.contains(algorithm));
        let algorithm = algorithm.ok_or(JwsError::AlgorithmNotAllowed)?;
        let (kid, typ) = (text(&header, "kid")?, text(&header, "typ")?);
        Ok((
            Self {
                raw,
                signed,
                payload,
                signature,
                algorithm,
                kid,
                typ,
            },
            header,
        ))
    }

    /// `typ`, as the header has it.
    pub(super) fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// What the token claims, believed in nothing: to refuse early, or to choose whose keys are asked.
    pub(super) fn unverified_claims(&self) -> Result<Map<String, Value>, JwsError> {
        let payload = URL_SAFE_NO_PAD
            .decode(self.payload)
            .map_err(|_| JwsError::Malformed)?;
        json::object(&payload).ok_or(JwsError::Malformed)
    }

    /// Checks the signature with the key that the token names or, where it names none, with every key that fits.
    ///
    /// # Errors
    /// No key, a key of another kind, or a wrong signature.
    pub fn verify(&self, keys: &KeySet) -> Result<Signed, JwsError> {
        let key = match &self.kid {
            Some(kid) => self.verify_named(keys, kid)?,
            None => self.verify_unnamed(keys)?,
        };
        Ok(Signed {
            raw: self.raw.to_owned(),
            claims: self.unverified_claims()?,
            algorithm: self.algorithm,
            kid: self.kid.clone(),
            typ: self.typ.clone(),
            key: key.fingerprint(),
        })
    }

    /// Checks the signature with the key that the token itself brought: it shows that its sender holds that key.
    pub(super) fn verify_possession(&self, key: &Key) -> Result<(), JwsError> {
        if !key.fits(self.algorithm) {
            return Err(JwsError::AlgorithmMismatch);
        }
        if self.is_signed_by(key) {
            Ok(())
        } else {
            Err(JwsError::BadSignature)
        }
    }

    /// Whether a newer key set could still verify what `error` refused.
    pub const fn is_cured_by_new_keys(&self, error: JwsError) -> bool {
        match error {
            JwsError::UnknownKey => true,
            JwsError::BadSignature => self.kid.is_none(),
            JwsError::TooLarge
            | JwsError::Malformed
            | JwsError::Encrypted
            | JwsError::Extension
            | JwsError::AlgorithmNotAllowed
            | JwsError::Symmetric
            | JwsError::AlgorithmMismatch => false,
        }
    }

    fn verify_named<'k>(&self, keys: &'k KeySet, kid: &str) -> Result<&'k Key, JwsError> {
        let mut verdict = JwsError::UnknownKey;
        for key in keys.named(kid).take(MAX_KEYS_TRIED) {
            if !key.fits(self.algorithm) {
                verdict = JwsError::AlgorithmMismatch;
            } else if self.is_signed_by(key) {
                return Ok(key);
            } else {
                verdict = JwsError::BadSignature;
            }
        }
        Err(verdict)
    }

    fn verify_unnamed<'k>(&self, keys: &'k KeySet) -> Result<&'k Key, JwsError> {
        let mut verdict = JwsError::UnknownKey;
        for key in keys
            .iter()
            .filter(|key| key.fits(self.algorithm))
            .take(MAX_KEYS_TRIED)
        {
            if self.is_signed_by(key) {
                return Ok(key);
            }
            verdict = JwsError::BadSignature;
        }
        Err(verdict)
    }

    fn is_signed_by(&self, key: &Key) -> bool {
        let algorithm = self.algorithm.at_jsonwebtoken();
        jsonwebtoken::crypto::verify(
            self.signature,
            self.signed.as_bytes(),
            key.decoding(),
            algorithm,
        )
        .unwrap_or(false)
    }
}

/// Whether `token` is a JWT, good or bad: what is none can only be judged by whoever issued it.
pub fn is_jwt(token: &str) -> bool {
    let mut parts = token.splitn(3, '.');
    let (Some(header), Some(_), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let header = URL_SAFE_NO_PAD
        .decode(header)
        .ok()
        .and_then(|header| json::object(&header));
    !rest.contains('.') && header.is_some()
}

/// Signing input, payload and signature, none of them empty.
fn split(raw: &str) -> Option<(&str, &str, &str)> {
    let (signed, signature) = raw.rsplit_once('.')?;
    let (_, payload) = signed.split_once('.')?;
    (!payload.is_empty() && !signature.is_empty()).then_some((signed, payload, signature))
}

fn text(header: &Map<String, Value>, name: &str) -> Result<Option<String>, JwsError> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(JwsError::Malformed),
    }
}

#[cfg(test)]
mod tests;
