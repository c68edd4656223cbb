//! The throttle of password attempts: the buckets of [`crate::policy::throttle`] in the store, so
//! that all replicas count together. An attempt is counted before the provider is called, so
//! concurrent attempts cannot exceed the limit. An unavailable store rejects logins (fail-closed).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::NativeFailure;
use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::policy::native::Throttle;
use crate::policy::throttle::{BackoffLimit, Limit};
use crate::store::{Store, StoreError};
use crate::types::net::client_network;
use crate::types::time::Timestamp;

/// How often a concurrent update of a bucket is retried.
const MAX_TRIES: usize = 16;

/// What a password attempt counts against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ThrottleKey {
    /// This account, and this address.
    Account(String, Option<IpAddr>),
    /// A known device of the account.
    KnownDevice(String),
    /// This address only: the account is unknown.
    Address(Option<IpAddr>),
}

/// Limits password attempts. Clones share their state.
#[derive(Clone)]
pub(in crate::auth) struct PasswordThrottle {
    context: Arc<Context>,
}

/// A password attempt, and the buckets that it counts in.
pub(super) struct PasswordAttempt {
    context: Arc<Context>,
    limits: Throttle,
    /// The bucket of the account or device, and the one of the address.
    failures: Vec<Bucket>,
    all: String,
}

struct Bucket {
    limit: BackoffLimit,
    key: String,
    code: &'static str,
    /// Whether a success empties the bucket. Otherwise it only refunds the attempt.
    is_users: bool,
}

/// The store as of one time.
struct Buckets<'a> {
    store: &'a dyn Store,
    now: Timestamp,
}

/// A stored level, and the level after one more attempt or how long it has to wait.
struct Counted<L: Limit> {
    stored: Bytes,
    next: Result<L::Level, Duration>,
}

impl PasswordThrottle {
    pub(in crate::auth) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// An attempt that is not counted yet.
    pub(super) fn attempt(
        &self,
        app: &AppAuth,
        limits: Throttle,
        key: ThrottleKey,
    ) -> PasswordAttempt {
        let store_key = |kind: &str, name: &str| format!("throttle/{}/{kind}/{name}", app.app.name);
        let of_user = |kind, name: &str, code| Bucket {
            limit: limits.account,
            key: store_key(kind, name),
            code,
            is_users: true,
        };
        let of_address = |address: IpAddr| Bucket {
            limit: limits.address,
            key: store_key("address", &network(address)),
            code: "throttled_address",
            is_users: false,
        };
        let failures = match key {
            ThrottleKey::Account(account, address) => {
                let account = of_user("account", &account, "throttled_account");
                let buckets = [account].into_iter();
                buckets.chain(address.map(of_address)).collect()
            }
            ThrottleKey::KnownDevice(device) => {
                vec![of_user("device", &device, "throttled_device")]
            }
            ThrottleKey::Address(address) => address.map(of_address).into_iter().collect(),
        };
        PasswordAttempt {
            context: Arc::clone(&self.context),
            limits,
            failures,
            all: store_key("all", "logins"),
        }
    }
}

impl PasswordAttempt {
    /// Checks the limits and counts the attempt.
    ///
    /// # Errors
    /// A limit is exceeded, or the store is unavailable.
    pub(super) async fn check_and_count(&self) -> Result<(), NativeFailure> {
        let buckets = self.buckets();
        self.check(&buckets).await?;
        for Bucket {
            limit, key, code, ..
        } in &self.failures
        {
            buckets.take(limit, key, code).await?;
        }
        let limit = &self.limits.all;
        buckets.take(limit, &self.all, "throttled_global").await
    }

    /// The password was correct.
    pub(super) async fn reset(&self, app: &AppAuth) {
        let buckets = self.buckets();
        for bucket in &self.failures {
            warn(app, buckets.give_back(bucket, bucket.is_users).await);
        }
    }

    /// The provider did not check the password: the attempt does not count.
    pub(super) async fn refund(&self, app: &AppAuth) {
        let buckets = self.buckets();
        for bucket in &self.failures {
            warn(app, buckets.give_back(bucket, false).await);
        }
    }

    /// Reads all buckets first: a rejected attempt writes nothing and is counted nowhere.
    async fn check(&self, buckets: &Buckets<'_>) -> Result<(), NativeFailure> {
        let mut longest = None;
        for bucket in &self.failures {
            let wait = buckets.wait(&bucket.limit, &bucket.key).await?;
            longest = longer(longest, wait.map(|wait| Wait::new(bucket.code, wait)));
        }
        let wait = buckets.wait(&self.limits.all, &self.all).await?;
        longest = longer(
            longest,
            wait.map(|wait| Wait::new("throttled_global", wait)),
        );
        match longest {
            Some(Wait { code, wait }) => Err(NativeFailure::Throttled(code, wait)),
            None => Ok(()),
        }
    }

