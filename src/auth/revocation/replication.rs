//! Replicates revocations through the store. Local ones apply at once, remote ones within a second.
//! Entries are AEAD-sealed: write access to the store without a key revokes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::auth::app::{AppAuth, RevocationMode};
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::auth::revocation::event_log::{InvalidEntry, OpenedEntry, log_entry, open};
use crate::auth::revocation::limit::LimitWatch;
use crate::auth::revocation::publication::{Publication, Publications, Publisher, Reach};
use crate::auth::revocation::recovery::{Loss, Recovery};
use crate::auth::revocation::sync::{Phase, SETTLE_TIME, SyncState};
use crate::auth::session_id::start_of;
use crate::session::seal::KeyAge;
use crate::store::{
    Block, Cursor, LogBatch, LogEntry, LogState, Revocation, RevocationEvent, StoreError, StoreTime,
};
use crate::telemetry::health::Condition;
use crate::types::time::Timestamp;

/// The poll interval.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// After this long without a successful poll the revocations are not synchronized.
const STALE_AFTER: Duration = Duration::from_secs(2);

/// How many events are applied before other tasks of the background runtime run.
const APPLIED_AT_ONCE: usize = 250;

/// How many entries beyond the known revocations the log may hold before it is compacted.
const COMPACTION_SLACK: usize = 1000;

/// How long a compaction by one replica excludes the others.
const COMPACTION_LEASE: Duration = Duration::from_secs(30);

/// The store key of the compaction lease.
const COMPACTION_KEY: &str = "condensing";

/// The accepted clock difference between replicas: the times of an event are clamped to it.
const LEEWAY: Duration = Duration::from_secs(60);

/// The longest block of a user.
pub const MAX_BLOCK: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Revokes sessions and replicates revocations. Clones share their state.
#[derive(Clone)]
pub struct RevocationReplicator {
    context: Arc<Context>,
    publisher: Publisher,
    limits: Arc<LimitWatch>,
    state: Arc<ReplicationState>,
}

/// The replication state of this process, in any configuration.
pub(in crate::auth) struct ReplicationState {
    sync: SyncState,
    recovery: Recovery,
    publications: Arc<Publications>,
    /// How often the store was found to have lost data.
    losses: watch::Sender<u64>,
    /// An invalid event was logged. Only the first one is; the metric counts all.
    invalid_logged: AtomicBool,
    /// An entry was sealed with a decryption-only key: compact the log, so that the key can be
    /// removed.
    saw_previous_key: AtomicBool,
}

impl Default for ReplicationState {
    fn default() -> Self {
        Self {
            sync: SyncState::default(),
            recovery: Recovery::default(),
            publications: Arc::default(),
            losses: watch::Sender::new(0),
            invalid_logged: AtomicBool::new(false),
            saw_previous_key: AtomicBool::new(false),
        }
    }
}

impl RevocationReplicator {
    pub(in crate::auth) fn new(context: Arc<Context>, state: Arc<ReplicationState>) -> Self {
        Self {
            publisher: Publisher::new(Arc::clone(&context), Arc::clone(&state.publications)),
            limits: Arc::new(LimitWatch::new(context.apps.len())),
            context,
            state,
        }
    }

