//! [`Unavailable`]: the outcome of a flow whose provider or store call failed.

use std::time::Duration;

use crate::runtime::TaskError;

/// How long a request waits for the provider or the store, and the `Retry-After` of its 503.
pub(in crate::auth) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The provider or the store cannot be reached. The session is neither valid nor over: the response
/// is 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The stable code for logs, metrics and pages.
    pub code: &'static str,
    /// For `Retry-After`.
    pub retry_after: Duration,
    /// Whether the provider is the cause: it is down, slow or returns errors.
    pub is_providers: bool,
}

impl Unavailable {
    pub(in crate::auth) const fn new(code: &'static str) -> Self {
        Self {
            code,
            retry_after: CALL_TIMEOUT,
            is_providers: false,
        }
    }

    pub(in crate::auth) const fn of_provider(code: &'static str) -> Self {
        Self {
            is_providers: true,
            ..Self::new(code)
        }
    }
}

impl From<TaskError> for Unavailable {
    fn from(error: TaskError) -> Self {
        Self::new(error.code())
    }
}
