//! Publishes the revocations of this process to the other replicas, and keeps those that the store
//! does not take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::auth::context::Context;
use crate::store::{LogEntry, Outbox, StoreError};

/// The most entries that are published at once.
const MAX_PUBLISHED: usize = 500;

/// How often entries are tried again at shutdown.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// How often it is checked whether earlier publications have ended.
const EARLIER_INTERVAL: Duration = Duration::from_millis(20);

/// How far a revocation is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The store has it. All replicas know it within a second.
    Published,
    /// This process knows it, and publishes it when the store answers.
    LocalOnly,
}

impl Reach {
    /// The reach of several revocations together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Published, Self::Published) => Self::Published,
            (Self::LocalOnly, _) | (_, Self::LocalOnly) => Self::LocalOnly,
        }
    }
}

/// A revocation that counts here, and is being published. It is published even if this is dropped.
#[derive(Debug)]
#[must_use = "the revocation may be known here only"]
pub(in crate::auth) struct Publication(State);

#[derive(Debug)]
enum State {
    Known(Reach),
    Pending(oneshot::Receiver<Reach>),
    /// Published before, and perhaps still in flight.
    Earlier(Earlier),
}

/// The publications that were started before.
#[derive(Debug)]
struct Earlier {
    in_flight: Arc<AtomicUsize>,
    outbox: Arc<Outbox>,
}

impl Earlier {
    /// Waits until none is in flight.
    async fn reach(self) -> Reach {
        while self.in_flight.load(Ordering::Acquire) > 0 {
            sleep(EARLIER_INTERVAL).await;
        }
        if self.outbox.is_empty() {
            Reach::Published
        } else {
            Reach::LocalOnly
        }
    }
}

impl Publication {
    /// It is known already how far the revocation reaches.
    pub(super) const fn ended(reach: Reach) -> Self {
        Self(State::Known(reach))
    }

    /// Waits until the store has the revocation, at most for `limit`.
    pub(in crate::auth) async fn reach(self, limit: Duration) -> Reach {
        match self.0 {
            State::Known(reach) => reach,
            State::Pending(receiver) => match timeout(limit, receiver).await {
                Ok(Ok(reach)) => reach,
                Ok(Err(_)) | Err(_) => Reach::LocalOnly,
            },
            State::Earlier(earlier) => {
                let reach = timeout(limit, earlier.reach()).await;
                reach.unwrap_or(Reach::LocalOnly)
            }
        }
    }

    /// Does not wait: the caller's answer does not depend on the other replicas.
    pub(in crate::auth) fn detach(self) {}
}

/// Publishes entries. Clones share their state.
#[derive(Clone)]
pub(super) struct Publisher {
    context: Arc<Context>,
    publications: Arc<Publications>,
}

/// The publications of this process, in any configuration.
#[derive(Debug, Default)]
pub(super) struct Publications {
    in_flight: Arc<AtomicUsize>,
    overflowed: AtomicBool,
}

impl Publisher {
    pub(super) const fn new(context: Arc<Context>, publications: Arc<Publications>) -> Self {
        Self {
            context,
            publications,
        }
    }

    /// Publishes an entry beside the caller.
    pub(super) fn start(&self, entry: LogEntry) -> Publication {
        let (sender, receiver) = oneshot::channel();
        let publisher = self.clone();
        let in_flight = InFlight::begin(&self.publications.in_flight);
        let kept = entry.clone();
        let spawned = self.context.runtime.spawn(async move {
            let _in_flight = in_flight;
            let reach = publisher.publish_or_keep(vec![entry]).await;
            // The caller may have left.
            let _ = sender.send(reach);
        });
        match spawned {
            Ok(()) => Publication(State::Pending(receiver)),
            Err(_) => {
                let error = StoreError::Unavailable("too many calls in flight".to_owned());
                self.log_pending(&error);
                self.check_kept(self.context.stores.outbox.add_later(vec![kept]));
                Publication::ended(Reach::LocalOnly)
            }
        }
    }

    /// The publication of a revocation that was known here already.
    pub(super) fn earlier(&self) -> Publication {
        Publication(State::Earlier(Earlier {
            in_flight: Arc::clone(&self.publications.in_flight),
            outbox: Arc::clone(&self.context.stores.outbox),
        }))
    }

    async fn publish_or_keep(&self, entries: Vec<LogEntry>) -> Reach {
        let store = &self.context.stores.sessions;
        match store.publish(entries.clone(), self.context.now()).await {
            Ok(()) => Reach::Published,
            Err(error) => {
                self.keep(entries, &error).await;
                Reach::LocalOnly
            }
        }
    }

    /// Keeps entries until the store takes them.
    async fn keep(&self, entries: Vec<LogEntry>, error: &StoreError) {
        self.log_pending(error);
        self.check_kept(self.context.stores.outbox.add(entries).await);
    }

    /// Logs the first entry that has to wait.
    fn log_pending(&self, error: &StoreError) {
        let outbox = &self.context.stores.outbox;
        if outbox.is_empty() {
            let durable = outbox.is_durable();
            tracing::warn!(code = error.code(), %error, durable, "revocations_pending");
        }
    }

    fn check_kept(&self, kept: Result<(), StoreError>) {
        match kept {
            Ok(()) => {}
            Err(StoreError::Full) => self.publications.overflowed.store(true, Ordering::Release),
            Err(error @ StoreError::Unavailable(_)) => {
                tracing::error!(code = error.code(), %error, "revocation_journal_failed");
            }
        }
    }

    /// Whether entries could not be kept, so that all that is known must be published again.
    pub(super) fn take_overflow(&self) -> bool {
        self.publications.overflowed.swap(false, Ordering::AcqRel)
    }

    /// Publishes the entries that were kept.
    ///
    /// # Errors
    /// The store does not answer. A full store is no error: it is tried again later.
    pub(super) async fn publish_kept(&self) -> Result<(), StoreError> {
        let outbox = &self.context.stores.outbox;
        let mut published = 0;
        loop {
            let entries = outbox.first(MAX_PUBLISHED);
            if entries.is_empty() {
                break;
            }
            let count = entries.len();
            match self.publish(entries).await {
                Ok(()) => {}
                Err(StoreError::Full) => break,
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
            }
            outbox.remove_first(count);
            published += count;
        }
        if published > 0 {
            tracing::info!(count = published, "revocations_published");
        }
        Ok(())
    }

    pub(super) async fn publish(&self, entries: Vec<LogEntry>) -> Result<(), StoreError> {
        let store = &self.context.stores.sessions;
        store.publish(entries, self.context.now()).await
    }

    /// Whether all revocations of this process are in the store.
    pub(super) fn is_done(&self) -> bool {
        self.publications.in_flight.load(Ordering::Acquire) == 0
            && self.context.stores.outbox.is_empty()
    }

    /// Publishes what is left, at most for `limit`, and logs what could not be published.
    pub(super) async fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.is_done() && Instant::now() < deadline {
            // An error is logged below, if it is the last one.
            let _ = timeout(limit, self.publish_kept()).await;
            if !self.is_done() {
                sleep(FLUSH_INTERVAL).await;
            }
        }
        let outbox = &self.context.stores.outbox;
        let count = outbox.len() + self.publications.in_flight.load(Ordering::Acquire);
        if count > 0 {
            let durable = outbox.is_durable();
            tracing::error!(count, durable, "revocations_not_published");
        }
    }
}

/// Counts a publication in flight until it is dropped.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
