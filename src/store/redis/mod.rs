//! The Redis store, shared by replicas: Redis 6.2 or later, or a compatible server.
//!
//! Each call is one command or script on one key, or on the two keys of the log, which share a hash
//! slot. Scripts are sent with `EVAL`, so no script cache is needed.

mod cluster;
mod connect;
mod connection;
mod dns;
mod entry;
mod inspect;
mod log;
mod node_info;
mod settings;
#[cfg(test)]
mod tests;
mod time;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{
    Claim, Claimed, Cursor, LogBatch, LogEntry, LogState, Store, StoreError, StoreFuture, StoreTime,
};
use crate::types::time::Timestamp;
use connect::Connector;
use connection::{SharedConnection, describe};
use entry::{HEADER_LEN, MAX_VALUE, digits, time_to_live};
use log::LogKeys;
use time::MeasuredTime;

pub use inspect::{CommandCheck, FailedCommand, ServerInfo};
pub use settings::{LogLimits, RedisLogin, RedisNode, RedisSettings, RedisTls, Topology};

const PUT_IF_ABSENT: &str = concat!(include_str!("entry.lua"), include_str!("put_if_absent.lua"));
const COMPARE_AND_SWAP: &str = concat!(
    include_str!("entry.lua"),
    include_str!("compare_and_swap.lua")
);
const APPEND: &str = concat!(include_str!("entry.lua"), include_str!("append.lua"));
const EXPIRE: &str = concat!(include_str!("entry.lua"), include_str!("expire.lua"));
const CLAIM: &str = concat!(include_str!("entry.lua"), include_str!("claim.lua"));
const REMOVE: &str = concat!(include_str!("entry.lua"), include_str!("remove.lua"));

/// A namespace of keys in Redis.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Shared>,
    /// The prefix of all keys.
    prefix: String,
    /// Limits the calls in flight.
    calls: Semaphore,
    log: LogKeys,
    limits: Arc<ArcSwap<LogLimits>>,
}

#[derive(Debug)]
struct Shared {
    connection: SharedConnection,
    call_ids: CallIds,
    /// Whether keys may be on different servers.
    is_cluster: bool,
    time: MeasuredTime,
}

/// Generates unique IDs of calls.
#[derive(Debug)]
struct CallIds {
    prefix: String,
    next: AtomicU64,
}

/// Invalid settings of a Redis store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedisSettingsError(String);

impl Redis {
    /// The namespace `space`, for `max_calls` calls in flight. The first call connects.
    ///
    /// # Errors
    /// The settings or a certificate are invalid, or the random number generator failed.
    pub fn new(
        settings: &RedisSettings,
        space: &str,
        max_calls: usize,
        limits: LogLimits,
    ) -> Result<Self, RedisSettingsError> {
        let connector =
            Connector::new(settings).map_err(|error| RedisSettingsError(describe(&error)))?;
        let call_ids = CallIds::new()
            .ok_or_else(|| RedisSettingsError("the random number generator failed".to_owned()))?;
        let shared = Arc::new(Shared {
            connection: SharedConnection::new(connector, settings.timeout),
            call_ids,
            is_cluster: matches!(settings.topology, Topology::Cluster),
            time: MeasuredTime::default(),
        });
        Ok(Self::with(
            shared,
            &settings.key_prefix,
            space,
            max_calls,
            Arc::new(ArcSwap::from_pointee(limits)),
        ))
    }

    /// Another namespace over the same connection, with a separate limit of calls.
    ///
    /// `key_prefix` is that of the settings.
    #[must_use]
    pub fn with_namespace(&self, key_prefix: &str, space: &str, max_calls: usize) -> Self {
        Self::with(
            Arc::clone(&self.shared),
            key_prefix,
            space,
            max_calls,
            Arc::clone(&self.limits),
        )
    }

