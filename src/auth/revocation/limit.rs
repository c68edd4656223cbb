//! Logs what happens near and at the limit of revocations (`max_revoked`).

use std::sync::atomic::{AtomicBool, Ordering};

use crate::auth::app::AppAuth;
use crate::store::{RevocationChanges, Shrunk};

/// Which apps are near the limit, by index.
#[derive(Debug)]
pub(super) struct LimitWatch(Vec<AtomicBool>);

impl LimitWatch {
    pub(super) fn new(apps: usize) -> Self {
        Self((0..apps).map(|_| AtomicBool::new(false)).collect())
    }

    /// Logs once that an app has reached 80 % of its limit, and each time that revocations were
    /// merged.
    pub(super) fn check(&self, index: Option<usize>, app: &AppAuth, changes: &RevocationChanges) {
        let (name, max) = (&app.app.name, app.revocations.max_entries());
        let count = app.revocations.snapshot().len();
        let is_near = count.saturating_mul(5) >= max.saturating_mul(4);
        let is_far = count.saturating_mul(10) < max.saturating_mul(7);
        let Some(was_near) = index.and_then(|index| self.0.get(index)) else {
            return;
        };
        if is_near && !was_near.swap(true, Ordering::Relaxed) {
            tracing::warn!(app = %name, count, max, "revocations_near_limit");
        } else if is_far {
            was_near.store(false, Ordering::Relaxed);
        }
        let Some(Shrunk {
            users,
            sessions,
            everyone_until,
        }) = changes.shrunk
        else {
            return;
        };
        if users > 0 {
            tracing::warn!(app = %name, users, sessions, "revocations_merged_by_user");
        }
        if let Some(started_until) = everyone_until {
            tracing::error!(app = %name, max, %started_until, "revocations_overflowed");
        }
    }
}
