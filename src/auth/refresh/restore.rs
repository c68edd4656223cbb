//! Stores successors again after the store has lost its data: this process has the only copy of tokens
//! that no browser has confirmed.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::refresh::generations::NewestGenerations;
use crate::auth::refresh::rotations::Rotations;
use crate::auth::refresh::successors::Successor;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::auth::session_validity::key_of_jwt;
use crate::store::StoreError;

/// How many successors are stored at the same time.
const MAX_CALLS: usize = 64;

/// How soon those are tried again that the store did not take, and how often.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
const MAX_TRIES: usize = 120;

/// Stores successors again. Clones share their state.
#[derive(Clone)]
pub struct SuccessorRestorer {
    context: Arc<Context>,
    generations: Arc<NewestGenerations>,
    replicator: RevocationReplicator,
}

impl SuccessorRestorer {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        generations: Arc<NewestGenerations>,
        replicator: RevocationReplicator,
    ) -> Self {
        Self {
            context,
            generations,
            replicator,
        }
    }

    /// Waits for losses of the store forever. `current` returns the restorer of the configuration at
    /// the time.
    pub async fn run(current: impl Fn() -> Self) {
        let mut losses = current().replicator.losses();
        // An error means that the replicator is gone.
        while losses.changed().await.is_ok() {
            current().restore_all().await;
        }
    }

    async fn restore_all(&self) {
        let mut left = self.generations.successors.all(self.context.now());
        let mut restored = 0;
        for _ in 0..MAX_TRIES {
            let mut failed = Vec::new();
            let mut calls = JoinSet::new();
            for successor in left {
                while calls.len() >= MAX_CALLS {
                    count(calls.join_next().await, &mut restored, &mut failed);
                }
                calls.spawn(restore(Arc::clone(&self.context), successor));
            }
            while !calls.is_empty() {
                count(calls.join_next().await, &mut restored, &mut failed);
            }
            left = failed;
            if left.is_empty() {
                break;
            }
            sleep(RETRY_INTERVAL).await;
        }
        if restored > 0 || !left.is_empty() {
            tracing::info!(
                count = restored,
                failed = left.len(),
                "rotated_tokens_restored"
            );
        }
    }
}

/// A successor with the result of storing it again.
struct Restored {
    successor: Arc<Successor>,
    result: Result<bool, StoreError>,
}

async fn restore(context: Arc<Context>, successor: Arc<Successor>) -> Restored {
    let grant = &successor.grant;
    let is_revoked = |app: &AppAuth| app.revocations.snapshot().contains(key_of_jwt(&grant.jwt));
    // The keys may have changed since.
    let app = context.counterpart(&successor.app);
    let result = match app.filter(|app| !is_revoked(app)) {
        None => Ok(false),
        Some(app) => {
            let rotations = Rotations::new(&context, &app);
            let now = context.now();
            rotations
                .restore_successor(grant, successor.ends_at, now)
                .await
        }
    };
    Restored { successor, result }
}

/// Counts what was restored, and collects what is to be tried again.
fn count(
    joined: Option<Result<Restored, tokio::task::JoinError>>,
    restored: &mut usize,
    failed: &mut Vec<Arc<Successor>>,
) {
    let Some(Ok(Restored { successor, result })) = joined else {
        return;
    };
    match result {
        Ok(was_lost) => *restored += usize::from(was_lost),
        Err(error) => {
            tracing::debug!(%error, "rotated_token_write_failed");
            failed.push(successor);
        }
    }
}
