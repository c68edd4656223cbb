//! The process among others: what the system lets it have, and what whoever manages it is told (`sd_notify(3)`).

use std::time::Duration;

use rlimit::Resource;
use sd_notify::NotifyState;
use tokio::time::sleep;

/// Descriptors beside those of connections: listeners, log, timers, the provider, the store.
const OTHER_DESCRIPTORS: u64 = 100;

/// Lets the process open as many files as it may at all, and says so where that is not enough for `max_connections`,
/// each of which may take a second one to a backend.
pub(super) fn raise_descriptor_limit(max_connections: usize) {
    let raised = rlimit::getrlimit(Resource::NOFILE).and_then(|(soft, hard)| {
        rlimit::setrlimit(Resource::NOFILE, hard, hard)?;
        Ok((soft, hard))
    });
    let most = match raised {
        Ok((soft, hard)) => {
            if soft != hard {
                tracing::info!(from = soft, to = hard, "descriptor_limit_raised");
            }
            hard
        }
        Err(error) => {
            tracing::warn!(%error, "descriptor_limit_not_raised");
            rlimit::getrlimit(Resource::NOFILE).map_or(0, |(soft, _)| soft)
        }
    };
    let needed = u64::try_from(max_connections)
        .unwrap_or(u64::MAX)
        .saturating_mul(2)
        .saturating_add(OTHER_DESCRIPTORS);
    if needed > most {
        tracing::warn!(most, needed, max_connections, "descriptors_too_few");
    }
}

/// Everything is served.
pub(super) fn tell_ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The end has begun; `doing` says how far it is.
pub(super) fn tell_stopping(doing: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(doing)]);
}

/// Shows the service manager that `all_workers_alive` still holds, as often as it wants (`WatchdogSec=`), until this is dropped.
pub(super) async fn keep_alive(all_workers_alive: impl Fn() -> bool) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| *limit > Duration::ZERO) else {
        return std::future::pending().await;
    };
    loop {
        if all_workers_alive() {
            tell(&[NotifyState::Watchdog]);
        }
        sleep(limit / 2).await;
    }
}

/// Nobody need listen; where somebody does and cannot be told, that is worth a line and no more.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "sd_notify_failed");
    }
}
