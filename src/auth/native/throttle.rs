//! The throttle of password attempts: the buckets of [`crate::policy::throttle`] in the store, so
//! that all replicas count together. An attempt is counted before the provider is called, so
//! concurrent attempts cannot exceed the limit. An unavailable store rejects logins (fail-closed).
//!
//! States are sealed for their key. One that does not open counts as a full bucket, so overwriting
//! a state in the store does not switch the limit off. The sealed state of a full bucket replaces
//! it, so the lockout is no longer than that of a full bucket. A state that was removed, or
//! replaced by an older one, cannot be noticed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::Cache;

use super::NativeFailure;
use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::auth::purposes::StoredThrottle;
use crate::auth::random;
use crate::policy::native::Throttle;
use crate::policy::throttle::{
    FailureLimit, Limit, OnSuccess, RateLimit, Spelling, account_collation_key, account_key,
};
use crate::session::seal::Seal;
use crate::store::{Store, StoreError};
use crate::types::net::client_network;
use crate::types::oauth::Subject;
use crate::types::time::Timestamp;

/// Limit of revocations of plain tokens from one address.
const REVOCATIONS_PER_ADDRESS: RateLimit = RateLimit { per_minute: 60 };

/// How often a concurrent update of a bucket is retried.
const MAX_TRIES: usize = 16;

/// How many account names are kept with the subject of their last login.
const MAX_KNOWN_SUBJECTS: usize = 50_000;

/// The limits against which a password attempt counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) enum ThrottleKey {
    /// This account, and this address.
    Account(AccountName, Option<IpAddr>),
    /// A known device of the account. It is outside the limit of all logins.
    KnownDevice(String),
    /// This address only: the account is unknown.
    Address(Option<IpAddr>),
}

/// An account name, as the throttle sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) struct AccountName {
    /// See [`account_key`].
    pub(super) key: String,
    /// See [`account_collation_key`].
    collation_key: String,
    spelling: Spelling,
}

impl AccountName {
    pub(in crate::auth) fn read(name: &str) -> Self {
        Self {
            key: account_key(name),
            collation_key: account_collation_key(name),
            spelling: Spelling::of(name),
        }
    }
}

/// Limits password attempts. Clones share their state.
#[derive(Clone)]
pub(in crate::auth) struct PasswordThrottle {
    context: Arc<Context>,
    subjects: Arc<KnownSubjects>,
}

/// The subjects of accounts that were logged in to, by app and account key: an account may have
/// several names, such as a user name and an email address.
pub(in crate::auth) struct KnownSubjects(Cache<String, SubjectKey>);

impl Default for KnownSubjects {
    fn default() -> Self {
        Self(Cache::new(MAX_KNOWN_SUBJECTS))
    }
}

/// The key of a subject, hashed because it is stored.
type SubjectKey = String;

/// A password attempt, and the buckets that it counts in.
pub(in crate::auth) struct PasswordAttempt {
    throttle: PasswordThrottle,
    limits: Throttle,
    /// The buckets of the account or device, and the one of the address.
    failures: Vec<Bucket>,
    /// The bucket of all logins, if it counts there.
    all: Option<String>,
    /// The account name, by which its subject is known next time.
    name: Option<String>,
}

struct Bucket {
    limit: FailureLimit,
    key: String,
    code: &'static str,
}

/// How an attempt ended that is not a failure.
#[derive(Clone, Copy)]
enum Outcome {
    /// The password was correct.
    Success,
    /// The provider did not check it.
    Undecided,
}

/// The buckets of one app, as of one time.
struct Buckets<'a> {
    store: &'a dyn Store,
    seal: &'a Seal<StoredThrottle>,
    now: Timestamp,
}

/// A stored level, and the level after one more attempt or how long it has to wait.
struct Counted<L: Limit> {
    stored: Bytes,
    next: Result<L::Level, Duration>,
}

impl PasswordThrottle {
    pub(in crate::auth) const fn new(context: Arc<Context>, subjects: Arc<KnownSubjects>) -> Self {
        Self { context, subjects }
    }

