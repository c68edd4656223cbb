//! Reachability of a provider: how the last fetch of its documents ended. Readiness depends on it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lock::lock;
use crate::oidc::discovery::MetadataError;
use crate::oidc::error::ProviderError;
use crate::types::time::Timestamp;

/// The result of the last background fetch.
#[derive(Debug, Default)]
pub(super) struct Reachability {
    last_failure: Mutex<Option<ProviderError>>,
    last_success: Mutex<Option<Timestamp>>,
    is_other_issuer: AtomicBool,
}

impl Reachability {
    /// Records a fetch that failed with `failure`, or succeeded at `now`.
    pub(super) fn record(&self, failure: Option<&ProviderError>, now: Timestamp) {
        match failure {
            Some(ProviderError::Metadata {
                error: MetadataError::IssuerMismatch { .. },
                ..
            }) => self.is_other_issuer.store(true, Ordering::Relaxed),
            // An outage in between does not make the configured issuer right.
            Some(_) => {}
            None => {
                self.is_other_issuer.store(false, Ordering::Relaxed);
                *lock(&self.last_success) = Some(now);
            }
        }
        *lock(&self.last_failure) = failure.cloned();
    }

    /// When a fetch last succeeded.
    pub(super) fn last_success(&self) -> Option<Timestamp> {
        *lock(&self.last_success)
    }

    /// Why the last fetch failed.
    pub(super) fn last_failure(&self) -> Option<ProviderError> {
        lock(&self.last_failure).clone()
    }

    /// Whether the discovery document belongs to another issuer, since the last success.
    pub(super) fn is_other_issuer(&self) -> bool {
        self.is_other_issuer.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oidc::error::Endpoint;

    #[test]
    fn other_issuer_is_remembered_during_an_outage() {
        let url = || String::from("https://login.example.com/d");
        let mismatch = ProviderError::Metadata {
            url: url(),
            error: MetadataError::IssuerMismatch {
                expected: String::new(),
                found: String::new(),
                hint: "",
            },
        };
        let outage = ProviderError::Unreachable {
            endpoint: Endpoint::Discovery,
            url: url(),
            cause: String::new(),
        };
        let reachability = Reachability::default();
        assert!(!reachability.is_other_issuer());
        for (failure, is_other_issuer) in [
            (Some(&outage), false),
            (Some(&mismatch), true),
            (Some(&outage), true),
            (None, false),
        ] {
            reachability.record(failure, Timestamp::from_secs(7));
            assert_eq!(reachability.is_other_issuer(), is_other_issuer);
            assert_eq!(reachability.last_failure().as_ref(), failure);
            let last_success = failure.is_none().then_some(Timestamp::from_secs(7));
            assert_eq!(reachability.last_success(), last_success);
        }
    }
}
