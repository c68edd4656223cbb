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
//! 4. Every reader gets published log entries in order until they expire ([`Store::read_since`]). A
//!    store that lost its data reports it ([`LogBatch::lost`]), and replicas publish again.
//! 5. Keys and values are opaque bytes. Values from a shared store may be written by an attacker, and
//!    the reader must authenticate them.

#[cfg(test)]
mod contract;
mod instrumented;
mod journal;
mod log;
pub mod memory;
mod redis;
pub mod revocation;
mod revocation_index;
pub mod revocations;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::types::time::Timestamp;

pub use instrumented::{InstrumentedStore, StoreMetrics};
pub use memory::Memory;
pub use redis::{
    LogLimits, Redis, RedisLogin, RedisNode, RedisSettings, RedisSettingsError, RedisTls, Topology,
};
pub use revocation::{ProviderRevocation, Revocation, UserSessions};
pub use revocations::{Revocations, RevokedSet, SessionKeyRef};

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

    /// Appends an entry to the log.
    fn publish(&self, entry: LogEntry, now: Timestamp) -> StoreFuture<'_, ()>;

    /// The log entries after `since`, including those of this process.
    fn read_since<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogBatch>;

    /// Replaces the log entries up to `until` by `entries`, an equivalent shorter list. Does nothing if
    /// the log of `until` was lost, which the next [`Store::read_since`] reports.
    fn compact<'a>(
        &'a self,
        until: &'a Cursor,
        entries: Vec<LogEntry>,
        now: Timestamp,
    ) -> StoreFuture<'a, ()>;

    /// The number of entries in this process. `None` for an external store.
    fn held(&self) -> Option<usize>;

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

/// The result of [`Store::read_since`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBatch {
    /// The entries that have not expired, in order.
    pub entries: Vec<LogEntry>,
    /// The position for the next call.
    pub cursor: Cursor,
    /// The number of entries in the log.
    pub held: usize,
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
