//! Sessions that were ended, told to every replica that shares the store and heard from all of them. What was ended
//! here counts here at once, whatever the store does; what others ended counts within a second of their word. Words are
//! sealed: who can write to the store, and has no key, ends nobody's session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::auth::app::{AppAuth, RevocationMode};
use crate::auth::{Auth, Unavailable, random};
use crate::session::seal::{KeyAge, Purpose};
use crate::store::{Cursor, LogEntry, Revocation, StoreError};
use crate::types::time::Timestamp;

/// How often one listens.
const LISTEN_EVERY: Duration = Duration::from_millis(250);

/// After how long without hearing anything what is known counts as old.
const STALE_AFTER: Duration = Duration::from_secs(2);

/// How many more items than needed the store may hold before somebody says the same in fewer.
const SLACK: usize = 1000;

/// How long others leave it to whoever began to do that.
const CONDENSING: Duration = Duration::from_secs(30);

/// What one replica knows of the others' words.
#[derive(Debug, Default)]
pub(in crate::auth) struct Feed {
    /// Whether all that was announced until just now is known here.
    is_current: AtomicBool,
    /// Something that was ended here may not have been heard by the store.
    republish: AtomicBool,
    /// Items that could not be read.
    unreadable: AtomicU64,
    /// Something was heard that a key sealed which only opens any more: it is said again before that key goes.
    heard_old_key: AtomicBool,
}

/// How far the clocks of replicas may be apart: nobody's word reaches further into the future.
const LEEWAY: Duration = Duration::from_secs(60);

/// The longest name of a person or session that is told, in bytes; no provider's is that long.
const MAX_NAME: usize = 1024;

/// The purpose of an announcement.
#[derive(Debug)]
pub struct SealedRevocationEvent;

impl Purpose for SealedRevocationEvent {
    type Payload = RevocationEvent;
    const NAME: &'static str = "announcement of an ending";
}

/// An announcement: what of an app ended, and until when that matters.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationEvent {
    ended: Revocation,
    ends_at: Timestamp,
}

/// An announcement with the name of its app in front, which tells whose seal it is.
fn item(app: &AppAuth, ended: Revocation, ends_at: Timestamp) -> Option<LogEntry> {
    if ended.name().len() > MAX_NAME {
        tracing::warn!(app = %app.app.name, "a name is too long to be announced");
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

/// The app that an announcement is about, and its seal.
fn split(value: &[u8]) -> Option<(&str, &[u8])> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    let (name, sealed) = value.split_at_checked(at)?;
    Some((std::str::from_utf8(name).ok()?, sealed.get(1..)?))
}

impl Auth {
    /// Ends sessions of `app`, here at once and elsewhere within a second. `ends_at` is when the last of them would have
    /// ended by itself.
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

    /// Whether `app` may trust what it knows of ended sessions.
    ///
    /// # Errors
    /// It is strict about that, and the store has not been heard lately.
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

    /// How many announcements could not be read.
    pub fn invalid_events(&self) -> u64 {
        self.feed.unreadable.load(Ordering::Relaxed)
    }

    /// Hears what was announced before this replica began; then [`Self::listen`] goes on from what this returns.
    pub async fn catch_up(self: &Arc<Self>) -> Cursor {
        let mut cursor = Cursor::default();
        match self.poll(&mut cursor).await {
            Ok(()) => self.revocations_synced(true),
            Err(error) => tracing::warn!(code = error.code(), %error, "revocation_catch_up_failed"),
        }
        cursor
    }

    /// Listens for ever.
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
        for item in batch.items {
            self.apply_event(&item, now);
        }
        *cursor = batch.cursor;
        if batch.lost {
            tracing::warn!("the store has lost its memory; what was revoked is announced again");
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

    /// Announces all that is known here, if something of it may not have been heard; beside the listening.
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
        // An app that this replica does not have is another deployment's business.
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
        // One line, however many there are: the metric counts them.
        if self.feed.unreadable.fetch_add(1, Ordering::Relaxed) == 0 {
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

    /// One replica is enough.
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
