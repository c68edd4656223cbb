//! Classifies results of provider calls: success, or a failure of the provider.

use std::fmt::Display;

use super::Provider;
use crate::oidc::error::ProviderError;
use crate::oidc::password::PasswordError;
use crate::oidc::token::TokenError;

/// An error of a call to the provider.
pub(super) trait CallError {
    /// The failure, unless the provider did what it should.
    fn failure(&self) -> Option<Failure<'_>>;
}

/// A call that failed because of the provider or its registration.
pub(super) struct Failure<'e> {
    code: &'static str,
    error: &'e dyn Display,
}

impl CallError for ProviderError {
    fn failure(&self) -> Option<Failure<'_>> {
        Some(Failure {
            code: self.code(),
            error: self,
        })
    }
}

impl CallError for TokenError {
    fn failure(&self) -> Option<Failure<'_>> {
        let is_failure = match self {
            Self::GrantRejected { .. } => false,
            Self::ClientRejected { .. }
            | Self::Unavailable { .. }
            | Self::Unreachable(_)
            | Self::OutcomeUnknown(_)
            | Self::BadResponse(_) => true,
        };
        is_failure.then_some(Failure {
            code: self.code(),
            error: self,
        })
    }
}

impl CallError for PasswordError {
    fn failure(&self) -> Option<Failure<'_>> {
        match self {
            Self::Rejected(_) => None,
            Self::Failed(error) => error.failure(),
        }
    }
}

impl Provider {
    /// Notes whether a call succeeded, and returns its result.
    pub(super) fn observed<T, E: CallError>(&self, result: Result<T, E>) -> Result<T, E> {
        match result.as_ref().err().and_then(CallError::failure) {
            Some(Failure { code, error }) => self.outages.failed(code, error),
            None => self.outages.succeeded(),
        }
        result
    }
}
