//! Sessions that were ended, told to every replica that shares the store and heard from all of them. What was ended
//! here counts here at once, whatever the store does; what others ended counts within a second of their word. Words are
//! sealed: who can write to the store, and has no key, ends nobody's session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::app::{AppAuth, RevocationMode};
use super::{Auth, Outage, entropy};
use crate::session::seal::{KeyAge, Purpose};
use crate::store::{Cursor, Ended, Item, StoreError};
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
pub(super) struct Feed {
    /// Whether all that was announced until just now is known here.
    is_current: AtomicBool,
    /// Something that was ended here may not have been heard by the store.
    say_again: AtomicBool,
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
pub struct SealedWord;

impl Purpose for SealedWord {
    type Payload = Word;
    const NAME: &'static str = "announcement of an ending";
}

/// An announcement: what of an app ended, and until when that matters.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    ended: Ended,
    ends_at: Timestamp,
}

/// An announcement with the name of its app in front, which tells whose seal it is.
fn item(app: &AppAuth, ended: Ended, ends_at: Timestamp) -> Option<Item> {
    if ended.name().len() > MAX_NAME {
        tracing::warn!(app = %app.app.name, "a name is too long to be announced");
        return None;
    }
    let name = app.app.name.as_str();
    let sealed =
        app.seals
            .word
            .seal_at("feed", &Word { ended, ends_at }, entropy::bytes().ok()?)?;
    Some(Item {
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
    pub fn end(self: &Arc<Self>, app: &AppAuth, ended: Ended, ends_at: Timestamp) {
        let now = self.now();
        if !app.revocations.revoke(ended.clone(), ends_at, now) {
            return;
        }
        let Some(item) = item(app, ended, ends_at) else {
            return;
        };
        let auth = Arc::clone(self);
        let begun = self.control.detach(async move {
            if let Err(error) = auth.stores.sessions.announce(item, now).await {
                tracing::warn!(code = error.code(), %error, "revocation_not_announced_yet");
                auth.feed.say_again.store(true, Ordering::Release);
            }
        });
        if begun.is_err() {
            self.feed.say_again.store(true, Ordering::Release);
        }
    }

    /// Whether `app` may trust what it knows of ended sessions.
    ///
    /// # Errors
    /// It is strict about that, and the store has not been heard lately.
    pub(super) fn knows_revocations(&self, app: &AppAuth) -> Result<(), Outage> {
        match app.settings.revocation {
            RevocationMode::Strict if !self.feed_is_current() => {
                Err(Outage::new("revocations_unknown"))
            }
            RevocationMode::Strict | RevocationMode::Available => Ok(()),
        }
    }

    fn feed_is_current(&self) -> bool {
        self.feed.is_current.load(Ordering::Acquire)
    }

    /// How many announcements could not be read.
    pub fn unreadable_announcements(&self) -> u64 {
        self.feed.unreadable.load(Ordering::Relaxed)
    }

    /// Hears what was announced before this replica began; then [`Self::listen`] goes on from what this returns.
    pub async fn catch_up(self: &Arc<Self>) -> Cursor {
        let mut cursor = Cursor::default();
        match self.hear(&mut cursor).await {
            Ok(()) => self.knows_endings(true),
            Err(error) => tracing::warn!(code = error.code(), %error, "revocations_not_known_yet"),
        }
        cursor
    }

    /// Listens for ever.
    pub async fn listen(self: Arc<Self>, mut cursor: Cursor) {
        let mut heard = Instant::now();
        loop {
            sleep(LISTEN_EVERY).await;
            match self.hear(&mut cursor).await {
                Ok(()) => {
                    heard = Instant::now();
                    self.knows_endings(true);
                }
                Err(error) => {
                    tracing::debug!(code = error.code(), %error, "revocations_not_heard");
                    if heard.elapsed() >= STALE_AFTER {
                        self.knows_endings(false);
                    }
                }
            }
        }
    }

    fn knows_endings(&self, known: bool) {
        if self.feed.is_current.swap(known, Ordering::AcqRel) != known {
            self.observer.knows_endings(known);
        }
    }

    async fn hear(self: &Arc<Self>, cursor: &mut Cursor) -> Result<(), StoreError> {
        let now = self.now();
        let news = self.stores.sessions.news(cursor, now).await?;
        for item in news.items {
            self.heed(&item, now);
        }
        *cursor = news.cursor;
        if news.lost {
            tracing::warn!("the store has lost its memory; what was revoked is announced again");
            self.feed.say_again.store(true, Ordering::Release);
        }
        self.say_again(now);
        let known = self
            .apps
            .iter()
            .map(|app| app.revocations.snapshot().len())
            .sum::<usize>();
        let is_long =
            news.held > 2 * known + SLACK || self.feed.heard_old_key.swap(false, Ordering::AcqRel);
        if is_long && self.may_condense(now).await? {
            self.stores
                .sessions
                .condense(cursor, self.all_words(now), now)
                .await?;
        }
        Ok(())
    }

    /// Announces all that is known here, if something of it may not have been heard; beside the listening.
    fn say_again(self: &Arc<Self>, now: Timestamp) {
        if !self.feed.say_again.swap(false, Ordering::AcqRel) {
            return;
        }
        let auth = Arc::clone(self);
        let begun = self.control.detach(async move {
            for word in auth.all_words(now) {
                if let Err(error) = auth.stores.sessions.announce(word, now).await {
                    tracing::warn!(code = error.code(), %error, "revocation_not_announced_yet");
                    auth.feed.say_again.store(true, Ordering::Release);
                    return;
                }
            }
        });
        if begun.is_err() {
            self.feed.say_again.store(true, Ordering::Release);
        }
    }

    fn heed(&self, item: &Item, now: Timestamp) {
        let Some((name, sealed)) = split(&item.value) else {
            return self.cannot_read();
        };
        // An app that this replica does not have is another deployment's business.
        let Some(app) = self.apps.iter().find(|app| app.app.name.as_str() == name) else {
            return;
        };
        let Some((Word { ended, ends_at }, key_age)) = app.seals.word.open_at("feed", sealed)
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
            tracing::warn!("unreadable_announcement");
        }
    }

    fn all_words(&self, now: Timestamp) -> Vec<Item> {
        let words = self.apps.iter().flat_map(|app| {
            let all = app.revocations.snapshot().all(now);
            all.into_iter()
                .filter_map(|(ended, ends_at)| item(app, ended, ends_at))
        });
        words.collect()
    }

    /// One replica is enough.
    async fn may_condense(&self, now: Timestamp) -> Result<bool, StoreError> {
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
        let ended = Ended::Session(SessionId::new("s"), Subject::new("alice"));
        let word = Word {
            ended,
            ends_at: Timestamp::from_secs(5),
        };
        let bytes = postcard::to_allocvec(&word).unwrap();
        assert_eq!(postcard::from_bytes::<Word>(&bytes).unwrap(), word);
        assert_eq!(split(b"store abc"), Some(("store", &b"abc"[..])));
        assert_eq!(split(b"store"), None);
    }
}
