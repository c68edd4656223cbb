//! Process environment: the limit of open files, and notifications to systemd (`sd_notify(3)`).

use std::time::Duration;

use rlimit::Resource;
use sd_notify::NotifyState;
use tokio::time::sleep;

/// File descriptors for other uses than client and upstream connections.
const OTHER_DESCRIPTORS: u64 = 100;

/// Raises the soft limit of open files to the hard limit, and warns if that is too low for
/// `max_connections` with an upstream connection each.
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

/// Reports that all listeners are open.
pub(super) fn tell_ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Reports that a reload has begun. [`tell_ready`] ends it.
pub(super) fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "sd_notify_failed"),
    }
}

/// Reports that the shutdown has begun. `status` describes its stage.
pub(super) fn tell_stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Sends watchdog notifications while `all_workers_alive`, at half of `WatchdogSec=`.
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

/// Does nothing without systemd. A failure is only logged.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "sd_notify_failed");
    }
}
