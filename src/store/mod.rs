//! What has to be remembered between requests, and agreed on between replicas: who refreshes a session now and what
//! came of it, who redeems a login attempt, which sessions were ended. Coordination only: everything secret in here is
//! sealed by the floor above.
//!
//! # The contract of a [`Store`]
//! 1. Each call is one step: no other writer, in this process or another, comes between its reading and its writing.
//! 2. An entry is there until its end and not a second longer, by the `now` of whoever asks; a clock moved by hand
//!    counts like any other. A store may forget what has ended at any time, and nothing that lives: one without room
//!    refuses the newcomer with [`StoreError::Full`].
//! 3. A call answers within a bounded time or with [`StoreError::Unavailable`]. After that error it is not known
//!    whether a write happened; nobody may take the error for "there is no such entry".
//! 4. What was announced is read, in order, by everybody who asks for [`Store::read_since`] from then on, until it ends.
//!    A store that lost its memory says so ([`LogBatch::lost`]); whoever still knows what was in it announces it again.
//! 5. Keys and values are data: none of their bytes means anything to the store. What comes out of a shared store was
//!    possibly written by somebody else, and is checked by whoever reads it.

#[cfg(test)]
mod contract;
mod feed;
mod instrumented;
mod journal;
pub mod memory;
mod redis;
pub mod revocations;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::types::time::Timestamp;

pub use instrumented::{InstrumentedStore, StoreMetrics};
pub use memory::Memory;
pub use redis::{
    FeedLimits, Redis, RedisLogin, RedisNode, RedisSettings, RedisSettingsError, RedisTls, Topology,
};
pub use revocations::{Revocation, Revocations, RevokedSet, SessionKeyRef};

/// What a call to a store yields.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// See the contract above. Not for workers: the calls of a shared store belong on the control runtime.
pub trait Store: Send + Sync + fmt::Debug {
    /// The value of `key`, if it has not ended at `now`.
    fn get<'a>(&'a self, key: &'a str, now: Timestamp) -> StoreFuture<'a, Option<Bytes>>;

    /// Keeps `value` under `key` until `ends_at`, in place of what was there.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, ()>;

    /// Keeps `value` under `key` unless there is one already, which is then returned and stays as it is.
    fn put_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, Option<Bytes>>;

    /// Puts `value` in the place of `before`. `false`: something else is there, or nothing, and it stays so.
    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        before: &'a [u8],
        value: Bytes,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> StoreFuture<'a, bool>;

    /// Removes `key` if `value` is what is there; says whether it was.
    fn remove<'a>(&'a self, key: &'a str, value: &'a [u8], now: Timestamp)
    -> StoreFuture<'a, bool>;

    /// Tells everybody. The item is of no interest any more at its end.
    fn publish(&self, item: LogEntry, now: Timestamp) -> StoreFuture<'_, ()>;

    /// What was announced after `since`, by whomever, one's own words among it.
    fn read_since<'a>(&'a self, since: &'a Cursor, now: Timestamp) -> StoreFuture<'a, LogBatch>;

    /// Puts `items` in the place of everything that was announced up to `until`: they say the same in fewer words. Does
    /// nothing where the memory that `until` is of was lost, which the next [`Store::read_since`] tells.
    fn compact<'a>(
        &'a self,
        until: &'a Cursor,
        items: Vec<LogEntry>,
        now: Timestamp,
    ) -> StoreFuture<'a, ()>;

    /// How many entries this process holds for the store; `None` where others hold them.
    fn held(&self) -> Option<usize>;

    /// Forgets what has ended at `now`; to be called from time to time.
    fn sweep(&self, now: Timestamp);
}

/// Something to be told to everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// What it says.
    pub value: Bytes,
    /// Until when it matters.
    pub ends_at: Timestamp,
}

/// What was announced since one asked the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBatch {
    /// In the order in which it was announced; nothing that has ended.
    pub items: Vec<LogEntry>,
    /// Where the next call goes on.
    pub cursor: Cursor,
    /// How many items the store holds.
    pub held: usize,
    /// The store does not know what `since` meant: it has forgotten everything since, and `items` begins anew. Never
    /// said to who asks from the beginning.
    pub lost: bool,
}

/// How far somebody has read. The default is the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which memory of the store: another one after it was lost.
    pub epoch: String,
    /// The last item that was read.
    pub position: String,
}

/// A store did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no room for another entry.
    #[error("the store has no room for another entry")]
    Full,
    /// It cannot be reached, was too slow, or answered with an error.
    #[error("the store could not be asked: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// The stable word for logs, metrics and pages.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full => "store_full",
            Self::Unavailable(_) => "store_unavailable",
        }
    }
}
