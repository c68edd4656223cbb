//! Rotation states of sessions in the store, and the newest tokens, sealed, until a request confirms
//! that the client has them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::random;
use crate::auth::refresh::lease::{Holder, Lease, end_of_lease};
use crate::auth::refresh::rotation::{GRACE, Rotation};
use crate::auth::refresh::rotation_record::RotationRecord;
use crate::session::grant::Grant;
use crate::store::{Claim, Claimed, Store, StoreError};
use crate::types::oauth::{Generation, SessionId};
use crate::types::time::Timestamp;

/// The length of the tag of a stored successor.
const TAG_LEN: usize = 8;

/// A state with more parts than this is written anew as one.
const MAX_PARTS: usize = 16;

/// How long a memory store keeps the note that a session is over: as long as a refresh of it may be
/// in flight. The revocation of the session is kept until the absolute timeout.
const ENDED_RETENTION: Duration = Duration::from_secs(600);

/// The rotation states of one app.
pub(in crate::auth) struct Rotations<'a> {
    context: &'a Arc<Context>,
    app: &'a AppAuth,
}

/// The stored state of a session's rotation.
#[derive(Default)]
pub(in crate::auth) struct StoredRotation {
    /// `None`: the session was never refreshed, or the store has forgotten it.
    pub rotation: Option<Rotation>,
    /// The newest tokens, if they are still stored.
    pub successor: Option<Grant>,
}

/// The result of [`Rotations::claim`].
pub(in crate::auth) enum ClaimedRotation {
    /// This replica has the lease. The state was read after that.
    Taken(Lease, StoredRotation),
    /// Another holds it.
    Held(StoredRotation),
}

/// The newest tokens, as they are stored: their generation, by which they are confirmed, and sealed.
pub(in crate::auth) struct StoredSuccessor {
    bytes: Bytes,
    pub grant: Grant,
}

impl<'a> Rotations<'a> {
    /// The rotation states of `app`.
    pub(in crate::auth) const fn new(context: &'a Arc<Context>, app: &'a AppAuth) -> Self {
        Self { context, app }
    }

