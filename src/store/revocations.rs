//! Sessions that were ended before their time. On the way of a request this is a snapshot that is only read;
//! a revocation makes a new one. Nothing is ever evicted: at the limit all sessions that began before now are ended
//! instead, at the app that has the most revocations, so that one app's flood costs no other its sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::types::oauth::{AppName, SessionId};
use crate::types::time::Timestamp;

/// How many recent revocations are copied with each new one before they are merged into the rest.
const RECENT: usize = 256;

/// The revocations of one process.
#[derive(Debug)]
pub struct Revocations {
    snapshot: ArcSwap<RevokedSet>,
    writing: Mutex<()>,
    max_entries: usize,
}

/// What was revoked, at one moment.
#[derive(Clone, Debug, Default)]
pub struct RevokedSet {
    settled: Arc<HashMap<SessionId, Entry>>,
    recent: HashMap<SessionId, Entry>,
    not_before: HashMap<AppName, Timestamp>,
}

#[derive(Clone, Debug)]
struct Entry {
    app: AppName,
    ends_at: Timestamp,
}

impl RevokedSet {
    /// Whether a session of `app` that began at `started_at` was ended.
    pub fn contains(&self, app: &AppName, sid: &SessionId, started_at: Timestamp) -> bool {
        (!self.recent.is_empty() && self.recent.contains_key(sid))
            || (!self.settled.is_empty() && self.settled.contains_key(sid))
            || self.not_before.get(app).is_some_and(|not_before| started_at <= *not_before)
    }

    /// How many sessions are named.
    pub fn len(&self) -> usize {
        self.recent.len() + self.settled.len()
    }

    /// Whether nothing was revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.not_before.is_empty()
    }
}

impl Revocations {
    /// None yet, and at most `max_entries` to be named one by one.
    pub fn new(max_entries: usize) -> Self {
        Self { snapshot: ArcSwap::default(), writing: Mutex::new(()), max_entries }
    }

    /// What is revoked now.
    pub fn snapshot(&self) -> Arc<RevokedSet> {
        self.snapshot.load_full()
    }

    /// Ends session `sid` of `app`. `ends_at` is when the session would have ended by itself.
    pub fn revoke(&self, app: &AppName, sid: &SessionId, ends_at: Timestamp, now: Timestamp) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = RevokedSet::clone(&self.snapshot.load());
        next.recent.insert(sid.clone(), Entry { app: app.clone(), ends_at });
        if next.recent.len() > RECENT || next.len() > self.max_entries {
            self.settle(&mut next, now);
        }
        self.snapshot.store(Arc::new(next));
    }

    fn settle(&self, set: &mut RevokedSet, now: Timestamp) {
        let mut settled = HashMap::clone(&set.settled);
        settled.extend(set.recent.drain());
        settled.retain(|_, entry| now < entry.ends_at);
        if settled.len() > self.max_entries
            && let Some(app) = app_of_most(&settled)
        {
            settled.retain(|_, entry| entry.app != app);
            set.not_before.insert(app, now);
        }
        set.settled = Arc::new(settled);
    }
}

fn app_of_most(entries: &HashMap<SessionId, Entry>) -> Option<AppName> {
    let mut counts: HashMap<&AppName, usize> = HashMap::new();
    for entry in entries.values() {
        *counts.entry(&entry.app).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(app, _)| app.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn what_was_revoked_stays_so_for_the_life_of_the_session() {
        let revocations = Revocations::new(10_000);
        let app = AppName::new("store");
        for number in 0..1000 {
            revocations.revoke(&app, &SessionId::new(number.to_string()), at(100), at(1));
        }
        let set = revocations.snapshot();
        assert!((0..1000).all(|number| set.contains(&app, &SessionId::new(number.to_string()), at(0))));
        assert!(!set.contains(&app, &SessionId::new("other"), at(0)));
    }

    #[test]
    fn the_flood_of_one_app_ends_no_session_of_another() {
        let revocations = Revocations::new(10);
        let (store, forum) = (AppName::new("store"), AppName::new("forum"));
        for number in 0..10 {
            revocations.revoke(&forum, &SessionId::new(format!("f{number}")), at(100), at(1));
        }
        revocations.revoke(&store, &SessionId::new("s"), at(100), at(2));
        let set = revocations.snapshot();
        assert!(set.contains(&store, &SessionId::new("s"), at(0)));
        assert!(!set.contains(&store, &SessionId::new("other"), at(0)));
        assert!((0..10).all(|number| set.contains(&forum, &SessionId::new(format!("f{number}")), at(0))));
    }

    #[test]
    fn at_the_limit_all_older_sessions_of_the_app_end_and_no_other_is_forgotten() {
        let revocations = Revocations::new(3);
        let (store, forum) = (AppName::new("store"), AppName::new("forum"));
        revocations.revoke(&forum, &SessionId::new("f"), at(100), at(1));
        for number in 0..5 {
            revocations.revoke(&store, &SessionId::new(number.to_string()), at(100), at(2));
        }
        let set = revocations.snapshot();
        assert!((0..5).all(|number| set.contains(&store, &SessionId::new(number.to_string()), at(2))));
        assert!(set.contains(&store, &SessionId::new("any"), at(2)));
        assert!(!set.contains(&store, &SessionId::new("later"), at(3)));
        assert!(set.contains(&forum, &SessionId::new("f"), at(1)));
        assert!(!set.contains(&forum, &SessionId::new("g"), at(1)));
    }
}
