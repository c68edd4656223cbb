//! Signed assertions: short-lived JWTs that tell an app who its user is, and prove that Doorward says so.
//!
//! An assertion is made once for the identity of a session and reused during the first half of its
//! lifetime, so that it costs a request nothing. One that belongs to a single request is made for each.

mod claims;
mod key;

use std::sync::Arc;

use http::HeaderValue;
use quick_cache::sync::Cache;
use serde_json::json;

use crate::identity::identity::Identity;
use crate::policy::decide::Permit;
use crate::types::time::Timestamp;
use claims::AssertionClaims;

pub use key::{AssertionAlgorithm, AssertionKey, AssertionKeyError};

/// Makes assertions.
#[derive(Debug)]
pub struct AssertionSigner {
    /// The first signs. All are published.
    keys: Vec<Arc<AssertionKey>>,
    /// The published key set (RFC 7517 section 5).
    jwks: String,
}

/// Assertions of one worker.
pub struct AssertionCache(Cache<AssertionFor, Arc<CachedAssertion>>);

/// The app that an assertion is for, and the address of the identity that it is about. An entry holds
/// its identity, so that no other one gets the address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct AssertionFor {
    app: usize,
    identity: usize,
}

struct CachedAssertion {
    _identity: Arc<Identity>,
    /// From when it is made anew.
    stale_at: Timestamp,
    value: HeaderValue,
}

impl AssertionCache {
    /// A cache of at most `assertions` entries.
    pub fn new(assertions: usize) -> Self {
        Self(Cache::new(assertions))
    }
}

impl AssertionSigner {
    /// Signs with the first of `keys`, and publishes all.
    pub fn new(keys: Vec<Arc<AssertionKey>>) -> Self {
        let published: Vec<_> = keys.iter().map(|key| key.public_jwk()).collect();
        let jwks = json!({ "keys": published }).to_string();
        Self { keys, jwks }
    }

    /// The published key set, in JSON.
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// The assertion for the app of a permitted request. `target` is the path and query that the app gets.
    /// `None` if the app wants none, or the request is anonymous.
    pub fn assertion(
        &self,
        permit: &Permit<'_>,
        target: &str,
        cache: &AssertionCache,
        now: Timestamp,
    ) -> Option<HeaderValue> {
        let policy = permit.app_ref().app.assertion.as_ref()?;
        let identity = permit.identity()?;
        let claims = || AssertionClaims::of_caller(permit, policy, identity, now);
        if policy.binds_request {
            return self.signed(claims().of_request(&permit.info().method, target));
        }
        let key = AssertionFor {
            app: permit.app_ref().index,
            identity: Arc::as_ptr(identity).addr(),
        };
        if let Some(cached) = cache.0.get(&key)
            && now < cached.stale_at
        {
            return Some(cached.value.clone());
        }
        let value = self.signed(claims())?;
        let cached = CachedAssertion {
            _identity: Arc::clone(identity),
            stale_at: now.plus(policy.lifetime / 2),
            value: value.clone(),
        };
        cache.0.insert(key, Arc::new(cached));
        Some(value)
    }

    fn signed(&self, claims: AssertionClaims) -> Option<HeaderValue> {
        let jwt = self.keys.first()?.sign(&claims.into_json())?;
        let mut value = HeaderValue::try_from(jwt).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}
