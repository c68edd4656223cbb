//! Verified tokens. PURE.

use std::fmt;

use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::claims::{Claim, ClaimError, Claims};
use super::jwks::KeyFingerprint;
use super::jws::Signed;
use crate::identity::authentication::UserAuthentication;
use crate::types::oauth::{ProviderSid, Subject};
use crate::types::secret::Secret;
use crate::types::time::Timestamp;

/// A JWT whose signature and claims were verified. Only the checks of `id_token` and `access_token`
/// create it.
///
/// `exp` was checked at that time. A holder must check [`Self::expires_at`] again later.
#[derive(Clone)]
pub struct VerifiedToken {
    raw: Secret<String>,
    claims: Map<String, Value>,
    subject: Subject,
    expires_at: Timestamp,
    issued_at: Option<Timestamp>,
    sid: Option<ProviderSid>,
    algorithm: Algorithm,
    kid: Option<String>,
    key: KeyFingerprint,
}

impl VerifiedToken {
    /// Called by the checks after they have passed.
    pub(super) fn from_checked(signed: Signed) -> Result<Self, ClaimError> {
        let claims = Claims::new(&signed.claims);
        Ok(Self {
            subject: Subject::new(claims.subject()?),
            expires_at: claims.required_date(Claim::Exp)?,
            issued_at: claims.date(Claim::Iat)?,
            sid: claims.text(Claim::Sid)?.map(ProviderSid::new),
            raw: Secret::new(signed.raw),
            claims: signed.claims,
            algorithm: signed.algorithm,
            kid: signed.kid,
            key: signed.key,
        })
    }

    /// The token as the provider sent it. Must not be logged.
    pub fn raw(&self) -> &str {
        self.raw.expose()
    }

    /// All claims.
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// `sub`.
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// `exp`, rounded down, without leeway.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// `iat`, rounded down. Required in ID tokens, optional in access tokens.
    pub const fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// `auth_time`, rounded down, if it is a date.
    pub fn auth_time(&self) -> Option<Timestamp> {
        let claims = Claims::new(&self.claims);
        claims.date(Claim::AuthTime).ok().flatten()
    }

    /// How and when the user authenticated.
    pub fn authentication(&self) -> UserAuthentication {
        let acr = Claims::new(&self.claims).text(Claim::Acr).ok().flatten();
        let time = self.auth_time();
        UserAuthentication { time, acr: None }.with_acr(acr)
    }

    /// `nonce` of an ID token.
    pub fn nonce(&self) -> Option<&str> {
        self.claims.get("nonce").and_then(Value::as_str)
    }

    /// `sid`: the provider's session.
    pub const fn sid(&self) -> Option<&ProviderSid> {
        self.sid.as_ref()
    }

    /// The algorithm of the signature.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The token's `kid`.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The fingerprint of the key that verified it.
    pub const fn key(&self) -> KeyFingerprint {
        self.key
    }
}

impl fmt::Debug for VerifiedToken {
    /// Omits the token and its claims, which are personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken")
            .field("expires_at", &self.expires_at)
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
