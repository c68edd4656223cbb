//! The entries of revocations in memory, and which sessions they concern.

use std::time::Duration;

use super::SessionKeyRef;
use super::event::Block;
use crate::store::StoreTime;
use crate::types::time::Timestamp;

/// The greatest difference between the clocks of replicas. A session that started longer before a
/// revocation by these clocks is revoked, even if the clock of the store was set back meanwhile.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// A session whose ID was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RevokedSession {
    /// When it had started at the latest, by the clocks of replicas.
    pub(super) started_until: Timestamp,
    /// When it was revoked, by the time of the store.
    pub(super) order: Option<StoreTime>,
    /// When it would expire.
    pub(super) ends_at: Timestamp,
}

/// The revoked sessions of a user, or of all users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which sessions are revoked.
    pub(super) bound: Bound,
    /// When the last revoked session would expire.
    pub(super) ends_at: Timestamp,
    /// Until when a user may start no session.
    pub(super) block: Option<Block>,
}

/// The latest start of revoked sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bound {
    /// By the clocks of replicas, for sessions that the store did not time.
    pub(super) started_until: Timestamp,
    /// By the time of the store, for sessions that it timed.
    pub(super) order: Option<StoreTime>,
    /// The latest of the revocations that the store did not time.
    pub(super) unordered_until: Option<Timestamp>,
}

impl Bound {
    pub(super) fn new(started_until: Timestamp, order: Option<StoreTime>) -> Self {
        Self {
            started_until,
            order,
            unordered_until: order.is_none().then_some(started_until),
        }
    }

    /// Whether a session started early enough.
    pub(super) fn covers(&self, session: &SessionKeyRef<'_>) -> bool {
        let by_clock = |until| session.started_at <= until;
        match (self.order, session.order) {
            (Some(until), Some(start)) => {
                start <= until
                    || self.unordered_until.is_some_and(by_clock)
                    || session.started_at.plus(MAX_CLOCK_DIFFERENCE) < self.started_until
            }
            (None, _) | (_, None) => by_clock(self.started_until),
        }
    }

    /// A bound that covers what either covers.
    #[must_use]
    pub(super) fn merge(self, other: Self) -> Self {
        Self {
            started_until: self.started_until.max(other.started_until),
            order: self.order.max(other.order),
            unordered_until: self.unordered_until.max(other.unordered_until),
        }
    }
}

impl RevokedSession {
    /// Its revocation as one of all sessions that had started before.
    pub(super) fn as_entry(self) -> Entry {
        Entry {
            bound: Bound::new(self.started_until, self.order),
            ends_at: self.ends_at,
            block: None,
        }
    }
}

impl Entry {
    /// The revoked sessions of a user, or of all users.
    pub(super) const fn of_users(bound: Bound, ends_at: Timestamp, block: Option<Block>) -> Self {
        Self {
            bound,
            ends_at,
            block,
        }
    }

    /// Whether sessions of the user or of all are revoked that started when this one did.
    pub(super) fn covers(&self, session: &SessionKeyRef<'_>) -> bool {
        self.bound.covers(session) || self.blocks(session.started_at)
    }

    /// Whether no session may start at this time.
    pub(super) fn blocks(&self, start: Timestamp) -> bool {
        self.block.is_some_and(|block| start < block.until)
    }

    /// Both revocations of a user, or of all.
    #[must_use]
    pub(super) fn merge(self, other: Self) -> Self {
        Self {
            bound: self.bound.merge(other.bound),
            ends_at: self.ends_at.max(other.ends_at),
            block: Block::last(self.block, other.block),
        }
    }
}