    fn buckets(&self) -> Buckets<'_> {
        Buckets {
            store: &*self.context.stores.anonymous,
            now: self.context.now(),
        }
    }
}

impl Buckets<'_> {
    async fn take<L: Limit>(
        &self,
        limit: &L,
        key: &str,
        code: &'static str,
    ) -> Result<(), NativeFailure> {
        for _ in 0..MAX_TRIES {
            let (before, next) = match self.read(limit, key).await? {
                Some(Counted { stored, next }) => (Some(stored), next),
                None => (None, limit.take(None, self.now)),
            };
            let next = next.map_err(|wait| NativeFailure::Throttled(code, wait))?;
            let written = self.write(limit, key, before.as_ref(), &next).await;
            if written.map_err(outage)? {
                return Ok(());
            }
        }
        Err(NativeFailure::Throttled(code, Duration::from_secs(1)))
    }

    async fn give_back(&self, bucket: &Bucket, all: bool) -> Result<(), StoreError> {
        let Bucket { limit, key, .. } = bucket;
        for _ in 0..MAX_TRIES {
            let Some(before) = self.store.get(key, self.now).await? else {
                return Ok(());
            };
            let level = postcard::from_bytes(&before).ok().filter(|_| !all);
            let done = match level.and_then(|level| limit.give_back(&level)) {
                Some(level) => self.write(limit, key, Some(&before), &level).await?,
                None => self.store.remove(key, &before, self.now).await?,
            };
            if done {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How long one more attempt would have to wait.
    async fn wait<L: Limit>(
        &self,
        limit: &L,
        key: &str,
    ) -> Result<Option<Duration>, NativeFailure> {
        let counted = self.read(limit, key).await?;
        Ok(counted.and_then(|counted| counted.next.err()))
    }

    /// The stored level. An unreadable level counts as empty.
    async fn read<L: Limit>(
        &self,
        limit: &L,
        key: &str,
    ) -> Result<Option<Counted<L>>, NativeFailure> {
        let stored = self.store.get(key, self.now).await.map_err(outage)?;
        Ok(stored.map(|stored| {
            let level: Option<L::Level> = postcard::from_bytes(&stored).ok();
            let next = limit.take(level.as_ref(), self.now);
            Counted { stored, next }
        }))
    }

    /// A compare-and-swap. `false`: another attempt was faster.
    async fn write<L: Limit>(
        &self,
        limit: &L,
        key: &str,
        before: Option<&Bytes>,
        level: &L::Level,
    ) -> Result<bool, StoreError> {
        let bytes = postcard::to_allocvec(level)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let bytes = Bytes::from(bytes);
        let soon = self.now.plus(Duration::from_secs(1));
        let ends_at = limit.empty_at(level).max(soon);
        let (store, now) = (self.store, self.now);
        match before {
            Some(before) => {
                store
                    .compare_and_swap(key, before, bytes, ends_at, now)
                    .await
            }
            None => {
                let other = store.put_if_absent(key, bytes, ends_at, now).await?;
                Ok(other.is_none())
            }
        }
    }
}

/// How long an attempt has to wait, by the limit of this code.
#[derive(Clone, Copy)]
struct Wait {
    code: &'static str,
    wait: Duration,
}

impl Wait {
    const fn new(code: &'static str, wait: Duration) -> Self {
        Self { code, wait }
    }
}

fn longer(one: Option<Wait>, other: Option<Wait>) -> Option<Wait> {
    match (one, other) {
        (Some(one), Some(other)) if other.wait <= one.wait => Some(one),
        (one, other) => other.or(one),
    }
}

fn outage(error: StoreError) -> NativeFailure {
    tracing::warn!(code = error.code(), %error, "throttle_write_failed");
    NativeFailure::Unavailable(Unavailable::new(error.code()))
}

fn warn(app: &AppAuth, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(app = %app.app.name, code = error.code(), %error, "throttle_refund_failed");
    }
}

/// The name of an address in a store key.
fn network(address: IpAddr) -> String {
    match client_network(address) {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(network) => format!("{network}/64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_address_counts_as_its_network() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:ffff::1"), "2001:db8:1:2::/64");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn longest_wait_wins() {
        let wait = |code, secs| Some(Wait::new(code, Duration::from_secs(secs)));
        let code = |wait: Option<Wait>| wait.map(|wait| wait.code);
        assert_eq!(code(longer(wait("a", 2), wait("b", 1))), Some("a"));
        assert_eq!(code(longer(wait("a", 1), wait("b", 2))), Some("b"));
        assert_eq!(code(longer(wait("a", 1), wait("b", 1))), Some("a"));
        assert_eq!(code(longer(None, wait("b", 1))), Some("b"));
        assert_eq!(code(longer(wait("a", 1), None)), Some("a"));
    }
}
