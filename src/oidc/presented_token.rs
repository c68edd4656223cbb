//! Access tokens that programs present (RFC 6750), whoever obtained them: JWTs (RFC 9068 and its elders) whose
//! signature was verified, and what the provider said of opaque ones (RFC 7662). PURE.
//!
//! The holder is a person, or the client itself: then nobody is behind the token, whatever its `sub` looks like.

use std::time::Duration;

use serde_json::{Map, Value};

use super::access_token;
use super::claims::{Claim, ClaimError, Claims};
use super::jwks::KeyFingerprint;
use super::jws::Signed;
use crate::types::oauth::{ClientId, Issuer, JwkThumbprint, ProviderSid, Subject};
use crate::types::time::Timestamp;

/// Whose tokens are accepted, and for whom they have to be.
#[derive(Clone, Copy, Debug)]
pub struct PresentedTokenProfile<'p> {
    /// The provider.
    pub issuer: &'p Issuer,
    /// The `aud` values of which the token must carry one.
    pub audiences: &'p [String],
    /// The app's own registration, for which ID tokens are issued.
    pub client_id: &'p ClientId,
    /// By how much clocks may differ.
    pub leeway: Duration,
}

/// Claims that tell an access token from an ID token where neither says what it is: RFC 9068 section 2.2, and as Okta,
/// Microsoft and FusionAuth write them.
const ACCESS_ONLY: [&str; 4] = ["scope", "client_id", "scp", "applicationId"];

/// An access token that passed. Proof: only the checks of this file make one.
///
/// What depends on the moment was checked then: whoever keeps one asks [`Self::ends_at`] again.
#[derive(Clone, Debug)]
pub struct PresentedToken {
    claims: Map<String, Value>,
    holder: TokenSubject,
    ends_at: Option<Timestamp>,
    issued_at: Option<Timestamp>,
    sid: Option<ProviderSid>,
    key: Option<KeyFingerprint>,
    bound_to: Option<JwkThumbprint>,
}

/// Who holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSubject {
    /// A client on behalf of a person.
    Person(Subject),
    /// A client on its own behalf (RFC 6749 section 4.4).
    Client(ClientId),
}

impl PresentedToken {
    /// All claims.
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Who holds it.
    pub const fn holder(&self) -> &TokenSubject {
        &self.holder
    }

    /// `exp` and the leeway; an opaque token may have none.
    pub const fn ends_at(&self) -> Option<Timestamp> {
        self.ends_at
    }

    /// `iat`.
    pub const fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// `sid`: the provider's session.
    pub const fn sid(&self) -> Option<&ProviderSid> {
        self.sid.as_ref()
    }

    /// The key that signed it; none where the provider was asked.
    pub const fn key(&self) -> Option<KeyFingerprint> {
        self.key
    }

    /// The key that whoever sends it has to prove possession of (RFC 9449 section 6).
    pub const fn bound_to(&self) -> Option<&JwkThumbprint> {
        self.bound_to.as_ref()
    }
}

/// Checks the claims of a JWT whose signature was verified.
///
/// # Errors
/// The first claim that is not as it has to be.
pub fn check(
    signed: Signed,
    profile: PresentedTokenProfile<'_>,
    now: Timestamp,
) -> Result<PresentedToken, ClaimError> {
    let claims = Claims::new(&signed.claims);
    let says_so = access_token::check_kind(claims, signed.typ.as_deref())?;
    claims.check_issuer(profile.issuer)?;
    let audiences = claims.audiences()?;
    check_audience(&audiences, profile.audiences)?;
    // An ID token that lacks what would give it away is for this audience too. It has none of these.
    let could_be_id_token = audiences.contains(&profile.client_id.as_str());
    let is_for_access = says_so || ACCESS_ONLY.iter().any(|name| claims.has(name));
    if could_be_id_token && !is_for_access {
        return Err(ClaimError::WrongKind);
    }
    claims.check_times(now, profile.leeway)?;
    let ends_at = claims.required_date(Claim::Exp)?.plus(profile.leeway);
    let token = accept(claims, Some(ends_at), Some(signed.key))?;
    // Which of a person's tokens a revocation ends is told by when they were issued.
    if matches!(token.holder, TokenSubject::Person(_)) {
        claims.required_date(Claim::Iat)?;
    }
    Ok(token)
}

/// Checks what the provider says of an opaque token, `claims` being its answer without `active`.
///
/// # Errors
/// The first claim that is not as it has to be.
pub(super) fn check_introspected(
    claims: &Map<String, Value>,
    profile: PresentedTokenProfile<'_>,
    now: Timestamp,
) -> Result<PresentedToken, ClaimError> {
    let claims = Claims::new(claims);
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
    // `aud` is optional there (RFC 7662 section 2.2). A token that the app's own client obtained is for the app.
    let is_for_nobody = claims
        .get("aud")
        .is_none_or(|aud| aud.as_array().is_some_and(Vec::is_empty));
    if is_for_nobody {
        if claims.get("client_id").and_then(Value::as_str) != Some(profile.client_id.as_str()) {
            return Err(ClaimError::AudienceMismatch);
        }
    } else {
        check_audience(&claims.audiences()?, profile.audiences)?;
    }
    claims.check_times_given(now, profile.leeway)?;
    let ends_at = claims.date(Claim::Exp)?.map(|exp| exp.plus(profile.leeway));
    accept(claims, ends_at, None)
}

fn accept(
    claims: Claims<'_>,
    ends_at: Option<Timestamp>,
    key: Option<KeyFingerprint>,
) -> Result<PresentedToken, ClaimError> {
    claims.date(Claim::AuthTime)?;
    Ok(PresentedToken {
        holder: holder(claims)?,
        ends_at,
        issued_at: claims.date(Claim::Iat)?,
        sid: claims.text(Claim::Sid)?.map(ProviderSid::new),
        key,
        bound_to: binding(claims)?,
        claims: claims.all().clone(),
    })
}

fn check_audience(audiences: &[&str], accepted: &[String]) -> Result<(), ClaimError> {
    let is_ours = accepted
        .iter()
        .any(|accepted| audiences.contains(&accepted.as_str()));
    if is_ours {
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

/// No person is behind a token without `sub`, or whose `sub` is the client itself (RFC 9068 section 2.2), or that the
/// provider marks so in its own way (Auth0's `gty`, Microsoft's `idtyp`).
fn holder(claims: Claims<'_>) -> Result<TokenSubject, ClaimError> {
    let (client_id, azp) = (claims.text(Claim::ClientId)?, claims.text(Claim::Azp)?);
    let subject = if claims.has("sub") {
        Some(claims.subject()?)
    } else {
        None
    };
    let says = |name, word: &str| claims.get(name).and_then(Value::as_str) == Some(word);
    let is_marked = says("gty", "client-credentials") || says("idtyp", "app");
    let is_client = |subject| client_id == Some(subject) || azp == Some(subject);
    match subject {
        Some(subject) if !is_marked && !is_client(subject) => {
            Ok(TokenSubject::Person(Subject::new(subject)))
        }
        Some(_) | None => {
            let client = client_id.or(azp).ok_or(ClaimError::Missing(Claim::Sub))?;
            Ok(TokenSubject::Client(ClientId::new(client)))
        }
    }
}

/// `cnf` (RFC 7800). A token that is bound in a way that is not checked here must not pass as if it were not bound.
fn binding(claims: Claims<'_>) -> Result<Option<JwkThumbprint>, ClaimError> {
    let Some(cnf) = claims.get("cnf") else {
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
