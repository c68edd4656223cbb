//! Background tasks of a server. Each works in the configuration in use at the time.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::reload::Reloader;
use super::watch::watch_files;
use crate::admin::Admin;
use crate::auth::refresh::restore::SuccessorRestorer;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::downstream::{self, Drain};
use crate::runtime::BackgroundRuntime;
use crate::telemetry::health::Condition;
use crate::telemetry::metrics::Metrics;
use crate::worker::WorkerListener;

/// How often expired entries are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// How often the files that switch maintenance on are looked for.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// How often the session list is exchanged with other replicas.
const LIST_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is checked whether a report on certificates is due.
const REPORT_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// How long the start waits for the revocations that were published before. After that, requests
/// with a session are answered with 503 until they are known.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves the admin listener.
pub(super) fn serve_admin(
    runtime: &BackgroundRuntime,
    opened: WorkerListener,
    handler: Arc<Admin>,
    metrics: &Arc<Metrics>,
    drain: Drain,
) {
    let metrics = Arc::clone(metrics);
    runtime.supervise("admin_listener", move || {
        let opened = opened.try_clone();
        let (handler, metrics) = (Arc::clone(&handler), Arc::clone(&metrics));
        let drain = drain.clone();
        async move {
            let served = match opened {
                Ok(WorkerListener { listener, settings }) => {
                    downstream::serve(listener, settings, handler, metrics, drain).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!(%error, "admin_listener_failed");
            }
        }
    });
}

/// Starts the replication of revocations, and waits a limited time for those published before.
/// `ready` is met when they are known, or when the store does not answer.
pub(super) fn start_replication(reloader: &Arc<Reloader>, ready: Condition) {
    let runtime = &reloader.process().runtime;
    let revocations = reloader.current().auth.revocations.clone();
    revocations.begin_catch_up(ready);
    let listening = Arc::clone(reloader);
    runtime.supervise("revocation_replication", move || {
        let reloader = Arc::clone(&listening);
        RevocationReplicator::listen(move || reloader.current().auth.revocations.clone())
    });
    let restoring = Arc::clone(reloader);
    runtime.supervise("successor_restoration", move || {
        let reloader = Arc::clone(&restoring);
        SuccessorRestorer::run(move || reloader.current().auth.successor_restorer.clone())
    });
    let (sender, caught_up) = mpsc::channel();
    runtime.supervise("revocation_catch_up", move || {
        let (replicator, sender) = (revocations.clone(), sender.clone());
        async move {
            replicator.caught_up().await;
            // The receiver stops waiting after a while.
            let _ = sender.send(());
        }
    });
    // Not ready yet: `/readyz` says so.
    let _ = caught_up.recv_timeout(CATCH_UP_TIMEOUT);
}

/// Starts the refresh of provider metadata, the watches over files, reports on certificates, and the
/// removal of expired entries.
pub(super) fn start_periodic(reloader: &Arc<Reloader>) {
    let runtime = &reloader.process().runtime;
    reloader.current().start_tasks(reloader.process());
    let watched = Arc::clone(reloader);
    runtime.supervise("config_watch", move || watch_files(Arc::clone(&watched)));
    let switched = Arc::clone(reloader);
    runtime.supervise("maintenance_watch", move || {
        let reloader = Arc::clone(&switched);
        async move {
            loop {
                sleep(MAINTENANCE_INTERVAL).await;
                let maintenance = Arc::clone(&reloader.current().maintenance);
                if maintenance.has_files() {
                    // It panics only if the runtime ends.
                    let _ = spawn_blocking(move || maintenance.check_files()).await;
                }
            }
        }
    });
    let reported = Arc::clone(reloader);
    runtime.supervise("certificate_report", move || {
        let reloader = Arc::clone(&reported);
        async move {
            loop {
                sleep(REPORT_CHECK_INTERVAL).await;
                reloader.current().certificates.report_due();
            }
        }
    });
    let listed = Arc::clone(reloader);
    runtime.supervise("session_list_replication", move || {
        let reloader = Arc::clone(&listed);
        async move {
            loop {
                sleep(LIST_INTERVAL).await;
                let current = reloader.current();
                current.auth.session_list.replicate(&current.ring).await;
            }
        }
    });
    let swept = Arc::clone(reloader);
    runtime.supervise("sweep", move || {
        let reloader = Arc::clone(&swept);
        async move {
            loop {
                sleep(SWEEP_INTERVAL).await;
                reloader.current().auth.sweep();
            }
        }
    });
}
