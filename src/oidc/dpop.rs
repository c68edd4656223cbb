//! DPoP proof validation (RFC 9449 section 4): proves that the sender of a token possesses the key
//! that the token is bound to. PURE.
//!
//! Cheap checks come first, the signature last. The caller must check that there was exactly one
//! `DPoP` header field, and that [`Proof::id`] was not used before; it must be stored until
//! [`Proof::counts_until`].

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::claims::{Claim, Claims, media_subtype};
use super::jwks::Key;
use super::jws::{Jws, JwsError};
use crate::types::net::Origin;
use crate::types::oauth::JwkThumbprint;
use crate::types::secret::same_bytes;
use crate::types::target::Target;
use crate::types::time::Timestamp;

/// Maximum size of a proof in bytes. A proof with a 4096-bit RSA key and a nonce fits.
pub const MAX_PROOF_BYTES: usize = 4 * 1024;

/// Maximum size of an RSA modulus in bytes.
const MAX_RSA_BYTES: usize = 4096 / 8;

/// The largest RSA exponent, 65537.
const MAX_RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// Maximum length of `jti` in bytes.
pub const MAX_ID_BYTES: usize = 256;

/// How long a proof is valid after its `iat`.
pub const MAX_AGE: Duration = Duration::from_secs(60);

/// How far the client's clock may be ahead.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// The accepted signature algorithms, also sent as `algs` of a challenge (section 7.1).
pub const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::EdDsa,
    Algorithm::Ps256,
    Algorithm::Rs256,
];

/// The request that a proof must match.
#[derive(Clone, Copy)]
pub struct ProofExpectation<'e> {
    /// The method of the request.
    pub method: &'e str,
    /// The app's configured public origin, never the value of `Host`.
    pub origin: &'e Origin,
    /// The canonical path of the request.
    pub path: &'e str,
    /// The access token of the request; `None` at a token endpoint.
    pub access_token: Option<&'e str>,
    /// How the proof must show that it is fresh.
    pub freshness: Freshness<'e>,
}

/// How a proof shows that it is fresh (section 11.1).
#[derive(Clone, Copy)]
pub enum Freshness<'e> {
    /// By its `iat`, which depends on the client's clock.
    IssuedAt,
    /// By a nonce from this server. The function returns until when a nonce is valid, or `None` if
    /// it is not.
    Nonce(&'e dyn Fn(&str) -> Option<Timestamp>),
}

/// A valid proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The key that the sender possesses.
    pub key: JwkThumbprint,
    /// `jti`, for replay detection.
    pub id: String,
    /// Until when the proof is valid.
    pub counts_until: Timestamp,
}

/// Why a proof is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Larger than [`MAX_PROOF_BYTES`].
    #[error("the proof is larger than {MAX_PROOF_BYTES} bytes")]
    TooLarge,
    /// Not a signed JWT, `typ` is not `dpop+jwt`, or a claim is missing or of the wrong type.
    #[error("the proof is malformed")]
    Malformed,
    /// `alg` is not in [`ALGORITHMS`], or does not fit the key.
    #[error("the proof's signature algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// `jwk` is missing, not a usable public key, or contains private members. RSA above 4096 bits or
    /// with an exponent above 65537 is not usable.
    #[error("the proof's key cannot be used")]
    KeyError,
    /// `htm` is another method.
    #[error("the proof is for another method")]
    MethodMismatch,
    /// `htu` is another URL.
    #[error("the proof is for another URL")]
    UrlMismatch,
    /// `iat` is too old.
    #[error("the proof is too old")]
    TooOld,
    /// `iat` is in the future.
    #[error("the proof was made in the future; compare the clocks")]
    IssuedInFuture,
    /// The nonce is missing or expired.
    #[error("the proof needs a nonce from this server")]
    NonceRequired,
    /// `ath` is missing, or belongs to another token.
    #[error("the proof is for another access token")]
    AccessTokenMismatch,
    /// It was not signed with the key that it contains.
    #[error("the proof's signature is invalid")]
    BadSignature,
}

impl ProofError {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "dpop_proof_too_large",
            Self::Malformed => "dpop_proof_malformed",
            Self::AlgorithmNotAllowed => "dpop_algorithm_not_allowed",
            Self::KeyError => "dpop_key_unusable",
            Self::MethodMismatch => "dpop_htm_mismatch",
            Self::UrlMismatch => "dpop_htu_mismatch",
            Self::TooOld => "dpop_proof_too_old",
            Self::IssuedInFuture => "dpop_proof_issued_in_future",
            Self::NonceRequired => "dpop_nonce_required",
            Self::AccessTokenMismatch => "dpop_access_token_mismatch",
            Self::BadSignature => "dpop_signature_invalid",
        }
    }
}

impl From<JwsError> for ProofError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::TooLarge => Self::TooLarge,
            JwsError::Malformed | JwsError::Encrypted | JwsError::Extension => Self::Malformed,
            JwsError::AlgorithmNotAllowed | JwsError::Symmetric | JwsError::AlgorithmMismatch => {
                Self::AlgorithmNotAllowed
            }
            JwsError::UnknownKey => Self::KeyError,
            JwsError::BadSignature => Self::BadSignature,
        }
    }
}

