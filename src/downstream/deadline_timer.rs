//! One timer for all connections of a worker, and a coarse clock that they read without asking the system. At every tick
//! those are looked at whose time may be over; each is woken, and judges by itself. So a request costs no timer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::deadlines::Deadlines;
use super::drain::Drain;
use super::listener::ListenerSettings;

/// How coarse the clock is: deadlines come late by as much, never early.
const TICK: Duration = Duration::from_millis(100);
/// Beyond as many ticks a connection is looked at before its time.
const SLOTS: usize = 64;
const FURTHEST: u64 = 63;

/// The timer as long as its worker serves.
pub(super) struct DeadlineTimer {
    wheel: Arc<TimerWheel>,
    task: AbortHandle,
}

/// What all connections of a worker share.
#[derive(Debug)]
pub(super) struct TimerWheel {
    start: Instant,
    now: AtomicU64,
    draining: AtomicBool,
    limits: Limits,
    wheel: Mutex<Wheel>,
    /// Told when the wheel is empty no more.
    filled: Notify,
}

/// The settings, in ticks.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) rest_after: u64,
    pub(super) first_byte: u64,
    pub(super) header_read: u64,
    pub(super) keep_alive: u64,
    pub(super) write_stall: u64,
}

/// Who is looked at when: in the slot of a tick are those of that tick only. Who left is forgotten when their turn comes.
#[derive(Debug)]
struct Wheel {
    slots: [Vec<Entry>; SLOTS],
    swept: u64,
}

#[derive(Debug)]
struct Entry {
    tick: u64,
    connection: Weak<Deadlines>,
}

impl DeadlineTimer {
    /// Starts it on the current runtime.
    pub(super) fn start(settings: &ListenerSettings, drain: Drain) -> Self {
        let wheel = TimerWheel::new(settings);
        let task = tokio::spawn(Arc::clone(&wheel).run(drain)).abort_handle();
        Self { wheel, task }
    }

    /// A new connection under its eyes.
    pub(super) fn watch(&self) -> Arc<Deadlines> {
        let connection = Arc::new(Deadlines::new(Arc::clone(&self.wheel)));
        self.wheel.register(&connection);
        connection
    }
}

