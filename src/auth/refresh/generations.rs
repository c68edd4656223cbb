//! The newest known generation of recent sessions in this process, so that a late response does not
//! bring back an older one.

use quick_cache::sync::Cache;

use crate::auth::context::MAX_CACHED_SESSIONS;
use crate::types::oauth::{Generation, SessionId};

/// Newest generations by session.
pub(in crate::auth) struct NewestGenerations(Cache<SessionId, Generation>);

impl Default for NewestGenerations {
    fn default() -> Self {
        Self(Cache::new(MAX_CACHED_SESSIONS))
    }
}

impl NewestGenerations {
    /// Records the result of a refresh.
    pub(in crate::auth) fn set(&self, sid: &SessionId, generation: Generation) {
        self.0.insert(sid.clone(), generation);
    }

    /// Records the generation of a request, unless a newer one is known.
    pub(in crate::auth) fn advance(&self, sid: &SessionId, generation: Generation) {
        if self.0.get(sid).is_none_or(|newest| newest < generation) {
            self.set(sid, generation);
        }
    }

    /// Whether a newer generation than this one is known.
    pub(in crate::auth) fn is_newer_known(&self, sid: &SessionId, generation: Generation) -> bool {
        self.0.get(sid).is_some_and(|newest| newest > generation)
    }
}