    /// Revokes sessions of `app`, here at once and at other replicas within a second. `ends_at` is
    /// when the last of them would have reached its absolute timeout. `now` is the time that the
    /// revocation was made with: read again in the next second, it would order a revocation until now
    /// before sessions that started just before.
    pub(in crate::auth) fn revoke(
        &self,
        app: &AppAuth,
        revocation: Revocation,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> Publication {
        self.revoke_with(app, revocation, ends_at, None, now)
    }

    /// The same, and no session of the user may start while `block` lasts.
    pub(in crate::auth) fn revoke_with(
        &self,
        app: &AppAuth,
        revocation: Revocation,
        ends_at: Timestamp,
        block: Option<Timestamp>,
        now: Timestamp,
    ) -> Publication {
        let time = self.context.stores.sessions.time_bound(now);
        let given = time.unwrap_or(StoreTime::from_millis(now.secs().saturating_mul(1000)));
        let event = RevocationEvent {
            order: order_of(&revocation, time, now),
            block: block.map(|until| Block { until, given }),
            ..RevocationEvent::new(revocation, ends_at)
        };
        if self.apply_here(app, [event.clone()], now) == 0 {
            return self.publisher.earlier();
        }
        match log_entry(app, &event) {
            Some(entry) => self.publisher.start(entry),
            None => Publication::ended(Reach::LocalOnly),
        }
    }

    /// Requires that revocations are known, so far as `app` demands it. While this process reads
    /// what was published before it started, every app does: the store answers, so this is soon over.
    ///
    /// # Errors
    /// It is not known which sessions were revoked.
    pub(in crate::auth) fn require_synced(&self, app: &AppAuth) -> Result<(), Unavailable> {
        let sync = &self.state.sync;
        let is_known = match app.settings.revocation {
            RevocationMode::FailClosed => sync.is_synced(),
            RevocationMode::FailOpen => !sync.is_catching_up(),
        };
        if is_known {
            Ok(())
        } else {
            Err(Unavailable::of_store("revocations_not_synced"))
        }
    }

    /// Reads the revocations that were published before this process started, before it is ready.
    /// `ready` is met when they are known, or when the store does not answer.
    pub fn begin_catch_up(&self, ready: Condition) {
        self.state.sync.begin_catch_up(ready);
        let now = self.context.now();
        // Events that this process could not publish before it was restarted.
        self.apply_slice(self.context.stores.outbox.first(usize::MAX).iter(), now);
    }

    /// Waits until [`Self::begin_catch_up`] has ended.
    pub async fn caught_up(&self) {
        self.state.sync.caught_up().await;
    }

    /// Polls the revocation log forever, for the apps of the configuration that `current` returns at
    /// the time.
    pub async fn listen(current: impl Fn() -> Self) {
        let mut polled = current();
        let mut last_read = Instant::now();
        loop {
            let replicator = current();
            if replicator.has_apps_beside(&polled) {
                // The log may have revocations of an app that was unknown when they were read.
                replicator.state.sync.set_cursor(Cursor::default());
                replicator.remove_moved();
            }
            replicator.poll_once(&mut last_read).await;
            polled = replicator;
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Whether there are apps here that `before` does not know.
    fn has_apps_beside(&self, before: &Self) -> bool {
        let known = |app: &AppAuth| {
            let mut apps = before.context.apps.iter();
            apps.any(|other| Arc::ptr_eq(&other.revocations, &app.revocations))
        };
        !self.context.apps.iter().all(|app| known(app))
    }

    /// Removes revocations by the names of a provider at which the users of the app log in now: they
    /// belong to the app at that provider.
    fn remove_moved(&self) {
        for app in &self.context.apps {
            for other in self.context.at_other_providers(app) {
                let issuer = &other.provider.settings().issuer;
                app.revocations.remove_issuer(issuer);
            }
        }
    }

    async fn poll_once(&self, last_read: &mut Instant) {
        match self.poll().await {
            Ok(is_complete) => {
                *last_read = Instant::now();
                self.state.sync.outage_ended(*last_read);
                if is_complete {
                    self.set_phase(Phase::Synced);
                }
            }
            Err(error) => {
                tracing::debug!(code = error.code(), %error, "revocation_poll_failed");
                self.state.sync.outage_began(Instant::now());
                if self.state.sync.is_catching_up() {
                    tracing::warn!(code = error.code(), %error, "revocation_catch_up_failed");
                    self.set_phase(Phase::Unsynced);
                } else if last_read.elapsed() >= STALE_AFTER {
                    self.set_phase(Phase::Unsynced);
                }
            }
        }
    }

    /// Whether all published revocations are known here.
    pub fn is_synced(&self) -> bool {
        self.state.sync.is_synced()
    }

    /// Publishes at shutdown what the store has not taken yet, at most for `limit`.
    pub async fn flush(&self, limit: Duration) {
        self.publisher.flush(limit).await;
    }

    /// A receiver that changes when the store was found to have lost data.
    pub(in crate::auth) fn losses(&self) -> watch::Receiver<u64> {
        self.state.losses.subscribe()
    }

    /// The time of the store, and whether it has all that replicas put into it, as far as anybody
    /// knows: it lost nothing and was available for a while.
    ///
    /// # Errors
    /// The store does not answer.
    pub(in crate::auth) async fn is_store_complete(&self) -> Result<bool, StoreError> {
        let LogState { intact_for, .. } = self.log_state().await?;
        let is_settled = self.state.sync.is_settled(Instant::now());
        Ok(is_settled && intact_for >= SETTLE_TIME)
    }

    async fn log_state(&self) -> Result<LogState, StoreError> {
        let cursor = self.state.sync.cursor();
        let store = &self.context.stores.sessions;
        store.log_state(&cursor, self.context.now()).await
    }

    fn set_phase(&self, phase: Phase) {
        let was_synced = self.state.sync.is_synced();
        let is_synced = phase == Phase::Synced;
        let changed = self.state.sync.set(phase);
        if changed && was_synced != is_synced {
            self.context.observer.revocations_synced(is_synced);
        }
    }

    /// Reads what was published, as of now, and maintains the log. Returns whether all revocations
    /// are known.
    async fn poll(&self) -> Result<bool, StoreError> {
        let mut read = 0;
        let mut goal = None;
        let tail = loop {
            let since = self.state.sync.cursor();
            let store = &self.context.stores.sessions;
            let batch = store.read_since(&since, self.context.now()).await?;
            if batch.lost {
                self.note_loss(Loss::Data);
            }
            // Events that are published meanwhile are read by the next poll, so that a flood ends no poll.
            let goal = *goal.get_or_insert(batch.held);
            read += batch.read;
            let entries = batch.entries.iter();
            self.apply(entries).await;
            self.state.sync.set_cursor(batch.cursor.clone());
            if !batch.more || read >= goal {
                break batch;
            }
        };
        self.publisher.publish_kept().await?;
        self.publish_again().await?;
        self.look_for_missing(&tail);
        self.compact(&tail).await?;
        // The others publish again what the store has lost, before this process knows all.
        if self.state.sync.is_catching_up() {
            return Ok(self.log_state().await?.intact_for >= SETTLE_TIME);
        }
        Ok(true)
    }

    async fn apply(&self, entries: impl Iterator<Item = &LogEntry>) {
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            self.apply_slice(entries.by_ref().take(APPLIED_AT_ONCE), self.context.now());
            yield_now().await;
        }
    }

    fn apply_slice<'e>(&self, entries: impl Iterator<Item = &'e LogEntry>, now: Timestamp) {
        let mut events: Vec<Vec<RevocationEvent>> = vec![Vec::new(); self.context.apps.len()];
        let time = self.context.stores.sessions.time_bound(now);
        for entry in entries {
            let OpenedEntry {
                position,
                event,
                key_age,
            } = match open(&self.context.apps, &entry.value) {
                Ok(Some(opened)) => opened,
                Ok(None) => continue,
                Err(InvalidEntry) => {
                    self.count_invalid();
                    continue;
                }
            };
            let app = self.context.apps.get(position);
            let (Some(app), Some(events)) = (app, events.get_mut(position)) else {
                continue;
            };
            if key_age == KeyAge::Old {
                self.state.saw_previous_key.store(true, Ordering::Release);
            }
            self.state.recovery.note_published(app, &event);
            events.push(bounded(event, app, time, now));
        }
        for (app, events) in self.context.apps.iter().zip(events) {
            self.apply_here(app, events, now);
        }
    }

    /// Applies revocations in this process. Returns how many were not known.
    fn apply_here(
        &self,
        app: &AppAuth,
        events: impl IntoIterator<Item = RevocationEvent>,
        now: Timestamp,
    ) -> usize {
        let changes = app.revocations.revoke_all(events, now);
        if changes.new > 0 {
            let mut apps = self.context.apps.iter();
            let index = apps.position(|other| other.is_same(app));
            self.limits.check(index, app, &changes);
        }
        changes.new
    }

    fn count_invalid(&self) {
        self.context.observer.revocation_event_invalid();
        if !self.state.invalid_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!("revocation_event_invalid");
        }
    }

