//! Eviction at the limit of revocations: expired ones are removed, then the revoked sessions of
//! each user are merged into one revocation of the user, those with most sessions first. Only if
//! there are too many users, the oldest revocations are merged into one of all sessions that started
//! before them. So one user cannot end the sessions of others by logging in and out.

use std::collections::HashMap;

use super::entry::{Entry, RevokedSession};
use super::index::RevocationIndex;
use super::name_map::{Named, Part};
use super::{RevokedSet, add_user};
use crate::types::oauth::Issuer;
use crate::types::time::Timestamp;

/// How revocations were merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shrunk {
    /// The users whose revoked sessions were merged.
    pub users: usize,
    /// These sessions.
    pub sessions: usize,
    /// All sessions that started until then were revoked.
    pub everyone_until: Option<Timestamp>,
}

/// The revoked sessions of one user.
struct SessionsOfUser {
    /// The issuer, if that is not the app's own provider.
    issuer: Option<Issuer>,
    user: Box<str>,
    count: usize,
    merged: Entry,
}

impl RevokedSet {
    /// Merges revocations until there are at most nine tenths of `max_entries`, so that this happens
    /// seldom.
    pub(super) fn shrink(&mut self, max_entries: usize, now: Timestamp) -> Shrunk {
        let goal = max_entries - max_entries / 10;
        let mut shrunk = Shrunk::default();
        self.index
            .retain_in(&Part::ALL, |entry| now < entry.ends_at);
        if self.len() > goal {
            self.merge_users(goal, &mut shrunk);
        }
        if self.len() > goal {
            self.merge_oldest(goal, now, &mut shrunk);
        }
        shrunk
    }

    fn merge_users(&mut self, goal: usize, shrunk: &mut Shrunk) {
        let mut users = self.sessions_by_user();
        users.retain(|of_user| of_user.count > 1);
        users.sort_by_key(|of_user| std::cmp::Reverse(of_user.count));
        let mut left = self.len();
        let mut by_issuer: HashMap<Option<Issuer>, HashMap<Box<str>, Entry>> = HashMap::new();
        for of_user in users {
            if left <= goal {
                break;
            }
            left -= of_user.count - 1;
            shrunk.users += 1;
            shrunk.sessions += of_user.count;
            let merged = by_issuer.entry(of_user.issuer).or_default();
            merged.insert(of_user.user, of_user.merged);
        }
        for (issuer, merged) in by_issuer {
            self.replace_sessions(issuer.as_ref(), &merged);
        }
    }

    /// Replaces the revoked sessions of users by the entries of the users.
    fn replace_sessions(&mut self, issuer: Option<&Issuer>, merged: &HashMap<Box<str>, Entry>) {
        let stays = |session: Named<'_, RevokedSession>| !merged.contains_key(session.user);
        if issuer.is_none() {
            self.index.sessions.retain(stays);
        }
        let provider = self.index.provider_mut(issuer);
        provider.sessions.retain(stays);
        // Each is covered by the revocation of its user.
        let unnamed = &mut provider.unnamed;
        unnamed.retain(|user| !merged.contains_key(user.name));
        for (user, entry) in merged {
            add_user(&mut provider.users, user, *entry);
        }
    }

    fn sessions_by_user(&self) -> Vec<SessionsOfUser> {
        let RevocationIndex {
            sessions,
            own,
            others,
        } = &self.index;
        let mut users = by_user(None, sessions.iter().chain(own.sessions.iter()));
        for (issuer, provider) in others {
            let issuer = Some(Issuer::new(&**issuer));
            users.extend(by_user(issuer, provider.sessions.iter()));
        }
        users
    }

    /// Merges the oldest revocations into one of all sessions that started before them. Blocks of
    /// users stay.
    fn merge_oldest(&mut self, goal: usize, now: Timestamp, shrunk: &mut Shrunk) {
        let starts = self.index.entries().filter(|entry| !entry.blocks(now));
        let mut starts: Vec<_> = starts.map(|entry| entry.bound.started_until).collect();
        starts.sort_unstable();
        let excess = self.len().saturating_sub(goal / 2).max(1);
        let Some(until) = starts.get(excess - 1).or(starts.last()).copied() else {
            return;
        };
        let stays = |entry: &Entry| entry.bound.started_until > until || entry.blocks(now);
        let merged = self.index.entries().filter(|entry| !stays(entry));
        let merged = merged
            .map(|entry| Entry::of_users(entry.bound, entry.ends_at, None))
            .reduce(Entry::merge);
        self.index.retain_in(&Part::ALL, |entry| stays(&entry));
        if let Some(entry) = merged {
            shrunk.everyone_until = Some(until);
            self.add_everyone(entry);
        }
    }
}

