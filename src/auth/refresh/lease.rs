//! The refresh lease of a session, exclusive among all replicas that share the store. It is short,
//! and prolonged while it is held: no other replica sends the same token while a response may still
//! arrive, and the lease of a replica that died is over soon.
//!
//! A lease that expired during an outage of the store is taken again, so that no other replica
//! sends the token before the result is stored. The holder itself does not send the token again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::auth::context::Context;
use crate::auth::random;
use crate::lock::lock;
use crate::store::StoreError;
use crate::types::oauth::Generation;
use crate::types::time::Timestamp;

/// The lifetime of a lease that is not prolonged.
const LIFETIME: Duration = Duration::from_secs(15);

/// How often a lease is prolonged, and how soon again after a failure.
const RENEW_INTERVAL: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The time that must be left of a lease when a token is sent.
const MARGIN: Duration = Duration::from_secs(5);

/// How soon a failed release is tried again.
const RELEASE_RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The length of the random part of a holder.
const HOLDER_LEN: usize = 16;

/// The holder of a lease: random bytes, and the generation whose token is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) struct Holder(Bytes);

impl Holder {
    /// A new holder that refreshes `generation`.
    pub(in crate::auth) fn new(generation: Generation) -> Result<Self, StoreError> {
        let failed = |error: String| StoreError::Unavailable(error);
        let id = random::bytes::<HOLDER_LEN>().map_err(|error| failed(error.to_string()))?;
        let generation =
            postcard::to_allocvec(&generation).map_err(|error| failed(error.to_string()))?;
        Ok(Self(Bytes::from([id.as_slice(), &generation].concat())))
    }

    /// As it is stored.
    pub(in crate::auth) fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The holder of a stored lease.
    pub(in crate::auth) const fn stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Whether it has stored its result, so that the lease only waits to be released. `newest` is
    /// the newest generation in the store.
    pub(in crate::auth) fn is_done(&self, newest: Generation) -> bool {
        let generation = self.0.get(HOLDER_LEN..);
        // Earlier versions wrote none.
        let generation =
            generation.and_then(|bytes| postcard::from_bytes::<Generation>(bytes).ok());
        generation.is_some_and(|generation| generation < newest)
    }
}

/// When a lease ends that is taken or prolonged now.
pub(in crate::auth) fn end_of_lease(now: Timestamp) -> Timestamp {
    now.plus(LIFETIME)
}

/// The exclusive right to refresh one session.
#[derive(Debug)]
pub(in crate::auth) struct Lease {
    held: Arc<Held>,
    /// Dropping it ends the task that prolongs the lease.
    keeper: Option<oneshot::Sender<()>>,
}

struct Held {
    context: Arc<Context>,
    key: String,
    holder: Holder,
    /// When the lease was taken or last prolonged.
    renewed: Mutex<Renewed>,
}

#[derive(Clone, Copy)]
struct Renewed {
    at: Instant,
    ends_at: Timestamp,
    /// Whether it was held all the time. Otherwise another replica may have refreshed meanwhile.
    without_gap: bool,
}

/// Why a lease is released later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LateRelease {
    /// The lease is held, or was lost.
    Held,
    /// The response to its claim was lost.
    Uncertain,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// The lease that `holder` has just taken. It is prolonged until it is released or dropped.
    pub(in crate::auth) fn taken(context: Arc<Context>, key: String, holder: Holder) -> Self {
        let held = Arc::new(Held::new(context, key, holder));
        let (sender, released) = oneshot::channel();
        let (kept, tasks) = (Arc::clone(&held), held.context.lease_tasks.clone());
        let spawned = tasks.spawn(async move {
            tokio::select! {
                () = kept.keep() => {}
                _ = released => {}
            }
        });
        // Without the task the lease expires, and is prolonged before a token is sent.
        let keeper = spawned.is_ok().then_some(sender);
        Self { held, keeper }
    }

    /// Makes sure that the lease lasts while a token is sent. `false`: it was lost, and nothing may
    /// be sent.
    pub(in crate::auth) async fn ensure(&self) -> Result<bool, StoreError> {
        if self.held.has_time_left() {
            return Ok(true);
        }
        Ok(self.held.renew().await? && self.held.is_without_gap())
    }

    /// The same lease, but for `generation`, whose token is to be sent instead. Until its result is
    /// stored no replica takes the lease over. `None`: another replica was faster.
    pub(in crate::auth) async fn for_generation(
        mut self,
        generation: Generation,
    ) -> Result<Option<Self>, StoreError> {
        drop(self.keeper.take());
        match self.held.try_change(generation).await {
            Ok(Some(holder)) => {
                let (context, key) = (Arc::clone(&self.held.context), self.held.key.clone());
                Ok(Some(Self::taken(context, key, holder)))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                Arc::clone(&self.held).start_late_release(LateRelease::Held);
                Err(error)
            }
        }
    }

    /// Releases the lease. If the store does not answer, it is tried again beside the caller.
    pub(in crate::auth) async fn release(mut self) {
        drop(self.keeper.take());
        if self.held.try_release().await.is_err() {
            Arc::clone(&self.held).start_late_release(LateRelease::Held);
        }
    }

    /// Releases a lease that may have been taken: the response was lost.
    pub(in crate::auth) fn release_uncertain(context: Arc<Context>, key: String, holder: Holder) {
        let held = Held::new(context, key, holder);
        Arc::new(held).start_late_release(LateRelease::Uncertain);
    }
}

