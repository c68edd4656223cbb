//! The generations of recent sessions in this process: which is the newest, so that a
//! late response does not bring back an older one and no consumed token is sent, and which a browser
//! has confirmed. It does not depend on the store, which may forget.

use quick_cache::sync::Cache;

use crate::auth::context::MAX_CACHED_SESSIONS;
use crate::auth::refresh::rotation::Rotation;
use crate::auth::refresh::successors::Successors;
use crate::types::oauth::{Generation, SessionId};
use crate::types::time::Timestamp;

/// Newest generations by session, and their tokens until they are confirmed.
pub(in crate::auth) struct NewestGenerations {
    known: Cache<SessionId, Known>,
    /// The tokens of sessions that this process refreshed.
    pub(in crate::auth) successors: Successors,
}

#[derive(Clone, Copy, Default)]
struct Known {
    newest: Generation,
    /// The newest generation that came in a request, and when it came first.
    confirmed: Option<(Generation, Timestamp)>,
}

impl Default for NewestGenerations {
    fn default() -> Self {
        Self {
            known: Cache::new(MAX_CACHED_SESSIONS),
            successors: Successors::default(),
        }
    }
}

impl NewestGenerations {
    /// Records the result of a refresh.
    pub(in crate::auth) fn set(&self, sid: &SessionId, generation: Generation) {
        let known = self.known.get(sid).unwrap_or_default();
        let newest = known.newest.max(generation);
        self.known.insert(sid.clone(), Known { newest, ..known });
    }

    /// Records that a request carried `generation`. Returns whether that is new: another worker may
    /// have seen it.
    pub(in crate::auth) fn confirm(
        &self,
        sid: &SessionId,
        generation: Generation,
        now: Timestamp,
    ) -> bool {
        let known = self.known.get(sid).unwrap_or_default();
        if known
            .confirmed
            .is_some_and(|(confirmed, _)| confirmed == generation)
        {
            return false;
        }
        let is_newest = generation >= known.newest;
        if is_newest {
            let known = Known {
                newest: generation,
                confirmed: Some((generation, now)),
            };
            self.known.insert(sid.clone(), known);
            self.successors.confirmed(sid, generation, now);
        }
        true
    }

    /// The store could not be told of a confirmation: the next request is told to do it.
    pub(in crate::auth) fn forget_confirmation(&self, sid: &SessionId, generation: Generation) {
        if let Some(known) = self.known.get(sid)
            && known
                .confirmed
                .is_some_and(|(confirmed, _)| confirmed == generation)
        {
            let known = Known {
                confirmed: None,
                ..known
            };
            self.known.insert(sid.clone(), known);
        }
    }

    /// Whether a newer generation than this one is known.
    pub(in crate::auth) fn is_newer_known(&self, sid: &SessionId, generation: Generation) -> bool {
        self.known
            .get(sid)
            .is_some_and(|known| known.newest > generation)
    }

    /// The known state of the session's rotation.
    pub(in crate::auth) fn rotation(&self, sid: &SessionId) -> Rotation {
        let Known { newest, confirmed } = self.known.get(sid).unwrap_or_default();
        Rotation {
            newest,
            confirmed: confirmed.into_iter().collect(),
            ..Rotation::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(5);

    #[test]
    fn knowledge_never_goes_back() {
        let (generations, sid) = (NewestGenerations::default(), SessionId::new("sid"));
        let (first, second) = (Generation::FIRST.next(), Generation::FIRST.next().next());
        generations.set(&sid, second);
        generations.set(&sid, first);
        assert!(generations.is_newer_known(&sid, first));
        assert!(!generations.is_newer_known(&sid, second));
        assert!(generations.confirm(&sid, first, NOW), "the store is told");
        assert!(generations.rotation(&sid).confirmed.is_empty());
        assert!(generations.confirm(&sid, second, NOW));
        assert!(!generations.confirm(&sid, second, NOW));
        let rotation = generations.rotation(&sid);
        assert_eq!(rotation.newest, second);
        assert_eq!(rotation.confirmed, [(second, NOW)]);
        generations.forget_confirmation(&sid, second);
        assert!(generations.confirm(&sid, second, NOW), "it is told again");
    }
}
