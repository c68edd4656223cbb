//! Token responses that make no session.

use crate::auth::random::RandomError;
use crate::oidc::TokenRejected;
use crate::oidc::claims::{Claim, ClaimError};

/// Why a token response makes no session.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum GrantError {
    /// No ID token, although the scope had `openid`.
    #[error("the provider returned no ID token")]
    NoIdToken,
    /// The access token is configured as session JWT and is not a JWT.
    #[error("the provider's access token is not a JWT; set `session_jwt = \"id\"` for this app")]
    OpaqueAccessToken,
    /// A token was rejected.
    #[error("{0} (in the {1})")]
    Rejected(TokenRejected, &'static str),
    /// The tokens have different subjects.
    #[error("the provider's tokens have another subject than before")]
    SubjectChanged,
    /// The JWT was expired on receipt.
    #[error("the provider's JWT was expired on receipt; compare the clocks")]
    ExpiredOnArrival,
    /// The user is not registered for this app at the provider.
    #[error("the user is not registered for this app at the provider")]
    NotRegistered,
    /// The tokens are not bound to the client's key (RFC 9449).
    #[error("`token_type` is not `DPoP`, so the tokens are not bound to the client's key")]
    NotBound,
    /// No new JWT, and the old one is missing.
    #[error("the provider returned no new JWT, and the old one is missing")]
    NothingToKeep,
    /// See [`RandomError`].
    #[error(transparent)]
    RandomError(#[from] RandomError),
}

impl GrantError {
    /// The stable code for logs, metrics and pages.
    pub(in crate::auth) fn code(&self) -> &'static str {
        match self {
            Self::NoIdToken => "no_id_token",
            Self::OpaqueAccessToken => "access_token_not_a_jwt",
            Self::Rejected(rejected, _) => rejected.code(),
            Self::SubjectChanged => "subject_changed",
            Self::ExpiredOnArrival => "token_expired_on_receipt",
            Self::NotRegistered => "not_registered",
            Self::NotBound => "tokens_not_bound",
            Self::NothingToKeep => "no_new_jwt",
            Self::RandomError(_) => "internal_error",
        }
    }

    /// Whether a retry cannot help, so that the session is over.
    pub(in crate::auth) const fn is_final(&self) -> bool {
        match self {
            Self::SubjectChanged | Self::NotRegistered | Self::NothingToKeep => true,
            Self::NoIdToken
            | Self::OpaqueAccessToken
            | Self::Rejected(..)
            | Self::ExpiredOnArrival
            | Self::NotBound
            | Self::RandomError(_) => false,
        }
    }

    /// Whether a clock is wrong, here or at the provider.
    pub(in crate::auth) const fn is_about_time(&self) -> bool {
        use ClaimError::{Expired, IssuedInFuture, NotYetValid};
        matches!(
            self,
            Self::ExpiredOnArrival
                | Self::Rejected(
                    TokenRejected::Claim(Expired | NotYetValid | IssuedInFuture),
                    _
                )
        )
    }

    /// Whether the user authenticated in another way than the login requires.
    pub(in crate::auth) const fn is_about_authentication(&self) -> bool {
        use ClaimError::{AcrMismatch, AuthenticationTooOld, Missing};
        matches!(
            self,
            Self::Rejected(
                TokenRejected::Claim(
                    AcrMismatch | AuthenticationTooOld | Missing(Claim::Acr | Claim::AuthTime)
                ),
                _
            )
        )
    }

    /// Whether the provider was unavailable, so that the tokens may be valid.
    pub(in crate::auth) fn is_outage(&self) -> bool {
        matches!(self, Self::Rejected(rejected, _) if rejected.is_outage())
    }
}
