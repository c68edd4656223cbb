//! The refresh lease of a session, exclusive among all replicas that share the store. It is short
//! while nothing is sent. Before each provider call it is extended past the deadline of the call,
//! so that no other replica sends the same token while a response may still arrive.

use std::time::Duration;

use bytes::Bytes;

use crate::auth::random;
use crate::store::{Store, StoreError};
use crate::types::time::Clock;

/// The lease time before anything is sent.
const INITIAL_LIFETIME: Duration = Duration::from_secs(5);

/// How long a lease outlives the provider call: for clock differences, and for storing the result.
const MARGIN: Duration = Duration::from_secs(10);

/// The exclusive right to refresh one session.
pub(in crate::auth) struct Lease<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
    key: String,
    holder: Bytes,
}

impl<'a> Lease<'a> {
    /// Takes the lease `key`. `None`: it is held.
    pub(in crate::auth) async fn take(
        store: &'a dyn Store,
        clock: &'a dyn Clock,
        key: String,
    ) -> Result<Option<Lease<'a>>, StoreError> {
        let holder =
            random::bytes::<16>().map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let holder = Bytes::copy_from_slice(&holder);
        let now = clock.now();
        let ends_at = now.plus(INITIAL_LIFETIME);
        let other = store
            .put_if_absent(&key, holder.clone(), ends_at, now)
            .await?;
        Ok(other.is_none().then_some(Self {
            store,
            clock,
            key,
            holder,
        }))
    }

    /// Extends the lease past a call of at most `deadline`. `false`: it was lost, and nothing may
    /// be sent.
    pub(in crate::auth) async fn extend_past(
        &self,
        deadline: Duration,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let ends_at = now.plus(deadline).plus(MARGIN);
        self.store
            .compare_and_swap(&self.key, &self.holder, self.holder.clone(), ends_at, now)
            .await
    }

    /// Releases the lease. If that fails it expires.
    pub(in crate::auth) async fn release(self) {
        if let Err(error) = self
            .store
            .remove(&self.key, &self.holder, self.clock.now())
            .await
        {
            tracing::debug!(%error, "lease_release_failed");
        }
    }
}