    /// An attempt that is not counted yet.
    pub(in crate::auth) fn attempt(
        &self,
        app: &AppAuth,
        limits: Throttle,
        key: ThrottleKey,
    ) -> PasswordAttempt {
        let of_address = |address: IpAddr| Bucket {
            limit: FailureLimit {
                backoff: limits.address,
                on_success: OnSuccess::Refund,
            },
            key: store_key(app, "address", &network(address)),
            code: "throttled_address",
        };
        let mut attempt = PasswordAttempt {
            throttle: self.clone(),
            limits,
            failures: Vec::new(),
            all: Some(store_key(app, "all", "logins")),
            name: None,
        };
        match key {
            ThrottleKey::Account(account, address) => {
                let name = format!("{}/{}", app.app.name, account.key);
                attempt.failures.push(Bucket {
                    limit: FailureLimit {
                        backoff: limits.account,
                        on_success: OnSuccess::Forgive(account.spelling),
                    },
                    key: store_key(app, "account", &account.collation_key),
                    code: ACCOUNT,
                });
                let subject = self.subjects.0.get(&name);
                let bucket = subject.map(|subject| of_subject(app, limits, &subject));
                attempt.failures.extend(bucket);
                attempt.failures.extend(address.map(of_address));
                attempt.name = Some(name);
            }
            ThrottleKey::KnownDevice(device) => {
                attempt.failures.push(Bucket {
                    limit: FailureLimit {
                        backoff: limits.account,
                        on_success: OnSuccess::Reset,
                    },
                    key: store_key(app, "device", &device),
                    code: "throttled_device",
                });
                attempt.all = None;
            }
            ThrottleKey::Address(address) => attempt.failures.extend(address.map(of_address)),
        }
        attempt
    }

    fn buckets<'a>(&'a self, app: &'a AppAuth) -> Buckets<'a> {
        Buckets {
            store: &*self.context.stores.anonymous,
            seal: &app.seals.throttle,
            now: self.context.now(),
        }
    }

    /// Checks the limits of revocations, and counts one. Anybody can request the revocation of a
    /// token that is no token, so they are limited for each address and in total, apart from logins.
    ///
    /// # Errors
    /// A limit is exceeded, or the store is unavailable.
    pub(super) async fn count_revocation(
        &self,
        app: &AppAuth,
        limits: Throttle,
        address: Option<IpAddr>,
    ) -> Result<(), NativeFailure> {
        let buckets = self.buckets(app);
        let key = |name: &str| format!("throttle/{}/revocation/{name}", app.app.name);
        if let Some(address) = address {
            let (limit, key) = (REVOCATIONS_PER_ADDRESS, key(&network(address)));
            buckets.take(&limit, &key, "throttled_address").await?;
        }
        buckets
            .take(&limits.all, &key("all"), "throttled_global")
            .await
    }
}

/// The code of an account's limit.
const ACCOUNT: &str = "throttled_account";

/// The bucket of an account, whatever name it is called by.
fn of_subject(app: &AppAuth, limits: Throttle, subject: &SubjectKey) -> Bucket {
    Bucket {
        limit: FailureLimit {
            backoff: limits.account,
            on_success: OnSuccess::Reset,
        },
        key: store_key(app, "subject", subject),
        code: ACCOUNT,
    }
}

fn store_key(app: &AppAuth, kind: &str, name: &str) -> String {
    format!("throttle/{}/{kind}/{name}", app.app.name)
}

impl PasswordAttempt {
    /// Checks the limits and counts the attempt.
    ///
    /// # Errors
    /// A limit is exceeded, or the store is unavailable.
    pub(in crate::auth) async fn check_and_count(
        &self,
        app: &AppAuth,
    ) -> Result<(), NativeFailure> {
        let buckets = self.throttle.buckets(app);
        self.check(&buckets).await?;
        for Bucket {
            limit, key, code, ..
        } in &self.failures
        {
            buckets.take(limit, key, code).await?;
        }
        match &self.all {
            Some(all) => {
                let limit = &self.limits.all;
                buckets.take(limit, all, "throttled_global").await
            }
            None => Ok(()),
        }
    }

    /// The password was correct, and is the one of `subject`.
    pub(super) async fn succeed(&self, app: &AppAuth, subject: &Subject) {
        let subject = account_key(subject.as_str());
        let own = of_subject(app, self.limits, &subject);
        let is_new = self.failures.iter().all(|bucket| bucket.key != own.key);
        let buckets = self.throttle.buckets(app);
        for bucket in self.failures.iter().chain(is_new.then_some(&own)) {
            warn(app, buckets.give_back(bucket, Outcome::Success).await);
        }
        if let Some(name) = &self.name {
            self.throttle.subjects.0.insert(name.clone(), subject);
        }
    }