/// The revoked sessions at one issuer by their user, if that is known.
fn by_user<'e>(
    issuer: Option<Issuer>,
    sessions: impl Iterator<Item = Named<'e, RevokedSession>>,
) -> Vec<SessionsOfUser> {
    let mut users: HashMap<&str, SessionsOfUser> = HashMap::new();
    for session in sessions {
        let user = session.user;
        if user.is_empty() {
            continue;
        }
        let entry = session.value.as_entry();
        users
            .entry(user)
            .and_modify(|of_user| {
                of_user.count += 1;
                of_user.merged = of_user.merged.merge(entry);
            })
            .or_insert_with(|| SessionsOfUser {
                issuer: issuer.clone(),
                user: user.into(),
                count: 1,
                merged: entry,
            });
    }
    users.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::{
        Block, ProviderRevocation, Revocation, RevocationEvent, Revocations, SessionKeyRef,
        StoreTime, UserSessions,
    };
    use crate::types::oauth::{ProviderSid, SessionId, Subject};

    const LIFE: Duration = Duration::from_secs(1000);

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// The revocation of a session that started at this time.
    fn session(number: usize, user: &str, started_at: u64) -> RevocationEvent {
        let (sid, user) = (SessionId::new(number.to_string()), Subject::new(user));
        RevocationEvent {
            order: Some(StoreTime::from_millis(started_at * 1000)),
            ..RevocationEvent::new(Revocation::Session(sid, user), at(started_at).plus(LIFE))
        }
    }

    fn is_revoked(revocations: &Revocations, sid: &str, user: &str, started_at: u64) -> bool {
        let (sid, subject) = (SessionId::new(sid), Subject::new(user));
        revocations.snapshot().contains(SessionKeyRef {
            issuer: None,
            sid: &sid,
            provider_sid: None,
            subject: &subject,
            started_at: at(started_at),
            order: Some(StoreTime::from_millis(started_at * 1000)),
            is_access_token: false,
        })
    }

    #[test]
    fn many_logouts_of_a_user_affect_no_other() {
        let revocations = Revocations::new(200, LIFE);
        revocations.revoke_all([session(1_000_000, "carol", 5)], at(5));
        for number in 0..5_000 {
            let started_at = 10 + number as u64 / 100;
            let changes =
                revocations.revoke_all([session(number, "mallory", started_at)], at(started_at));
            assert!(
                changes
                    .shrunk
                    .is_none_or(|shrunk| shrunk.everyone_until.is_none())
            );
            assert!(revocations.snapshot().len() <= 200);
        }
        assert!((0..5_000).all(|number| {
            is_revoked(
                &revocations,
                &number.to_string(),
                "mallory",
                10 + number / 100,
            )
        }));
        assert!(is_revoked(&revocations, "1000000", "carol", 5));
        assert!(!is_revoked(&revocations, "other", "carol", 5));
        assert!(!is_revoked(&revocations, "later", "mallory", 100));
    }

    #[test]
    fn provider_sessions_are_merged_by_user_of_each_issuer() {
        let (own, other) = (None, Some(Issuer::new("https://other.example")));
        for (revoking, unaffected) in [(&own, &other), (&other, &own)] {
            let revocations = Revocations::new(100, LIFE);
            let mut shrunk = Shrunk::default();
            for number in 0..500 {
                let revocation = Revocation::Provider(ProviderRevocation {
                    issuer: revoking.clone(),
                    sid: Some(ProviderSid::new(number.to_string())),
                    user: Some(UserSessions {
                        subject: Subject::new("mallory"),
                        started_until: at(20),
                    }),
                });
                let event = RevocationEvent::new(revocation, at(20).plus(LIFE));
                let changes = revocations.revoke_all([event], at(20));
                shrunk = changes.shrunk.unwrap_or(shrunk);
            }
            assert_eq!(shrunk.everyone_until, None, "{revoking:?}");
            let is_revoked = |issuer: &Option<Issuer>, user: &str, started_at| {
                revocations.snapshot().contains(SessionKeyRef {
                    issuer: issuer.as_ref(),
                    sid: &SessionId::new("any"),
                    provider_sid: None,
                    subject: &Subject::new(user),
                    started_at: at(started_at),
                    order: None,
                    is_access_token: true,
                })
            };
            assert!(is_revoked(revoking, "mallory", 20), "{revoking:?}");
            assert!(!is_revoked(revoking, "mallory", 21), "{revoking:?}");
            assert!(!is_revoked(revoking, "alice", 5), "{revoking:?}");
            assert!(!is_revoked(unaffected, "mallory", 20), "{revoking:?}");
        }
    }

    #[test]
    fn too_many_users_revoke_only_the_oldest_sessions_of_all() {
        let revocations = Revocations::new(100, LIFE);
        let mut shrunk = None;
        for number in 0..101 {
            let event = session(number, &format!("user {number}"), 1000 + number as u64);
            shrunk = revocations.revoke_all([event], at(1200)).shrunk.or(shrunk);
        }
        let until = shrunk.and_then(|shrunk| shrunk.everyone_until);
        let until = until.expect("merged").secs();
        assert!((1001..1100).contains(&until), "{until}");
        assert!((0..101).all(|number| {
            let (sid, user) = (number.to_string(), format!("user {number}"));
            is_revoked(&revocations, &sid, &user, 1000 + number)
        }));
        assert!(is_revoked(&revocations, "any", "alice", until));
        assert!(!is_revoked(&revocations, "any", "alice", until + 1));
    }

    #[test]
    fn blocks_outlive_the_limit() {
        let revocations = Revocations::new(10, LIFE);
        let block = Block {
            until: at(5000),
            given: StoreTime::from_millis(1_000_000),
        };
        let revocation = Revocation::User(Subject::new("mallory"), at(1000));
        revocations.revoke_all(
            [RevocationEvent {
                block: Some(block),
                ..RevocationEvent::new(revocation, at(5000).plus(LIFE))
            }],
            at(1000),
        );
        for number in 0..100 {
            let event = session(number, &format!("user {number}"), 1001 + number as u64);
            revocations.revoke_all([event], at(1200));
        }
        assert!(
            revocations
                .snapshot()
                .blocks(&Subject::new("mallory"), at(4999))
        );
        assert!(is_revoked(&revocations, "any", "mallory", 4999));
    }

    #[test]
    fn expired_revocations_make_room_first() {
        let revocations = Revocations::new(10, LIFE);
        for number in 0..10 {
            revocations.revoke_all([session(number, "alice", 5)], at(6));
        }
        let changes = revocations.revoke_all([session(10, "bob", 1500)], at(1500));
        assert_eq!(changes.shrunk, Some(Shrunk::default()));
        assert_eq!(revocations.snapshot().len(), 1);
    }
}
