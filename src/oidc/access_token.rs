//! Access tokens that are JWTs (RFC 9068, and its many elders): the claims of a token whose signature was
//! verified. PURE.

use std::time::Duration;

use super::claims::{Claim, ClaimError, Claims, kind_of};
use super::jws::Signed;
use super::verified::VerifiedToken;
use crate::types::oauth::Issuer;
use crate::types::time::Timestamp;

/// Whose access tokens are accepted, and how exact clocks have to be.
#[derive(Clone, Copy, Debug)]
pub struct AccessTokenProfile<'p> {
    /// The provider.
    pub issuer: &'p Issuer,
    /// The `aud` values of which the token must carry one.
    pub audiences: &'p [String],
    /// By how much clocks may differ.
    pub leeway: Duration,
}

/// Checks the claims of an access token.
///
/// # Errors
/// The first claim that is not as it has to be.
pub fn check(signed: Signed, profile: AccessTokenProfile<'_>, now: Timestamp) -> Result<VerifiedToken, ClaimError> {
    let claims = Claims::new(&signed.claims);
    check_kind(claims, signed.typ.as_deref())?;
    claims.check_issuer(profile.issuer)?;
    let audiences = claims.audiences()?;
    if !profile.audiences.iter().any(|accepted| audiences.contains(&accepted.as_str())) {
        return Err(ClaimError::AudienceMismatch);
    }
    claims.check_times(now, profile.leeway)?;
    claims.date(Claim::AuthTime)?;
    claims.subject()?;
    VerifiedToken::from_checked(signed)
}

/// `typ` is `at+jwt`, or with older providers `JWT` or nothing, some of which name the kind in a claim.
/// Where nothing says that it is an access token, what only an ID token has gives that one away.
fn check_kind(claims: Claims<'_>, typ: Option<&str>) -> Result<(), ClaimError> {
    let by_header = match kind_of(typ).as_deref() {
        Some("at+jwt") => true,
        Some("jwt") | None => false,
        Some(_) => return Err(ClaimError::WrongKind),
    };
    let by_claim = match ["typ", "token_use"].iter().find_map(|name| claims.get(name)?.as_str()) {
        Some(kind) if ["bearer", "dpop", "access", "at+jwt"].iter().any(|own| own.eq_ignore_ascii_case(kind)) => true,
        Some(kind) if kind.eq_ignore_ascii_case("jwt") => false,
        Some(_) => return Err(ClaimError::WrongKind),
        None => false,
    };
    let looks_like_id_token = ["nonce", "at_hash", "c_hash", "s_hash"].iter().any(|name| claims.has(name));
    if claims.has("events") || (looks_like_id_token && !by_header && !by_claim) {
        return Err(ClaimError::WrongKind);
    }
    Ok(())
}
