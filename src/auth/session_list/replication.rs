//! Replicates the session list through a log of the store that is its own. Requests do not wait for
//! it: changes are published in batches, and what other replicas have published is read once a
//! second. Entries are AEAD-sealed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

use super::index::{EntryKey, Recorded};
use super::listed::{Holder, ListedClient, ListedSession, idle_slack};
use super::{Apps, SessionList, user_of};
use crate::auth::operator_command::deployment_seal;
use crate::auth::random;
use crate::lock::lock;
use crate::session::seal::{KeyRing, Purpose};
use crate::store::{Cursor, LogEntry, Store, StoreError};
use crate::types::oauth::{AppName, ProviderName, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;
use crate::types::trailing::absent_is_default;

/// The location that log entries are sealed for.
const SEAL_LOCATION: &str = "session list";

/// The most sessions that wait to be published. Others are published with their next activity.
const MAX_PENDING: usize = 10_000;

/// The most sessions that are published at once.
const MAX_PUBLISHED: usize = 2000;

/// The most bytes of the sessions of one entry, before it is sealed.
const MAX_BATCH_BYTES: usize = 8 * 1024;

/// How many entries are applied before other tasks of the background runtime run.
const APPLIED_AT_ONCE: usize = 16;

/// The sessions to publish, and those that were read.
#[derive(Debug, Default)]
pub(super) struct Replication {
    pending: Mutex<BTreeSet<EntryKey>>,
    cursor: Mutex<Cursor>,
    is_synced: AtomicBool,
    /// Names this process, once it is known.
    replica: AtomicU64,
}

/// The purpose of an entry of the log.
#[derive(Debug)]
pub(super) struct SealedSessionBatch;

impl Purpose for SealedSessionBatch {
    type Payload = SessionBatch;
    const NAME: &'static str = "listed sessions";
}

/// Sessions that one replica has seen.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionBatch {
    replica: u64,
    /// Each is an encoded [`SharedSession`], so that a later version can append fields.
    sessions: Vec<Vec<u8>>,
}

/// A session in the log. Append only: a field that a later version appends is marked with
/// `absent_is_default`.
#[derive(Serialize, Deserialize)]
struct SharedSession {
    sid: SessionId,
    subject: Subject,
    provider_sid: Option<ProviderSid>,
    app: AppName,
    label: Option<String>,
    site: String,
    provider: ProviderName,
    user: Option<String>,
    started_at: Timestamp,
    last_activity: Timestamp,
    idle_from: Timestamp,
    is_native: bool,
    program: Option<String>,
    network: Option<String>,
    #[serde(deserialize_with = "absent_is_default")]
    is_device_bound: bool,
}

impl From<ListedSession> for SharedSession {
    fn from(session: ListedSession) -> Self {
        Self {
            sid: session.sid,
            subject: session.subject,
            provider_sid: session.provider_sid,
            app: session.app,
            label: session.label,
            site: session.site,
            provider: session.provider,
            user: session.user,
            started_at: session.started_at,
            last_activity: session.last_activity,
            idle_from: session.idle_from,
            is_native: session.holder == Holder::NativeApp,
            program: session.client.program,
            network: session.client.network,
            is_device_bound: session.is_device_bound,
        }
    }
}

impl From<SharedSession> for ListedSession {
    fn from(shared: SharedSession) -> Self {
        Self {
            sid: shared.sid,
            subject: shared.subject,
            provider_sid: shared.provider_sid,
            app: shared.app,
            label: shared.label,
            site: shared.site,
            provider: shared.provider,
            user: shared.user,
            started_at: shared.started_at,
            last_activity: shared.last_activity,
            idle_from: shared.idle_from,
            holder: if shared.is_native {
                Holder::NativeApp
            } else {
                Holder::Browser
            },
            is_device_bound: shared.is_device_bound,
            client: ListedClient {
                program: shared.program,
                network: shared.network,
            },
            published: Timestamp::default(),
            is_of_replica: true,
        }
    }
}

impl Replication {
    /// Publishes a session soon, or with its next activity if too many wait.
    pub(super) fn enqueue(&self, key: EntryKey) {
        let mut pending = lock(&self.pending);
        if pending.len() < MAX_PENDING {
            pending.insert(key);
        }
    }

    fn take(&self) -> Vec<EntryKey> {
        let mut pending = lock(&self.pending);
        let keys: Vec<EntryKey> = pending.iter().take(MAX_PUBLISHED).cloned().collect();
        for key in &keys {
            pending.remove(key);
        }
        keys
    }

    pub(super) fn is_synced(&self) -> bool {
        self.is_synced.load(Ordering::Relaxed)
    }

    /// The name of this process. `None`: no randomness.
    fn replica(&self) -> Option<u64> {
        let known = self.replica.load(Ordering::Relaxed);
        if known != 0 {
            return Some(known);
        }
        let name = u64::from_be_bytes(random::bytes().ok()?) | 1;
        self.replica.store(name, Ordering::Relaxed);
        Some(name)
    }
}

