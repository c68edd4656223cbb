//! The store that several replicas share: a Redis of version 6.2 or later, or what speaks like one.
//!
//! Every call is one command or one script, on one key, or on the two of the feed, which lie together in a Cluster.
//! Scripts are sent whole each time: that is a few hundred bytes, and no state to lose.

mod dial;
mod entry;
mod feed;
mod link;
mod settings;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{Cursor, LogBatch, LogEntry, Store, StoreError, StoreFuture};
use crate::types::time::Timestamp;
use dial::Dialler;
use entry::{HEAD, MAX_VALUE, digits, time_to_live};
use feed::Feed;
use link::{Link, describe};

pub use settings::{FeedLimits, RedisLogin, RedisNode, RedisSettings, RedisTls, Topology};

const PUT_IF_ABSENT: &str = concat!(include_str!("entry.lua"), include_str!("put_if_absent.lua"));
const COMPARE_AND_SWAP: &str = concat!(
    include_str!("entry.lua"),
    include_str!("compare_and_swap.lua")
);
const REMOVE: &str = concat!(include_str!("entry.lua"), include_str!("remove.lua"));

/// One space of keys in a Redis. What else uses the same Redis is not touched.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Shared>,
    /// What all keys of this space begin with.
    keys: String,
    /// How many calls may be under way.
    places: Semaphore,
    feed: Feed,
    limits: FeedLimits,
}

#[derive(Debug)]
struct Shared {
    link: Link,
    calls: Calls,
}

/// Names for calls that nobody else uses.
#[derive(Debug)]
struct Calls {
    ours: String,
    next: AtomicU64,
}

/// A Redis cannot be spoken to as it was configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedisSettingsError(String);

impl Redis {
    /// The space of keys called `space`, for `places` calls at a time. No I/O yet: the first call connects.
    ///
    /// # Errors
    /// The settings contradict each other, a certificate is none, or the system gives no randomness.
    pub fn new(
        settings: &RedisSettings,
        space: &str,
        places: usize,
        limits: FeedLimits,
    ) -> Result<Self, RedisSettingsError> {
        let dialler =
            Dialler::new(settings).map_err(|error| RedisSettingsError(describe(&error)))?;
        let calls = Calls::new()
            .ok_or_else(|| RedisSettingsError("the system gives no randomness".to_owned()))?;
        let shared = Arc::new(Shared {
            link: Link::new(dialler, settings.timeout),
            calls,
        });
        Ok(Self::with(
            shared,
            &settings.key_prefix,
            space,
            places,
            limits,
        ))
    }

    /// Another space of the same Redis, over the same connection, with places of its own.
    ///
    /// `key_prefix` is that of the settings.
    #[must_use]
    pub fn beside(&self, key_prefix: &str, space: &str, places: usize) -> Self {
        Self::with(
            Arc::clone(&self.shared),
            key_prefix,
            space,
            places,
            self.limits,
        )
    }

    fn with(
        shared: Arc<Shared>,
        key_prefix: &str,
        space: &str,
        places: usize,
        limits: FeedLimits,
    ) -> Self {
        let keys = format!("{key_prefix}{space}:");
        let feed = Feed::new(&keys);
        Self {
            shared,
            keys,
            places: Semaphore::new(places),
            feed,
            limits,
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.keys)
    }

    /// A script on the entry `key`, as far as all have it in common.
    fn entry_script(&self, script: &str, key: &str, call: &str, now: Timestamp) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command
            .arg(script)
            .arg(1)
            .arg(self.key(key))
            .arg(digits(now))
            .arg(call)
            .arg(HEAD + MAX_VALUE);
        command
    }

    async fn ask(&self, command: &Cmd) -> Result<Value, StoreError> {
        let deadline = self.shared.link.deadline();
        let _place = self.place(deadline).await?;
        self.shared.link.ask(command, deadline).await
    }

    async fn place(
        &self,
        deadline: Instant,
    ) -> Result<tokio::sync::SemaphorePermit<'_>, StoreError> {
        match timeout_at(deadline, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable(
                "too many calls are under way".to_owned(),
            )),
        }
    }
}

