//! What the store knows of a session that was refreshed: how far it was rotated, and the newest tokens, sealed,
//! until a request has shown that the browser has them.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::auth::app::AppAuth;
use crate::auth::{Auth, random};
use crate::session::grant::Grant;
use crate::store::{Store, StoreError};
use crate::types::oauth::{Generation, SessionId};
use crate::types::time::Timestamp;

/// How long after a new generation was seen requests of the one before are still answered with it.
pub(in crate::auth) const GRACE: Duration = Duration::from_secs(30);

/// How often a change is begun anew because somebody else changed the same.
const TRIES: usize = 16;

/// How many confirmed generations are remembered.
const REMEMBERED: usize = 8;

/// How far a session was rotated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::auth) struct Rotation {
    /// The newest generation there is.
    pub newest: Generation,
    /// Which generations were seen in a request, and when first.
    pub confirmed: Vec<(Generation, Timestamp)>,
    /// The session is over: what a refresh under way brings is of no use to it.
    pub ended: bool,
}

/// What a refresh token of one generation may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum TokenStatus {
    /// It is the newest: it may be sent to the provider.
    Current,
    /// It was replaced, and may be answered with the newest.
    Superseded,
    /// It was replaced, and the browser has had the newer one for too long to still send it.
    Replayed,
}

impl Rotation {
    /// Where `generation` stands at `now`.
    pub(in crate::auth) fn status(&self, generation: Generation, now: Timestamp) -> TokenStatus {
        if generation >= self.newest {
            return TokenStatus::Current;
        }
        let newer_seen = self
            .confirmed
            .iter()
            .filter(|(activity, _)| *activity > generation)
            .map(|(_, at)| *at)
            .min();
        match newer_seen {
            Some(at) if now.since(at) > GRACE => TokenStatus::Replayed,
            Some(_) | None => TokenStatus::Superseded,
        }
    }

    /// Whether a request brought a generation after this one.
    pub(in crate::auth) fn is_confirmed_after(&self, generation: Generation) -> bool {
        self.confirmed
            .iter()
            .any(|(activity, _)| *activity > generation)
    }

    /// Takes in what another knows: neither loses a confirmation, and the newest never goes back.
    fn take_in(&mut self, other: &Self) {
        self.newest = self.newest.max(other.newest);
        self.ended |= other.ended;
        for (generation, at) in &other.confirmed {
            self.confirm(*generation, *at);
        }
    }

    /// Notes that a request brought `generation`. Says whether that was new.
    pub(in crate::auth) fn confirm(&mut self, generation: Generation, now: Timestamp) -> bool {
        if generation > self.newest
            || self
                .confirmed
                .iter()
                .any(|(activity, _)| *activity == generation)
        {
            return false;
        }
        if self.confirmed.len() >= REMEMBERED {
            self.confirmed.remove(0);
        }
        self.confirmed.push((generation, now));
        true
    }
}

/// Reads and writes rotations of one app's sessions.
pub(in crate::auth) struct Rotations<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// The app.
    pub app: &'a AppAuth,
}

impl Auth {
    pub(in crate::auth) fn rotations<'a>(&'a self, app: &'a AppAuth) -> Rotations<'a> {
        Rotations {
            store: &*self.stores.sessions,
            app,
        }
    }
}