    fn store(&self) -> &'a dyn Store {
        &*self.context.stores.sessions
    }

    /// Takes the refresh lease of a session, to refresh `generation`, and reads its state, in one
    /// round trip if possible. A lease whose holder has stored its result is taken over.
    pub(in crate::auth) async fn claim(
        &self,
        sid: &SessionId,
        generation: Generation,
        now: Timestamp,
    ) -> Result<ClaimedRotation, StoreError> {
        let holder = Holder::new(generation)?;
        let lease_key = self.key("refresh", sid);
        let [rotation_key, successor_key] = [self.key("rotation", sid), self.key("successor", sid)];
        let claim = Claim {
            key: &lease_key,
            value: holder.bytes(),
            ends_at: end_of_lease(now),
        };
        let keys = [rotation_key.as_str(), successor_key.as_str()];
        let context = || Arc::clone(self.context);
        let claimed = self.store().claim(claim, keys, now).await;
        let Claimed {
            holder: other,
            others: [rotation, successor],
        } = claimed.inspect_err(|_| {
            Lease::release_uncertain(context(), lease_key.clone(), holder.clone());
        })?;
        let rotation = rotation.map(|bytes| self.read_record(&rotation_key, &bytes).rotation);
        let successor = successor.and_then(|bytes| self.open_successor(sid, bytes));
        let stored = StoredRotation::new(rotation, successor.map(|stored| stored.grant));
        let is_taken = match other {
            None => true,
            Some(other) => {
                self.take_over(&lease_key, &other, &holder, &stored, now)
                    .await?
            }
        };
        if !is_taken {
            return Ok(ClaimedRotation::Held(stored));
        }
        let lease = Lease::taken(context(), lease_key, holder);
        Ok(ClaimedRotation::Taken(lease, stored))
    }

    async fn take_over(
        &self,
        key: &str,
        other: &Bytes,
        holder: &Holder,
        stored: &StoredRotation,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let newest = stored.rotation.as_ref().map(|rotation| rotation.newest);
        let is_done = newest.is_some_and(|newest| Holder::stored(other.clone()).is_done(newest));
        if !is_done {
            return Ok(false);
        }
        let ends_at = end_of_lease(now);
        self.store()
            .compare_and_swap(key, other, holder.bytes(), ends_at, now)
            .await
    }

    /// The newest tokens of `sid`, if they are still stored.
    pub(in crate::auth) async fn stored_successor(
        &self,
        sid: &SessionId,
        now: Timestamp,
    ) -> Result<Option<StoredSuccessor>, StoreError> {
        let key = self.key("successor", sid);
        let bytes = self.store().get(&key, now).await?;
        Ok(bytes.and_then(|bytes| self.open_successor(sid, bytes)))
    }

    fn open_successor(&self, sid: &SessionId, bytes: Bytes) -> Option<StoredSuccessor> {
        let key = self.key("successor", sid);
        let open = |sealed: &[u8]| self.app.seals.stored.open_at(&key, sealed);
        // Earlier versions stored no tag.
        let (grant, _) = open(bytes.get(TAG_LEN..)?).or_else(|| open(&bytes))?;
        (grant.jwt.sid == *sid).then_some(StoredSuccessor { bytes, grant })
    }

    /// Stores `grant` as the successor until it is confirmed, at most for the idle timeout. From
    /// then on no replica sends the token that it replaces.
    pub(in crate::auth) async fn put_successor(
        &self,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = self.key("successor", &grant.jwt.sid);
        let sealed = self.seal_successor(&key, grant)?;
        self.store()
            .put(&key, sealed, self.end_of_successor(now), now)
            .await
    }

    /// Stores `grant` again until `ends_at`, if the store has forgotten it and has no newer one.
    /// Returns whether it had.
    pub(in crate::auth) async fn restore_successor(
        &self,
        grant: &Grant,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let restored = self.put_newer_successor(grant, ends_at, now).await?;
        if restored {
            let rotation = Rotation {
                newest: grant.jwt.generation,
                ..Rotation::default()
            };
            let (sid, started_at) = (&grant.jwt.sid, grant.jwt.started_at);
            self.note(sid, &rotation, started_at, now).await?;
        }
        Ok(restored)
    }

    /// Stores `grant` as the successor until `ends_at`, unless the store has the same or a newer one.
    /// Returns whether it was stored.
    pub(in crate::auth) async fn put_newer_successor(
        &self,
        grant: &Grant,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let sid = &grant.jwt.sid;
        let key = self.key("successor", sid);
        let sealed = self.seal_successor(&key, grant)?;
        let existing = self
            .store()
            .put_if_absent(&key, sealed.clone(), ends_at, now)
            .await?;
        match existing.map(|existing| self.open_successor(sid, existing)) {
            None => Ok(true),
            Some(Some(existing)) if existing.grant.jwt.generation < grant.jwt.generation => {
                let before = &existing.bytes;
                self.store()
                    .compare_and_swap(&key, before, sealed, ends_at, now)
                    .await
            }
            Some(_) => Ok(false),
        }
    }

    /// When a successor expires that nobody confirms.
    pub(in crate::auth) fn end_of_successor(&self, now: Timestamp) -> Timestamp {
        now.plus(self.app.app.limits.idle)
    }

    fn seal_successor(&self, key: &str, grant: &Grant) -> Result<Bytes, StoreError> {
        let sealed = random::bytes()
            .ok()
            .and_then(|nonce| self.app.seals.stored.seal_at(key, grant, nonce));
        let tag = tag_of(grant.jwt.generation);
        let bytes = sealed.map(|sealed| Bytes::from(tag + &sealed));
        bytes.ok_or_else(no_randomness)
    }

    /// Adds `rotation` to the stored state and returns the result. Atomic and in one round trip:
    /// parts are appended, and merged by the readers.
    pub(in crate::auth) async fn note(
        &self,
        sid: &SessionId,
        rotation: &Rotation,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotation, StoreError> {
        let key = self.key("rotation", sid);
        let until = self.kept_until(rotation, started_at, now);
        let seal = &self.app.seals.rotation;
        let part = RotationRecord::part(seal, &key, rotation).ok_or_else(no_randomness)?;
        let whole = self.store().append(&key, part, until, now).await?;
        let RotationRecord {
            rotation: merged,
            parts,
        } = self.read_record(&key, &whole);
        let ends_earlier = self.kept_until(&merged, started_at, now) < until;
        if (parts > MAX_PARTS || ends_earlier)
            && let Some(one) = RotationRecord::part(seal, &key, &merged)
        {
            let until = self.kept_until(&merged, started_at, now);
            // If it fails or another replica is faster, the next one does it.
            let _ = self
                .store()
                .compare_and_swap(&key, &whole, one, until, now)
                .await;
        }
        Ok(merged)
    }

    /// Until when a state is kept. A memory store soon frees that of an ended session: if the
    /// process loses the revocation, it loses the store too.
    fn kept_until(&self, rotation: &Rotation, started_at: Timestamp, now: Timestamp) -> Timestamp {
        let until = started_at.plus(self.app.app.limits.absolute);
        if rotation.ended && self.store().held().is_some() {
            until.min(now.plus(ENDED_RETENTION))
        } else {
            until
        }
    }

    fn read_record(&self, key: &str, bytes: &[u8]) -> RotationRecord {
        RotationRecord::read(&self.app.seals.rotation, key, bytes)
    }

    /// Marks the session as ended and returns its newest tokens, if they are still stored.
    pub(in crate::auth) async fn end(
        &self,
        sid: &SessionId,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Grant>, StoreError> {
        let ended = Rotation {
            ended: true,
            ..Rotation::default()
        };
        self.note(sid, &ended, started_at, now).await?;
        // Read after the mark: a successor that is stored later sees the mark.
        let Some(stored) = self.stored_successor(sid, now).await? else {
            return Ok(None);
        };
        // Nobody gets these tokens any more.
        let key = self.key("successor", sid);
        self.store().remove(&key, &stored.bytes, now).await?;
        Ok(Some(stored.grant))
    }

    /// Records that the client has `generation`, and lets the successor expire after the grace
    /// period. Two concurrent calls: one round trip.
    pub(in crate::auth) async fn confirm(
        &self,
        sid: &SessionId,
        generation: Generation,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let confirmed = Rotation {
            newest: generation,
            confirmed: vec![(generation, now)],
            ..Rotation::default()
        };
        let noted = self.note(sid, &confirmed, started_at, now);
        // A newer successor, which no client may have yet, has another tag and keeps its lifetime.
        let [key, tag] = [self.key("successor", sid), tag_of(generation)];
        let ends_at = now.plus(GRACE);
        let expired = self.store().expire(&key, tag.as_bytes(), ends_at, now);
        tokio::try_join!(noted, expired)?;
        Ok(())
    }

    /// The store key of a session's entry of this kind.
    fn key(&self, kind: &str, sid: &SessionId) -> String {
        format!("{kind}/{}/{sid}", self.app.app.name)
    }
}

impl StoredRotation {
    fn new(mut rotation: Option<Rotation>, successor: Option<Grant>) -> Self {
        if let Some(grant) = &successor {
            // The successor is stored before the state.
            let rotation = rotation.get_or_insert_default();
            rotation.newest = rotation.newest.max(grant.jwt.generation);
        }
        Self {
            rotation,
            successor,
        }
    }
}

/// The prefix of a stored successor of this generation. It is not authenticated: it decides when
/// the entry expires, and nothing else.
fn tag_of(generation: Generation) -> String {
    format!("{:08x}", generation.number())
}

fn no_randomness() -> StoreError {
    StoreError::Unavailable("no randomness".to_owned())
}
