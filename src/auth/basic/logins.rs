//! Logins of one app by user name and password: a bounded cache by the keyed hash of the credentials,
//! and single-flight checks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::sync::Cache;
use tokio::sync::OnceCell;

use crate::auth::native::NativeFailure;
use crate::lock::lock;
use crate::policy::basic::BasicCredentials;
use crate::session::validity::Session;
use crate::types::host_label::HostLabel;
use crate::types::oauth::Subject;
use crate::types::time::Timestamp;

/// How many logins of one user are kept: a provider may accept many spellings of a name, and one
/// user must not displace all others.
const MAX_LOGINS_PER_USER: usize = 16;

/// HMAC-SHA256 of a user name and a password, under a key that is in no other place than this
/// process. Neither the cache nor the throttle in the store reveals a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CredentialHash([u8; 32]);

impl CredentialHash {
    /// As a name in the store.
    pub(super) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// Hashes credentials.
pub(super) struct CredentialHasher(hmac::Key);

impl CredentialHasher {
    /// Creates a random key.
    pub(super) fn new() -> Result<Self, Unspecified> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        hmac::Key::generate(hmac::HMAC_SHA256, &random).map(Self)
    }

    /// The hash of credentials at one host of an app. `label` is the host's, if the app has a
    /// wildcard.
    pub(super) fn hash(
        &self,
        label: Option<&HostLabel>,
        credentials: &BasicCredentials,
    ) -> CredentialHash {
        let mut context = hmac::Context::with_key(&self.0);
        // No label, name or password contains a NUL.
        let label = label.map(HostLabel::as_str).unwrap_or_default();
        for text in [label, "\0", &credentials.username, "\0"] {
            context.update(text.as_bytes());
        }
        context.update(credentials.password.expose().as_bytes());
        let mut hash = [0; 32];
        for (byte, computed) in hash.iter_mut().zip(context.sign().as_ref()) {
            *byte = *computed;
        }
        CredentialHash(hash)
    }
}

/// The hasher of the process, whose key is made for its first password: the first random bytes take
/// 30 ms, which no start-up should wait for.
#[derive(Default)]
pub(in crate::auth) struct LazyHasher(OnceLock<Option<CredentialHasher>>);

impl LazyHasher {
    /// `None`: the system gave no randomness, so no password is checked.
    pub(super) fn get(&self) -> Option<&CredentialHasher> {
        self.0.get_or_init(|| CredentialHasher::new().ok()).as_ref()
    }
}

/// A password that the provider accepted.
#[derive(Clone, Debug)]
pub(super) struct Login {
    /// The session of the password grant.
    pub(super) session: Arc<Session>,
    /// Until when the provider is not asked again.
    pub(super) until: Timestamp,
    /// Whether the session was revoked when it began: the user is blocked.
    pub(super) is_blocked: bool,
}

type Check = Arc<OnceCell<Result<Login, NativeFailure>>>;

/// The logins of one app.
pub(super) struct Logins {
    /// Kept beyond their end: credentials that were right once are no guess.
    by_hash: Cache<CredentialHash, Login>,
    /// The hashes of each user, oldest first.
    by_user: Cache<Subject, Arc<Mutex<Vec<CredentialHash>>>>,
    /// Checks in flight.
    checks: Mutex<HashMap<CredentialHash, Check>>,
}

impl Logins {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            by_hash: Cache::new(capacity),
            by_user: Cache::new(capacity),
            checks: Mutex::default(),
        }
    }

    pub(super) fn get(&self, hash: &CredentialHash) -> Option<Login> {
        self.by_hash.get(hash)
    }

    pub(super) fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Keeps a login, in place of the user's oldest if there are too many.
    pub(super) fn insert(&self, hash: CredentialHash, login: Login) {
        let user = &login.session.identity.subject;
        let own = self
            .by_user
            .get_or_insert_with(user, || Ok::<_, Infallible>(Arc::default()));
        let Ok(own) = own;
        let mut own = lock(&own);
        own.retain(|other| *other != hash);
        if own.len() >= MAX_LOGINS_PER_USER {
            self.by_hash.remove(&own.remove(0));
        }
        own.push(hash);
        self.by_hash.insert(hash, login);
    }

    /// Runs `check`, or waits for the one in flight for the same credentials and takes its result.
    pub(super) async fn check_once(
        &self,
        hash: CredentialHash,
        check: impl Future<Output = Result<Login, NativeFailure>>,
    ) -> Result<Login, NativeFailure> {
        let joined = JoinedCheck {
            checks: &self.checks,
            check: Arc::clone(lock(&self.checks).entry(hash).or_default()),
            hash,
        };
        joined.check.get_or_init(|| check).await.clone()
    }
}

/// Removes a check when its last waiter has its result or is gone.
struct JoinedCheck<'c> {
    checks: &'c Mutex<HashMap<CredentialHash, Check>>,
    check: Check,
    hash: CredentialHash,
}

impl Drop for JoinedCheck<'_> {
    fn drop(&mut self) {
        let mut checks = lock(self.checks);
        // This one and the map's. A result is not for requests that come later.
        let is_last = Arc::strong_count(&self.check) <= 2;
        let is_current = checks
            .get(&self.hash)
            .is_some_and(|check| Arc::ptr_eq(check, &self.check));
        if is_current && (is_last || self.check.initialized()) {
            checks.remove(&self.hash);
        }
    }
}
