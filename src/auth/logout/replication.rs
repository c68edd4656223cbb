//! Replicates revocations through the store. Local ones apply at once, remote ones within a second.
//! Entries are AEAD-sealed: write access to the store without a key revokes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::auth::app::{AppAuth, RevocationMode};
use crate::auth::{Auth, Unavailable, random};
use crate::session::seal::{KeyAge, Purpose};
use crate::store::{Cursor, LogEntry, Revocation, StoreError};
use crate::types::time::Timestamp;

/// The poll interval.
const LISTEN_EVERY: Duration = Duration::from_millis(250);

/// After this long without a successful poll the revocations are not synchronized.
const STALE_AFTER: Duration = Duration::from_secs(2);

/// How many entries beyond the known revocations the log may hold before it is compacted.
const SLACK: usize = 1000;

/// How long a compaction by one replica excludes the others.
const CONDENSING: Duration = Duration::from_secs(30);

/// The replication state of this process.
#[derive(Debug, Default)]
pub(in crate::auth) struct Feed {
    /// Whether all revocations that were published until the last poll are known here.
    is_current: AtomicBool,
    /// A local revocation may not have reached the store: publish all again.
    republish: AtomicBool,
    /// An invalid event was logged. Only the first one is; the metric counts all.
    invalid_logged: AtomicBool,
    /// An entry was sealed with a decryption-only key: compact the log, so that that key can be
    /// removed.
    heard_old_key: AtomicBool,
}

/// The accepted clock difference between replicas: the times of an event are clamped to it.
const LEEWAY: Duration = Duration::from_secs(60);

/// The maximum length of a replicated subject or session ID, in bytes.
const MAX_NAME: usize = 1024;

/// The purpose of a revocation event.
#[derive(Debug)]
pub struct SealedRevocationEvent;

impl Purpose for SealedRevocationEvent {
    type Payload = RevocationEvent;
    const NAME: &'static str = "announcement of an ending";
}

/// A revocation, and until when it matters.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationEvent {
    ended: Revocation,
    ends_at: Timestamp,
}

/// The log entry of a revocation. The app's name in front tells whose seal opens it.
fn item(app: &AppAuth, ended: Revocation, ends_at: Timestamp) -> Option<LogEntry> {
    if ended.name().len() > MAX_NAME {
        tracing::warn!(app = %app.app.name, "revocation_name_too_long");
        return None;
    }
    let name = app.app.name.as_str();
    let sealed = app.seals.word.seal_at(
        "feed",
        &RevocationEvent { ended, ends_at },
        random::bytes().ok()?,
    )?;
    Some(LogEntry {
        value: Bytes::from(format!("{name} {sealed}")),
        ends_at,
    })
}

/// Splits a log entry into app name and sealed event.
fn split(value: &[u8]) -> Option<(&str, &[u8])> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    let (name, sealed) = value.split_at_checked(at)?;
    Some((std::str::from_utf8(name).ok()?, sealed.get(1..)?))
}

impl Auth {
    /// Revokes sessions of `app`, here at once and at other replicas within a second. `ends_at` is
    /// when the last of them would have reached its absolute timeout.
    pub fn end(self: &Arc<Self>, app: &AppAuth, ended: Revocation, ends_at: Timestamp) {
        let now = self.now();
        if !app.revocations.revoke(ended.clone(), ends_at, now) {
            return;
        }
        let Some(item) = item(app, ended, ends_at) else {
            return;
        };
        let auth = Arc::clone(self);
        let begun = self.runtime.spawn(async move {
            if let Err(error) = auth.stores.sessions.publish(item, now).await {
                tracing::warn!(code = error.code(), %error, "revocation_publish_failed");
                auth.feed.republish.store(true, Ordering::Release);
            }
        });
        if begun.is_err() {
            self.feed.republish.store(true, Ordering::Release);
        }
    }

    /// Requires synchronized revocations if `app` is fail-closed.
    ///
    /// # Errors
    /// The app is fail-closed, and the revocations are not synchronized.
    pub(in crate::auth) fn require_synced(&self, app: &AppAuth) -> Result<(), Unavailable> {
        match app.settings.revocation {
            RevocationMode::FailClosed if !self.feed_is_current() => {
                Err(Unavailable::new("revocations_not_synced"))
            }
            RevocationMode::FailClosed | RevocationMode::FailOpen => Ok(()),
        }
    }

    fn feed_is_current(&self) -> bool {
        self.feed.is_current.load(Ordering::Acquire)
    }

    /// Reads the revocations that were published before this replica started. [`Self::listen`]
    /// continues from the returned cursor.
    pub async fn catch_up(self: &Arc<Self>) -> Cursor {
        let mut cursor = Cursor::default();
        match self.poll(&mut cursor).await {
            Ok(()) => self.revocations_synced(true),
            Err(error) => tracing::warn!(code = error.code(), %error, "revocation_catch_up_failed"),
        }
        cursor
    }