    fn note_loss(&self, loss: Loss) {
        if self.state.recovery.begin(loss, Instant::now()) {
            self.context.observer.store_data_lost();
        }
        if loss == Loss::Data {
            self.state.losses.send_modify(|count| *count += 1);
        }
    }

    /// A log with fewer entries than there are known revocations was emptied by somebody who left
    /// no other trace.
    fn look_for_missing(&self, tail: &LogBatch) {
        let apps = &self.context.apps;
        let is_short = |count: usize| tail.held < count && self.publisher.is_done();
        let known = apps.iter().map(|app| app.revocations.snapshot().len());
        if tail.more || !is_short(known.sum()) {
            return;
        }
        // Without those that may have expired by another clock.
        let later = self.context.now().plus(LEEWAY);
        let known = apps
            .iter()
            .map(|app| app.revocations.snapshot().count(later));
        if is_short(known.sum()) {
            self.note_loss(Loss::Entries);
        }
    }

    /// Publishes all known revocations again, if the store lost some. One replica at a time: the
    /// others then publish only what the first did not know.
    async fn publish_again(&self) -> Result<(), StoreError> {
        if self.publisher.take_overflow() {
            self.state.recovery.begin(Loss::Unpublished, Instant::now());
        }
        if !self.state.recovery.is_due() {
            return Ok(());
        }
        let Some(lease) = self.state.recovery.lease(&self.context).await? else {
            return Ok(());
        };
        let published = self
            .state
            .recovery
            .publish_missing(&self.context, &self.publisher)
            .await;
        lease.release(&self.context).await;
        match published {
            Ok(()) => {
                self.state.recovery.end();
                Ok(())
            }
            // The log is compacted first.
            Err(StoreError::Full) => Ok(()),
            Err(error @ StoreError::Unavailable(_)) => Err(error),
        }
    }

