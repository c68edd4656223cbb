//! Changes of sessions that were recorded recently: each is recorded once, and few of each session, so
//! that no client can fill the audit log.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::auth::context::MAX_CACHED_SESSIONS;
use crate::types::oauth::SessionId;

/// How many changes of a session are recorded.
const MAX_OF_SESSION: usize = 16;

/// The recorded changes of recent sessions.
pub(in crate::auth) struct RecordedChanges<C>(Cache<SessionId, Arc<[C]>>);

impl<C> Default for RecordedChanges<C> {
    fn default() -> Self {
        Self(Cache::new(MAX_CACHED_SESSIONS))
    }
}

impl<C: Clone + PartialEq> RecordedChanges<C> {
    /// Adds a change of a session. False: it is known, or the session has had too many.
    pub(in crate::auth) fn add(&self, sid: &SessionId, change: &C) -> bool {
        let known = self.0.get(sid);
        let known = known.as_deref().unwrap_or_default();
        if known.contains(change) || known.len() >= MAX_OF_SESSION {
            return false;
        }
        let all = known.iter().chain([change]).cloned().collect();
        self.0.insert(sid.clone(), all);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_a_session_is_new_once_up_to_a_limit() {
        let recorded = RecordedChanges::default();
        let sid = SessionId::new("own");
        assert!(recorded.add(&sid, &0) && !recorded.add(&sid, &0));
        let added = (0..100).filter(|change| recorded.add(&sid, change)).count();
        assert_eq!(added, MAX_OF_SESSION - 1);
        assert!(recorded.add(&SessionId::new("other"), &0));
    }
}
