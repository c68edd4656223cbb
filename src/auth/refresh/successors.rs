//! Successors: the newest tokens of sessions that this process refreshed, until a browser confirms
//! that it has them. They are handed out without a call to the store, and stored again if the store
//! has forgotten them: nobody else has them.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::auth::app::AppAuth;
use crate::auth::refresh::rotation::GRACE;
use crate::session::grant::Grant;
use crate::session::jwt::PackedJwt;
use crate::types::oauth::{Generation, SessionId};
use crate::types::time::Timestamp;

/// The memory for successors, in bytes. The least recently used ones are dropped.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// How many successors are expected.
const EXPECTED: usize = 10_000;

/// The successors that this process holds.
pub(in crate::auth) struct Successors(Cache<SessionId, Arc<Successor>, ByBytes>);

/// The newest tokens of a session.
pub(in crate::auth) struct Successor {
    /// The app, at the host of the session.
    pub(in crate::auth) app: Arc<AppAuth>,
    pub(in crate::auth) grant: Arc<Grant>,
    /// When the provider issued them.
    refreshed_at: Timestamp,
    /// Until when they may be needed.
    pub(in crate::auth) ends_at: Timestamp,
}

#[derive(Clone, Copy)]
struct ByBytes;

impl Weighter<SessionId, Arc<Successor>> for ByBytes {
    fn weight(&self, _sid: &SessionId, successor: &Arc<Successor>) -> u64 {
        const OVERHEAD: usize = 512;
        let Grant { jwt, refresh, hint } = &*successor.grant;
        let packed = match &jwt.jwt {
            PackedJwt::Decoded(parts) => parts.iter().map(Vec::len).sum(),
            PackedJwt::AsIs(jwt) => jwt.len(),
        };
        let tokens = packed
            + jwt.kept_claims.len()
            + refresh
                .as_ref()
                .map_or(0, |refresh| refresh.token.expose().len())
            + hint.as_ref().map_or(0, |hint| hint.expose().len());
        u64::try_from(tokens + OVERHEAD).unwrap_or(u64::MAX)
    }
}

impl Default for Successors {
    fn default() -> Self {
        Self(Cache::with_weighter(EXPECTED, MAX_BYTES, ByBytes))
    }
}

impl Successors {
    /// Holds the result of a refresh.
    pub(in crate::auth) fn hold(&self, app: &Arc<AppAuth>, grant: Arc<Grant>, now: Timestamp) {
        let sid = grant.jwt.sid.clone();
        let successor = Successor {
            app: Arc::clone(app),
            grant,
            refreshed_at: now,
            ends_at: now.plus(app.app.limits.idle),
        };
        self.0.insert(sid, Arc::new(successor));
    }

    /// The tokens that replaced those of `generation`, if they may still be needed.
    pub(in crate::auth) fn of(
        &self,
        sid: &SessionId,
        generation: Generation,
        now: Timestamp,
    ) -> Option<Arc<Grant>> {
        let successor = self.0.get(sid)?;
        let is_newer = successor.grant.jwt.generation > generation;
        (is_newer && now < successor.ends_at).then(|| Arc::clone(&successor.grant))
    }

    /// The tokens that replaced those of `generation` within the grace period. Without a call to the
    /// store it is known that this is no reuse: their first use cannot be longer ago. For an older
    /// generation it can.
    pub(in crate::auth) fn recent(
        &self,
        sid: &SessionId,
        generation: Generation,
        now: Timestamp,
    ) -> Option<Arc<Grant>> {
        let successor = self.0.get(sid)?;
        let is_next = successor.grant.jwt.generation == generation.next();
        let is_recent = now.since(successor.refreshed_at) <= GRACE;
        (is_next && is_recent).then(|| Arc::clone(&successor.grant))
    }

    /// A browser has the tokens of `generation`: they are needed for the grace period only.
    pub(in crate::auth) fn confirmed(
        &self,
        sid: &SessionId,
        generation: Generation,
        now: Timestamp,
    ) {
        let Some(successor) = self.0.get(sid) else {
            return;
        };
        if successor.grant.jwt.generation <= generation && now.plus(GRACE) < successor.ends_at {
            let confirmed = Successor {
                app: Arc::clone(&successor.app),
                grant: Arc::clone(&successor.grant),
                refreshed_at: successor.refreshed_at,
                ends_at: now.plus(GRACE),
            };
            self.0.insert(sid.clone(), Arc::new(confirmed));
        }
    }

    /// The session is over.
    pub(in crate::auth) fn remove(&self, sid: &SessionId) {
        self.0.remove(sid);
    }

    /// All that may still be needed.
    pub(in crate::auth) fn all(&self, now: Timestamp) -> Vec<Arc<Successor>> {
        let all = self.0.iter().map(|(_, successor)| successor);
        all.filter(|successor| now < successor.ends_at).collect()
    }

    /// The number of successors.
    pub(in crate::auth) fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops those that are not needed any more.
    pub(in crate::auth) fn sweep(&self, now: Timestamp) {
        self.0.retain(|_, successor| now < successor.ends_at);
    }
}