impl SessionList {
    /// Whether the sessions are known that all replicas have seen, as far as they are listed.
    pub(in crate::auth) fn is_complete(&self) -> bool {
        self.context.stores.session_list.is_none() || self.state.replication.is_synced()
    }

    /// Publishes what has changed, and reads what other replicas have published. Called once a
    /// second.
    pub async fn replicate(&self, ring: &Arc<KeyRing>) {
        let Some(store) = &self.context.stores.session_list else {
            return;
        };
        if !self.state.index.is_on() {
            return;
        }
        let published = self.publish(&**store, ring).await;
        let read = self.read(&**store, ring).await;
        let replication = &self.state.replication;
        let is_synced = read.is_ok();
        replication.is_synced.store(is_synced, Ordering::Relaxed);
        if let Err(error) = published.and(read) {
            tracing::debug!(code = error.code(), %error, "session_list_not_replicated");
        }
    }

    async fn publish(&self, store: &dyn Store, ring: &Arc<KeyRing>) -> Result<(), StoreError> {
        let (index, replication) = (&self.state.index, &self.state.replication);
        loop {
            let keys = replication.take();
            if keys.is_empty() {
                return Ok(());
            }
            let now = self.context.now();
            let sessions = index.of_keys(&keys);
            let entries = self.entries(ring, &sessions, now);
            if let Err(error) = store.publish(entries, now).await {
                for key in keys {
                    replication.enqueue(key);
                }
                return Err(error);
            }
            index.mark_published(&keys, now);
        }
    }

    /// Sealed entries with these sessions.
    fn entries(
        &self,
        ring: &Arc<KeyRing>,
        sessions: &[ListedSession],
        now: Timestamp,
    ) -> Vec<LogEntry> {
        let Some(replica) = self.state.replication.replica() else {
            return Vec::new();
        };
        let idle = self.context.apps.iter().map(|app| app.app.limits.idle);
        let idle = idle.max().unwrap_or_default();
        let ends_at = now.plus(idle).plus(idle_slack(idle));
        let mut batches: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut size = MAX_BATCH_BYTES;
        for session in sessions {
            let encoded = postcard::to_allocvec(&SharedSession::from(session.clone()));
            let encoded = encoded.unwrap_or_default();
            if encoded.is_empty() || encoded.len() > MAX_BATCH_BYTES {
                continue;
            }
            size += encoded.len();
            match batches.last_mut().filter(|_| size <= MAX_BATCH_BYTES) {
                Some(batch) => batch.push(encoded),
                None => {
                    size = encoded.len();
                    batches.push(vec![encoded]);
                }
            }
        }
        let seal = deployment_seal::<SealedSessionBatch>(ring);
        let sealed = batches.into_iter().filter_map(|sessions| {
            let batch = SessionBatch { replica, sessions };
            seal.seal_at(SEAL_LOCATION, &batch, random::bytes().ok()?)
        });
        sealed
            .map(|sealed| LogEntry {
                value: Bytes::from(sealed),
                ends_at,
            })
            .collect()
    }

    async fn read(&self, store: &dyn Store, ring: &Arc<KeyRing>) -> Result<(), StoreError> {
        let replication = &self.state.replication;
        loop {
            let cursor = lock(&replication.cursor).clone();
            let batch = store.read_since(&cursor, self.context.now()).await?;
            if batch.lost {
                self.publish_again();
            }
            for entries in batch.entries.chunks(APPLIED_AT_ONCE) {
                for entry in entries {
                    self.apply(ring, &entry.value);
                }
                yield_now().await;
            }
            *lock(&replication.cursor) = batch.cursor;
            if !batch.more {
                return Ok(());
            }
        }
    }

    /// Publishes soon what the log has lost.
    fn publish_again(&self) {
        let mut after = None;
        loop {
            after = self.state.index.visit(after, |key, session| {
                if !session.is_of_replica {
                    self.state.replication.enqueue(key.clone());
                }
                true
            });
            if after.is_none() {
                return;
            }
        }
    }

    /// Adds the sessions of an entry that another replica of this deployment has published.
    fn apply(&self, ring: &Arc<KeyRing>, entry: &[u8]) {
        let seal = deployment_seal::<SealedSessionBatch>(ring);
        let Some((batch, _)) = seal.open_at(SEAL_LOCATION, entry) else {
            return;
        };
        if self.state.replication.replica() == Some(batch.replica) {
            return;
        }
        let now = self.context.now();
        let apps = Apps::of(&self.context);
        let sessions = batch.sessions.iter();
        for shared in sessions.filter_map(|encoded| postcard::from_bytes(encoded).ok()) {
            let shared: SharedSession = shared;
            let mut session = ListedSession::from(shared);
            // Clocks differ.
            session.last_activity = session.last_activity.min(now);
            let Some(app) = apps.of_session(&session) else {
                continue;
            };
            if !self.is_live(&apps, &session, now) {
                continue;
            }
            let key = EntryKey {
                user: user_of(app, &session.subject),
                sid: session.sid.clone(),
            };
            match self.state.index.record(key, session, Duration::MAX) {
                Recorded::Listed | Recorded::ToPublish => {}
                Recorded::Dropped => self.context.observer.session_not_listed(),
            }
        }
    }
}
