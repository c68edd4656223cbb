//! Hashed timer wheel with a coarse clock: one timer for many entries. Every tick, the entries
//! whose check is due are checked, and those whose deadline has passed are woken. An entry that
//! uses it needs no timer of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::drain::Drain;

use crate::lock::lock;

/// Resolution of the clock. Deadlines fire up to one tick late, never early.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// Number of slots. An entry that is due later than the last slot is checked early and rescheduled.
pub(super) const SLOTS: usize = 64;
const MAX_TICKS_AHEAD: u64 = 63;

/// An entry of a timer wheel.
pub(super) trait Scheduled {
    /// The next tick at which this entry must be checked.
    fn next_check(&self, now: u64) -> u64;
    /// The tick for which this entry is scheduled.
    fn scheduled_tick(&self) -> u64;
    /// Sets the tick for which this entry is scheduled.
    fn set_scheduled_tick(&self, tick: u64);
    /// Wakes the task of this entry.
    fn wake(&self);
}

/// A timer wheel and its clock.
#[derive(Debug)]
pub(super) struct TimerWheel<T> {
    start: Instant,
    now: AtomicU64,
    draining: AtomicBool,
    slots: Mutex<Slots<T>>,
    /// Notified when an entry is registered.
    registered: Notify,
}

/// Each slot holds the entries of one tick. Dropped entries are removed when their tick comes.
#[derive(Debug)]
struct Slots<T> {
    slots: [Vec<Entry<T>>; SLOTS],
    last_swept: u64,
}

#[derive(Debug)]
struct Entry<T> {
    tick: u64,
    target: Weak<T>,
}

impl<T: Scheduled> TimerWheel<T> {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            now: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            slots: Mutex::new(Slots {
                slots: [const { Vec::new() }; SLOTS],
                last_swept: 0,
            }),
            registered: Notify::new(),
        }
    }

    /// Ticks since the wheel was created, without a system call.
    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// When the wheel was created.
    pub(super) fn start(&self) -> std::time::Instant {
        self.start.into_std()
    }

    /// Whether draining has started.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Adds an entry.
    pub(super) fn register(&self, entry: &Arc<T>) {
        // The clock stops while the wheel is empty.
        self.advance();
        self.schedule(entry);
        self.registered.notify_one();
    }

    /// Schedules the entry's next check; replaces the one scheduled before.
    pub(super) fn schedule(&self, entry: &Arc<T>) {
        let mut slots = self.slots();
        slots.insert(entry, self.now(), entry.next_check(self.now()));
    }

    /// Runs the wheel. When draining starts, every entry is woken once.
    pub(super) async fn run(&self, mut drain: Drain) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = async {
                while self.is_empty() {
                    self.registered.notified().await;
                }
                ticks.tick().await;
            };
            tokio::select! {
                biased;
                () = drain.started() => break,
                () = next => self.sweep(self.advance()),
            }
        }
        drop(drain);
        self.draining.store(true, Ordering::Relaxed);
        let all: Vec<_> = self
            .slots()
            .slots
            .iter()
            .flatten()
            .filter_map(|entry| entry.target.upgrade())
            .collect();
        for entry in all {
            entry.wake();
        }
        loop {
            ticks.tick().await;
            self.sweep(self.advance());
        }
    }

    fn sweep(&self, now: u64) {
        let mut due = Vec::new();
        let mut slots = self.slots();
        let from = now
            .saturating_sub(MAX_TICKS_AHEAD)
            .max(slots.last_swept + 1);
        for tick in from..=now {
            for Entry { tick, target } in slots.take(tick) {
                // A different tick means that the entry was rescheduled.
                let Some(target) = target
                    .upgrade()
                    .filter(|target| target.scheduled_tick() == tick)
                else {
                    continue;
                };
                let next = target.next_check(now);
                slots.insert(&target, now, next);
                if next <= now {
                    due.push(target);
                }
            }
        }
        slots.last_swept = now;
        drop(slots);
        for target in due {
            target.wake();
        }
    }

    fn advance(&self) -> u64 {
        let elapsed =
            u64::try_from(self.start.elapsed().as_millis() / TICK.as_millis()).unwrap_or(u64::MAX);
        self.now.fetch_max(elapsed, Ordering::Relaxed).max(elapsed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots().slots.iter().all(Vec::is_empty)
    }

    /// Sets the clock and runs the sweep of that tick.
    #[cfg(test)]
    pub(super) fn set_now(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
        self.sweep(now);
    }

    fn slots(&self) -> MutexGuard<'_, Slots<T>> {
        // No critical section can leave the slots inconsistent, so a poisoned lock is safe to use.
        lock(&self.slots)
    }
}

impl<T: Scheduled> Slots<T> {
    fn slot(&mut self, tick: u64) -> Option<&mut Vec<Entry<T>>> {
        let index = usize::try_from(tick % SLOTS as u64).unwrap_or(0);
        self.slots.get_mut(index)
    }

    /// Inserts at `tick`, or at the nearest tick that has a slot and has not been swept.
    fn insert(&mut self, target: &Arc<T>, now: u64, tick: u64) {
        let tick = tick.clamp(now + 1, now + MAX_TICKS_AHEAD);
        target.set_scheduled_tick(tick);
        if let Some(slot) = self.slot(tick) {
            slot.push(Entry {
                tick,
                target: Arc::downgrade(target),
            });
        }
    }

    fn take(&mut self, tick: u64) -> Vec<Entry<T>> {
        self.slot(tick).map(std::mem::take).unwrap_or_default()
    }
}

/// `duration` in ticks, rounded up.
pub(super) fn to_ticks(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX / 2)
}
