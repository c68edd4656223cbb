//! The last proof of each device-bound session that this process has seen, for the streams of the session:
//! they carry no proof themselves. The proofs of other replicas are seen with the next request.

use quick_cache::sync::Cache;

use crate::auth::context::MAX_CACHED_SESSIONS;
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// The last proofs of recent sessions.
pub(in crate::auth) struct SeenProofs(Cache<SessionId, Timestamp>);

impl Default for SeenProofs {
    fn default() -> Self {
        Self(Cache::new(MAX_CACHED_SESSIONS))
    }
}

impl SeenProofs {
    /// The session was proven at this time.
    pub(in crate::auth) fn record(&self, sid: &SessionId, proven_at: Timestamp) {
        if self.last(sid).is_none_or(|last| last < proven_at) {
            self.0.insert(sid.clone(), proven_at);
        }
    }

    /// When the session was last proven.
    pub(in crate::auth) fn last(&self, sid: &SessionId) -> Option<Timestamp> {
        self.0.get(sid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_proof_counts_in_any_order() {
        let seen = SeenProofs::default();
        let sid = SessionId::new("own");
        assert_eq!(seen.last(&sid), None);
        for (recorded, last) in [(7, 7), (5, 7), (9, 9)] {
            seen.record(&sid, Timestamp::from_secs(recorded));
            assert_eq!(seen.last(&sid), Some(Timestamp::from_secs(last)));
        }
    }
}
