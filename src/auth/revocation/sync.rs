//! How far the revocations of this process are synchronized with the log of the store.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::lock::lock;
use crate::store::Cursor;
use crate::telemetry::health::Condition;

/// How long refresh tokens are not sent after the store lost data or was unavailable for long: the
/// replicas publish again what they know, and store what they could not.
pub(super) const SETTLE_TIME: Duration = Duration::from_secs(2);

/// A shorter outage does not matter: leases outlive it.
const SHORT_OUTAGE: Duration = Duration::from_secs(5);

/// How far the revocations are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// The store does not answer, or has not for a while.
    Unsynced,
    /// The store answers, and this process reads what was published before it started.
    CatchingUp,
    /// All that was published is known.
    Synced,
}

/// The position in the log, and what it means.
#[derive(Debug)]
pub(super) struct SyncState {
    phase: AtomicU8,
    changed: watch::Sender<Phase>,
    ready: Mutex<Option<Condition>>,
    cursor: Mutex<Cursor>,
    outage: Mutex<Outage>,
}

#[derive(Debug, Default)]
struct Outage {
    since: Option<Instant>,
    /// When an outage ended that was not short.
    ended: Option<Instant>,
}

impl Default for SyncState {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Unsynced as u8),
            changed: watch::Sender::new(Phase::Unsynced),
            ready: Mutex::default(),
            cursor: Mutex::default(),
            outage: Mutex::default(),
        }
    }
}

impl SyncState {
    pub(super) fn is_synced(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Synced as u8
    }

    pub(super) fn is_catching_up(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::CatchingUp as u8
    }

    /// Enters the first phase. `ready` is met when it ends.
    pub(super) fn begin_catch_up(&self, ready: Condition) {
        *lock(&self.ready) = Some(ready);
        self.set(Phase::CatchingUp);
    }

    /// Returns whether the phase changed.
    pub(super) fn set(&self, phase: Phase) -> bool {
        let before = self.phase.swap(phase as u8, Ordering::AcqRel);
        self.changed.send_replace(phase);
        if phase != Phase::CatchingUp
            && let Some(ready) = lock(&self.ready).take()
        {
            ready.met();
        }
        before != phase as u8
    }

    /// Waits until the first phase has ended.
    pub(super) async fn caught_up(&self) {
        let mut phase = self.changed.subscribe();
        // An error cannot occur, because `self` holds the sender.
        let _ = phase.wait_for(|phase| *phase != Phase::CatchingUp).await;
    }

    pub(super) fn cursor(&self) -> Cursor {
        lock(&self.cursor).clone()
    }

    pub(super) fn set_cursor(&self, cursor: Cursor) {
        *lock(&self.cursor) = cursor;
    }

    /// The store does not answer.
    pub(super) fn outage_began(&self, now: Instant) {
        lock(&self.outage).since.get_or_insert(now);
    }

    /// The store answers.
    pub(super) fn outage_ended(&self, now: Instant) {
        let mut outage = lock(&self.outage);
        if let Some(since) = outage.since.take()
            && now.duration_since(since) >= SHORT_OUTAGE
        {
            outage.ended = Some(now);
        }
    }

    /// Whether replicas have had the time to store what they could not during an outage.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        let ended = lock(&self.outage).ended;
        ended.is_none_or(|ended| now.duration_since(ended) >= SETTLE_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::health::Health;

    #[tokio::test]
    async fn readiness_is_met_when_catch_up_ends() {
        for end in [Phase::Synced, Phase::Unsynced] {
            let (state, mut health) = (SyncState::default(), Health::new());
            state.begin_catch_up(health.condition("revocations"));
            assert!(state.is_catching_up() && !state.is_synced() && !health.is_ready());
            assert!(state.set(end));
            state.caught_up().await;
            assert!(health.is_ready() && !state.is_catching_up());
            assert!(!state.set(end), "no change");
        }
    }

    #[test]
    fn only_a_long_outage_has_to_settle() {
        let state = SyncState::default();
        let mut now = Instant::now();
        for (outage, settles) in [(SHORT_OUTAGE / 2, false), (SHORT_OUTAGE, true)] {
            state.outage_began(now);
            now += outage;
            state.outage_began(now);
            state.outage_ended(now);
            assert_eq!(!state.is_settled(now), settles, "{outage:?}");
            now += SETTLE_TIME;
            assert!(state.is_settled(now));
        }
    }
}