/// Verifies a proof (section 4.3). The caller must compare its key with the one that a token is
/// bound to.
///
/// # Errors
/// The first check that failed.
pub fn verify(
    proof: &str,
    expected: ProofExpectation<'_>,
    now: Timestamp,
) -> Result<Proof, ProofError> {
    if proof.len() > MAX_PROOF_BYTES {
        return Err(ProofError::TooLarge);
    }
    let (jws, header) = Jws::parse_with_header(proof, &ALGORITHMS)?;
    if media_subtype(jws.typ()).is_none_or(|kind| kind != "dpop+jwt") {
        return Err(ProofError::Malformed);
    }
    let claims = jws.unverified_claims()?;
    let claims = Claims::new(&claims);
    let text = |name| {
        claims
            .get(name)
            .and_then(Value::as_str)
            .ok_or(ProofError::Malformed)
    };
    if text("htm")? != expected.method {
        return Err(ProofError::MethodMismatch);
    }
    if !matches_url(text("htu")?, expected.origin, expected.path) {
        return Err(ProofError::UrlMismatch);
    }
    let id = text("jti")?;
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(ProofError::Malformed);
    }
    let counts_until = fresh_until(claims, expected.freshness, now)?;
    if let Some(token) = expected.access_token {
        let found = text("ath").map_err(|_| ProofError::AccessTokenMismatch)?;
        if !same_bytes(found.as_bytes(), sha256(token.as_bytes()).as_bytes()) {
            return Err(ProofError::AccessTokenMismatch);
        }
    }
    let jwk = header.get("jwk").ok_or(ProofError::KeyError)?;
    if !is_cheap(jwk) {
        return Err(ProofError::KeyError);
    }
    let key = Key::parse(jwk).map_err(|_| ProofError::KeyError)?;
    jws.verify_possession(&key)?;
    Ok(Proof {
        key: thumbprint(jwk).ok_or(ProofError::KeyError)?,
        id: id.to_owned(),
        counts_until,
    })
}

/// Whether a signature of this key costs little to verify. Anybody can choose the key, and the cost
/// grows with modulus and exponent of RSA.
fn is_cheap(jwk: &Value) -> bool {
    let number = |name| {
        let encoded = jwk.get(name).and_then(Value::as_str)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let leading_zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(bytes.get(leading_zeros..).unwrap_or_default().to_vec())
    };
    let is_rsa = jwk.get("kty").and_then(Value::as_str) == Some("RSA");
    !is_rsa
        || (number("n").is_some_and(|modulus| modulus.len() <= MAX_RSA_BYTES)
            && number("e").is_some_and(|exponent| {
                exponent.len() < MAX_RSA_EXPONENT.len() || exponent == MAX_RSA_EXPONENT
            }))
}

/// Until when the proof is valid. With a nonce the client's clock does not matter.
fn fresh_until(
    claims: Claims<'_>,
    freshness: Freshness<'_>,
    now: Timestamp,
) -> Result<Timestamp, ProofError> {
    let issued_at = claims
        .required_date(Claim::Iat)
        .map_err(|_| ProofError::Malformed)?;
    let nonce = claims
        .text(Claim::Nonce)
        .map_err(|_| ProofError::Malformed)?;
    match freshness {
        Freshness::Nonce(valid_until) => {
            nonce.and_then(valid_until).ok_or(ProofError::NonceRequired)
        }
        Freshness::IssuedAt => {
            let until = issued_at.plus(MAX_AGE);
            if issued_at > now.plus(LEEWAY) {
                return Err(ProofError::IssuedInFuture);
            }
            if now >= until {
                Err(ProofError::TooOld)
            } else {
                Ok(until)
            }
        }
    }
}

/// Whether `htu` is this URL, without query and fragment (section 4.3, item 9; RFC 3986 sections
/// 6.2.2 and 6.2.3).
fn matches_url(htu: &str, origin: &Origin, path: &str) -> bool {
    let address = htu.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = address.split_once("://") else {
        return false;
    };
    let (authority, rest) = rest
        .find('/')
        .and_then(|slash| rest.split_at_checked(slash))
        .unwrap_or((rest, "/"));
    scheme.eq_ignore_ascii_case(origin.scheme())
        && origin.is_named_by(authority)
        && Target::parse(rest, None).is_ok_and(|target| target.path() == path)
}

/// The thumbprint of a parsed public key: its required members in lexicographic order (RFC 7638
/// section 3).
pub(super) fn thumbprint(jwk: &Value) -> Option<JwkThumbprint> {
    let text = |name| jwk.get(name).and_then(Value::as_str);
    let required: &[&str] = match text("kty")? {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    // Known type and curve names and base64url, so nothing needs to be escaped in JSON.
    let members: Vec<String> = required
        .iter()
        .map(|name| Some(format!("\"{name}\":\"{}\"", text(name)?)))
        .collect::<Option<_>>()?;
    Some(JwkThumbprint::new(sha256(
        format!("{{{}}}", members.join(",")).as_bytes(),
    )))
}

fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, bytes))
}

#[cfg(test)]
mod tests;
