//! Replicates revocations through the store. Local ones apply at once, remote ones within a second.
//! Entries are AEAD-sealed: write access to the store without a key revokes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::auth::app::{AppAuth, RevocationMode};
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::auth::purposes::RevocationEvent;
use crate::auth::random;
use crate::session::seal::KeyAge;
use crate::store::{Cursor, LogEntry, Revocation, StoreError};
use crate::types::time::Timestamp;

/// The poll interval.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// After this long without a successful poll the revocations are not synchronized.
const STALE_AFTER: Duration = Duration::from_secs(2);

/// How many entries beyond the known revocations the log may hold before it is compacted.
const COMPACTION_SLACK: usize = 1000;

/// How long a compaction by one replica excludes the others.
const COMPACTION_LEASE: Duration = Duration::from_secs(30);

/// The store key of the compaction lease.
const COMPACTION_KEY: &str = "condensing";

/// The accepted clock difference between replicas: the times of an event are clamped to it.
const LEEWAY: Duration = Duration::from_secs(60);

/// The maximum length of a replicated subject or session ID, in bytes.
const MAX_NAME: usize = 1024;

/// The location that log entries are sealed for.
const SEAL_LOCATION: &str = "feed";

/// Revokes sessions and replicates revocations. Clones share their state.
#[derive(Clone)]
pub struct RevocationReplicator {
    context: Arc<Context>,
    state: Arc<ReplicationState>,
}

/// The replication state of this process.
#[derive(Debug, Default)]
struct ReplicationState {
    /// Whether all revocations that were published until the last poll are known here.
    is_synced: AtomicBool,
    /// A local revocation may not have reached the store: publish all again.
    republish: AtomicBool,
    /// An invalid event was logged. Only the first one is; the metric counts all.
    invalid_logged: AtomicBool,
    /// An entry was sealed with a decryption-only key: compact the log, so that the key can be
    /// removed.
    saw_previous_key: AtomicBool,
}

/// The log entry of a revocation. The app's name in front tells whose seal opens it.
fn log_entry(app: &AppAuth, revocation: Revocation, ends_at: Timestamp) -> Option<LogEntry> {
    if revocation.longest_name() > MAX_NAME {
        tracing::warn!(app = %app.app.name, "revocation_name_too_long");
        return None;
    }
    let event = RevocationEvent::new(revocation, ends_at);
    let nonce = random::bytes().ok()?;
    let seal = &app.seals.revocation_event;
    let sealed = seal.seal_at(SEAL_LOCATION, &event, nonce)?;
    Some(LogEntry {
        value: Bytes::from(format!("{} {sealed}", app.app.name.as_str())),
        ends_at,
    })
}

/// A log entry before decryption.
#[derive(Debug, PartialEq, Eq)]
struct RawEntry<'v> {
    app: &'v str,
    sealed: &'v [u8],
}

impl<'v> RawEntry<'v> {
    fn parse(value: &'v [u8]) -> Option<Self> {
        let at = value.iter().position(|byte| *byte == b' ')?;
        let (app, sealed) = value.split_at_checked(at)?;
        Some(Self {
            app: std::str::from_utf8(app).ok()?,
            sealed: sealed.get(1..)?,
        })
    }
}