impl Held {
    fn new(context: Arc<Context>, key: String, holder: Holder) -> Self {
        let renewed = Renewed {
            at: Instant::now(),
            ends_at: end_of_lease(context.now()),
            without_gap: true,
        };
        Self {
            context,
            key,
            holder,
            renewed: Mutex::new(renewed),
        }
    }

    /// Replaces the holder by one that refreshes `generation`. `None`: another replica has the lease.
    async fn try_change(&self, generation: Generation) -> Result<Option<Holder>, StoreError> {
        let (holder, now) = (Holder::new(generation)?, self.context.now());
        let store = &self.context.stores.sessions;
        let ends_at = end_of_lease(now);
        let changed =
            store.compare_and_swap(&self.key, &self.holder.0, holder.bytes(), ends_at, now);
        let is_changed = changed.await.inspect_err(|_| {
            let (context, key) = (Arc::clone(&self.context), self.key.clone());
            Lease::release_uncertain(context, key, holder.clone());
        })?;
        Ok(is_changed.then_some(holder))
    }

    fn start_late_release(self: Arc<Self>, release: LateRelease) {
        let tasks = self.context.late_releases.clone();
        if tasks.spawn(self.release_later(release)).is_err() {
            tracing::debug!("lease_release_failed");
        }
    }

    fn has_time_left(&self) -> bool {
        let Renewed {
            at,
            ends_at,
            without_gap,
        } = *lock(&self.renewed);
        let now = self.context.now();
        without_gap && at.elapsed() + MARGIN < LIFETIME && now.plus(MARGIN) < ends_at
    }

    fn is_without_gap(&self) -> bool {
        lock(&self.renewed).without_gap
    }

    /// Prolongs the lease. `false`: it has expired, or another replica has it.
    async fn renew(&self) -> Result<bool, StoreError> {
        let (at, now) = (Instant::now(), self.context.now());
        let ends_at = end_of_lease(now);
        let holder = &self.holder.0;
        let store = &self.context.stores.sessions;
        let renewed = store.compare_and_swap(&self.key, holder, holder.clone(), ends_at, now);
        let is_held = renewed.await?;
        let mut renewed = lock(&self.renewed);
        if is_held {
            renewed.at = at;
            renewed.ends_at = ends_at;
        } else {
            renewed.without_gap = false;
        }
        Ok(is_held)
    }

    /// Prolongs the lease, or takes it again. `false`: another replica has it.
    async fn renew_or_retake(&self) -> Result<bool, StoreError> {
        if self.renew().await? {
            return Ok(true);
        }
        let (holder, now) = (&self.holder.0, self.context.now());
        let store = &self.context.stores.sessions;
        let other = store.put_if_absent(&self.key, holder.clone(), end_of_lease(now), now);
        Ok(other.await?.is_none_or(|other| other == *holder))
    }

    /// Prolongs the lease until another replica has it.
    async fn keep(self: Arc<Self>) {
        sleep(RENEW_INTERVAL).await;
        loop {
            let next = match self.renew_or_retake().await {
                Ok(true) => RENEW_INTERVAL,
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "lease_renewal_failed");
                    RETRY_INTERVAL
                }
            };
            sleep(next).await;
        }
    }

    /// Returns whether there was a lease to release.
    async fn try_release(&self) -> Result<bool, StoreError> {
        let store = &self.context.stores.sessions;
        let removed = store.remove(&self.key, &self.holder.0, self.context.now());
        removed.await
    }

    /// Tries until the lease has ended by itself.
    async fn release_later(self: Arc<Self>, release: LateRelease) {
        let Renewed { at, .. } = *lock(&self.renewed);
        while at.elapsed() < LIFETIME {
            sleep(RELEASE_RETRY_INTERVAL).await;
            match self.try_release().await {
                // A claim that the store has not executed yet may still take the lease.
                Ok(removed) if removed || release == LateRelease::Held => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "lease_release_failed"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holder_is_done_when_a_newer_generation_is_stored() {
        let (first, second) = (Generation::FIRST, Generation::FIRST.next());
        let holder = Holder::new(first).unwrap();
        assert_ne!(holder, Holder::new(first).unwrap());
        let stored = Holder::stored(holder.bytes());
        assert!(!stored.is_done(first));
        assert!(stored.is_done(second));
        let earlier = Holder::stored(Bytes::from_static(&[7; HOLDER_LEN]));
        assert!(!earlier.is_done(second), "it tells no generation");
    }
}