impl Rotations<'_> {
    /// The rotation of `sid`, if it was ever refreshed, and its newest tokens, if they are still kept.
    pub(in crate::auth) async fn get(
        &self,
        sid: &SessionId,
        now: Timestamp,
    ) -> Result<(Option<Rotation>, Option<Grant>), StoreError> {
        let stored = self.store.get(&self.key("rotation", sid), now).await?;
        let mut rotation = stored.and_then(|bytes| postcard::from_bytes::<Rotation>(&bytes).ok());
        let successor = self.successor(sid, now).await?;
        if let Some(grant) = &successor {
            // Who wrote it may have died before the line about it.
            let rotation = rotation.get_or_insert_default();
            rotation.newest = rotation.newest.max(grant.jwt.generation);
        }
        Ok((rotation, successor))
    }

    /// The newest tokens of `sid`, if they are still kept.
    pub(in crate::auth) async fn successor(
        &self,
        sid: &SessionId,
        now: Timestamp,
    ) -> Result<Option<Grant>, StoreError> {
        let key = self.key("successor", sid);
        let sealed = self.store.get(&key, now).await?;
        let opened = sealed.and_then(|sealed| self.app.seals.stored.open_at(&key, &sealed));
        Ok(opened
            .map(|(grant, _)| grant)
            .filter(|grant| grant.jwt.sid == *sid))
    }

    /// Keeps `grant` as the successor until it is confirmed, at most as long as an unused session lasts.
    /// The rotation as it is then: by somebody else's word the session may be over.
    pub(in crate::auth) async fn put(
        &self,
        rotation: &Rotation,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Rotation, StoreError> {
        let sid = &grant.jwt.sid;
        let key = self.key("successor", sid);
        let sealed = random::bytes()
            .ok()
            .and_then(|nonce| self.app.seals.stored.seal_at(&key, grant, nonce));
        let sealed = sealed
            .ok_or_else(|| StoreError::Unavailable("the system gives no randomness".to_owned()))?;
        let until = now.plus(self.app.app.limits.idle);
        self.store
            .put(&key, Bytes::from(sealed), until, now)
            .await?;
        self.note(sid, rotation, grant.jwt.started_at, now).await
    }

    /// Notes what is known of the rotation, beside what was noted before, and says what that amounts to.
    pub(in crate::auth) async fn note(
        &self,
        sid: &SessionId,
        rotation: &Rotation,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotation, StoreError> {
        let mut noted = Rotation::default();
        self.change(sid, started_at, now, |stored| {
            let mut next = stored.unwrap_or_default();
            next.take_in(rotation);
            noted.clone_from(&next);
            Some(next)
        })
        .await?;
        Ok(noted)
    }

    /// Notes that the session is over, and returns the newest tokens that it had, if they are still kept.
    pub(in crate::auth) async fn end(
        &self,
        sid: &SessionId,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Grant>, StoreError> {
        self.note(
            sid,
            &Rotation {
                ended: true,
                ..Rotation::default()
            },
            started_at,
            now,
        )
        .await?;
        // After the note: whoever stores a successor later than this reads the note.
        self.successor(sid, now).await
    }

    /// Notes that the browser has `generation`, and lets the successor end after the grace period.
    pub(in crate::auth) async fn confirm(
        &self,
        sid: &SessionId,
        generation: Generation,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut is_newest = false;
        self.change(sid, started_at, now, |stored| {
            let mut next = stored?;
            let is_news = next.confirm(generation, now);
            is_newest = is_news && generation == next.newest;
            is_news.then_some(next)
        })
        .await?;
        let key = self.key("successor", sid);
        if is_newest && let Some(sealed) = self.store.get(&key, now).await? {
            // Not if it is another by now: then there is a newer one, which nobody has yet.
            self.store
                .compare_and_swap(&key, &sealed, sealed.clone(), now.plus(GRACE), now)
                .await?;
        }
        Ok(())
    }

    /// As one step: others confirm while a refresh lands, and neither may undo what the other wrote.
    async fn change(
        &self,
        sid: &SessionId,
        started_at: Timestamp,
        now: Timestamp,
        mut change: impl FnMut(Option<Rotation>) -> Option<Rotation>,
    ) -> Result<(), StoreError> {
        let (key, until) = (
            self.key("rotation", sid),
            started_at.plus(self.app.app.limits.absolute),
        );
        for _ in 0..TRIES {
            let stored = self.store.get(&key, now).await?;
            let read = stored
                .as_ref()
                .and_then(|bytes| postcard::from_bytes(bytes).ok());
            let Some(next) = change(read).and_then(|next| postcard::to_allocvec(&next).ok()) else {
                return Ok(());
            };
            let done = match &stored {
                Some(before) => {
                    self.store
                        .compare_and_swap(&key, before, next.into(), until, now)
                        .await?
                }
                None => self
                    .store
                    .put_if_absent(&key, next.into(), until, now)
                    .await?
                    .is_none(),
            };
            if done {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable(format!(
            "others changed `{key}` {TRIES} times in a row"
        )))
    }

    /// What the store calls something of one session.
    pub(in crate::auth) fn key(&self, kind: &str, sid: &SessionId) -> String {
        format!("{kind}/{}/{sid}", self.app.app.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_replaced_token_is_answered_until_the_newer_one_was_seen_and_the_grace_is_over() {
        let (first, second) = (Generation::FIRST, Generation::FIRST.next());
        let mut rotation = Rotation {
            newest: second,
            ..Rotation::default()
        };
        assert_eq!(rotation.status(second, at(0)), TokenStatus::Current);
        assert_eq!(rotation.status(first, at(100_000)), TokenStatus::Superseded);
        assert!(rotation.confirm(second, at(100)));
        assert!(!rotation.confirm(second, at(120)));
        assert_eq!(rotation.status(first, at(130)), TokenStatus::Superseded);
        assert_eq!(rotation.status(first, at(131)), TokenStatus::Replayed);
    }

    #[test]
    fn two_quick_rotations_do_not_look_like_theft() {
        let (first, third) = (Generation::FIRST, Generation::FIRST.next().next());
        let mut rotation = Rotation {
            newest: third,
            ..Rotation::default()
        };
        rotation.confirm(Generation::FIRST.next(), at(100));
        assert_eq!(rotation.status(first, at(110)), TokenStatus::Superseded);
        assert_eq!(
            rotation.status(Generation::FIRST.next(), at(500)),
            TokenStatus::Superseded
        );
        assert_eq!(rotation.status(first, at(131)), TokenStatus::Replayed);
    }

    #[test]
    fn a_confirmation_and_a_refresh_that_lands_meanwhile_undo_nothing_of_each_other() {
        let (first, second, third) = (
            Generation::FIRST,
            Generation::FIRST.next(),
            Generation::FIRST.next().next(),
        );
        let mut stored = Rotation {
            newest: third,
            confirmed: vec![(second, at(5)), (third, at(7))],
            ..Rotation::default()
        };
        let other = Rotation {
            newest: second,
            confirmed: vec![(first, at(1)), (second, at(9))],
            ended: true,
        };
        stored.take_in(&other);
        assert!(stored.ended);
        assert_eq!(stored.newest, third);
        assert_eq!(
            stored.confirmed,
            [(second, at(5)), (third, at(7)), (first, at(1))]
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut newest = Generation::FIRST;
        let mut rotation = Rotation::default();
        for _ in 0..100 {
            newest = newest.next();
            rotation.newest = newest;
            assert!(rotation.confirm(newest, at(0)));
        }
        assert_eq!(rotation.confirmed.len(), REMEMBERED);
    }
}