impl RevocationReplicator {
    pub(in crate::auth) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            state: Arc::default(),
        }
    }

    /// Revokes sessions of `app`, here at once and at other replicas within a second. `ends_at` is
    /// when the last of them would have reached its absolute timeout.
    pub(in crate::auth) fn revoke(
        &self,
        app: &AppAuth,
        revocation: Revocation,
        ends_at: Timestamp,
    ) {
        let now = self.context.now();
        if !app.revocations.revoke(revocation.clone(), ends_at, now) {
            return;
        }
        let Some(entry) = log_entry(app, revocation, ends_at) else {
            return;
        };
        let replicator = self.clone();
        let spawned = self.context.runtime.spawn(async move {
            replicator.publish(entry, now).await;
        });
        if spawned.is_err() {
            self.state.republish.store(true, Ordering::Release);
        }
    }

    /// Requires synchronized revocations if `app` is fail-closed.
    ///
    /// # Errors
    /// The app is fail-closed, and the revocations are not synchronized.
    pub(in crate::auth) fn require_synced(&self, app: &AppAuth) -> Result<(), Unavailable> {
        match app.settings.revocation {
            RevocationMode::FailClosed if !self.state.is_synced.load(Ordering::Acquire) => {
                Err(Unavailable::of_store("revocations_not_synced"))
            }
            RevocationMode::FailClosed | RevocationMode::FailOpen => Ok(()),
        }
    }

    /// Reads the revocations that were published before this replica started. [`Self::listen`]
    /// continues from the returned cursor.
    pub async fn catch_up(&self) -> Cursor {
        let mut cursor = Cursor::default();
        match self.poll(&mut cursor).await {
            Ok(()) => self.set_synced(true),
            Err(error) => tracing::warn!(code = error.code(), %error, "revocation_catch_up_failed"),
        }
        cursor
    }

    /// Polls the revocation log forever.
    pub async fn listen(self, mut cursor: Cursor) {
        let mut last_poll = Instant::now();
        loop {
            sleep(POLL_INTERVAL).await;
            match self.poll(&mut cursor).await {
                Ok(()) => {
                    last_poll = Instant::now();
                    self.set_synced(true);
                }
                Err(error) => {
                    tracing::debug!(code = error.code(), %error, "revocation_poll_failed");
                    if last_poll.elapsed() >= STALE_AFTER {
                        self.set_synced(false);
                    }
                }
            }
        }
    }

    fn set_synced(&self, is_synced: bool) {
        if self.state.is_synced.swap(is_synced, Ordering::AcqRel) != is_synced {
            self.context.observer.revocations_synced(is_synced);
        }
    }

    async fn poll(&self, cursor: &mut Cursor) -> Result<(), StoreError> {
        let now = self.context.now();
        let store = &self.context.stores.sessions;
        let batch = store.read_since(cursor, now).await?;
        for entry in batch.entries {
            self.apply_event(&entry, now);
        }
        *cursor = batch.cursor;
        if batch.lost {
            tracing::warn!("store_lost_revocations");
            self.state.republish.store(true, Ordering::Release);
        }
        self.republish(now);
        let apps = self.context.apps.iter();
        let known: usize = apps.map(|app| app.revocations.snapshot().len()).sum();
        let needs_compaction = batch.held > 2 * known + COMPACTION_SLACK
            || self.state.saw_previous_key.swap(false, Ordering::AcqRel);
        if needs_compaction && self.may_compact(now).await? {
            store.compact(cursor, self.all_events(now), now).await?;
        }
        Ok(())
    }

    /// Publishes all known revocations again, if one may not have reached the store.
    fn republish(&self, now: Timestamp) {
        if !self.state.republish.swap(false, Ordering::AcqRel) {
            return;
        }
        let replicator = self.clone();
        let spawned = self.context.runtime.spawn(async move {
            for entry in replicator.all_events(now) {
                if !replicator.publish(entry, now).await {
                    return;
                }
            }
        });
        if spawned.is_err() {
            self.state.republish.store(true, Ordering::Release);
        }
    }

    /// Returns whether the store took the entry. Otherwise all are published again.
    async fn publish(&self, entry: LogEntry, now: Timestamp) -> bool {
        let published = self.context.stores.sessions.publish(entry, now).await;
        if let Err(error) = &published {
            tracing::warn!(code = error.code(), %error, "revocation_publish_failed");
            self.state.republish.store(true, Ordering::Release);
        }
        published.is_ok()
    }

    fn apply_event(&self, entry: &LogEntry, now: Timestamp) {
        let Some(entry) = RawEntry::parse(&entry.value) else {
            return self.count_invalid();
        };
        // An unknown app belongs to another deployment.
        let mut apps = self.context.apps.iter();
        let Some(app) = apps.find(|app| app.app.name.as_str() == entry.app) else {
            return;
        };
        let opened = app
            .seals
            .revocation_event
            .open_at(SEAL_LOCATION, entry.sealed);
        let Some((event, key_age)) = opened else {
            return self.count_invalid();
        };
        if key_age == KeyAge::Old {
            self.state.saw_previous_key.store(true, Ordering::Release);
        }
        let latest = now.plus(LEEWAY);
        let ends_at = event.ends_at.min(latest.plus(app.app.limits.absolute));
        let revocation = event.into_revocation().until(latest);
        app.revocations.revoke(revocation, ends_at, now);
    }

    fn count_invalid(&self) {
        self.context.observer.revocation_event_invalid();
        if !self.state.invalid_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!("revocation_event_invalid");
        }
    }

    fn all_events(&self, now: Timestamp) -> Vec<LogEntry> {
        let events = self.context.apps.iter().flat_map(|app| {
            let all = app.revocations.snapshot().all(now);
            all.into_iter()
                .filter_map(|(revocation, ends_at)| log_entry(app, revocation, ends_at))
        });
        events.collect()
    }

    /// Elects one replica for the compaction.
    async fn may_compact(&self, now: Timestamp) -> Result<bool, StoreError> {
        let ends_at = now.plus(COMPACTION_LEASE);
        let store = &self.context.stores.sessions;
        let holder = store.put_if_absent(COMPACTION_KEY, Bytes::new(), ends_at, now);
        Ok(holder.await?.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{ProviderRevocation, UserSessions};
    use crate::types::oauth::{Issuer, ProviderSid, SessionId, Subject};

    #[test]
    fn revocation_event_encoding_round_trips() {
        let session = Revocation::Session(SessionId::new("s"), Subject::new("alice"));
        for revocation in [session, by_provider(None), by_provider(Some("https://a"))] {
            let event = RevocationEvent::new(revocation.clone(), END);
            let bytes = postcard::to_allocvec(&event).unwrap();
            let read = postcard::from_bytes::<RevocationEvent>(&bytes).unwrap();
            assert_eq!(read, event);
            assert_eq!(read.into_revocation(), revocation);
        }
    }

    const END: Timestamp = Timestamp::from_secs(5);

    fn by_provider(issuer: Option<&str>) -> Revocation {
        Revocation::Provider(ProviderRevocation {
            issuer: issuer.map(Issuer::new),
            sid: Some(ProviderSid::new("p")),
            user: Some(UserSessions {
                subject: Subject::new("alice"),
                started_until: END,
            }),
        })
    }

    #[test]
    fn revocation_event_is_compatible_with_earlier_versions() {
        let by_sid = Revocation::ProviderSession(ProviderSid::new("p"));
        let before = (by_sid.clone(), END);
        let bytes = postcard::to_allocvec(&before).unwrap();
        let read = postcard::from_bytes::<RevocationEvent>(&bytes).unwrap();
        assert_eq!((read.ends_at, read.into_revocation()), (END, by_sid));
        let no_session = Revocation::Session(SessionId::new(""), Subject::new(""));
        for (issuer, revocation) in [(None, before.0), (Some("https://a"), no_session)] {
            let event = RevocationEvent::new(by_provider(issuer), END);
            let bytes = postcard::to_allocvec(&event).unwrap();
            let read = postcard::from_bytes::<(Revocation, Timestamp)>(&bytes).unwrap();
            assert_eq!(read, (revocation, END));
        }
    }

    #[test]
    fn log_entry_is_split_at_the_first_space() {
        let entry = RawEntry {
            app: "store",
            sealed: b"abc",
        };
        assert_eq!(RawEntry::parse(b"store abc"), Some(entry));
        assert_eq!(RawEntry::parse(b"store"), None);
    }
}
