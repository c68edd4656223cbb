//! Watches the files of the configuration and reloads it when they change.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::reload::{Reloader, Trigger};
use crate::types::files::FileFingerprint;

/// How often the files are checked. A change counts once it is as old as that, so that files that
/// are written one after the other are read together.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Checks the files forever: those that the last attempt to load a configuration has read, so that
/// a repaired one is seen too.
pub(super) async fn watch_files(reloader: Arc<Reloader>) {
    let mut changed: Option<Vec<FileFingerprint>> = None;
    loop {
        sleep(CHECK_INTERVAL).await;
        if !reloader.current().config.server.watch_files {
            continue;
        }
        let inputs = reloader.attempted();
        let read = inputs.fingerprints_read();
        let Ok(now) = spawn_blocking(move || inputs.fingerprints()).await else {
            return;
        };
        if now == read {
            changed = None;
        } else if changed.as_ref() == Some(&now) {
            changed = None;
            // The outcome was logged.
            let _ = reloader.reload(Trigger::Files).await;
        } else {
            changed = Some(now);
        }
    }
}