    /// The provider did not check the password: the attempt does not count.
    pub(super) async fn refund(&self, app: &AppAuth) {
        let buckets = self.throttle.buckets(app);
        for bucket in &self.failures {
            warn(app, buckets.give_back(bucket, Outcome::Undecided).await);
        }
    }

    /// Reads all buckets first: a rejected attempt writes nothing and is counted nowhere.
    async fn check(&self, buckets: &Buckets<'_>) -> Result<(), NativeFailure> {
        let mut longest = None;
        for bucket in &self.failures {
            let wait = buckets.wait(&bucket.limit, &bucket.key).await?;
            longest = longer(longest, wait.map(|wait| Wait::new(bucket.code, wait)));
        }
        if let Some(all) = &self.all {
            let wait = buckets.wait(&self.limits.all, all).await?;
            let wait = wait.map(|wait| Wait::new("throttled_global", wait));
            longest = longer(longest, wait);
        }
        match longest {
            Some(Wait { code, wait }) => Err(NativeFailure::Throttled(code, wait)),
            None => Ok(()),
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

    async fn give_back(&self, bucket: &Bucket, outcome: Outcome) -> Result<(), StoreError> {
        let Bucket { limit, key, .. } = bucket;
        for _ in 0..MAX_TRIES {
            let Some(before) = self.store.get(key, self.now).await? else {
                return Ok(());
            };
            // The attempt was counted, so the state was sealed then.
            let Some(level) = self.open::<FailureLimit>(key, &before) else {
                return Ok(());
            };
            let level = match outcome {
                Outcome::Success => limit.succeed(&level),
                Outcome::Undecided => limit.give_back(&level),
            };
            let done = match level {
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

    /// The stored level. A state that does not open is replaced by that of a full bucket.
    async fn read<L: Limit>(
        &self,
        limit: &L,
        key: &str,
    ) -> Result<Option<Counted<L>>, NativeFailure> {
        let Some(stored) = self.store.get(key, self.now).await.map_err(outage)? else {
            return Ok(None);
        };
        let level = match self.open::<L>(key, &stored) {
            Some(level) => level,
            None => {
                tracing::warn!("throttle_state_invalid");
                let full = limit.full(self.now);
                let replaced = self.write(limit, key, Some(&stored), &full).await;
                // If another attempt was faster, it has replaced the state.
                let _ = replaced.map_err(outage)?;
                full
            }
        };
        let next = limit.take(Some(&level), self.now);
        Ok(Some(Counted { stored, next }))
    }

    fn open<L: Limit>(&self, key: &str, stored: &[u8]) -> Option<L::Level> {
        let (level, _) = self.seal.open_at(key, stored)?;
        postcard::from_bytes(&level).ok()
    }

    fn sealed<L: Limit>(&self, key: &str, level: &L::Level) -> Option<Bytes> {
        let level = postcard::to_allocvec(level).ok()?;
        let sealed = self.seal.seal_at(key, &level, random::bytes().ok()?)?;
        Some(Bytes::from(sealed))
    }

    /// A compare-and-swap. `false`: another attempt was faster.
    async fn write<L: Limit>(
        &self,
        limit: &L,
        key: &str,
        before: Option<&Bytes>,
        level: &L::Level,
    ) -> Result<bool, StoreError> {
        let bytes = self
            .sealed::<L>(key, level)
            .ok_or_else(|| StoreError::Unavailable("no randomness".to_owned()))?;
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

fn longer(first: Option<Wait>, second: Option<Wait>) -> Option<Wait> {
    match (first, second) {
        (Some(first), Some(second)) if second.wait <= first.wait => Some(first),
        (first, second) => second.or(first),
    }
}

fn outage(error: StoreError) -> NativeFailure {
    tracing::debug!(code = error.code(), %error, "throttle_write_failed");
    NativeFailure::Unavailable(Unavailable::of_store(error.code()))
}

fn warn(app: &AppAuth, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::debug!(app = %app.app.name, code = error.code(), %error, "throttle_refund_failed");
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
