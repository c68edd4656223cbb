//! The throttle of password attempts: the buckets of [`crate::policy::throttle`] in the store, so
//! that all replicas count together. An attempt is counted before the provider is called, so
//! concurrent attempts cannot exceed the limit. An unavailable store rejects logins (fail-closed).

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::auth::app::AppAuth;
use crate::auth::native::NativeFailure;
use crate::auth::{Auth, Unavailable};
use crate::policy::native::Throttle;
use crate::policy::throttle::{BackoffLimit, Limit};
use crate::store::{Store, StoreError};
use crate::types::net::client_network;
use crate::types::time::Timestamp;

/// How often a concurrent update of a bucket is retried.
const TRIES: usize = 16;

/// What a password attempt counts against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) enum ThrottleKey {
    /// This account, and this address.
    Account(String, Option<IpAddr>),
    /// A known device of the account.
    KnownDevice(String),
    /// This address only: the account is unknown.
    Unnamed(Option<IpAddr>),
}

/// The buckets of one attempt.
struct ThrottleBuckets<'a> {
    store: &'a dyn Store,
    throttle: Throttle,
    /// The bucket of the account or device, and the one of the address.
    failures: Vec<Bucket>,
    all: String,
    now: Timestamp,
}

struct Bucket {
    limit: BackoffLimit,
    key: String,
    code: &'static str,
    /// Whether a success empties the bucket. Otherwise it only refunds the attempt.
    is_the_persons: bool,
}

impl Auth {
    /// Checks the limits and counts an attempt.
    ///
    /// # Errors
    /// A limit is exceeded, or the store is unavailable.
    pub(in crate::auth) async fn check_and_count(
        &self,
        app: &AppAuth,
        throttle: Throttle,
        tried: &ThrottleKey,
    ) -> Result<(), NativeFailure> {
        let buckets = self.buckets(app, throttle, tried);
        buckets.ask().await?;
        for bucket in &buckets.failures {
            buckets
                .take(&bucket.limit, &bucket.key, bucket.code)
                .await?;
        }
        buckets
            .take(&buckets.throttle.all, &buckets.all, "throttled_global")
            .await
    }

    /// The password was correct.
    pub(in crate::auth) async fn reset(
        &self,
        app: &AppAuth,
        throttle: Throttle,
        tried: &ThrottleKey,
    ) {
        let buckets = self.buckets(app, throttle, tried);
        for bucket in &buckets.failures {
            let forgiven = buckets.give_back(bucket, bucket.is_the_persons).await;
            warn(app, forgiven);
        }
    }

    /// The provider did not check the password: the attempt does not count.
    pub(in crate::auth) async fn refund(
        &self,
        app: &AppAuth,
        throttle: Throttle,
        tried: &ThrottleKey,
    ) {
        let buckets = self.buckets(app, throttle, tried);
        for bucket in &buckets.failures {
            let discounted = buckets.give_back(bucket, false).await;
            warn(app, discounted);
        }
    }

    fn buckets<'a>(
        &'a self,
        app: &AppAuth,
        throttle: Throttle,
        tried: &ThrottleKey,
    ) -> ThrottleBuckets<'a> {
        let key = |kind: &str, session_key_ref: &str| {
            format!("throttle/{}/{kind}/{session_key_ref}", app.app.name)
        };
        let persons = |kind, session_key_ref: &str, code| Bucket {
            limit: throttle.account,
            key: key(kind, session_key_ref),
            code,
            is_the_persons: true,
        };
        let by_address = |address: IpAddr| Bucket {
            limit: throttle.address,
            key: key("address", &network(address)),
            code: "throttled_address",
            is_the_persons: false,
        };
        let failures = match tried {
            ThrottleKey::Account(account, address) => {
                let account = persons("account", account, "throttled_account");
                [account]
                    .into_iter()
                    .chain(address.map(by_address))
                    .collect()
            }
            ThrottleKey::KnownDevice(device) => vec![persons("device", device, "throttled_device")],
            ThrottleKey::Unnamed(address) => address.map(by_address).into_iter().collect(),
        };
        ThrottleBuckets {
            store: &*self.stores.anonymous,
            throttle,
            failures,
            all: key("all", "logins"),
            now: self.now(),
        }
    }
}

impl ThrottleBuckets<'_> {
    /// Reads all buckets first: a rejected attempt writes nothing and is counted nowhere.
    async fn ask(&self) -> Result<(), NativeFailure> {
        let mut longest: Option<(&'static str, Duration)> = None;
        for bucket in &self.failures {
            let wait = self
                .read(&bucket.limit, &bucket.key)
                .await?
                .and_then(|(_, next)| next.err());
            longest = longest.max_by_wait(wait.map(|wait| (bucket.code, wait)));
        }
        let wait = self
            .read(&self.throttle.all, &self.all)
            .await?
            .and_then(|(_, next)| next.err());
        longest = longest.max_by_wait(wait.map(|wait| ("throttled_global", wait)));
        longest.map_or(Ok(()), |(code, wait)| {
            Err(NativeFailure::Throttled(code, wait))
        })
    }

    async fn take<L: Limit>(
        &self,
        limit: &L,
        key: &str,
        code: &'static str,
    ) -> Result<(), NativeFailure> {
        for _ in 0..TRIES {
            let (before, next) = match self.read(limit, key).await? {
                Some((before, next)) => (Some(before), next),
                None => (None, limit.take(None, self.now)),
            };
            let next = next.map_err(|wait| NativeFailure::Throttled(code, wait))?;
            if self
                .write(limit, key, before.as_ref(), &next)
                .await
                .map_err(outage)?
            {
                return Ok(());
            }
        }
        Err(NativeFailure::Throttled(code, Duration::from_secs(1)))
    }

    async fn give_back(&self, bucket: &Bucket, all: bool) -> Result<(), StoreError> {
        let Bucket { limit, key, .. } = bucket;
        for _ in 0..TRIES {
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

    /// The stored level, and the level after one more attempt. An unreadable level counts as empty.
    async fn read<L: Limit>(
        &self,
        limit: &L,
        key: &str,
    ) -> Result<Option<(Bytes, Result<L::Level, Duration>)>, NativeFailure> {
        let stored = self.store.get(key, self.now).await.map_err(outage)?;
        Ok(stored.map(|bytes| {
            let level: Option<L::Level> = postcard::from_bytes(&bytes).ok();
            let next = limit.take(level.as_ref(), self.now);
            (bytes, next)
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
        let ends_at = limit
            .empty_at(level)
            .max(self.now.plus(Duration::from_secs(1)));
        match before {
            Some(before) => {
                self.store
                    .compare_and_swap(key, before, bytes.into(), ends_at, self.now)
                    .await
            }
            None => Ok(self
                .store
                .put_if_absent(key, bytes.into(), ends_at, self.now)
                .await?
                .is_none()),
        }
    }
}

trait Longest {
    fn max_by_wait(self, other: Self) -> Self;
}

impl Longest for Option<(&'static str, Duration)> {
    fn max_by_wait(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(other)) => Some(if other.1 > one.1 { other } else { one }),
            (one, other) => one.or(other),
        }
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

/// The client's network ([`client_network`]) as a part of a store key.
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
    fn an_address_of_ipv6_stands_for_its_network() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(
            of("2001:db8:1:2::1"),
            of("2001:db8:1:2:ffff:ffff:ffff:ffff")
        );
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
