//! HTTP/1.1 connection pool of one worker for one backend. A connection returns to it once its
//! response was read completely, and is reused if it is still open and received nothing in between.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use crate::lock::lock;
use crate::upstream::settings::IdleReuse;

/// Which connections a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum ReusePolicy {
    /// Any idle connection: the request can be repeated.
    Any,
    /// A connection that was used just before: the request cannot be repeated.
    RecentlyUsed,
    /// Only a new connection.
    Fresh,
}

/// The idle connections.
#[derive(Debug)]
pub(in crate::upstream) struct IdlePool {
    idle: Mutex<VecDeque<IdleConnection>>,
    max_idle: usize,
    reuse: IdleReuse,
    /// Notified of each connection that is returned.
    returned: Notify,
    /// Whether the sweep task is running.
    sweeping: AtomicBool,
}

#[derive(Debug)]
struct IdleConnection {
    connection: Connection,
    since: Instant,
}

impl IdlePool {
    pub(in crate::upstream) fn new(max_idle: usize, reuse: IdleReuse) -> Self {
        Self {
            idle: Mutex::default(),
            max_idle,
            reuse,
            returned: Notify::new(),
            sweeping: AtomicBool::new(false),
        }
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<IdleConnection>> {
        // No critical section can leave the queue inconsistent, so a poisoned lock is safe to use.
        lock(&self.idle)
    }

    /// The number of idle connections.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.idle().len()
    }

    /// Waits until a connection is returned.
    pub(in crate::upstream) async fn returned(&self) {
        self.returned.notified().await;
    }

    /// Takes the most recently used connection that `reuse` allows.
    pub(in crate::upstream) fn take(&self, reuse: ReusePolicy) -> Option<Connection> {
        let max_idle_time = match reuse {
            ReusePolicy::Any => self.reuse.repeatable,
            ReusePolicy::RecentlyUsed => self.reuse.unrepeatable,
            ReusePolicy::Fresh => return None,
        };
        let mut idle = self.idle();
        let now = Instant::now();
        while let Some(mut last) = idle.pop_back() {
            if now.saturating_duration_since(last.since) > max_idle_time {
                // The connections before it have been idle even longer.
                if reuse == ReusePolicy::Any {
                    // No request can use them, and they hold slots of the connection limit.
                    idle.clear();
                } else {
                    idle.push_back(last);
                }
                return None;
            }
            if last.connection.is_reusable() {
                return Some(last.connection);
            }
        }
        None
    }

    /// Returns a connection whose response was read completely.
    pub(in crate::upstream) fn put(self: &Arc<Self>, mut connection: Connection) {
        if !connection.prepare_for_reuse() {
            return;
        }
        let mut idle = self.idle();
        idle.push_back(IdleConnection {
            connection,
            since: Instant::now(),
        });
        if idle.len() > self.max_idle {
            idle.pop_front();
        }
        drop(idle);
        self.returned.notify_one();
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            tokio::spawn(Self::sweep(Arc::downgrade(self), self.reuse.repeatable));
        }
    }

    /// Closes connections that were idle for too long, until the pool is empty. Idle connections
    /// starve servers that dedicate a process to each connection.
    async fn sweep(pool: Weak<Self>, idle_reuse: Duration) {
        loop {
            sleep(idle_reuse).await;
            let Some(pool) = pool.upgrade() else {
                return;
            };
            let mut idle = pool.idle();
            idle.retain(|connection| connection.since.elapsed() <= idle_reuse);
            if idle.is_empty() {
                pool.sweeping.store(false, Ordering::Release);
                return;
            }
        }
    }
}