impl Drop for DeadlineTimer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TimerWheel {
    pub(super) fn new(settings: &ListenerSettings) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            now: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            limits: Limits {
                rest_after: ticks(settings.rest_after),
                first_byte: ticks(settings.first_byte_timeout),
                header_read: ticks(settings.header_read_timeout),
                keep_alive: ticks(settings.keep_alive_timeout),
                write_stall: ticks(settings.write_stall_timeout),
            },
            wheel: Mutex::new(Wheel {
                slots: [const { Vec::new() }; SLOTS],
                swept: 0,
            }),
            filled: Notify::new(),
        })
    }

    /// The time in ticks since the worker began.
    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// When the worker began.
    pub(super) fn began(&self) -> std::time::Instant {
        self.start.into_std()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether service ends.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn register(&self, connection: &Arc<Deadlines>) {
        // The clock stands still while there is nobody to look at.
        self.advance();
        self.schedule(connection);
        self.filled.notify_one();
    }

    /// Looks at a connection when its time may be over; forgets when that was to be before.
    pub(super) fn schedule(&self, connection: &Arc<Deadlines>) {
        let mut wheel = self.wheel();
        wheel.put(connection, self.now(), connection.next_check(self.now()));
    }

    async fn run(self: Arc<Self>, mut drain: Drain) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = async {
                while self.is_empty() {
                    self.filled.notified().await;
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
        let everybody: Vec<_> = self
            .wheel()
            .slots
            .iter()
            .flatten()
            .filter_map(|e| e.connection.upgrade())
            .collect();
        for connection in everybody {
            connection.wake();
        }
        loop {
            ticks.tick().await;
            self.sweep(self.advance());
        }
    }

    fn sweep(&self, now: u64) {
        let mut due = Vec::new();
        let mut wheel = self.wheel();
        let from = now.saturating_sub(FURTHEST).max(wheel.swept + 1);
        for tick in from..=now {
            for entry in wheel.take(tick) {
                // Another tick: it was put elsewhere meanwhile.
                let Some(connection) = entry
                    .connection
                    .upgrade()
                    .filter(|one| one.scheduled_at() == entry.tick)
                else {
                    continue;
                };
                let next = connection.next_check(now);
                wheel.put(&connection, now, next);
                if next <= now {
                    due.push(connection);
                }
            }
        }
        wheel.swept = now;
        drop(wheel);
        for connection in due {
            connection.wake();
        }
    }

    fn advance(&self) -> u64 {
        let elapsed =
            u64::try_from(self.start.elapsed().as_millis() / TICK.as_millis()).unwrap_or(u64::MAX);
        self.now.fetch_max(elapsed, Ordering::Relaxed).max(elapsed)
    }

    fn is_empty(&self) -> bool {
        self.wheel().slots.iter().all(Vec::is_empty)
    }

    fn wheel(&self) -> MutexGuard<'_, Wheel> {
        // Nothing in here can break off halfway.
        self.wheel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wheel {
    /// The slot of `tick`; the wheel has as many as `tick` can be apart.
    fn slot(&mut self, tick: u64) -> Option<&mut Vec<Entry>> {
        let index = usize::try_from(tick % SLOTS as u64).unwrap_or(0);
        self.slots.get_mut(index)
    }

    /// In a slot that is yet to be swept, at `tick` or as near as may be.
    fn put(&mut self, connection: &Arc<Deadlines>, now: u64, tick: u64) {
        let tick = tick.clamp(now + 1, now + FURTHEST);
        connection.schedule(tick);
        if let Some(slot) = self.slot(tick) {
            slot.push(Entry {
                tick,
                connection: Arc::downgrade(connection),
            });
        }
    }

    fn take(&mut self, tick: u64) -> Vec<Entry> {
        self.slot(tick).map(std::mem::take).unwrap_or_default()
    }
}

/// At least as long as `time`.
fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::super::deadlines::ReadPhase;
    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl TimerWheel {
        fn at(&self, now: u64) {
            self.now.store(now, Ordering::Relaxed);
            self.sweep(now);
        }
    }

    /// The ticks from `began` on at which a connection is woken that awaits something and never gets it.
    fn woken(phase: ReadPhase, began: u64, step: usize, hibernating: bool) -> Vec<u64> {
        let settings = ListenerSettings {
            rest_after: 5 * TICK,
            first_byte_timeout: 70 * TICK,
            header_read_timeout: 200 * TICK,
            keep_alive_timeout: 1000 * TICK,
            ..ListenerSettings::default()
        };
        let wheel = TimerWheel::new(&settings);
        let connection = Arc::new(Deadlines::new(Arc::clone(&wheel)));
        wheel.register(&connection);
        let counter = Arc::new(Woken::default());
        connection.register_waker(&Arc::clone(&counter).into());
        (0..=began).for_each(|tick| wheel.at(tick));
        connection.begin(phase);
        let gauge = prometheus::IntGauge::new("at_rest", "At rest.").unwrap();
        let _resting = hibernating.then(|| connection.rest(&gauge));
        let mut ticks = Vec::new();
        for tick in (began + 1..began + 1500).step_by(step) {
            wheel.at(tick);
            if counter.0.swap(0, Ordering::Relaxed) > 0 {
                assert_eq!(
                    connection.overdue().is_some(),
                    tick > began + ticks_of(phase),
                    "{phase:?} at {tick}"
                );
                ticks.push(tick - began);
            }
        }
        ticks
    }

    fn ticks_of(phase: ReadPhase) -> u64 {
        match phase {
            ReadPhase::Nothing => u64::MAX / 2,
            ReadPhase::FirstByte => 70,
            ReadPhase::NextRequest => 1000,
            ReadPhase::RestOfHead => 200,
        }
    }

    #[tokio::test]
    async fn who_waited_too_long_is_woken_and_who_rests_not_before() {
        for began in [0, 1, 63, 64, 130] {
            for step in [1, 3, 70, 200] {
                let late = u64::try_from(step).unwrap();
                let never = woken(ReadPhase::Nothing, began, step, false);
                assert!(never.is_empty(), "an exchange has no time here: {never:?}");
                for phase in [ReadPhase::FirstByte, ReadPhase::NextRequest] {
                    let first = woken(phase, began, step, true)[0];
                    let limit = ticks_of(phase);
                    assert!(
                        first > limit && first <= limit + 1 + late,
                        "{phase:?} from {began} by {step}: {first}"
                    );
                    let first = woken(phase, began, step, false)[0];
                    assert!(
                        (5..=10 + late).contains(&first),
                        "{phase:?} from {began} by {step}: to rest at {first}"
                    );
                }
                let first = woken(ReadPhase::RestOfHead, began, step, false)[0];
                assert!(
                    (201..=201 + late).contains(&first),
                    "from {began} by {step}: {first}"
                );
            }
        }
    }

    #[tokio::test]
    async fn who_left_is_forgotten() {
        let wheel = TimerWheel::new(&ListenerSettings::default());
        for number in 0..1000 {
            let connection = Arc::new(Deadlines::new(Arc::clone(&wheel)));
            wheel.register(&connection);
            if number % 2 == 0 {
                connection.begin(ReadPhase::NextRequest);
            }
            wheel.at(number / 10);
        }
        assert!(!wheel.is_empty());
        (100..100 + SLOTS as u64).for_each(|tick| wheel.at(tick));
        assert!(wheel.is_empty());
    }
}
