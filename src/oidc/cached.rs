//! Cache of one provider document. Fetches are single-flight, and the last valid copy is kept when
//! a fetch fails.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::error::ProviderError;
use crate::types::time::{Clock, Timestamp};

/// How long a failed fetch is returned to other callers, so that an unavailable provider is not
/// overloaded.
pub(super) const FAILURE_CACHE_TIME: Duration = Duration::from_secs(2);

/// How soon after the last fetch a document is fetched again.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinInterval {
    after_success: Duration,
    after_failure: Duration,
}

impl MinInterval {
    /// At once.
    pub(super) const NONE: Self = Self {
        after_success: Duration::ZERO,
        after_failure: Duration::ZERO,
    };

    /// At once, unless the last fetch has just failed.
    pub(super) const AFTER_FAILURE: Self = Self {
        after_success: Duration::ZERO,
        after_failure: FAILURE_CACHE_TIME,
    };

    /// After this time, or earlier if the last fetch failed.
    pub(super) fn of(after_success: Duration) -> Self {
        Self {
            after_success,
            after_failure: after_success.min(FAILURE_CACHE_TIME),
        }
    }
}

/// A document that can be read without waiting, and its last fetch.
pub(super) struct Cached<T> {
    value: ArcSwapOption<T>,
    last_fetch: Mutex<Option<Fetch>>,
}

struct Fetch {
    at: Timestamp,
    error: Option<ProviderError>,
}

impl Fetch {
    /// Whether `interval` has passed. Also true if the clock was set back, since an extra fetch is
    /// better than none.
    fn is_older_than(&self, interval: Duration, now: Timestamp) -> bool {
        now < self.at || now.since(self.at) >= interval
    }
}

impl<T> Cached<T> {
    pub(super) fn empty() -> Self {
        Self {
            value: ArcSwapOption::empty(),
            last_fetch: Mutex::new(None),
        }
    }

    /// The last valid copy, without waiting.
    pub(super) fn current(&self) -> Option<Arc<T>> {
        self.value.load_full()
    }

    /// Sets the first copy. One that was fetched in the meantime stays.
    pub(super) fn seed(&self, value: T) {
        self.value
            .compare_and_swap(&None::<Arc<T>>, Some(Arc::new(value)));
    }

    /// The current copy, or the result of `fetch`. Concurrent callers wait for one fetch.
    pub(super) async fn get(
        &self,
        clock: &dyn Clock,
        fetch: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<Arc<T>, ProviderError> {
        match self.current() {
            Some(current) => Ok(current),
            None => {
                self.renew(None, clock, MinInterval::AFTER_FAILURE, fetch)
                    .await
            }
        }
    }

    /// A copy newer than `stale`: one that was fetched in the meantime, or the result of `fetch`.
    /// Within `min_interval` after the last fetch, its result is returned instead.
    pub(super) async fn renew(
        &self,
        stale: Option<&Arc<T>>,
        clock: &dyn Clock,
        min_interval: MinInterval,
        fetch: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<Arc<T>, ProviderError> {
        let mut last_fetch = self.last_fetch.lock().await;
        let current = self.current();
        if let Some(current) = current
            .as_ref()
            .filter(|current| stale.is_none_or(|stale| !Arc::ptr_eq(current, stale)))
        {
            return Ok(Arc::clone(current));
        }
        let interval_after = |fetch: &Fetch| match &fetch.error {
            Some(_) => min_interval.after_failure,
            None => min_interval.after_success,
        };
        if let Some(recent) = last_fetch
            .as_ref()
            .filter(|fetch| !fetch.is_older_than(interval_after(fetch), clock.now()))
        {
            match (&recent.error, current) {
                (Some(error), _) => return Err(error.clone()),
                (None, Some(current)) => return Ok(current),
                (None, None) => {}
            }
        }
        let fetched = fetch.await;
        *last_fetch = Some(Fetch {
            at: clock.now(),
            error: fetched.as_ref().err().cloned(),
        });
        let fetched = Arc::new(fetched?);
        self.value.store(Some(Arc::clone(&fetched)));
        Ok(fetched)
    }
}
