//! Typed access to registered claims (RFC 7519 section 4.1), and the checks that all kinds of
//! tokens share. PURE.
//!
//! A claim of the wrong type is an error, not an absent claim. `null` is an absent optional claim,
//! and a wrong type of a required one.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::types::oauth::Issuer;
use crate::types::time::Timestamp;

/// Maximum NumericDate: the last second of the year 9999. Dates in milliseconds exceed it.
const MAX_DATE: f64 = 253_402_300_799.0;

/// Maximum length of `sub` in bytes (OpenID Connect Core section 2).
const MAX_SUBJECT_BYTES: usize = 255;

/// The claims that are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// `iss`
    Iss,
    /// `sub`
    Sub,
    /// `aud`
    Aud,
    /// `azp`
    Azp,
    /// `exp`
    Exp,
    /// `nbf`
    Nbf,
    /// `iat`
    Iat,
    /// `auth_time`
    AuthTime,
    /// `acr`
    Acr,
    /// `nonce`
    Nonce,
    /// `at_hash`
    AtHash,
    /// `sid`
    Sid,
    /// `jti`
    Jti,
    /// `events`
    Events,
    /// `client_id`
    ClientId,
    /// `cnf`
    Cnf,
}

impl Claim {
    /// The claim's name in a token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iss => "iss",
            Self::Sub => "sub",
            Self::Aud => "aud",
            Self::Azp => "azp",
            Self::Exp => "exp",
            Self::Nbf => "nbf",
            Self::Iat => "iat",
            Self::AuthTime => "auth_time",
            Self::Acr => "acr",
            Self::Nonce => "nonce",
            Self::AtHash => "at_hash",
            Self::Sid => "sid",
            Self::Jti => "jti",
            Self::Events => "events",
            Self::ClientId => "client_id",
            Self::Cnf => "cnf",
        }
    }
}

