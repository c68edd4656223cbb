//! The end of a key rotation. A session sealed with a previous key is sealed again with the current
//! key in its next response. Sessions on previous keys are counted: at zero the key can be removed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::auth::Auth;
use crate::auth::app::AppAuth;
use crate::auth::session::authenticate::{open_jwt, open_refresh};
use crate::session::cookie::RequestCookies;
use crate::session::grant::Grant;
use crate::session::seal::KeyAge;
use crate::session::validity::{LiveSession, Session};
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// The maximum number of tracked sessions. More are not counted.
const MOST: usize = 50_000;

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
    fn see(&self, sid: &SessionId, age: KeyAge, ends_at: Timestamp) -> Option<usize> {
        if age == KeyAge::Current && self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut ends = self.lock();
        match age {
            KeyAge::Old if ends.len() < MOST || ends.contains_key(sid) => {
                _ = ends.insert(sid.clone(), ends_at)
            }
            KeyAge::Old => {}
            KeyAge::Current => _ = ends.remove(sid),
        }
        self.changed(&ends)
    }

    /// Drops sessions past their idle timeout.
    fn sweep(&self, now: Timestamp) -> Option<usize> {
        let mut ends = self.lock();
        ends.retain(|_, ends_at| now < *ends_at);
        self.changed(&ends)
    }

    fn changed(&self, ends: &HashMap<SessionId, Timestamp>) -> Option<usize> {
        let count = ends.len();
        (self.count.swap(count, Ordering::Relaxed) != count).then_some(count)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Timestamp>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Auth {
    /// Records the key that sealed a live session.
    pub(in crate::auth) fn note_key(
        &self,
        app: &AppAuth,
        session: &Session,
        age: KeyAge,
        now: Timestamp,
    ) {
        let changed = self
            .key_rotation
            .see(&session.sid, age, now.plus(app.app.limits.idle));
        self.tell_old_keys(changed);
    }

    /// Drops sessions on previous keys that timed out.
    pub(in crate::auth) fn sweep_old_keys(&self, now: Timestamp) {
        self.tell_old_keys(self.key_rotation.sweep(now));
    }

    fn tell_old_keys(&self, changed: Option<usize>) {
        if let Some(count) = changed {
            self.observer.sessions_on_previous_keys(count);
        }
    }

    /// The tokens of `live` in `request_cookies`, to be sealed again. `None`: one of them does not
    /// decrypt, or a refresh is near.
    pub(in crate::auth) fn to_reencrypt(
        &self,
        app: &AppAuth,
        live: &LiveSession,
        request_cookies: &RequestCookies<'_>,
        now: Timestamp,
    ) -> Option<Grant> {
        let (jwt, refresh) = (
            open_jwt(app, request_cookies)?,
            open_refresh(app, request_cookies),
        );
        let all_workers_alive = match &refresh {
            Some(refresh) => refresh.sid == jwt.sid && refresh.generation == jwt.generation,
            None => !request_cookies.has(&app.app.cookies.refresh),
        };
        let is_steady = refresh.is_none() || !live.is_ageing(now.plus(BEFORE_REFRESH));
        (all_workers_alive && is_steady).then_some(Grant {
            jwt,
            refresh,
            hint: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn sessions_are_counted_from_their_old_seal_to_their_new_one_or_their_end() {
        let (activity, alice, bob) = (
            PreviousKeySessions::default(),
            SessionId::new("alice"),
            SessionId::new("bob"),
        );
        assert_eq!(activity.see(&alice, KeyAge::Current, at(10)), None);
        assert_eq!(activity.see(&alice, KeyAge::Old, at(10)), Some(1));
        assert_eq!(activity.see(&alice, KeyAge::Old, at(12)), None);
        assert_eq!(activity.see(&bob, KeyAge::Old, at(20)), Some(2));
        assert_eq!(activity.sweep(at(11)), None);
        assert_eq!(activity.sweep(at(12)), Some(1));
        assert_eq!(activity.see(&alice, KeyAge::Current, at(30)), None);
        assert_eq!(activity.see(&bob, KeyAge::Current, at(30)), Some(0));
        assert_eq!(activity.see(&bob, KeyAge::Current, at(30)), None);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let activity = PreviousKeySessions::default();
        for number in 0..MOST + 10 {
            activity.see(&SessionId::new(number.to_string()), KeyAge::Old, at(10));
        }
        assert_eq!(activity.lock().len(), MOST);
        assert_eq!(
            activity.see(&SessionId::new("0"), KeyAge::Current, at(10)),
            Some(MOST - 1)
        );
    }
}