    fn with(
        shared: Arc<Shared>,
        key_prefix: &str,
        space: &str,
        max_calls: usize,
        limits: Arc<ArcSwap<LogLimits>>,
    ) -> Self {
        let prefix = format!("{key_prefix}{space}:");
        let log = LogKeys::new(&prefix);
        Self {
            shared,
            prefix,
            calls: Semaphore::new(max_calls),
            log,
            limits,
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The common part of the scripts on an entry, and perhaps others.
    fn entry_script(&self, script: &str, keys: &[&str], call: &str, now: Timestamp) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(keys.len());
        for key in keys {
            command.arg(self.key(key));
        }
        command
            .arg(digits(now))
            .arg(call)
            .arg(HEADER_LEN + MAX_VALUE);
        command
    }

    /// A claim and the other entries, in one script: all keys are on one server.
    async fn claim_at_once(
        &self,
        claim: Claim<'_>,
        others: [&str; 2],
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let call = self.shared.call_ids.next();
        let entry = entry::write(claim.ends_at, &call, checked_size(&claim.value)?);
        let [first, second] = others;
        let keys = [claim.key, first, second];
        let mut command = self.entry_script(CLAIM, &keys, &call, now);
        command.arg(entry).arg(time_to_live(claim.ends_at, now));
        let reply = self.execute(&command).await?;
        if number_of(&reply) == Some(-1) {
            return Err(not_an_entry());
        }
        let Value::Array(parts) = reply else {
            return Err(unexpected(&reply));
        };
        let [holder, first, second] =
            <[Value; 3]>::try_from(parts).map_err(|parts| unexpected(&Value::Array(parts)))?;
        let holder = if number_of(&holder) == Some(0) {
            None
        } else {
            Some(bytes_of(holder)?.into())
        };
        Ok(Claimed {
            holder,
            others: [unexpired(first, now)?, unexpired(second, now)?],
        })
    }

    /// The same in two round trips, because the keys may be on different servers. The other entries
    /// are read after the claim.
    async fn claim_then_get(
        &self,
        claim: Claim<'_>,
        others: [&str; 2],
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let taken = self.put_if_absent(claim.key, claim.value, claim.ends_at, now);
        let holder = taken.await?;
        let [first, second] = others.map(|key| self.get(key, now));
        let (first, second) = tokio::try_join!(first, second)?;
        Ok(Claimed {
            holder,
            others: [first, second],
        })
    }

    async fn execute(&self, command: &Cmd) -> Result<Value, StoreError> {
        let deadline = self.shared.connection.deadline();
        let _permit = self.permit(deadline).await?;
        self.shared.connection.execute(command, deadline).await
    }

    async fn permit(
        &self,
        deadline: Instant,
    ) -> Result<tokio::sync::SemaphorePermit<'_>, StoreError> {
        match timeout_at(deadline, self.calls.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable(
                "too many calls in flight".to_owned(),
            )),
        }
    }
}

