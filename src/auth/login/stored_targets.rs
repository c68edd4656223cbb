//! Return targets that are too long for `state`: sealed in the store while the user is at the
//! provider. Their total size is limited, because anybody can start logins.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::random;
use crate::identity::return_to::ReturnTo;
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
    held: Mutex<Held>,
}

/// What this process stored.
#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    /// Oldest first.
    targets: VecDeque<Charge>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Charge {
    ends_at: Timestamp,
    bytes: usize,
}

impl StoredTargets {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            held: Mutex::default(),
        }
    }

    /// Stores the return target of the attempt `id`. Returns whether it is stored.
    pub(super) async fn put(&self, app: &Arc<AppAuth>, id: &str, return_to: &ReturnTo) -> bool {
        let code = match self.try_put(app, id, return_to).await {
            Ok(()) => return true,
            Err(code) => code,
        };
        tracing::warn!(app = %app.app.name, code, "return_target_not_stored");
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
        let charge = Charge {
            ends_at: now.plus(LIFETIME),
            bytes: sealed.len().max(MIN_CHARGE),
        };
        if !lock(&self.held).add(charge, now) {
            return Err("quota_exceeded");
        }
        let context = Arc::clone(&self.context);
        let put = async move {
            let store = &context.stores.anonymous;
            store.put(&key, sealed, charge.ends_at, now).await
        };
        let stored = match self.context.anonymous_tasks.run(CALL_TIMEOUT, put).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.code(),
            Err(error) => Unavailable::of_store_task(error).code,
        };
        lock(&self.held).remove(charge);
        Err(stored)
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
        let target = opened.and_then(|(text, _)| ReturnTo::parse(&text, &app.app.prefix));
        target.unwrap_or_else(|| {
            tracing::warn!(app = %app.app.name, "return_target_lost");
            ReturnTo::root()
        })
    }
}

impl Held {
    /// Adds a return target, unless it exceeds the limit.
    fn add(&mut self, charge: Charge, now: Timestamp) -> bool {
        while let Some(oldest) = self.targets.front().copied()
            && oldest.ends_at <= now
        {
            self.targets.pop_front();
            self.bytes = self.bytes.saturating_sub(oldest.bytes);
        }
        let bytes = self.bytes.saturating_add(charge.bytes);
        if bytes > MAX_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.targets.push_back(charge);
        true
    }

    fn remove(&mut self, charge: Charge) {
        if let Some(at) = self.targets.iter().rposition(|held| *held == charge) {
            self.targets.remove(at);
            self.bytes = self.bytes.saturating_sub(charge.bytes);
        }
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

    #[test]
    fn stored_targets_are_limited_until_they_expire() {
        let mut held = Held::default();
        let charge = |ends_at| Charge {
            ends_at: at(ends_at),
            bytes: MAX_BYTES / 4,
        };
        for end in 100..104 {
            assert!(held.add(charge(end), at(0)));
        }
        assert!(!held.add(charge(105), at(99)));
        assert!(held.add(charge(105), at(100)));
        assert!(!held.add(charge(106), at(100)));
        held.remove(charge(105));
        assert!(held.add(charge(106), at(100)));
    }
}