    /// Replaces the log by the known revocations, if it has grown to twice what is needed.
    async fn compact(&self, tail: &LogBatch) -> Result<(), StoreError> {
        let apps = self.context.apps.iter();
        let known: usize = apps.map(|app| app.revocations.snapshot().len()).sum();
        let needs_compaction = tail.held > 2 * known + COMPACTION_SLACK
            || self.state.saw_previous_key.swap(false, Ordering::AcqRel);
        if tail.more || !needs_compaction || !self.may_compact().await? {
            return Ok(());
        }
        let mut entries = Vec::with_capacity(known);
        for app in &self.context.apps {
            let now = self.context.now();
            let revoked = app.revocations.snapshot();
            for (count, event) in revoked.all(now).enumerate() {
                entries.extend(log_entry(app, &event));
                if count % APPLIED_AT_ONCE == 0 {
                    yield_now().await;
                }
            }
        }
        let store = &self.context.stores.sessions;
        store
            .compact(&tail.cursor, entries, self.context.now())
            .await
    }

    /// Elects one replica for the compaction.
    async fn may_compact(&self) -> Result<bool, StoreError> {
        let now = self.context.now();
        let ends_at = now.plus(COMPACTION_LEASE);
        let store = &self.context.stores.sessions;
        let holder = store.put_if_absent(COMPACTION_KEY, Bytes::new(), ends_at, now);
        Ok(holder.await?.is_none())
    }
}

/// The store's time of a revocation that is made now. One that concerns sessions until an earlier
/// time counts from then. For one session it is that of its start, if it is known.
fn order_of(revocation: &Revocation, time: Option<StoreTime>, now: Timestamp) -> Option<StoreTime> {
    let until = |until: Timestamp| Some(time?.minus(now.since(until)));
    match revocation {
        Revocation::Session(sid, _) => start_of(sid).or(time),
        Revocation::ProviderSession(_) => time,
        Revocation::User(_, started_until) | Revocation::Everyone(started_until) => {
            until(*started_until)
        }
        Revocation::Provider(ended) => match &ended.user {
            Some(user) => until(user.started_until),
            None => time,
        },
    }
}

/// Limits the times of an event: it ends no session that starts after now, by whatever clock it was
/// made, unless it blocks a user.
fn bounded(
    event: RevocationEvent,
    app: &AppAuth,
    time: Option<StoreTime>,
    now: Timestamp,
) -> RevocationEvent {
    let latest = now.plus(LEEWAY);
    let block = event.block.map(|block| Block {
        until: block.until.min(latest.plus(MAX_BLOCK)),
        ..block
    });
    let last_start = block.map_or(latest, |block| block.until.max(latest));
    RevocationEvent {
        revocation: event.revocation.until(latest),
        ends_at: event.ends_at.min(last_start.plus(app.app.limits.absolute)),
        order: event
            .order
            .map(|order| time.map_or(order, |time| order.min(time))),
        block,
    }
}
