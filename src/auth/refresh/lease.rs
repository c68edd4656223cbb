//! Who may refresh a session now, in all replicas that share the store. A lease that is only held is short: whoever
//! dies with it has sent nothing. Before each call to the provider it is prolonged beyond that call's deadline, so that
//! nobody else sends the same token while an answer may still come.

use std::time::Duration;

use bytes::Bytes;

use crate::auth::random;
use crate::store::{Store, StoreError};
use crate::types::time::Clock;

/// How long a lease is held before anything is sent.
const PREPARING: Duration = Duration::from_secs(5);

/// By how much a lease outlives the call it was prolonged for: clocks differ, and the result must be stored.
const MARGIN: Duration = Duration::from_secs(10);

/// The right to refresh one session.
pub(in crate::auth) struct Lease<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
    key: String,
    holder: Bytes,
}

impl<'a> Lease<'a> {
    /// Takes the lease `key`; `None`: somebody has it.
    pub(in crate::auth) async fn take(
        store: &'a dyn Store,
        clock: &'a dyn Clock,
        key: String,
    ) -> Result<Option<Lease<'a>>, StoreError> {
        let name =
            random::bytes::<16>().map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let (holder, now) = (Bytes::copy_from_slice(&name), clock.now());
        let ends_at = now.plus(PREPARING);
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

    /// Prolongs it beyond a call of at most `deadline`. `false`: it was lost, and nothing may be sent.
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

    /// Gives it back. Where that fails it ends by itself.
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
