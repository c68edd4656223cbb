//! ID token validation (OpenID Connect Core section 3.1.3.7): the claims of a token whose signature
//! was verified. PURE.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::claims::{Claim, ClaimError, Claims, media_subtype};
use super::jws::Signed;
use super::verified::VerifiedToken;
use crate::identity::authentication::{
    AuthenticationRequirement, InsufficientAuthentication, UserAuthentication,
};
use crate::types::oauth::{AccessToken, ClientId, Issuer, Nonce, Subject};
use crate::types::secret::same_bytes;
use crate::types::time::Timestamp;

/// The values that an ID token must match.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdTokenExpectation<'e> {
    /// At login, the nonce of the attempt. At a refresh, `None`.
    pub nonce: Option<&'e Nonce>,
    /// At login, how the user was to authenticate.
    pub authentication: Option<RequestedAuthentication<'e>>,
    /// At a refresh, the token of the login.
    pub login: Option<LoginToken<'e>>,
    /// The access token of the same response, for `at_hash`.
    pub access_token: Option<&'e AccessToken>,
    /// At a refresh, the subject of the session (section 12.2).
    pub subject: Option<&'e Subject>,
}

/// How an authorization request asks the user to authenticate.
#[derive(Clone, Copy, Debug)]
pub struct RequestedAuthentication<'e> {
    /// `acr_values` and `max_age`.
    pub required: &'e AuthenticationRequirement,
    /// When the request was made.
    pub requested_at: Timestamp,
}

/// The claims of the login's ID token that a refreshed one must not change (section 12.2). Those that
/// are not known are not compared.
#[derive(Clone, Copy, Debug)]
pub struct LoginToken<'e> {
    /// `nonce`.
    pub nonce: Option<&'e Nonce>,
    /// `auth_time`.
    pub auth_time: Option<Timestamp>,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
}

/// The accepted issuer and client, and the leeway.
#[derive(Clone, Copy, Debug)]
pub struct IdTokenProfile<'p> {
    /// The provider.
    pub issuer: &'p Issuer,
    /// The app's registration.
    pub client_id: &'p ClientId,
    /// Accepted clock difference.
    pub leeway: Duration,
}

/// Checks the claims of an ID token.
///
/// # Errors
/// The first claim that is not acceptable.
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
    let issued_at = claims.required_date(Claim::Iat)?;
    check_nonce(claims, expected.nonce)?;
    if let Some(requested) = expected.authentication {
        check_authentication(claims, requested, profile.leeway)?;
    }
    if let Some(login) = expected.login {
        check_login(claims, issued_at, login, profile.leeway)?;
    }
    check_access_token(claims, signed.algorithm, expected.access_token)?;
    let subject = claims.subject()?;
    if expected
        .subject
        .is_some_and(|expected| expected.as_str() != subject)
    {
        return Err(ClaimError::SubjectMismatch);
    }
    VerifiedToken::from_checked(signed)
}

/// Checks that this is an ID token: `typ` is JWT or absent, there is no `events` (logout tokens),
/// and a claim for the kind, which some providers add, does not contradict.
fn check_kind(claims: Claims<'_>, typ: Option<&str>) -> Result<(), ClaimError> {
    let is_plain = media_subtype(typ).is_none_or(|kind| kind == "jwt");
    let is_event = claims.has("events");
    let contradicts = ["typ", "token_use"].iter().any(|name| {
        claims
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|kind| !is_one_of(kind, &["id", "jwt"]))
    });
    if is_plain && !is_event && !contradicts {
        Ok(())
    } else {
        Err(ClaimError::WrongKind)
    }
}

fn is_one_of(value: &str, accepted: &[&str]) -> bool {
    accepted
        .iter()
        .any(|accepted| accepted.eq_ignore_ascii_case(value))
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
    let Some(expected) = expected else {
        return Ok(());
    };
    if expected.matches(claims.required_text(Claim::Nonce)?) {
        Ok(())
    } else {
        Err(ClaimError::NonceMismatch)
    }
}

/// Checks that the user authenticated as requested. `max_age` ends at the request, since the user
/// may take long afterwards (section 3.1.2.1). A request for `acr_values` that the provider may
/// ignore would only look like protection.
fn check_authentication(
    claims: Claims<'_>,
    requested: RequestedAuthentication<'_>,
    leeway: Duration,
) -> Result<(), ClaimError> {
    let RequestedAuthentication {
        required,
        requested_at,
    } = requested;
    let mut found = UserAuthentication::default();
    if required.max_age.is_some() {
        found.time = Some(claims.required_date(Claim::AuthTime)?);
    }
    if !required.acr_values.is_empty() {
        found = found.with_acr(Some(claims.required_text(Claim::Acr)?));
    }
    let result = required.check(&found, requested_at, leeway);
    result.map_err(|insufficient| match insufficient {
        InsufficientAuthentication::TooOld => ClaimError::AuthenticationTooOld,
        InsufficientAuthentication::AcrMismatch => ClaimError::AcrMismatch,
    })
}

/// Checks that a refreshed token continues the login (section 12.2). A later `auth_time` is
/// accepted: many providers report the newest authentication of the user, not that of the login.
/// An unreadable one is ignored.
fn check_login(
    claims: Claims<'_>,
    issued_at: Timestamp,
    login: LoginToken<'_>,
    leeway: Duration,
) -> Result<(), ClaimError> {
    if let (Some(expected), Some(found)) = (login.nonce, claims.text(Claim::Nonce)?)
        && !expected.matches(found)
    {
        return Err(ClaimError::NonceMismatch);
    }
    let auth_time = claims.date(Claim::AuthTime).ok().flatten();
    if let (Some(expected), Some(found)) = (login.auth_time, auth_time)
        && found.plus(leeway) < expected
    {
        return Err(ClaimError::AuthTimeMismatch);
    }
    if login
        .issued_at
        .is_some_and(|login| issued_at.plus(leeway) < login)
    {
        return Err(ClaimError::IssuedBeforeLogin);
    }
    Ok(())
}

fn check_access_token(
    claims: Claims<'_>,
    algorithm: Algorithm,
    access_token: Option<&AccessToken>,
) -> Result<(), ClaimError> {
    let (Some(found), Some(token)) = (claims.text(Claim::AtHash)?, access_token) else {
        return Ok(());
    };
    let expected = half_hash(algorithm, token.expose());
    if same_bytes(found.as_bytes(), expected.as_bytes()) {
        Ok(())
    } else {
        Err(ClaimError::AccessTokenMismatch)
    }
}

/// The left half of the hash that belongs to `algorithm`, in base64url (section 3.1.3.6).
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

#[cfg(test)]
mod tests;
