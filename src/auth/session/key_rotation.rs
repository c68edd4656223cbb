//! The end of a key rotation. A session sealed with a previous key is sealed again with the current
//! key in its next response. Sessions on previous keys are counted: at zero the key can be removed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::auth::app::AppAuth;
use crate::auth::context::{Context, MAX_CACHED_SESSIONS};
use crate::auth::session::open::{open_jwt, open_refresh};
use crate::lock::lock;
use crate::session::cookie::RequestCookies;
use crate::session::grant::Grant;
use crate::session::seal::KeyAge;
use crate::session::validity::{LiveSession, Session};
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// How long before its refresh window a session is not sealed again, so that an in-flight response
/// cannot replace newer tokens.
const BEFORE_REFRESH: Duration = Duration::from_secs(10);

/// Sessions last seen under a previous key, each until its idle timeout.
#[derive(Debug, Default)]
pub(in crate::auth) struct PreviousKeySessions {
    ends: Mutex<HashMap<SessionId, Timestamp>>,
    /// The number of entries. While it is zero, no lock is taken.
    count: AtomicUsize,
}

impl PreviousKeySessions {
    /// Records the key of a live session that would idle out at `ends_at`. Returns the new count if
    /// it changed.
    fn record(&self, sid: &SessionId, age: KeyAge, ends_at: Timestamp) -> Option<usize> {
        if age == KeyAge::Current && self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut ends = lock(&self.ends);
        match age {
            KeyAge::Old if ends.len() < MAX_CACHED_SESSIONS || ends.contains_key(sid) => {
                _ = ends.insert(sid.clone(), ends_at)
            }
            KeyAge::Old => {}
            KeyAge::Current => _ = ends.remove(sid),
        }
        self.changed(&ends)
    }

    /// Drops sessions past their idle timeout.
    fn sweep(&self, now: Timestamp) -> Option<usize> {
        let mut ends = lock(&self.ends);
        ends.retain(|_, ends_at| now < *ends_at);
        self.changed(&ends)
    }

    fn changed(&self, ends: &HashMap<SessionId, Timestamp>) -> Option<usize> {
        let count = ends.len();
        (self.count.swap(count, Ordering::Relaxed) != count).then_some(count)
    }
}

/// Counts the sessions on previous keys.
pub(in crate::auth) struct KeyRotation {
    context: Arc<Context>,
    sessions: Arc<PreviousKeySessions>,
}

impl KeyRotation {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        sessions: Arc<PreviousKeySessions>,
    ) -> Self {
        Self { context, sessions }
    }

    /// Records the key that sealed a live session.
    pub(in crate::auth) fn record(
        &self,
        app: &AppAuth,
        session: &Session,
        age: KeyAge,
        now: Timestamp,
    ) {
        let ends_at = now.plus(app.app.limits.idle);
        self.observe(self.sessions.record(&session.sid, age, ends_at));
    }

    /// Drops sessions on previous keys that timed out.
    pub(in crate::auth) fn sweep(&self, now: Timestamp) {
        self.observe(self.sessions.sweep(now));
    }

    fn observe(&self, changed: Option<usize>) {
        if let Some(count) = changed {
            self.context.observer.sessions_on_previous_keys(count);
        }
    }
}

/// The tokens of `live` in `request_cookies`, to be sealed again. `None`: one of them does not
/// decrypt, or a refresh is near.
pub(in crate::auth) fn to_reencrypt(
    app: &AppAuth,
    live: &LiveSession,
    request_cookies: &RequestCookies<'_>,
    now: Timestamp,
) -> Option<Grant> {
    let jwt = open_jwt(app, request_cookies)?;
    let refresh = open_refresh(app, request_cookies);
    let is_complete = match &refresh {
        Some(refresh) => refresh.sid == jwt.sid && refresh.generation == jwt.generation,
        None => !request_cookies.has(&app.app.cookies.refresh),
    };
    let is_steady = refresh.is_none() || !live.is_ageing(now.plus(BEFORE_REFRESH));
    (is_complete && is_steady).then_some(Grant {
        jwt,
        refresh,
        hint: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn session_counts_from_its_old_seal_to_its_new_one_or_its_end() {
        let sessions = PreviousKeySessions::default();
        let (alice, bob) = (SessionId::new("alice"), SessionId::new("bob"));
        assert_eq!(sessions.record(&alice, KeyAge::Current, at(10)), None);
        assert_eq!(sessions.record(&alice, KeyAge::Old, at(10)), Some(1));
        assert_eq!(sessions.record(&alice, KeyAge::Old, at(12)), None);
        assert_eq!(sessions.record(&bob, KeyAge::Old, at(20)), Some(2));
        assert_eq!(sessions.sweep(at(11)), None);
        assert_eq!(sessions.sweep(at(12)), Some(1));
        assert_eq!(sessions.record(&alice, KeyAge::Current, at(30)), None);
        assert_eq!(sessions.record(&bob, KeyAge::Current, at(30)), Some(0));
        assert_eq!(sessions.record(&bob, KeyAge::Current, at(30)), None);
    }

    #[test]
    fn number_of_counted_sessions_is_bounded() {
        let sessions = PreviousKeySessions::default();
        for number in 0..MAX_CACHED_SESSIONS + 10 {
            sessions.record(&SessionId::new(number.to_string()), KeyAge::Old, at(10));
        }
        assert_eq!(lock(&sessions.ends).len(), MAX_CACHED_SESSIONS);
        let changed = sessions.record(&SessionId::new("0"), KeyAge::Current, at(10));
        assert_eq!(changed, Some(MAX_CACHED_SESSIONS - 1));
    }
}