    /// Polls the revocation log forever.
    pub async fn listen(self: Arc<Self>, mut cursor: Cursor) {
        let mut heard = Instant::now();
        loop {
            sleep(LISTEN_EVERY).await;
            match self.poll(&mut cursor).await {
                Ok(()) => {
                    heard = Instant::now();
                    self.revocations_synced(true);
                }
                Err(error) => {
                    tracing::debug!(code = error.code(), %error, "revocation_poll_failed");
                    if heard.elapsed() >= STALE_AFTER {
                        self.revocations_synced(false);
                    }
                }
            }
        }
    }

    fn revocations_synced(&self, known: bool) {
        if self.feed.is_current.swap(known, Ordering::AcqRel) != known {
            self.observer.revocations_synced(known);
        }
    }

    async fn poll(self: &Arc<Self>, cursor: &mut Cursor) -> Result<(), StoreError> {
        let now = self.now();
        let batch = self.stores.sessions.read_since(cursor, now).await?;
        for entry in batch.entries {
            self.apply_event(&entry, now);
        }
        *cursor = batch.cursor;
        if batch.lost {
            tracing::warn!("store_lost_revocations");
            self.feed.republish.store(true, Ordering::Release);
        }
        self.republish(now);
        let known = self
            .apps
            .iter()
            .map(|app| app.revocations.snapshot().len())
            .sum::<usize>();
        let is_long =
            batch.held > 2 * known + SLACK || self.feed.heard_old_key.swap(false, Ordering::AcqRel);
        if is_long && self.may_compact(now).await? {
            self.stores
                .sessions
                .compact(cursor, self.all_events(now), now)
                .await?;
        }
        Ok(())
    }

    /// Publishes all known revocations again, if one may not have reached the store.
    fn republish(self: &Arc<Self>, now: Timestamp) {
        if !self.feed.republish.swap(false, Ordering::AcqRel) {
            return;
        }
        let auth = Arc::clone(self);
        let begun = self.runtime.spawn(async move {
            for word in auth.all_events(now) {
                if let Err(error) = auth.stores.sessions.publish(word, now).await {
                    tracing::warn!(code = error.code(), %error, "revocation_publish_failed");
                    auth.feed.republish.store(true, Ordering::Release);
                    return;
                }
            }
        });
        if begun.is_err() {
            self.feed.republish.store(true, Ordering::Release);
        }
    }

    fn apply_event(&self, item: &LogEntry, now: Timestamp) {
        let Some((name, sealed)) = split(&item.value) else {
            return self.cannot_read();
        };
        // An unknown app belongs to another deployment.
        let Some(app) = self.apps.iter().find(|app| app.app.name.as_str() == name) else {
            return;
        };
        let Some((RevocationEvent { ended, ends_at }, key_age)) =
            app.seals.word.open_at("feed", sealed)
        else {
            return self.cannot_read();
        };
        if key_age == KeyAge::Old {
            self.feed.heard_old_key.store(true, Ordering::Release);
        }
        let soon = now.plus(LEEWAY);
        app.revocations.revoke(
            ended.until(soon),
            ends_at.min(soon.plus(app.app.limits.absolute)),
            now,
        );
    }

    fn cannot_read(&self) {
        self.observer.revocation_event_invalid();
        if !self.feed.invalid_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!("revocation_event_invalid");
        }
    }

    fn all_events(&self, now: Timestamp) -> Vec<LogEntry> {
        let words = self.apps.iter().flat_map(|app| {
            let all = app.revocations.snapshot().all(now);
            all.into_iter()
                .filter_map(|(ended, ends_at)| item(app, ended, ends_at))
        });
        words.collect()
    }

    /// Elects one replica for the compaction.
    async fn may_compact(&self, now: Timestamp) -> Result<bool, StoreError> {
        let other = self
            .stores
            .sessions
            .put_if_absent("condensing", Bytes::new(), now.plus(CONDENSING), now)
            .await?;
        Ok(other.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::oauth::{SessionId, Subject};

    #[test]
    fn words_are_read_as_they_were_written() {
        let ended = Revocation::Session(SessionId::new("s"), Subject::new("alice"));
        let word = RevocationEvent {
            ended,
            ends_at: Timestamp::from_secs(5),
        };
        let bytes = postcard::to_allocvec(&word).unwrap();
        assert_eq!(
            postcard::from_bytes::<RevocationEvent>(&bytes).unwrap(),
            word
        );
        assert_eq!(split(b"store abc"), Some(("store", &b"abc"[..])));
        assert_eq!(split(b"store"), None);
    }
}
