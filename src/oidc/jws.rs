//! JSON Web Signature in compact serialization (RFC 7515): parsing, and signature verification with
//! the provider's keys. PURE.
//!
//! The token does not choose the algorithm: its `alg` must fit the key's type and be in the
//! operator's list. Keys that a token contains or refers to (`jwk`, `jku`, `x5c`, `x5u`) are
//! ignored, except for the `jwk` of a DPoP proof, which proves possession of that key and nothing
//! else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::json;
use super::jwks::{Key, KeyFingerprint, KeySet};
use crate::types::oauth::Issuer;

/// Maximum size of a token in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Maximum number of keys that are tried for one token.
const MAX_KEYS_TRIED: usize = 8;

/// Why a token is not validly signed by the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Larger than [`MAX_TOKEN_BYTES`].
    #[error("the token is larger than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
    /// Not three base64url segments, or the header or payload is not a JSON object with unique
    /// members.
    #[error("the token is not a signed JWT in compact form")]
    Malformed,
    /// An encrypted token (five segments).
    #[error("the token is encrypted (JWE), which is not supported")]
    Encrypted,
    /// `crit`, `b64` or `zip` in the header, or a nested token (`cty`): an extension that must be
    /// understood.
    #[error("the token's header requires an extension that is not supported")]
    Extension,
    /// `alg` is absent, `none`, unknown, or not in the operator's list.
    #[error("the token's signature algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// `alg` is HMAC, with which everyone who can verify a token can also sign others.
    #[error(
        "the token is signed with HMAC, which is never accepted; configure the provider to sign with an RSA, EC or Ed25519 key"
    )]
    Symmetric,
    /// `alg` does not fit the key that `kid` names.
    #[error("the token's signature algorithm does not fit its key")]
    AlgorithmMismatch,
    /// No key has this `kid`, or none fits a token without `kid`.
    #[error("the token's key is not in the provider's key set")]
    UnknownKey,
    /// No key verifies the signature.
    #[error("the token's signature is invalid")]
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

/// A parsed, unverified token. Its payload becomes trusted only through [`Jws::verify`].
#[derive(Debug)]
pub struct Jws<'t> {
    raw: &'t str,
    signing_input: &'t str,
    payload: &'t str,
    signature: &'t str,
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

/// The issuer that `token` names, unverified. Only selects the provider whose keys to use.
pub fn unverified_issuer(token: &str) -> Option<Issuer> {
    let claims = Jws::parse(token, &Algorithm::ALL).ok()?.unverified_claims();
    let claims = claims.ok()?;
    claims.get("iss")?.as_str().map(Issuer::new)
}

