//! Rotation state of a session in the store: its generations, and the newest tokens, sealed, until
//! a request confirms that the client has them.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::random;
use crate::auth::refresh::lease::Lease;
use crate::session::grant::Grant;
use crate::store::{Store, StoreError};
use crate::types::oauth::{Generation, SessionId};
use crate::types::time::{Clock, Timestamp};

/// How long a superseded refresh token is still accepted after its successor was confirmed.
pub(in crate::auth) const GRACE: Duration = Duration::from_secs(30);

/// How often a concurrent update is retried.
const MAX_ATTEMPTS: usize = 16;

/// How long a memory store keeps the note that a session is over: as long as a refresh of it may be
/// in flight. The revocation of the session is kept until the absolute timeout.
const ENDED_RETENTION: Duration = Duration::from_secs(600);

/// How many confirmed generations are kept. More than [`MAX_RECENT`], so that none within the grace
/// period is forgotten.
const MAX_CONFIRMED: usize = 16;

/// How many generations of a session may be confirmed within the grace period. While there are so
/// many, the session is not refreshed.
const MAX_RECENT: usize = 12;

/// The rotation state of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::auth) struct Rotation {
    /// The newest generation.
    pub newest: Generation,
    /// The confirmed generations, each with the time of its first request. Those at or below
    /// `floor` are left out.
    pub confirmed: Vec<(Generation, Timestamp)>,
    /// The session is over. The result of an in-flight refresh is discarded.
    pub ended: bool,
    /// A generation that was confirmed before the grace period: every older one is reuse.
    pub floor: Generation,
    /// The newest generation that the provider refused to refresh, for a reason that does not end
    /// the session.
    pub refused: Option<Generation>,
}

/// A [`Rotation`] as earlier versions stored it.
#[derive(Deserialize)]
struct OldRotation {
    newest: Generation,
    confirmed: Vec<(Generation, Timestamp)>,
    ended: bool,
}

/// What a refresh token of one generation may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum TokenStatus {
    /// The newest: it may be sent to the provider.
    Current,
    /// Replaced, and still exchanged for its successor.
    Superseded,
    /// Replaced, and its successor was confirmed longer ago than the grace period: reuse.
    Replayed,
}

impl Rotation {
    /// Decodes a stored state. `None`: it is unreadable.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let current = postcard::from_bytes(bytes).ok();
        current.or_else(|| {
            let old: OldRotation = postcard::from_bytes(bytes).ok()?;
            Some(Self {
                newest: old.newest,
                confirmed: old.confirmed,
                ended: old.ended,
                ..Self::default()
            })
        })
    }

    /// The status of `generation` at `now`.
    pub(in crate::auth) fn status(&self, generation: Generation, now: Timestamp) -> TokenStatus {
        if generation >= self.newest {
            return TokenStatus::Current;
        }
        let is_replayed = generation < self.floor
            || self
                .confirmed
                .iter()
                .any(|(confirmed, at)| *confirmed > generation && now.since(*at) > GRACE);
        if is_replayed {
            TokenStatus::Replayed
        } else {
            TokenStatus::Superseded
        }
    }

    /// Whether a generation after this one is confirmed.
    pub(in crate::auth) fn is_confirmed_after(&self, generation: Generation) -> bool {
        self.floor > generation
            || self
                .confirmed
                .iter()
                .any(|(confirmed, _)| *confirmed > generation)
    }

    /// Whether the session was refreshed so often within the grace period that it may not be
    /// refreshed again: the reuse of a token could no longer be recognized.
    pub(in crate::auth) fn is_too_frequent(&self, now: Timestamp) -> bool {
        let recent = self
            .confirmed
            .iter()
            .filter(|(_, at)| now.since(*at) <= GRACE);
        recent.count() >= MAX_RECENT
    }

    /// Whether the provider refused the last refresh of `generation`.
    pub(in crate::auth) fn was_refused(&self, generation: Generation) -> bool {
        self.refused.is_some_and(|refused| refused >= generation)
    }

    /// Merges another state: no confirmation is lost, and the newest generation never decreases.
    fn merge(&mut self, other: &Self) {
        self.newest = self.newest.max(other.newest);
        self.ended |= other.ended;
        self.refused = self.refused.max(other.refused);
        self.raise_floor(other.floor);
        for (generation, at) in &other.confirmed {
            self.confirm(*generation, *at);
        }
    }

    /// Records that a request carried `generation`. Returns whether that is new.
    pub(in crate::auth) fn confirm(&mut self, generation: Generation, now: Timestamp) -> bool {
        let is_known = |(confirmed, _): &(Generation, Timestamp)| *confirmed == generation;
        if generation > self.newest
            || (generation <= self.floor && self.floor > Generation::FIRST)
            || self.confirmed.iter().any(is_known)
        {
            return false;
        }
        self.confirmed.push((generation, now));
        let before_grace = self
            .confirmed
            .iter()
            .filter(|(_, at)| now.since(*at) > GRACE)
            .map(|(generation, _)| *generation)
            .max();
        if let Some(floor) = before_grace {
            self.raise_floor(floor);
        }
        // A forgotten generation counts as confirmed before the grace period.
        while self.confirmed.len() > MAX_CONFIRMED
            && let Some(oldest) = self
                .confirmed
                .iter()
                .map(|(generation, _)| *generation)
                .min()
        {
            self.raise_floor(oldest);
        }
        true
    }

    fn raise_floor(&mut self, floor: Generation) {
        if floor > self.floor {
            self.floor = floor;
        }
        let floor = self.floor;
        self.confirmed.retain(|(generation, _)| *generation > floor);
    }
}