/// Why a token signed by the provider is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// A required claim is absent.
    #[error("the token has no `{}`", .0.name())]
    Missing(Claim),
    /// A claim is of the wrong type, empty, or out of range, or a required one is null.
    #[error("the token's `{}` is malformed", .0.name())]
    Malformed(Claim),
    /// The token is of another kind, by its `typ` or by a claim that only another kind has.
    #[error("the token is of another kind than expected here")]
    WrongKind,
    /// `iss` is another issuer.
    #[error("the token is from another issuer")]
    IssuerMismatch,
    /// `aud` has no accepted audience.
    #[error("the token is for another audience")]
    AudienceMismatch,
    /// `azp` names another client, or is absent although there are several audiences.
    #[error("the token was issued to another client")]
    PartyMismatch,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` is in the future.
    #[error(
        "the token was issued in the future; compare the clocks of the provider and of this machine"
    )]
    IssuedInFuture,
    /// `nonce` belongs to another login attempt.
    #[error("the token belongs to another login attempt")]
    NonceMismatch,
    /// `at_hash` belongs to another access token.
    #[error("the ID token belongs to another access token")]
    AccessTokenMismatch,
    /// `sub` is another user than that of the session.
    #[error("the token is about another user than the session")]
    SubjectMismatch,
    /// `auth_time` of a refreshed token is not that of the login.
    #[error("the token is of another authentication than the session")]
    AuthTimeMismatch,
    /// A refreshed token was issued before the login.
    #[error("the token was issued before the login")]
    IssuedBeforeLogin,
    /// The user authenticated longer ago than the requested `max_age`.
    #[error("the user authenticated longer ago than the requested `max_age`")]
    AuthenticationTooOld,
    /// `acr` is not among the requested `acr_values`.
    #[error("the token's `acr` is not among the requested `acr_values`")]
    AcrMismatch,
}

impl ClaimError {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing(claim) => match claim {
                Claim::Iss => "token_iss_missing",
                Claim::Sub => "token_sub_missing",
                Claim::Aud => "token_aud_missing",
                Claim::Azp => "token_azp_missing",
                Claim::Exp => "token_exp_missing",
                Claim::Nbf => "token_nbf_missing",
                Claim::Iat => "token_iat_missing",
                Claim::AuthTime => "token_auth_time_missing",
                Claim::Acr => "token_acr_missing",
                Claim::Nonce => "token_nonce_missing",
                Claim::AtHash => "token_at_hash_missing",
                Claim::Sid => "token_sid_missing",
                Claim::Jti => "token_jti_missing",
                Claim::Events => "token_events_missing",
                Claim::ClientId => "token_client_id_missing",
                Claim::Cnf => "token_cnf_missing",
            },
            Self::Malformed(claim) => match claim {
                Claim::Iss => "token_iss_malformed",
                Claim::Sub => "token_sub_malformed",
                Claim::Aud => "token_aud_malformed",
                Claim::Azp => "token_azp_malformed",
                Claim::Exp => "token_exp_malformed",
                Claim::Nbf => "token_nbf_malformed",
                Claim::Iat => "token_iat_malformed",
                Claim::AuthTime => "token_auth_time_malformed",
                Claim::Acr => "token_acr_malformed",
                Claim::Nonce => "token_nonce_malformed",
                Claim::AtHash => "token_at_hash_malformed",
                Claim::Sid => "token_sid_malformed",
                Claim::Jti => "token_jti_malformed",
                Claim::Events => "token_events_malformed",
                Claim::ClientId => "token_client_id_malformed",
                Claim::Cnf => "token_cnf_malformed",
            },
            Self::WrongKind => "token_kind_mismatch",
            Self::IssuerMismatch => "token_issuer_mismatch",
            Self::AudienceMismatch => "token_audience_mismatch",
            Self::PartyMismatch => "token_azp_mismatch",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::IssuedInFuture => "token_issued_in_future",
            Self::NonceMismatch => "token_nonce_mismatch",
            Self::AccessTokenMismatch => "token_at_hash_mismatch",
            Self::SubjectMismatch => "token_subject_mismatch",
            Self::AuthTimeMismatch => "token_auth_time_mismatch",
            Self::IssuedBeforeLogin => "token_issued_before_login",
            Self::AuthenticationTooOld => "token_authentication_too_old",
            Self::AcrMismatch => "token_acr_mismatch",
        }
    }
}

/// A token's claims with typed access.
#[derive(Clone, Copy)]
pub(super) struct Claims<'c>(&'c Map<String, Value>);

impl<'c> Claims<'c> {
    pub(super) const fn new(claims: &'c Map<String, Value>) -> Self {
        Self(claims)
    }

    pub(super) const fn all(self) -> &'c Map<String, Value> {
        self.0
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The claim with this name. `null` counts as absent.
    pub(super) fn get(self, name: &str) -> Option<&'c Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// An optional claim that must be a non-empty string.
    pub(super) fn text(self, claim: Claim) -> Result<Option<&'c str>, ClaimError> {
        match self.get(claim.name()) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(ClaimError::Malformed(claim)),
        }
    }

    pub(super) fn required_text(self, claim: Claim) -> Result<&'c str, ClaimError> {
        self.text(claim)?.ok_or_else(|| self.absent(claim))
    }

    /// Why a required claim is absent: a `null` is malformed.
    pub(super) fn absent(self, claim: Claim) -> ClaimError {
        if self.0.contains_key(claim.name()) {
            ClaimError::Malformed(claim)
        } else {
            ClaimError::Missing(claim)
        }
    }

    /// An optional claim that must be a NumericDate. Fractions are rounded down.
    pub(super) fn date(self, claim: Claim) -> Result<Option<Timestamp>, ClaimError> {
        let Some(value) = self.get(claim.name()) else {
            return Ok(None);
        };
        let seconds = value
            .as_f64()
            .filter(|seconds| (0.0..=MAX_DATE).contains(seconds));
        let seconds = seconds.ok_or(ClaimError::Malformed(claim))?;
        // The conversion is exact: the range is non-negative and below 2^53.
        Ok(Some(Timestamp::from_secs(seconds as u64)))
    }

    pub(super) fn required_date(self, claim: Claim) -> Result<Timestamp, ClaimError> {
        self.date(claim)?.ok_or_else(|| self.absent(claim))
    }

    pub(super) fn subject(self) -> Result<&'c str, ClaimError> {
        let subject = self.required_text(Claim::Sub)?;
        if subject.len() > MAX_SUBJECT_BYTES {
            return Err(ClaimError::Malformed(Claim::Sub));
        }
        Ok(subject)
    }

    /// `aud`: a string, or a non-empty array of strings.
    pub(super) fn audiences(self) -> Result<Vec<&'c str>, ClaimError> {
        let malformed = ClaimError::Malformed(Claim::Aud);
        let audiences = match self.get("aud").ok_or_else(|| self.absent(Claim::Aud))? {
            Value::String(audience) => vec![audience.as_str()],
            Value::Array(audiences) => audiences
                .iter()
                .map(Value::as_str)
                .collect::<Option<_>>()
                .ok_or(malformed)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(malformed);
            }
        };
        if audiences.is_empty() || audiences.iter().any(|audience| audience.is_empty()) {
            return Err(malformed);
        }
        Ok(audiences)
    }

    pub(super) fn check_issuer(self, issuer: &Issuer) -> Result<(), ClaimError> {
        if self.required_text(Claim::Iss)? == issuer.as_str() {
            Ok(())
        } else {
            Err(ClaimError::IssuerMismatch)
        }
    }

    /// Checks `exp`, which is required, and `nbf` and `iat` if present.
    pub(super) fn check_times(self, now: Timestamp, leeway: Duration) -> Result<(), ClaimError> {
        self.required_date(Claim::Exp)?;
        self.check_times_if_present(now, leeway)
    }

    /// Checks `exp`, `nbf` and `iat` if present.
    pub(super) fn check_times_if_present(
        self,
        now: Timestamp,
        leeway: Duration,
    ) -> Result<(), ClaimError> {
        if self
            .date(Claim::Exp)?
            .is_some_and(|exp| now >= exp.plus(leeway))
        {
            return Err(ClaimError::Expired);
        }
        let latest = now.plus(leeway);
        if self
            .date(Claim::Nbf)?
            .is_some_and(|not_before| not_before > latest)
        {
            return Err(ClaimError::NotYetValid);
        }
        if self.date(Claim::Iat)?.is_some_and(|issued| issued > latest) {
            return Err(ClaimError::IssuedInFuture);
        }
        Ok(())
    }
}

/// The header's `typ` in lower case, without `application/` (RFC 7515 section 4.1.9).
pub(super) fn media_subtype(typ: Option<&str>) -> Option<String> {
    let typ = typ?.to_ascii_lowercase();
    Some(
        typ.strip_prefix("application/")
            .map(str::to_owned)
            .unwrap_or(typ),
    )
}
