//! Writes the result of a refresh to the store: the successor while requests wait, the rest after
//! they have the result.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::refresh::generations::NewestGenerations;
use crate::auth::refresh::lease::Lease;
use crate::auth::refresh::outcome::{Refreshed, is_revoked};
use crate::auth::refresh::revoke::SessionRevoker;
use crate::auth::refresh::rotation::Rotation;
use crate::auth::refresh::rotations::Rotations;
use crate::auth::session_validity::key_of_jwt;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::validity::NoSessionReason;
use crate::store::StoreError;

/// Retry interval and timeout for writing a result to the store.
const WRITE_RETRY_INTERVAL: Duration = Duration::from_millis(500);
const WRITE_TIMEOUT: Duration = Duration::from_secs(90);

/// The result of a refresh, and what is left to write to the store.
pub(in crate::auth) struct Renewal {
    pub(in crate::auth) refreshed: Refreshed,
    pub(in crate::auth) pending: Option<PendingWrite>,
}

impl From<Refreshed> for Renewal {
    fn from(refreshed: Refreshed) -> Self {
        Self {
            refreshed,
            pending: None,
        }
    }
}

/// A result that is not stored in full. The lease is kept until it is.
pub(in crate::auth) struct PendingWrite {
    rotation: Rotation,
    grant: Arc<Grant>,
    lease: Option<Lease>,
    /// Whether the store has the successor. The state may follow after the waiters have the result.
    has_successor: bool,
    /// Whether the session is over, and its new token was revoked.
    is_over: bool,
}

impl PendingWrite {
    pub(super) const fn new(rotation: Rotation, grant: Arc<Grant>, lease: Option<Lease>) -> Self {
        Self {
            rotation,
            grant,
            lease,
            has_successor: false,
            is_over: false,
        }
    }
}

/// Writes results. Clones share their state.
#[derive(Clone)]
pub(super) struct ResultWriter {
    context: Arc<Context>,
    revoker: SessionRevoker,
    generations: Arc<NewestGenerations>,
}

impl ResultWriter {
    pub(super) const fn new(
        context: Arc<Context>,
        revoker: SessionRevoker,
        generations: Arc<NewestGenerations>,
    ) -> Self {
        Self {
            context,
            revoker,
            generations,
        }
    }

    /// Stores the successor in `pending`. Returns `refreshed`, unless the session was revoked
    /// meanwhile. The state is left to [`Self::finish`], since nobody has to wait for it.
    pub(super) async fn store(
        &self,
        app: &Arc<AppAuth>,
        used: &RefreshGrant,
        mut pending: PendingWrite,
        refreshed: Refreshed,
    ) -> Renewal {
        let grant = Arc::clone(&pending.grant);
        let now = self.context.now();
        pending.rotation.newest = grant.jwt.generation;
        self.generations.set(&used.sid, grant.jwt.generation);
        self.generations
            .successors
            .hold(app, Arc::clone(&grant), now);
        let rotations = Rotations::new(&self.context, app);
        match rotations.put_successor(&grant, now).await {
            Ok(()) => pending.has_successor = true,
            Err(error) => {
                tracing::debug!(app = %app.app.name, session = %used.sid.log_name(), %error, "rotated_token_write_failed");
            }
        }
        let mut refreshed = refreshed;
        // A logout here during the provider call found the old token only.
        if is_revoked(app, used, Some(&grant.jwt)) {
            self.generations.successors.remove(&used.sid);
            self.revoker.revoke_token_of(app, &grant, &used.token).await;
            pending.is_over = true;
            refreshed = Refreshed::SessionOver(NoSessionReason::Revoked);
        }
        Renewal {
            refreshed,
            pending: Some(pending),
        }
    }

    /// Writes the state too, if the store accepts it at once.
    pub(super) async fn try_complete(&self, app: &AppAuth, renewal: Renewal) -> Renewal {
        let Renewal { refreshed, pending } = renewal;
        let Some(mut pending) = pending else {
            return refreshed.into();
        };
        if !pending.has_successor || self.try_finish(app, &mut pending).await.is_err() {
            let pending = Some(pending);
            return Renewal { refreshed, pending };
        }
        if let Some(lease) = pending.lease {
            lease.release().await;
        }
        refreshed.into()
    }

    /// Writes what is left of a result, for as long as the store does not accept it.
    pub(super) async fn finish(&self, app: &AppAuth, mut pending: PendingWrite) {
        let sid = pending.grant.jwt.sid.clone();
        let was_late = !pending.has_successor;
        let deadline = Instant::now() + WRITE_TIMEOUT;
        while let Err(error) = self.try_finish(app, &mut pending).await {
            if Instant::now() >= deadline {
                // Clients that have the new cookies continue. The others get them from this process.
                tracing::error!(app = %app.app.name, session = %sid.log_name(), "rotated_token_lost");
                return;
            }
            tracing::debug!(app = %app.app.name, session = %sid.log_name(), %error, "rotated_token_write_failed");
            sleep(WRITE_RETRY_INTERVAL).await;
        }
        if was_late {
            tracing::info!(app = %app.app.name, session = %sid.log_name(), "rotated_token_stored_late");
        }
        if let Some(lease) = pending.lease {
            lease.release().await;
        }
    }

    async fn try_finish(
        &self,
        app: &AppAuth,
        pending: &mut PendingWrite,
    ) -> Result<(), StoreError> {
        let PendingWrite {
            rotation, grant, ..
        } = &*pending;
        let (sid, started_at) = (&grant.jwt.sid, grant.jwt.started_at);
        let rotations = Rotations::new(&self.context, app);
        if !pending.has_successor {
            let now = self.context.now();
            let ends_at = rotations.end_of_successor(now);
            // The first write may have succeeded, and another replica may have continued from it.
            rotations.put_newer_successor(grant, ends_at, now).await?;
        }
        let noted = rotations.note(sid, rotation, started_at, self.context.now());
        // A logout at another replica during the provider call found the old token only. A later one
        // finds the new token. A logout here may have failed to note the end in the store.
        let is_ended = noted.await?.ended;
        let is_over = is_ended || app.revocations.snapshot().contains(key_of_jwt(&grant.jwt));
        if let (true, false, Some(refresh)) = (is_over, pending.is_over, &grant.refresh) {
            self.generations.successors.remove(sid);
            self.revoker.revoke_token(app, &refresh.token).await;
        }
        pending.has_successor = true;
        Ok(())
    }
}
