//! [`Unavailable`]: the outcome of a flow whose provider or store call failed.

use std::fmt;
use std::time::Duration;

use crate::runtime::TaskError;

/// How long a request waits for the provider or the store, and the `Retry-After` of its 503.
pub(in crate::auth) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The cause of a failed call. Error pages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// The provider is down, slow or returns errors.
    Provider,
    /// The provider responds, and refuses to renew the session or sends tokens that do not verify.
    ProviderRefusal,
    /// The store.
    Store,
    /// The client sent cookies of an older response.
    Client,
    /// A limit of Doorward, or an error that should not occur.
    Internal,
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider => "the provider is unavailable",
            Self::ProviderRefusal => "the provider refused",
            Self::Store => "the store is unavailable",
            Self::Client => "the client sent outdated cookies",
            Self::Internal => "a limit or an internal error",
        })
    }
}

/// A call that the request needs failed. A session is neither valid nor over: the response is 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The stable code for logs, metrics and pages.
    pub code: &'static str,
    /// For `Retry-After`.
    pub retry_after: Duration,
    /// The dependency that failed.
    pub cause: FailureCause,
    /// Whether a login helps, because the provider refused to renew the session.
    pub login_helps: bool,
}

impl Unavailable {
    const fn by(cause: FailureCause, code: &'static str) -> Self {
        Self {
            code,
            retry_after: CALL_TIMEOUT,
            cause,
            login_helps: false,
        }
    }

    /// The provider failed.
    pub(in crate::auth) const fn of_provider(code: &'static str) -> Self {
        Self::by(FailureCause::Provider, code)
    }

    /// The provider refused.
    pub(in crate::auth) const fn refused(code: &'static str) -> Self {
        Self::by(FailureCause::ProviderRefusal, code)
    }

    /// The store failed.
    pub(in crate::auth) const fn of_store(code: &'static str) -> Self {
        Self::by(FailureCause::Store, code)
    }

    /// The client sent old cookies.
    pub(in crate::auth) const fn of_client(code: &'static str) -> Self {
        Self::by(FailureCause::Client, code)
    }

    /// Doorward itself failed.
    pub(in crate::auth) const fn internal(code: &'static str) -> Self {
        Self::by(FailureCause::Internal, code)
    }

    /// A task that calls nothing but the store failed.
    pub(in crate::auth) const fn of_store_task(error: TaskError) -> Self {
        match error {
            TaskError::TooSlow => Self::of_store("store_unavailable"),
            TaskError::Busy | TaskError::Panicked => Self::internal(error.code()),
        }
    }

    /// The same failure, which a login repairs.
    #[must_use]
    pub(in crate::auth) const fn repaired_by_login(self) -> Self {
        Self {
            login_helps: true,
            ..self
        }
    }

    /// Whether the provider is down, slow or returns errors.
    pub const fn is_provider_outage(&self) -> bool {
        matches!(self.cause, FailureCause::Provider)
    }
}

impl From<TaskError> for Unavailable {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::TooSlow => Self::of_provider(error.code()),
            TaskError::Busy | TaskError::Panicked => Self::internal(error.code()),
        }
    }
}
