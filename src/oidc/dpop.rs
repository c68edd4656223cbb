//! DPoP proofs (RFC 9449 section 4): that whoever sends a token holds the key that the token is bound to. PURE.
//!
//! What costs little is checked first, the signature last. Two things are left to the caller, who has what they take:
//! whether the proof came in exactly one `DPoP` field, and whether its [`Proof::id`] was seen before, which is to be
//! remembered until [`Proof::counts_until`].

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::claims::{Claim, Claims, kind_of};
use super::jwks::Key;
use super::jws::{Algorithm, Jws, JwsError};
use crate::types::net::Origin;
use crate::types::oauth::JwkThumbprint;
use crate::types::secret::same_bytes;
use crate::types::target::Target;
use crate::types::time::Timestamp;

/// The largest proof that is looked at, in bytes: one with an RSA key of 4096 bits and a nonce fits.
pub const MAX_PROOF_BYTES: usize = 4 * 1024;

/// The longest `jti`, in bytes.
pub const MAX_ID_BYTES: usize = 256;

/// How long after its `iat` a proof counts.
pub const MAX_AGE: Duration = Duration::from_secs(60);

/// How far the clock of a device may be ahead of ours.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// What a proof may be signed with: `algs` of a challenge (section 7.1).
pub const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::EdDsa,
    Algorithm::Ps256,
    Algorithm::Rs256,
];

/// What a proof has to be for.
#[derive(Clone, Copy)]
pub struct ProofExpectation<'e> {
    /// The method of the request.
    pub method: &'e str,
    /// The origin that the request was sent to, as people know it; never what a `Host` field says.
    pub origin: &'e Origin,
    /// The path that it was sent to, in canonical form.
    pub path: &'e str,
    /// The access token that came with it; none at a token endpoint.
    pub access_token: Option<&'e str>,
    /// What shows that it was made just now.
    pub freshness: Freshness<'e>,
}

/// What shows that a proof was made just now (section 11.1).
#[derive(Clone, Copy)]
pub enum Freshness<'e> {
    /// Its `iat`, by the clock of the device.
    IssuedAt,
    /// A nonce of ours, by our own clock: the function says until when it counts, or nothing if it is none or has ended.
    Nonce(&'e dyn Fn(&str) -> Option<Timestamp>),
}

/// What a good proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The key that its sender holds.
    pub key: JwkThumbprint,
    /// `jti`: the same proof counts once.
    pub id: String,
    /// Until when it would be accepted again.
    pub counts_until: Timestamp,
}

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Larger than [`MAX_PROOF_BYTES`].
    #[error("the proof is larger than {MAX_PROOF_BYTES} bytes")]
    TooLarge,
    /// Not a signed JWT, or `typ` is not `dpop+jwt`, or a claim is absent or of the wrong type.
    #[error("the proof is malformed")]
    Malformed,
    /// `alg` is not one of [`ALGORITHMS`], or not one for its key.
    #[error("the proof's signature algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// `jwk` is absent, no usable public key, or has a private part.
    #[error("the proof's key cannot be used")]
    KeyError,
    /// `htm` is another method.
    #[error("the proof is for another method")]
    MethodMismatch,
    /// `htu` is another address.
    #[error("the proof is for another address")]
    AddressMismatch,
    /// `iat` is too old.
    #[error("the proof is too old")]
    TooOld,
    /// `iat` is to come.
    #[error("the proof was made in the future; compare the clocks")]
    IssuedInFuture,
    /// It has no nonce of ours, or one that has ended.
    #[error("the proof needs a nonce of this server")]
    NonceWanted,
    /// `ath` is absent, or of another token.
    #[error("the proof is for another access token")]
    AccessTokenMismatch,
    /// The key that it brings did not sign it.
    #[error("the proof's signature is wrong")]
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
            Self::AddressMismatch => "dpop_htu_mismatch",
            Self::TooOld => "dpop_proof_too_old",
            Self::IssuedInFuture => "dpop_proof_issued_in_future",
            Self::NonceWanted => "dpop_nonce_required",
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

/// Checks a proof (section 4.3). That its key is the one that a token is bound to is for the caller to compare.
///
/// # Errors
/// The first thing that is not as it has to be.
pub fn verify(
    proof: &str,
    expected: ProofExpectation<'_>,
    now: Timestamp,
) -> Result<Proof, ProofError> {
    if proof.len() > MAX_PROOF_BYTES {
        return Err(ProofError::TooLarge);
    }
    let (jws, header) = Jws::take_apart(proof, &ALGORITHMS)?;
    if kind_of(jws.typ()).is_none_or(|kind| kind != "dpop+jwt") {
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
    if !is_address_of(text("htu")?, expected.origin, expected.path) {
        return Err(ProofError::AddressMismatch);
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
    let key = Key::parse(jwk).map_err(|_| ProofError::KeyError)?;
    jws.verify_possession(&key)?;
    Ok(Proof {
        key: thumbprint(jwk).ok_or(ProofError::KeyError)?,
        id: id.to_owned(),
        counts_until,
    })
}

/// Until when the proof counts: by a nonce of ours where one is asked for, and the device's clock does not matter then.
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
        Freshness::Nonce(judge) => nonce.and_then(judge).ok_or(ProofError::NonceWanted),
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

/// Whether `htu` names this place, query and fragment aside (section 4.3, items 9; RFC 3986 sections 6.2.2 and 6.2.3).
fn is_address_of(htu: &str, origin: &Origin, path: &str) -> bool {
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

/// The thumbprint of a public key that was read (RFC 7638 section 3): its required members in the order of their names.
fn thumbprint(jwk: &Value) -> Option<JwkThumbprint> {
    let text = |name| jwk.get(name).and_then(Value::as_str);
    let required: &[&str] = match text("kty")? {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    // The name of a type or curve that is known, or base64url: nothing that JSON would have to escape.
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
