//! ID tokens (OpenID Connect Core section 3.1.3.7): the claims of a token whose signature was verified. PURE.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::claims::{Claim, ClaimError, Claims, kind_of};
use super::jws::{Algorithm, Signed};
use super::verified::VerifiedToken;
use crate::types::oauth::{AccessToken, ClientId, Issuer, Nonce, Subject};
use crate::types::secret::same_bytes;
use crate::types::time::Timestamp;

/// What is known about an ID token before it arrives.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdTokenExpectation<'e> {
    /// At login: the attempt's nonce, which the token then has to carry. At a refresh: nothing.
    pub nonce: Option<&'e Nonce>,
    /// The access token that came with it, for `at_hash`.
    pub access_token: Option<&'e AccessToken>,
    /// At a refresh: who the session is about (section 12.2).
    pub subject: Option<&'e Subject>,
}

/// Whose ID tokens are accepted, and how exact clocks have to be.
#[derive(Clone, Copy, Debug)]
pub struct IdTokenProfile<'p> {
    /// The provider.
    pub issuer: &'p Issuer,
    /// The app's registration.
    pub client_id: &'p ClientId,
    /// By how much clocks may differ.
    pub leeway: Duration,
}

/// Checks the claims of an ID token.
///
/// # Errors
/// The first claim that is not as it has to be.
pub fn check(
    signed: Signed,
    profile: IdTokenProfile<'_>,
    expected: IdTokenExpectation<'_>,
    now: Timestamp,
) -> Result<VerifiedToken, ClaimError> {
    let claims = Claims::new(&signed.claims);
    check_kind(claims, signed.typ.as_deref())?;
    claims.check_issuer(profile.issuer)?;
    check_audience(claims, profile.client_id)?;
    claims.check_times(now, profile.leeway)?;
    claims.required_date(Claim::Iat)?;
    claims.date(Claim::AuthTime)?;
    check_nonce(claims, expected.nonce)?;
    check_access_token(claims, signed.algorithm, expected.access_token)?;
    let subject = claims.subject()?;
    if expected.subject.is_some_and(|expected| expected.as_str() != subject) {
        return Err(ClaimError::SubjectMismatch);
    }
    VerifiedToken::from_checked(signed)
}

/// An ID token has `typ` JWT or none. Logout tokens carry `events`; some providers name the kind in a claim.
fn check_kind(claims: Claims<'_>, typ: Option<&str>) -> Result<(), ClaimError> {
    let is_plain = kind_of(typ).is_none_or(|kind| kind == "jwt");
    let is_event = claims.has("events");
    let says_otherwise = ["typ", "token_use"]
        .iter()
        .any(|name| claims.get(name).and_then(Value::as_str).is_some_and(|kind| !is_one_of(kind, &["id", "jwt"])));
    if is_plain && !is_event && !says_otherwise { Ok(()) } else { Err(ClaimError::WrongKind) }
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

fn check_audience(claims: Claims<'_>, client_id: &ClientId) -> Result<(), ClaimError> {
    let audiences = claims.audiences()?;
    if !audiences.contains(&client_id.as_str()) {
        return Err(ClaimError::AudienceMismatch);
    }
    match claims.text(Claim::Azp)? {
        Some(party) if party != client_id.as_str() => Err(ClaimError::PartyMismatch),
        None if audiences.len() > 1 => Err(ClaimError::PartyMismatch),
        _ => Ok(()),
    }
}

fn check_nonce(claims: Claims<'_>, expected: Option<&Nonce>) -> Result<(), ClaimError> {
    let found = claims.text(Claim::Nonce)?;
    let Some(expected) = expected else { return Ok(()) };
    let found = found.ok_or(ClaimError::Missing(Claim::Nonce))?;
    if expected.matches(found) { Ok(()) } else { Err(ClaimError::NonceMismatch) }
}

fn check_access_token(
    claims: Claims<'_>,
    algorithm: Algorithm,
    access_token: Option<&AccessToken>,
) -> Result<(), ClaimError> {
    let (Some(found), Some(token)) = (claims.text(Claim::AtHash)?, access_token) else { return Ok(()) };
    let expected = half_hash(algorithm, token.expose());
    if same_bytes(found.as_bytes(), expected.as_bytes()) { Ok(()) } else { Err(ClaimError::AccessTokenMismatch) }
}

/// The left half of the hash that goes with `algorithm`, in base64url (section 3.1.3.6).
pub(super) fn half_hash(algorithm: Algorithm, text: &str) -> String {
    let hash = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => &digest::SHA256,
        Algorithm::Rs384 | Algorithm::Ps384 | Algorithm::Es384 => &digest::SHA384,
        Algorithm::Rs512 | Algorithm::Ps512 | Algorithm::EdDsa => &digest::SHA512,
    };
    let whole = digest::digest(hash, text.as_bytes());
    let half = whole.as_ref().iter().take(hash.output_len() / 2);
    URL_SAFE_NO_PAD.encode(half.copied().collect::<Vec<u8>>())
}