/// A token whose signature was verified. Only [`Jws::verify`] creates it.
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
    /// Parses a token.
    ///
    /// # Errors
    /// It is not a signed JWT without extensions, or its algorithm is not in `allowed`.
    pub fn parse(raw: &'t str, allowed: &[Algorithm]) -> Result<Self, JwsError> {
        Self::parse_with_header(raw, allowed).map(|(jws, _)| jws)
    }

    /// Parses a token and returns its header too, for tokens that contain their key.
    pub(super) fn parse_with_header(
        raw: &'t str,
        allowed: &[Algorithm],
    ) -> Result<(Self, Map<String, Value>), JwsError> {
        if raw.len() > MAX_TOKEN_BYTES {
            return Err(JwsError::TooLarge);
        }
        let segments = match memchr::memchr_iter(b'.', raw.as_bytes()).count() {
            2 => Segments::split(raw).ok_or(JwsError::Malformed)?,
            4 => return Err(JwsError::Encrypted),
            _ => return Err(JwsError::Malformed),
        };
        let header = URL_SAFE_NO_PAD
            .decode(segments.header)
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
        if is_nested(&header) {
            return Err(JwsError::Extension);
        }
        let name = header.get("alg").and_then(Value::as_str);
        if name.is_some_and(|name| name.starts_with("HS")) {
            return Err(JwsError::Symmetric);
        }
        let algorithm = name.and_then(Algorithm::from_name);
        let algorithm = algorithm.filter(|algorithm| allowed.contains(algorithm));
        let algorithm = algorithm.ok_or(JwsError::AlgorithmNotAllowed)?;
        let jws = Self {
            raw,
            signing_input: segments.signing_input,
            payload: segments.payload,
            signature: segments.signature,
            algorithm,
            kid: text(&header, "kid")?,
            typ: text(&header, "typ")?,
        };
        Ok((jws, header))
    }

    /// `typ` of the header.
    pub(super) fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// The unverified claims, for early rejection. See also [`unverified_issuer`].
    pub(super) fn unverified_claims(&self) -> Result<Map<String, Value>, JwsError> {
        let payload = base64_simd::URL_SAFE_NO_PAD
            .decode_to_vec(self.payload)
            .map_err(|_| JwsError::Malformed)?;
        json::object(&payload).ok_or(JwsError::Malformed)
    }

    /// Verifies the signature with the key that `kid` names, or without `kid` with every key that
    /// fits.
    ///
    /// # Errors
    /// No key was found, it does not fit the algorithm, or the signature is invalid.
    pub fn verify(&self, keys: &KeySet) -> Result<Signed, JwsError> {
        let key = match &self.kid {
            Some(kid) => self.verify_with_kid(keys, kid)?,
            None => self.verify_without_kid(keys)?,
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

    /// Verifies the signature with a key that the token contains, which proves that the sender
    /// possesses it.
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

    /// Whether verification may succeed with a newer key set after `error`.
    pub const fn may_need_new_keys(&self, error: JwsError) -> bool {
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

    fn verify_with_kid<'k>(&self, keys: &'k KeySet, kid: &str) -> Result<&'k Key, JwsError> {
        let mut error = JwsError::UnknownKey;
        for key in keys.with_kid(kid).take(MAX_KEYS_TRIED) {
            if !key.fits(self.algorithm) {
                error = JwsError::AlgorithmMismatch;
            } else if self.is_signed_by(key) {
                return Ok(key);
            } else {
                error = JwsError::BadSignature;
            }
        }
        Err(error)
    }

    fn verify_without_kid<'k>(&self, keys: &'k KeySet) -> Result<&'k Key, JwsError> {
        let mut error = JwsError::UnknownKey;
        for key in keys
            .iter()
            .filter(|key| key.fits(self.algorithm))
            .take(MAX_KEYS_TRIED)
        {
            if self.is_signed_by(key) {
                return Ok(key);
            }
            error = JwsError::BadSignature;
        }
        Err(error)
    }

    fn is_signed_by(&self, key: &Key) -> bool {
        let signature = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(self.signature);
        signature.is_ok_and(|signature| {
            key.verifies(self.algorithm, self.signing_input.as_bytes(), &signature)
        })
    }
}

/// Whether `token` has the form of a JWT, valid or not. Only its issuer can validate any other
/// token.
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

/// The parts of a token with three segments.
struct Segments<'t> {
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
    /// Header and payload as they were signed.
    signing_input: &'t str,
}

impl<'t> Segments<'t> {
    /// Returns `None` if the payload or the signature is empty.
    fn split(raw: &'t str) -> Option<Self> {
        let (signing_input, signature) = raw.rsplit_once('.')?;
        let (header, payload) = signing_input.split_once('.')?;
        let segments = Self {
            header,
            payload,
            signature,
            signing_input,
        };
        (!payload.is_empty() && !signature.is_empty()).then_some(segments)
    }
}

/// Whether `cty` announces another token inside this one (RFC 7519 section 5.2).
fn is_nested(header: &Map<String, Value>) -> bool {
    let kind = header.get("cty").and_then(Value::as_str);
    kind.is_some_and(|kind| {
        let kind = kind.to_ascii_lowercase();
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        kind == "jwt" || kind.ends_with("+jwt")
    })
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