impl Store for Redis {
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            let mut command = redis::cmd("GETRANGE");
            // One byte more than the largest entry, to detect larger values.
            command
                .arg(self.key(key))
                .arg(0)
                .arg(HEADER_LEN + MAX_VALUE);
            unexpired(self.execute(&command).await?, now)
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
            let entry = entry::write(ends_at, &self.shared.call_ids.next(), checked_size(&value)?);
            let mut command = redis::cmd("SET");
            command
                .arg(self.key(key))
                .arg(entry)
                .arg("EX")
                .arg(time_to_live(ends_at, now));
            let reply = self.execute(&command).await?;
            if reply == Value::Okay {
                Ok(())
            } else {
                Err(unexpected(&reply))
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
            let call = self.shared.call_ids.next();
            let entry = entry::write(ends_at, &call, checked_size(&value)?);
            let mut command = self.entry_script(PUT_IF_ABSENT, &[key], &call, now);
            command.arg(entry).arg(time_to_live(ends_at, now));
            let reply = self.execute(&command).await?;
            match number_of(&reply) {
                Some(0) => Ok(None),
                Some(-1) => Err(not_an_entry()),
                Some(_) => Err(unexpected(&reply)),
                None => bytes_of(reply).map(|existing| Some(existing.into())),
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
            let call = self.shared.call_ids.next();
            let entry = entry::write(ends_at, &call, checked_size(&value)?);
            let mut command = self.entry_script(COMPARE_AND_SWAP, &[key], &call, now);
            command
                .arg(entry)
                .arg(time_to_live(ends_at, now))
                .arg(before);
            bool_of(&self.execute(&command).await?)
        })
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        value: &'a [u8],
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let call = self.shared.call_ids.next();
            let mut command = self.entry_script(REMOVE, &[key], &call, now);
            command.arg(value);
            bool_of(&self.execute(&command).await?)
        })
    }

    fn append<'a>(
        &'a self,
        key: &'a str,
        part: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            let call = self.shared.call_ids.next();
            let mut command = self.entry_script(APPEND, &[key], &call, now);
            command
                .arg(&*part)
                .arg(digits(ends_at))
                .arg(time_to_live(ends_at, now));
            let reply = self.execute(&command).await?;
            match number_of(&reply) {
                Some(-1) => Err(not_an_entry()),
                Some(-2) => Err(StoreError::Full),
                Some(_) => Err(unexpected(&reply)),
                None => bytes_of(reply).map(Bytes::from),
            }
        })
    }

    fn expire<'a>(
        &'a self,
        key: &'a str,
        prefix: &'a [u8],
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let call = self.shared.call_ids.next();
            let mut command = self.entry_script(EXPIRE, &[key], &call, now);
            command
                .arg(digits(ends_at))
                .arg(time_to_live(ends_at, now))
                .arg(prefix);
            bool_of(&self.execute(&command).await?)
        })
    }

    fn claim<'a>(
        &'a self,
        claim: Claim<'a>,
        others: [&'a str; 2],
        now: Timestamp,
    ) -> StoreFuture<'a, Claimed> {
        if self.shared.is_cluster {
            Box::pin(self.claim_then_get(claim, others, now))
        } else {
            Box::pin(self.claim_at_once(claim, others, now))
        }
    }

    fn publish(&self, entries: Vec<LogEntry>, _now: Timestamp) -> StoreFuture<'_, ()> {
        Box::pin(self.publish_entries(entries))
    }

    fn read_since<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogBatch> {
        Box::pin(self.read_entries(since, now))
    }

    fn log_state<'a>(&'a self, since: &'a Cursor, _now: Timestamp) -> StoreFuture<'a, LogState> {
        Box::pin(self.state_since(since))
    }

    fn set_log_limits(&self, limits: LogLimits) {
        self.limits.store(Arc::new(limits));
    }

    fn time_bound(&self, _now: Timestamp) -> Option<StoreTime> {
        self.shared.time.upper_bound(Instant::now())
    }

    fn compact<'a>(
        &'a self,
        until: &'a Cursor,
        entries: Vec<LogEntry>,
        _now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.compact_entries(until, entries))
    }

    fn held(&self) -> Option<usize> {
        None
    }

    /// Redis expires entries itself.
    fn sweep(&self, _now: Timestamp) {}
}

impl CallIds {
    fn new() -> Option<Self> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        Some(Self {
            prefix: hex(&random),
            next: AtomicU64::new(0),
        })
    }

    /// 32 characters.
    fn next(&self) -> String {
        format!(
            "{}{:016x}",
            self.prefix,
            self.next.fetch_add(1, Ordering::Relaxed)
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn checked_size(value: &Bytes) -> Result<&[u8], StoreError> {
    if value.len() > MAX_VALUE {
        Err(StoreError::Full)
    } else {
        Ok(value)
    }
}

/// The value of an entry that was read, unless it has expired or is missing.
fn unexpired(reply: Value, now: Timestamp) -> Result<Option<Bytes>, StoreError> {
    let found = bytes_of(reply)?;
    if found.is_empty() {
        return Ok(None);
    }
    let (ends_at, value) = entry::read(&found).ok_or_else(not_an_entry)?;
    Ok((now < ends_at).then_some(value))
}

fn bool_of(reply: &Value) -> Result<bool, StoreError> {
    match number_of(reply) {
        Some(1) => Ok(true),
        Some(0) => Ok(false),
        Some(-1) => Err(not_an_entry()),
        Some(_) | None => Err(unexpected(reply)),
    }
}

fn number_of(reply: &Value) -> Option<i64> {
    if let Value::Int(number) = reply {
        Some(*number)
    } else {
        None
    }
}

fn bytes_of(reply: Value) -> Result<Vec<u8>, StoreError> {
    if let Value::BulkString(bytes) = reply {
        Ok(bytes)
    } else {
        Err(unexpected(&reply))
    }
}

fn not_an_entry() -> StoreError {
    StoreError::Unavailable("the value was not written by Doorward".to_owned())
}

/// Reports only the type of the reply, because the content may belong to a session.
fn unexpected(reply: &Value) -> StoreError {
    let text = format!("{reply:?}");
    let kind: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    StoreError::Unavailable(format!("unexpected reply: {kind}"))
}
