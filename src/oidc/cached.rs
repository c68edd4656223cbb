//! One document of the provider, kept: fetched by one caller at a time, the last good copy never lost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::error::ProviderError;
use crate::types::time::{Clock, Timestamp};

/// For how long a failed fetch answers for the next caller, so that a provider that is down is not hammered.
pub(super) const REMEMBER_FAILURE: Duration = Duration::from_secs(2);

/// A snapshot that anybody may read at any time, and the one place that replaces it.
pub(super) struct Cached<T> {
    value: ArcSwapOption<T>,
    last: Mutex<Option<Attempt>>,
}

struct Attempt {
    at: Timestamp,
    failure: Option<ProviderError>,
}

impl Attempt {
    /// Also when the clock was set back: better one fetch more than none for long.
    fn is_over(&self, now: Timestamp, after: Duration) -> bool {
        now < self.at || now.since(self.at) >= after
    }
}

impl<T> Cached<T> {
    pub(super) fn empty() -> Self {
        Self {
            value: ArcSwapOption::empty(),
            last: Mutex::new(None),
        }
    }

    /// The last good copy, without waiting.
    pub(super) fn known(&self) -> Option<Arc<T>> {
        self.value.load_full()
    }

    /// The copy there is, else the result of `fetch`; whoever comes meanwhile waits for that one.
    pub(super) async fn get(
        &self,
        clock: &dyn Clock,
        fetch: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<Arc<T>, ProviderError> {
        match self.known() {
            Some(known) => Ok(known),
            None => self.renew(None, clock, REMEMBER_FAILURE, fetch).await,
        }
    }

    /// A copy newer than `seen`: one that came meanwhile, else the result of `fetch`. Within `pause` after the last
    /// attempt nothing is fetched, and its result is the answer; a failure counts for a moment only.
    pub(super) async fn renew(
        &self,
        seen: Option<&Arc<T>>,
        clock: &dyn Clock,
        pause: Duration,
        fetch: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<Arc<T>, ProviderError> {
        let mut last = self.last.lock().await;
        let known = self.known();
        if let Some(known) = known
            .as_ref()
            .filter(|known| seen.is_none_or(|seen| !Arc::ptr_eq(known, seen)))
        {
            return Ok(Arc::clone(known));
        }
        let pause_after = |attempt: &Attempt| match &attempt.failure {
            Some(_) => pause.min(REMEMBER_FAILURE),
            None => pause,
        };
        if let Some(attempt) = last
            .as_ref()
            .filter(|attempt| !attempt.is_over(clock.now(), pause_after(attempt)))
        {
            match (&attempt.failure, known) {
                (Some(failure), _) => return Err(failure.clone()),
                (None, Some(known)) => return Ok(known),
                (None, None) => {}
            }
        }
        let fetched = fetch.await;
        *last = Some(Attempt {
            at: clock.now(),
            failure: fetched.as_ref().err().cloned(),
        });
        let fetched = Arc::new(fetched?);
        self.value.store(Some(Arc::clone(&fetched)));
        Ok(fetched)
    }
}
