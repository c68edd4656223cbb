//! Publishes revocations again after the store has lost some.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::random;
use crate::auth::revocation::event_log::log_entry;
use crate::auth::revocation::publication::Publisher;
use crate::lock::lock;
use crate::store::{RevocationEvent, StoreError};

/// How many revocations are published at once.
const PUBLISHED_AT_ONCE: usize = 250;

/// How long one replica excludes the others.
const LEASE: Duration = Duration::from_secs(30);

/// The store key of the lease.
const LEASE_KEY: &str = "publishing-again";

/// Why revocations are published again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The store lost its data.
    Data,
    /// Entries of the log are missing.
    Entries,
    /// This process could not keep all that it had to publish.
    Unpublished,
}

impl Loss {
    const fn reason(self) -> &'static str {
        match self {
            Self::Data => "data_lost",
            Self::Entries => "entries_missing",
            Self::Unpublished => "outbox_full",
        }
    }
}

/// How soon missing entries are looked for again. Some can never be published.
const ENTRIES_INTERVAL: Duration = Duration::from_secs(60);

/// The events to publish again.
#[derive(Debug, Default)]
pub(super) struct Recovery(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The events that were published since the loss. `None`: there is nothing to publish again.
    published: Option<HashSet<u64>>,
    /// When entries were found to be missing.
    entries_at: Option<Instant>,
}

/// The exclusive right to publish again.
pub(super) struct RecoveryLease(Bytes);

impl Recovery {
    /// A loss was found. Returns whether it is new.
    pub(super) fn begin(&self, loss: Loss, now: Instant) -> bool {
        let mut state = lock(&self.0);
        let is_new = state.published.is_none();
        if loss == Loss::Entries {
            let last = state.entries_at;
            let is_repeated = last.is_some_and(|last| now.duration_since(last) < ENTRIES_INTERVAL);
            if is_repeated || !is_new {
                return false;
            }
            state.entries_at = Some(now);
        }
        if is_new {
            tracing::warn!(reason = loss.reason(), "store_lost_revocations");
        }
        // Events that were published before the loss do not count.
        if is_new || loss == Loss::Data {
            state.published = Some(HashSet::new());
        }
        is_new
    }

    /// Whether revocations are to be published again.
    pub(super) fn is_due(&self) -> bool {
        lock(&self.0).published.is_some()
    }

    /// All that is known was published again.
    pub(super) fn end(&self) {
        lock(&self.0).published = None;
    }

    /// Another replica has published this.
    pub(super) fn note_published(&self, app: &AppAuth, event: &RevocationEvent) {
        if let Some(published) = &mut lock(&self.0).published {
            published.extend(fingerprint(app, event));
        }
    }

    fn is_published(&self, app: &AppAuth, event: &RevocationEvent) -> bool {
        let state = lock(&self.0);
        let known = state.published.as_ref().zip(fingerprint(app, event));
        known.is_some_and(|(published, fingerprint)| published.contains(&fingerprint))
    }

    /// Takes the right to publish. `None`: another replica does.
    pub(super) async fn lease(
        &self,
        context: &Context,
    ) -> Result<Option<RecoveryLease>, StoreError> {
        let holder =
            random::bytes::<16>().map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let holder = Bytes::copy_from_slice(&holder);
        let now = context.now();
        let store = &context.stores.sessions;
        let other = store.put_if_absent(LEASE_KEY, holder.clone(), now.plus(LEASE), now);
        Ok(other.await?.is_none().then_some(RecoveryLease(holder)))
    }

    /// Publishes what is known here and not yet in the log.
    pub(super) async fn publish_missing(
        &self,
        context: &Context,
        publisher: &Publisher,
    ) -> Result<(), StoreError> {
        for app in &context.apps {
            let revoked = app.revocations.snapshot();
            let mut events = revoked
                .all(context.now())
                .filter(|event| !self.is_published(app, event))
                .peekable();
            while events.peek().is_some() {
                let part = events.by_ref().take(PUBLISHED_AT_ONCE);
                let entries = part.filter_map(|event| log_entry(app, &event)).collect();
                publisher.publish(entries).await?;
                yield_now().await;
            }
        }
        Ok(())
    }
}

impl RecoveryLease {
    pub(super) async fn release(self, context: &Context) {
        let store = &context.stores.sessions;
        let removed = store.remove(LEASE_KEY, &self.0, context.now()).await;
        if let Err(error) = removed {
            // It expires.
            tracing::debug!(%error, "lease_release_failed");
        }
    }
}

/// Identifies an event, whoever published it.
fn fingerprint(app: &AppAuth, event: &RevocationEvent) -> Option<u64> {
    let bytes = postcard::to_allocvec(event).ok()?;
    let mut hasher = DefaultHasher::new();
    app.app.name.as_str().hash(&mut hasher);
    app.login_provider().name.as_str().hash(&mut hasher);
    bytes.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_entries_are_looked_for_once_a_minute() {
        let (recovery, start) = (Recovery::default(), Instant::now());
        let after = |secs| start + Duration::from_secs(secs);
        assert!(recovery.begin(Loss::Entries, after(0)));
        recovery.end();
        assert!(!recovery.begin(Loss::Entries, after(59)) && !recovery.is_due());
        assert!(recovery.begin(Loss::Entries, after(60)) && recovery.is_due());
        assert!(!recovery.begin(Loss::Data, after(61)), "it has begun");
        recovery.end();
        assert!(recovery.begin(Loss::Data, after(62)));
    }
}
