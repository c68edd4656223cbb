//! Composition of the stores of a process.

use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::auth::Stores;
use crate::auth::revocation::replication::MAX_BLOCK;
use crate::config::{Config, StoreBackend};
use crate::store::{InstrumentedStore, LogLimits, Memory, Outbox, Redis, Store, StoreMetrics};
use crate::telemetry::metrics::Metrics;
use crate::types::time::Timestamp;

/// Limits of concurrent calls to a shared store: for sessions, login attempts and DPoP proofs.
const MAX_SESSION_CALLS: usize = 1024;
const MAX_LOGIN_CALLS: usize = 128;
const MAX_PROOF_CALLS: usize = 1024;

const MAX_LIST_CALLS: usize = 4;

/// The most entries in the log of the session list. Each has some sessions.
const MAX_LIST_ENTRIES: usize = 100_000;

/// How many log entries a store holds beyond twice the revocations. A replica compacts the log
/// before that.
const EXTRA_LOG_ENTRIES: usize = 10_000;

/// The most revocations that wait for a shared store.
const MAX_PENDING_REVOCATIONS: usize = 10_000;

/// The limits of the revocation log. They depend on the apps, so a reload may change them.
pub(super) fn log_limits(config: &Config) -> LogLimits {
    let registrations = config.apps.iter().map(|app| app.registrations.len());
    let revoked = config.store.max_revoked.saturating_mul(registrations.sum());
    let lifetimes = config.apps.iter().map(|app| app.policy.limits.absolute);
    let longest: Duration = lifetimes.max().unwrap_or_default();
    LogLimits {
        max_lifetime: longest.saturating_add(MAX_BLOCK),
        max_entries: revoked.saturating_mul(2).saturating_add(EXTRA_LOG_ENTRIES),
    }
}

/// The limits of the log of the session list: a session is published again while it is used, so older
/// entries say nothing.
fn list_limits(config: &Config) -> LogLimits {
    let idle = config.apps.iter().map(|app| app.policy.limits.idle);
    LogLimits {
        max_lifetime: idle.max().unwrap_or_default().saturating_mul(2),
        max_entries: MAX_LIST_ENTRIES,
    }
}

/// Separate stores, so that login attempts and DPoP proofs cannot displace the entries that sessions
/// need.
pub(super) fn stores(
    config: &Config,
    metrics: &Metrics,
    now: Timestamp,
) -> Result<Stores, StartError> {
    let store = &config.store;
    let store_metrics = StoreMetrics::new(metrics);
    let instrumented =
        |store: Arc<dyn Store>| Arc::new(InstrumentedStore::new(store, Arc::clone(&store_metrics)));
    let limits = log_limits(config);
    match &store.backend {
        StoreBackend::Memory => {
            let memory = || Memory::new(store.max_entries).with_log_limit(limits.max_entries);
            let sessions = match &store.journal_file {
                Some(file) => memory()
                    .with_journal(file, now)
                    .map_err(|error| StartError::Journal(file.clone(), error))?,
                None => memory(),
            };
            Ok(Stores {
                sessions: instrumented(Arc::new(sessions)),
                outbox: Arc::new(Outbox::new(MAX_PENDING_REVOCATIONS)),
                anonymous: instrumented(Arc::new(memory())),
                max_anonymous: store.max_entries,
                proofs: instrumented(Arc::new(memory())),
                login_proofs: instrumented(Arc::new(memory())),
                session_list: None,
            })
        }
        StoreBackend::Redis(settings) => {
            let outbox = Outbox::new(MAX_PENDING_REVOCATIONS);
            let outbox = match &store.journal_file {
                Some(file) => outbox
                    .with_journal(file, now)
                    .map_err(|error| StartError::Journal(file.clone(), error))?,
                None => outbox,
            };
            let sessions = Redis::new(settings, "sessions", MAX_SESSION_CALLS, limits)?;
            let anonymous =
                sessions.with_namespace(&settings.key_prefix, "logins", MAX_LOGIN_CALLS);
            let proofs = sessions.with_namespace(&settings.key_prefix, "proofs", MAX_PROOF_CALLS);
            let login_proofs =
                sessions.with_namespace(&settings.key_prefix, "login-proofs", MAX_LOGIN_CALLS);
            let session_list = sessions
                .with_namespace(&settings.key_prefix, "session-list", MAX_LIST_CALLS)
                .with_log_limits(list_limits(config));
            Ok(Stores {
                session_list: Some(instrumented(Arc::new(session_list))),
                sessions: instrumented(Arc::new(sessions)),
                outbox: Arc::new(outbox),
                anonymous: instrumented(Arc::new(anonymous)),
                max_anonymous: store.max_entries,
                proofs: instrumented(Arc::new(proofs)),
                login_proofs: instrumented(Arc::new(login_proofs)),
            })
        }
    }
}
