//! Bearer token validation (RFC 6750): access tokens in requests, whichever client obtained them.
//! JWTs (RFC 9068 and its predecessors) whose signature was verified, and introspection results of
//! opaque tokens (RFC 7662). PURE.
//!
//! The subject is a user, or the client itself (client credentials), whatever `sub` looks like.

use std::time::Duration;

use serde_json::{Map, Value};

use super::access_token;
use super::claims::{Claim, ClaimError, Claims};
use super::jwks::KeyFingerprint;
use super::jws::Signed;
use crate::types::oauth::{ClientId, Issuer, JwkThumbprint, ProviderSid, Subject};
use crate::types::time::Timestamp;

/// The accepted issuer and audiences, and the leeway.
#[derive(Clone, Copy, Debug)]
pub struct PresentedTokenProfile<'p> {
    /// The provider.
    pub issuer: &'p Issuer,
    /// Accepted `aud` values.
    pub audiences: &'p [String],
    /// The app's own client, for which ID tokens are issued.
    pub client_id: &'p ClientId,
    /// The configured mark of access tokens.
    pub mark: Option<&'p AccessTokenClaim>,
    /// Accepted clock difference.
    pub leeway: Duration,
}

/// Claims that only access tokens have: of Okta and Microsoft, and of FusionAuth. `scope` and
/// `client_id` do not count, because some ID tokens have them too.
const ACCESS_TOKEN_CLAIMS: [&str; 2] = ["scp", "applicationId"];

/// A claim that tells access tokens from ID tokens, for providers that do not mark them by `typ`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessTokenClaim {
    /// The name of the claim.
    pub claim: String,
    /// Its value. `None`: ID tokens do not have the claim.
    pub value: Option<String>,
}

impl AccessTokenClaim {
    fn is_in(&self, claims: Claims<'_>) -> bool {
        claims.get(&self.claim).is_some_and(|found| {
            self.value
                .as_ref()
                .is_none_or(|value| found.as_str() == Some(value))
        })
    }
}

/// A verified access token. Only the checks of this file create it.
///
/// Its times were checked at that moment. A holder must check [`Self::expires_at`] again later.
#[derive(Clone, Debug)]
pub struct PresentedToken {
    claims: Map<String, Value>,
    subject: TokenSubject,
    expires_at: Option<Timestamp>,
    issued_at: Option<Timestamp>,
    sid: Option<ProviderSid>,
    key: Option<KeyFingerprint>,
    bound_to: Option<JwkThumbprint>,
}

/// The subject of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSubject {
    /// A user.
    User(Subject),
    /// The client itself (RFC 6749 section 4.4).
    Client(ClientId),
}

impl TokenSubject {
    /// The subject of a token with these claims.
    ///
    /// # Errors
    /// The claims name neither a user nor a client.
    pub fn of(claims: &Map<String, Value>) -> Result<Self, ClaimError> {
        subject(Claims::new(claims))
    }
}

impl PresentedToken {
    /// All claims.
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Removes all claims.
    pub fn take_claims(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.claims)
    }

    /// The subject.
    pub const fn subject(&self) -> &TokenSubject {
        &self.subject
    }

    /// `exp` plus the leeway. An opaque token may have none.
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// `iat`.
    pub const fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// `sid`: the provider's session.
    pub const fn sid(&self) -> Option<&ProviderSid> {
        self.sid.as_ref()
    }

    /// The key that signed it; `None` after introspection.
    pub const fn key(&self) -> Option<KeyFingerprint> {
        self.key
    }

    /// The key of which the sender must prove possession (RFC 9449 section 6).
    pub const fn bound_to(&self) -> Option<&JwkThumbprint> {
        self.bound_to.as_ref()
    }
}

/// Checks the claims of a JWT whose signature was verified.
///
/// # Errors
/// The first claim that is not acceptable.
pub fn check(
    signed: Signed,
    profile: PresentedTokenProfile<'_>,
    now: Timestamp,
) -> Result<PresentedToken, ClaimError> {
    let claims = Claims::new(&signed.claims);
    let is_typed = access_token::check_kind(claims, signed.typ.as_deref())?;
    claims.check_issuer(profile.issuer)?;
    let audiences = claims.audiences()?;
    check_audience(&audiences, profile.audiences)?;
    // An ID token has the client as its audience, and none of these marks.
    let could_be_id_token = audiences.contains(&profile.client_id.as_str());
    let is_access_token = is_typed
        || ACCESS_TOKEN_CLAIMS.iter().any(|name| claims.has(name))
        || profile.mark.is_some_and(|mark| mark.is_in(claims));
    if could_be_id_token && !is_access_token {
        return Err(ClaimError::WrongKind);
    }
    claims.check_times(now, profile.leeway)?;
    let expires_at = claims.required_date(Claim::Exp)?.plus(profile.leeway);
    let accepted = accept(claims)?;
    // Revocations of a user apply to tokens issued before them.
    if matches!(accepted.subject, TokenSubject::User(_)) {
        claims.required_date(Claim::Iat)?;
    }
    Ok(accepted.of(signed.claims, Some(expires_at), Some(signed.key)))
}

