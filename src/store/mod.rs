//! Coordination store, in memory or in Redis: a key-value store with expiry, and an append-only log.
//! It holds refresh leases and results, claimed login attempts and revocations. Callers seal all
//! secrets.
//!
//! # The contract of a [`Store`]
//! 1. Each call is atomic, also with respect to other processes.
//! 2. An entry expires at its end, by the `now` of the caller. A store may remove expired entries at
//!    any time, but never others: a full store rejects new entries with [`StoreError::Full`].
//! 3. A call completes in bounded time or fails with [`StoreError::Unavailable`]. After that error, it
//!    is unknown whether a write happened. The error never means that an entry does not exist.
//! 4. Every reader gets published log entries in order until they expire ([`Store::read_since`]), in
//!    batches of bounded size. A store that lost its data reports it ([`LogBatch::lost`],
//!    [`LogState::intact_for`]), and replicas publish again.
//! 5. [`StoreTime`] is the time of the store, the same for all replicas whatever their clocks say.
//! 6. Keys and values are opaque bytes. Values from a shared store may be written by an attacker, and
//!    the reader must authenticate them.

#[cfg(test)]
mod contract;
mod instrumented;
mod journal;
mod log;
pub mod memory;
mod outbox;
mod redis;
pub mod revocation;
pub mod revocations;
mod time;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::types::time::Timestamp;

pub use instrumented::{InstrumentedStore, StoreMetrics};
pub use memory::Memory;
pub use outbox::Outbox;
pub use redis::{
    CommandCheck, FailedCommand, LogLimits, Redis, RedisLogin, RedisNode, RedisSettings,
    RedisSettingsError, RedisTls, ServerInfo, Topology,
};
pub use revocation::{ProviderRevocation, Revocation, UserSessions};
pub use revocations::{
    Block, RevocationChanges, RevocationEvent, Revocations, RevokedSet, SessionKeyRef, Shrunk,
};
pub use time::StoreTime;

/// The future of a store call.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A store that keeps the contract of this module. Call it on the background runtime, not on workers.
pub trait Store: Send + Sync + fmt::Debug {
    /// The value of `key`, unless it has expired.
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> StoreFuture<'a, Option<Bytes>>;

    /// Sets the value of `key` until `ends_at`.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, ()>;

    /// Sets the value of `key` if it has none. Otherwise returns the existing value.
    fn put_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Option<Bytes>>;

    /// Replaces the value `before`. Returns `false` without a change if `key` has another or none.
    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        before: &'a [u8],
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, bool>;

    /// Removes `key` if it has this value. Returns whether it had.
    fn remove<'a>(&'a self, key: &'a str, value: &'a [u8], now: Timestamp)
    -> StoreFuture<'a, bool>;

    /// Appends `part` to the value of `key`, which it creates if necessary, and returns the whole
    /// value. The entry then expires at `ends_at`.
    fn append<'a>(
        &'a self,
        key: &'a str,
        part: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Bytes>;

    /// Lets `key` expire at `ends_at` if its value begins with `prefix`. Returns whether it does.
    fn expire<'a>(
        &'a self,
        key: &'a str,
        prefix: &'a [u8],
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, bool>;

    /// [`Store::put_if_absent`] on the key of `claim`, and after that the values of two other keys,
    /// in one round trip if the store has one server.
    fn claim<'a>(
        &'a self,
        claim: Claim<'a>,
        others: [&'a str; 2],
        now: Timestamp,
    ) -> StoreFuture<'a, Claimed>;

    /// Appends entries to the log: all of them, or an unknown part after an error.
    fn publish(&self, entries: Vec<LogEntry>, now: Timestamp) -> StoreFuture<'_, ()>;

    /// The next log entries after `since`, including those of this process. A bounded number:
    /// [`LogBatch::more`] tells whether there may be others.
    fn read_since<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogBatch>;

    /// The time of the store, and how long its data are complete, as seen by a reader at `since`.
    fn log_state<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogState>;

    /// An upper bound of the store's present time, without a call. `None` if it is not known yet.
    fn time_bound(&self, now: Timestamp) -> Option<StoreTime>;

    /// Replaces the log entries up to `until` by `entries`, an equivalent shorter list. Does nothing if
    /// the log of `until` was lost, which the next [`Store::read_since`] reports.
    fn compact<'a>(
        &'a self,
        until: &'a Cursor,
        entries: Vec<LogEntry>,
        now: Timestamp,
    ) -> StoreFuture<'a, ()>;

    /// Whether the last call succeeded, if that is known.
    fn is_up(&self) -> Option<bool> {
        None
    }

    /// The number of entries in this process. `None` for an external store.
    fn held(&self) -> Option<usize>;

    /// Sets the limits of the log. What is in it stays.
    fn set_log_limits(&self, limits: LogLimits);

    /// Removes expired entries. Called periodically.
    fn sweep(&self, now: Timestamp);
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The sealed content.
    pub value: Bytes,
    /// When the entry expires.
    pub ends_at: Timestamp,
}

/// The entry that [`Store::claim`] writes if the key has no value.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// The key.
    pub key: &'a str,
    /// The value that marks the owner.
    pub value: Bytes,
    /// When the claim expires.
    pub ends_at: Timestamp,
}

/// The result of [`Store::claim`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// The value that the key had already. `None`: the claim succeeded.
    pub holder: Option<Bytes>,
    /// The values of the other keys.
    pub others: [Option<Bytes>; 2],
}

/// The result of [`Store::log_state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The time of the store.
    pub time: StoreTime,
    /// How long no reader has found that data were lost. Replicas need a moment to publish again
    /// what a store has forgotten.
    pub intact_for: Duration,
}

/// The result of [`Store::read_since`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBatch {
    /// The entries that are valid and have not expired, in order.
    pub entries: Vec<LogEntry>,
    /// The number of entries that were read, others included.
    pub read: usize,
    /// The position for the next call.
    pub cursor: Cursor,
    /// The number of entries in the log.
    pub held: usize,
    /// Whether there may be further entries now.
    pub more: bool,
    /// The log of `since` was lost, and `entries` starts at the beginning of a new one. Always false for
    /// the default cursor.
    pub lost: bool,
}

/// A position in the log. The default is the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The incarnation of the log, which changes when its data are lost.
    pub epoch: String,
    /// The last entry that was read.
    pub position: String,
}

/// Errors of a store call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store is full.
    #[error("the store is full")]
    Full,
    /// The store cannot be reached, timed out, or responded with an error.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// The stable code for logs, metrics and pages.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full => "store_full",
            Self::Unavailable(_) => "store_unavailable",
        }
    }
}