impl Store for Redis {
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            let mut command = redis::cmd("GETRANGE");
            // One byte more than there can be shows that it is not ours.
            command.arg(self.key(key)).arg(0).arg(HEAD + MAX_VALUE);
            let found = bytes_of(self.ask(&command).await?)?;
            if found.is_empty() {
                return Ok(None);
            }
            let (ends_at, value) = entry::read(&found).ok_or_else(foreign)?;
            Ok((now < ends_at).then_some(value))
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let entry = entry::write(ends_at, &self.shared.calls.next(), fitting(&value)?);
            let mut command = redis::cmd("SET");
            command
                .arg(self.key(key))
                .arg(entry)
                .arg("EX")
                .arg(time_to_live(ends_at, now));
            let answer = self.ask(&command).await?;
            if answer == Value::Okay {
                Ok(())
            } else {
                Err(unexpected(&answer))
            }
        })
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            let call = self.shared.calls.next();
            let entry = entry::write(ends_at, &call, fitting(&value)?);
            let mut command = self.entry_script(PUT_IF_ABSENT, key, &call, now);
            command.arg(entry).arg(time_to_live(ends_at, now));
            let answer = self.ask(&command).await?;
            match number_of(&answer) {
                Some(0) => Ok(None),
                Some(-1) => Err(foreign()),
                Some(_) => Err(unexpected(&answer)),
                None => bytes_of(answer).map(|there| Some(there.into())),
            }
        })
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        before: &'a [u8],
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let call = self.shared.calls.next();
            let entry = entry::write(ends_at, &call, fitting(&value)?);
            let mut command = self.entry_script(COMPARE_AND_SWAP, key, &call, now);
            command
                .arg(entry)
                .arg(time_to_live(ends_at, now))
                .arg(before);
            yes_or_no(&self.ask(&command).await?)
        })
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        value: &'a [u8],
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut command = self.entry_script(REMOVE, key, &self.shared.calls.next(), now);
            command.arg(value);
            yes_or_no(&self.ask(&command).await?)
        })
    }

    fn publish(&self, item: LogEntry, _now: Timestamp) -> StoreFuture<'_, ()> {
        Box::pin(self.publish_entry(item))
    }

    fn read_since<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogBatch> {
        Box::pin(self.read_entries(since, now))
    }

    fn compact<'a>(
        &'a self,
        until: &'a Cursor,
        items: Vec<LogEntry>,
        _now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.compact_entries(until, items))
    }

    fn held(&self) -> Option<usize> {
        None
    }

    /// Redis forgets by itself.
    fn sweep(&self, _now: Timestamp) {}
}

impl Calls {
    fn new() -> Option<Self> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        Some(Self {
            ours: hex(&random),
            next: AtomicU64::new(0),
        })
    }

    /// 32 characters.
    fn next(&self) -> String {
        format!(
            "{}{:016x}",
            self.ours,
            self.next.fetch_add(1, Ordering::Relaxed)
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn fitting(value: &Bytes) -> Result<&[u8], StoreError> {
    if value.len() > MAX_VALUE {
        Err(StoreError::Full)
    } else {
        Ok(value)
    }
}

fn yes_or_no(answer: &Value) -> Result<bool, StoreError> {
    match number_of(answer) {
        Some(1) => Ok(true),
        Some(0) => Ok(false),
        Some(-1) => Err(foreign()),
        Some(_) | None => Err(unexpected(answer)),
    }
}

fn number_of(answer: &Value) -> Option<i64> {
    if let Value::Int(number) = answer {
        Some(*number)
    } else {
        None
    }
}

fn bytes_of(answer: Value) -> Result<Vec<u8>, StoreError> {
    if let Value::BulkString(bytes) = answer {
        Ok(bytes)
    } else {
        Err(unexpected(&answer))
    }
}

fn foreign() -> StoreError {
    StoreError::Unavailable("what is under the key was not written by a Doorward".to_owned())
}

/// Its kind only: what is in it may be somebody's session.
fn unexpected(answer: &Value) -> StoreError {
    let text = format!("{answer:?}");
    let kind: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    StoreError::Unavailable(format!(
        "it answered with something of another kind: {kind}"
    ))
}