/// Checks an introspection response about an opaque token. `response` is without `active`.
///
/// # Errors
/// The first claim that is not acceptable.
pub(super) fn check_introspected(
    response: Map<String, Value>,
    profile: PresentedTokenProfile<'_>,
    now: Timestamp,
) -> Result<PresentedToken, ClaimError> {
    let claims = Claims::new(&response);
    access_token::check_kind(claims, None)?;
    if claims
        .get("token_type")
        .is_some_and(|kind| !is_access_token_type(kind))
    {
        return Err(ClaimError::WrongKind);
    }
    if claims.has("iss") {
        claims.check_issuer(profile.issuer)?;
    }
    // `aud` is optional (RFC 7662 section 2.2). Without it, only tokens of the app's own client are
    // accepted.
    let has_no_audience = claims
        .get("aud")
        .is_none_or(|aud| aud.as_array().is_some_and(Vec::is_empty));
    if has_no_audience {
        if claims.get("client_id").and_then(Value::as_str) != Some(profile.client_id.as_str()) {
            return Err(ClaimError::AudienceMismatch);
        }
    } else {
        check_audience(&claims.audiences()?, profile.audiences)?;
    }
    claims.check_times_if_present(now, profile.leeway)?;
    let expires_at = claims.date(Claim::Exp)?.map(|exp| exp.plus(profile.leeway));
    Ok(accept(claims)?.of(response, expires_at, None))
}

/// The values of the claims that both kinds of tokens share.
struct Accepted {
    subject: TokenSubject,
    issued_at: Option<Timestamp>,
    sid: Option<ProviderSid>,
    bound_to: Option<JwkThumbprint>,
}

fn accept(claims: Claims<'_>) -> Result<Accepted, ClaimError> {
    Ok(Accepted {
        subject: subject(claims)?,
        issued_at: claims.date(Claim::Iat)?,
        sid: claims.text(Claim::Sid)?.map(ProviderSid::new),
        bound_to: binding(claims)?,
    })
}

impl Accepted {
    /// The token with these claims.
    fn of(
        self,
        claims: Map<String, Value>,
        expires_at: Option<Timestamp>,
        key: Option<KeyFingerprint>,
    ) -> PresentedToken {
        let Self {
            subject,
            issued_at,
            sid,
            bound_to,
        } = self;
        PresentedToken {
            claims,
            subject,
            expires_at,
            issued_at,
            sid,
            key,
            bound_to,
        }
    }
}

fn check_audience(audiences: &[&str], accepted: &[String]) -> Result<(), ClaimError> {
    let matches = accepted
        .iter()
        .any(|accepted| audiences.contains(&accepted.as_str()));
    if matches {
        Ok(())
    } else {
        Err(ClaimError::AudienceMismatch)
    }
}

fn is_access_token_type(kind: &Value) -> bool {
    kind.as_str().is_some_and(|kind| {
        ["bearer", "dpop"]
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known))
    })
}

/// The subject is the client if there is no `sub`, if `sub` is the client (RFC 9068 section 2.2),
/// or if the provider marks it (Auth0's `gty`, Microsoft's `idtyp`).
fn subject(claims: Claims<'_>) -> Result<TokenSubject, ClaimError> {
    let client_id = claims.text(Claim::ClientId)?;
    let azp = claims.text(Claim::Azp)?;
    // `null` is not the absence that makes a client the subject.
    let subject = if claims.all().contains_key("sub") {
        Some(claims.subject()?)
    } else {
        None
    };
    let is = |name, value: &str| claims.get(name).and_then(Value::as_str) == Some(value);
    let is_marked = is("gty", "client-credentials") || is("idtyp", "app");
    let is_client = |subject| client_id == Some(subject) || azp == Some(subject);
    match subject {
        Some(subject) if !is_marked && !is_client(subject) => {
            Ok(TokenSubject::User(Subject::new(subject)))
        }
        Some(_) | None => {
            let client = client_id.or(azp).ok_or(ClaimError::Missing(Claim::Sub))?;
            Ok(TokenSubject::Client(ClientId::new(client)))
        }
    }
}

/// `cnf` (RFC 7800). A token with an unsupported kind of binding is rejected, since it must not
/// pass as unbound.
fn binding(claims: Claims<'_>) -> Result<Option<JwkThumbprint>, ClaimError> {
    let Some(cnf) = claims.all().get("cnf") else {
        return Ok(None);
    };
    let members = cnf.as_object().ok_or(ClaimError::Malformed(Claim::Cnf))?;
    match (members.get("jkt").and_then(Value::as_str), members.len()) {
        (Some(jkt), 1) if !jkt.is_empty() => Ok(Some(JwkThumbprint::new(jkt))),
        _ => Err(ClaimError::Malformed(Claim::Cnf)),
    }
}

#[cfg(test)]
mod tests;