/// The rotation states of one app.
pub(in crate::auth) struct Rotations<'a> {
    store: &'a dyn Store,
    app: &'a AppAuth,
}

/// What the store has of a session's rotation.
pub(in crate::auth) struct StoredRotation {
    /// `None`: the session was never refreshed.
    pub rotation: Option<Rotation>,
    /// The newest tokens, if they are still stored.
    pub successor: Option<Grant>,
}

impl<'a> Rotations<'a> {
    /// The rotation states of `app`.
    pub(in crate::auth) fn new(context: &'a Context, app: &'a AppAuth) -> Self {
        Self {
            store: &*context.stores.sessions,
            app,
        }
    }

    /// The rotation state of `sid`, if it was ever refreshed, and its newest tokens, if they are
    /// still stored.
    pub(in crate::auth) async fn get(
        &self,
        sid: &SessionId,
        now: Timestamp,
    ) -> Result<StoredRotation, StoreError> {
        let stored = self.store.get(&self.key("rotation", sid), now).await?;
        let mut rotation = stored.and_then(|bytes| Rotation::decode(&bytes));
        let successor = self.successor(sid, now).await?;
        if let Some(grant) = &successor {
            // A replica may have died between writing the successor and the state.
            let rotation = rotation.get_or_insert_default();
            rotation.newest = rotation.newest.max(grant.jwt.generation);
        }
        Ok(StoredRotation {
            rotation,
            successor,
        })
    }

    /// The newest tokens of `sid`, if they are still stored.
    pub(in crate::auth) async fn successor(
        &self,
        sid: &SessionId,
        now: Timestamp,
    ) -> Result<Option<Grant>, StoreError> {
        let key = self.key("successor", sid);
        let sealed = self.store.get(&key, now).await?;
        Ok(sealed.and_then(|sealed| self.open_successor(sid, &key, &sealed)))
    }

    fn open_successor(&self, sid: &SessionId, key: &str, sealed: &[u8]) -> Option<Grant> {
        let (grant, _) = self.app.seals.stored.open_at(key, sealed)?;
        (grant.jwt.sid == *sid).then_some(grant)
    }

