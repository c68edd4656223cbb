//! Return targets that are too long for `state`: sealed in the store while the user is at the
//! provider. Their total size is limited, with a share per client, because anybody can start logins.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::random;
use crate::identity::return_to::ReturnTo;
use crate::limits::{ByteBudget, ClientKey, Reservation, current_client};
use crate::lock::lock;
use crate::session::attempt::ATTEMPT_LIFETIME;
use crate::types::time::Timestamp;

/// The maximum size of all return targets that this process stored, sealed, in bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The minimum charge of a return target, in bytes.
const MIN_CHARGE: usize = 4096;

/// How long a return target is kept: for a second callback of an attempt, too.
const LIFETIME: Duration = Duration::from_secs(2 * ATTEMPT_LIFETIME.as_secs());

/// Stores return targets.
pub(super) struct StoredTargets {
    context: Arc<Context>,
    quota: Arc<TargetQuota>,
}

/// The limit of what this process stored, in any configuration.
#[derive(Debug)]
pub(super) struct TargetQuota {
    budget: Arc<ByteBudget>,
    /// Oldest first.
    stored: Mutex<VecDeque<Stored>>,
}

#[derive(Debug)]
struct Stored {
    ends_at: Timestamp,
    _size: Reservation,
}

impl StoredTargets {
    pub(super) const fn new(context: Arc<Context>, quota: Arc<TargetQuota>) -> Self {
        Self { context, quota }
    }

    /// Stores the return target of the attempt `id`. Returns whether it is stored.
    pub(super) async fn put(&self, app: &Arc<AppAuth>, id: &str, return_to: &ReturnTo) -> bool {
        let code = match self.try_put(app, id, return_to).await {
            Ok(()) => return true,
            Err(code) => code,
        };
        tracing::debug!(app = %app.app.name, code, "return_target_not_stored");
        false
    }

    async fn try_put(
        &self,
        app: &Arc<AppAuth>,
        id: &str,
        return_to: &ReturnTo,
    ) -> Result<(), &'static str> {
        let key = key(app, id);
        let nonce = random::bytes().map_err(|_| "internal_error")?;
        let text = return_to.as_str().to_owned();
        let sealed = app.seals.return_to.seal_at(&key, &text, nonce);
        let sealed = Bytes::from(sealed.ok_or("internal_error")?);
        let now = self.context.now();
        let ends_at = now.plus(LIFETIME);
        let size = self.quota.reserve(current_client(), sealed.len(), now);
        let size = size.ok_or("quota_exceeded")?;
        let context = Arc::clone(&self.context);
        let put = async move {
            let store = &context.stores.anonymous;
            store.put(&key, sealed, ends_at, now).await
        };
        let stored = self.context.anonymous_tasks.run(CALL_TIMEOUT, put).await;
        stored
            .map_err(|error| Unavailable::of_store_task(error).code)?
            .map_err(|error| error.code())?;
        self.quota.hold(size, ends_at);
        Ok(())
    }

    /// The stored return target of the attempt `id`, or the root if it is gone.
    pub(super) async fn get(&self, app: &Arc<AppAuth>, id: &str) -> ReturnTo {
        let (context, now) = (Arc::clone(&self.context), self.context.now());
        let key = key(app, id);
        let stored_key = key.clone();
        let get = async move { context.stores.anonymous.get(&stored_key, now).await };
        let sealed = self.context.anonymous_tasks.run(CALL_TIMEOUT, get).await;
        let sealed = sealed.ok().and_then(Result::ok).flatten();
        let opened = sealed.and_then(|sealed| app.seals.return_to.open_at(&key, &sealed));
        let target = opened.and_then(|(text, _)| ReturnTo::parse(&text, &app.app.paths));
        target.unwrap_or_else(|| {
            tracing::debug!(app = %app.app.name, "return_target_lost");
            ReturnTo::home(&app.app.paths)
        })
    }
}

impl Default for TargetQuota {
    fn default() -> Self {
        Self {
            budget: Arc::new(ByteBudget::new(MAX_BYTES)),
            stored: Mutex::default(),
        }
    }
}

impl TargetQuota {
    /// Reserves the size of a return target, unless it exceeds the limit or the client's share.
    fn reserve(
        &self,
        client: Option<ClientKey>,
        bytes: usize,
        now: Timestamp,
    ) -> Option<Reservation> {
        let mut stored = lock(&self.stored);
        while stored.front().is_some_and(|oldest| oldest.ends_at <= now) {
            stored.pop_front();
        }
        self.budget.reserve(client, bytes.max(MIN_CHARGE))
    }

    /// Keeps the reservation of a return target until it expires.
    fn hold(&self, size: Reservation, ends_at: Timestamp) {
        let stored = Stored {
            ends_at,
            _size: size,
        };
        lock(&self.stored).push_back(stored);
    }
}

fn key(app: &AppAuth, id: &str) -> String {
    format!("return-to/{}/{id}", app.app.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// How many return targets of this size a client can store at `now`.
    fn stored(quota: &TargetQuota, client: &str, bytes: usize, now: Timestamp) -> usize {
        let client = Some(ClientKey::of_test(client));
        std::iter::from_fn(|| quota.reserve(client, bytes, now))
            .map(|size| quota.hold(size, now.plus(LIFETIME)))
            .count()
    }

    #[test]
    fn stored_targets_are_limited_per_client_until_they_expire() {
        let quota = TargetQuota::default();
        let all = MAX_BYTES / MIN_CHARGE;
        assert_eq!(stored(&quota, "greedy", 1, at(0)), all / 2);
        assert_eq!(stored(&quota, "other", 1, at(0)), all / 4);
        assert_eq!(stored(&quota, "greedy", 1, at(0)), 0);
        let expired = at(0).plus(LIFETIME);
        assert_eq!(stored(&quota, "greedy", MAX_BYTES / 4, expired), 2);
    }

    #[test]
    fn return_target_that_was_not_stored_takes_no_quota() {
        let quota = TargetQuota::default();
        drop(quota.reserve(None, MAX_BYTES, at(0)));
        assert!(quota.reserve(None, MAX_BYTES, at(0)).is_some());
    }
}
