//! Connections pinned to one client connection, because the backend may have authenticated them
//! (NTLM, Negotiate). No other client's request is sent on them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::idle_pool::{IdlePool, ReusePolicy};
use crate::lock::lock;
use crate::types::net::ConnectionId;
use crate::upstream::request::ClientPin;

/// How long a pinned connection may be idle. Clients authenticate again without their users when it
/// is gone.
const PINNED_IDLE: Duration = Duration::from_secs(60);

/// The idle pinned connections of one worker to one backend.
#[derive(Debug)]
pub(in crate::upstream) struct PinnedPool {
    idle: Mutex<VecDeque<PinnedConnection>>,
    /// The length of `idle`, so that requests take no lock while it is empty.
    count: AtomicUsize,
    max: usize,
    /// Maximum idle time for a request that cannot be repeated.
    idle_reuse: Duration,
    gauge: IntGauge,
    sweeping: AtomicBool,
}

#[derive(Debug)]
struct PinnedConnection {
    key: PinKey,
    connection: Connection,
    since: Instant,
}

/// A [`ClientPin`] that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct PinKey {
    connection: ConnectionId,
    caller: Option<Box<str>>,
}

impl PinKey {
    fn is(&self, pin: ClientPin<'_>) -> bool {
        self.connection == pin.connection && self.caller.as_deref() == pin.caller
    }
}

impl From<ClientPin<'_>> for PinKey {
    fn from(pin: ClientPin<'_>) -> Self {
        Self {
            connection: pin.connection,
            caller: pin.caller.map(Box::from),
        }
    }
}

/// Where a connection goes after its response was read.
#[derive(Clone, Debug)]
pub(in crate::upstream) enum ConnectionReturn {
    /// To the pool that all clients share.
    Shared(Arc<IdlePool>),
    /// To the client that it is pinned to.
    Pinned(Arc<PinnedPool>, PinKey),
}

impl ConnectionReturn {
    pub(super) fn put(self, connection: Connection) {
        match self {
            Self::Shared(pool) => pool.put(connection),
            Self::Pinned(pool, key) => pool.put(key, connection),
        }
    }
}

impl PinnedPool {
    /// An empty pool of at most `max` connections.
    pub(in crate::upstream) fn new(max: usize, idle_reuse: Duration, gauge: IntGauge) -> Self {
        Self {
            idle: Mutex::default(),
            count: AtomicUsize::new(0),
            max,
            idle_reuse,
            gauge,
            sweeping: AtomicBool::new(false),
        }
    }

    /// Whether a connection is pinned to `pin`.
    pub(in crate::upstream) fn has(&self, pin: ClientPin<'_>) -> bool {
        self.count.load(Ordering::Relaxed) > 0
            && lock(&self.idle).iter().any(|pinned| pinned.key.is(pin))
    }

    /// Takes the connection that is pinned to `pin`, if it can still be used.
    pub(in crate::upstream) fn take(
        &self,
        pin: Option<ClientPin<'_>>,
        reuse: ReusePolicy,
    ) -> Option<Connection> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let pin = pin?;
        let mut idle = lock(&self.idle);
        let at = idle.iter().position(|pinned| pinned.key.is(pin))?;
        let mut pinned = idle.remove(at)?;
        self.set_count(idle.len());
        drop(idle);
        let max_idle_time = match reuse {
            ReusePolicy::Any => PINNED_IDLE,
            ReusePolicy::RecentlyUsed | ReusePolicy::Fresh => self.idle_reuse,
        };
        let is_usable = pinned.since.elapsed() <= max_idle_time && pinned.connection.is_reusable();
        is_usable.then_some(pinned.connection)
    }

    /// Keeps a connection whose response was read completely.
    fn put(self: &Arc<Self>, key: PinKey, mut connection: Connection) {
        if !connection.prepare_for_reuse() {
            return;
        }
        let mut idle = lock(&self.idle);
        // Requests that are pipelined or concurrent may have opened another one.
        idle.retain(|pinned| pinned.key != key);
        idle.push_back(PinnedConnection {
            key,
            connection,
            since: Instant::now(),
        });
        if idle.len() > self.max {
            idle.pop_front();
        }
        self.set_count(idle.len());
        drop(idle);
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            tokio::spawn(Self::sweep(Arc::downgrade(self)));
        }
    }

    fn set_count(&self, count: usize) {
        let before = self.count.swap(count, Ordering::Relaxed);
        self.gauge.add(signed(count) - signed(before));
    }

    /// Closes connections that were idle for too long, until none is left.
    async fn sweep(pool: Weak<Self>) {
        loop {
            sleep(PINNED_IDLE / 4).await;
            let Some(pool) = pool.upgrade() else {
                return;
            };
            let mut idle = lock(&pool.idle);
            idle.retain(|pinned| pinned.since.elapsed() <= PINNED_IDLE);
            pool.set_count(idle.len());
            if idle.is_empty() {
                pool.sweeping.store(false, Ordering::Release);
                return;
            }
        }
    }
}

impl Drop for PinnedPool {
    fn drop(&mut self) {
        self.set_count(0);
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