    /// Stores `grant` as the successor until it is confirmed, at most for the idle timeout. Returns
    /// the merged state: another replica may have ended the session.
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
        let sealed = sealed.ok_or_else(|| StoreError::Unavailable("no randomness".to_owned()))?;
        let until = now.plus(self.app.app.limits.idle);
        self.store
            .put(&key, Bytes::from(sealed), until, now)
            .await?;
        self.note(sid, rotation, grant.jwt.started_at, now).await
    }

    /// Merges `rotation` into the stored state and returns the result.
    pub(in crate::auth) async fn note(
        &self,
        sid: &SessionId,
        rotation: &Rotation,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotation, StoreError> {
        let mut merged = Rotation::default();
        self.change(sid, started_at, now, |stored| {
            let mut next = stored.unwrap_or_default();
            next.merge(rotation);
            merged.clone_from(&next);
            Some(next)
        })
        .await?;
        Ok(merged)
    }

    /// Marks the session as ended and returns its newest tokens, if they are still stored.
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
        // Read after the mark: a successor that is stored later sees the mark.
        let key = self.key("successor", sid);
        let Some(sealed) = self.store.get(&key, now).await? else {
            return Ok(None);
        };
        let newest = self.open_successor(sid, &key, &sealed);
        // Nobody gets these tokens any more.
        self.store.remove(&key, &sealed, now).await?;
        Ok(newest)
    }

    /// Records that the client has `generation`, and lets the successor expire after the grace
    /// period.
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
            let is_new = next.confirm(generation, now);
            is_newest = is_new && generation == next.newest;
            is_new.then_some(next)
        })
        .await?;
        let key = self.key("successor", sid);
        if is_newest && let Some(sealed) = self.store.get(&key, now).await? {
            // A compare-and-swap: a newer successor, which no client has yet, keeps its lifetime.
            self.store
                .compare_and_swap(&key, &sealed, sealed.clone(), now.plus(GRACE), now)
                .await?;
        }
        Ok(())
    }

    /// Updates the state atomically by compare-and-swap. Confirmations and refreshes run
    /// concurrently.
    async fn change(
        &self,
        sid: &SessionId,
        started_at: Timestamp,
        now: Timestamp,
        mut change: impl FnMut(Option<Rotation>) -> Option<Rotation>,
    ) -> Result<(), StoreError> {
        let key = self.key("rotation", sid);
        for _ in 0..MAX_ATTEMPTS {
            let stored = self.store.get(&key, now).await?;
            let read = stored.as_ref().and_then(|bytes| Rotation::decode(bytes));
            let Some(next) = change(read) else {
                return Ok(());
            };
            let until = self.kept_until(&next, started_at, now);
            let Ok(next) = postcard::to_allocvec(&next) else {
                return Ok(());
            };
            let written = match &stored {
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
            if written {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable(format!(
            "`{key}` was changed concurrently {MAX_ATTEMPTS} times"
        )))
    }

    /// Until when a state is kept. A memory store soon frees that of an ended session: if the
    /// process loses the revocation, it loses the store too.
    fn kept_until(&self, rotation: &Rotation, started_at: Timestamp, now: Timestamp) -> Timestamp {
        let until = started_at.plus(self.app.app.limits.absolute);
        if rotation.ended && self.store.held().is_some() {
            until.min(now.plus(ENDED_RETENTION))
        } else {
            until
        }
    }

    /// Takes the refresh lease of a session. `None`: it is held.
    pub(in crate::auth) async fn lease(
        &self,
        sid: &SessionId,
        clock: &'a dyn Clock,
    ) -> Result<Option<Lease<'a>>, StoreError> {
        Lease::take(self.store, clock, self.key("refresh", sid)).await
    }

    /// The store key of a session's entry of this kind.
    fn key(&self, kind: &str, sid: &SessionId) -> String {
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
    fn superseded_token_is_replayed_after_grace() {
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
    fn two_quick_rotations_are_no_reuse() {
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
    fn merge_loses_no_confirmation_and_no_generation() {
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
            ..Rotation::default()
        };
        stored.merge(&other);
        assert!(stored.ended);
        assert_eq!(stored.newest, third);
        assert_eq!(
            stored.confirmed,
            [(second, at(5)), (third, at(7)), (first, at(1))]
        );
    }

    fn after(refreshes: u32) -> Generation {
        (0..refreshes).fold(Generation::FIRST, |generation, _| generation.next())
    }

    #[test]
    fn forgotten_generation_makes_older_tokens_replayed() {
        let mut rotation = Rotation::default();
        for refreshes in 1..=100 {
            rotation.newest = after(refreshes);
            assert!(rotation.confirm(after(refreshes), at(0)));
        }
        assert_eq!(rotation.confirmed.len(), MAX_CONFIRMED);
        assert_eq!(rotation.status(after(3), at(0)), TokenStatus::Replayed);
        assert!(rotation.is_confirmed_after(after(3)));
        assert!(
            !rotation.confirm(after(3), at(0)),
            "it is confirmed already"
        );
        assert_eq!(rotation.status(after(90), at(0)), TokenStatus::Superseded);
    }

    #[test]
    fn frequent_refreshes_do_not_hide_an_old_token() {
        let mut rotation = Rotation::default();
        for refreshes in 1..=40 {
            rotation.newest = after(refreshes);
            rotation.confirm(after(refreshes), at(u64::from(refreshes) * 3));
        }
        let now = at(120);
        assert_eq!(rotation.status(after(0), now), TokenStatus::Replayed);
        assert_eq!(rotation.status(after(28), now), TokenStatus::Replayed);
        assert_eq!(rotation.status(after(29), now), TokenStatus::Superseded);
    }

    #[test]
    fn refreshes_within_the_grace_period_are_limited() {
        let mut rotation = Rotation::default();
        for refreshes in 1..=12 {
            assert!(!rotation.is_too_frequent(at(5)), "{refreshes}");
            rotation.newest = after(refreshes);
            rotation.confirm(after(refreshes), at(5));
        }
        assert!(rotation.is_too_frequent(at(35)));
        assert!(!rotation.is_too_frequent(at(36)));
    }

    #[test]
    fn refusal_concerns_its_generation_only() {
        let mut rotation = Rotation::default();
        assert!(!rotation.was_refused(after(1)));
        rotation.merge(&Rotation {
            refused: Some(after(1)),
            ..Rotation::default()
        });
        assert!(rotation.was_refused(after(1)));
        assert!(!rotation.was_refused(after(2)));
    }

    #[test]
    fn state_of_earlier_version_is_decoded() {
        let old = (after(2), vec![(after(1), at(5))], true);
        let rotation = Rotation::decode(&postcard::to_allocvec(&old).unwrap()).unwrap();
        let expected = Rotation {
            newest: after(2),
            confirmed: vec![(after(1), at(5))],
            ended: true,
            ..Rotation::default()
        };
        assert_eq!(rotation, expected);
        let current = Rotation {
            floor: after(1),
            refused: Some(after(2)),
            ..expected
        };
        let bytes = postcard::to_allocvec(&current).unwrap();
        assert_eq!(Rotation::decode(&bytes), Some(current));
        assert_eq!(Rotation::decode(b""), None);
    }
}
