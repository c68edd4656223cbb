//! Deadlines of one connection: what it waits for and since when, as reported by the socket wrapper
//! and by hyper. Updates are a few atomic stores. The timer wheel reads them and wakes the
//! connection in time.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use hyper::server::conn::http1;
use prometheus::IntGauge;

use super::connection_registry::Evictable;
use super::half_close::HalfClose;
use super::settings::ListenerSettings;
use super::timer_wheel::{Scheduled, TICK, TimerWheel, to_ticks};

use crate::lock::lock;
use crate::types::body::{ReadProgress, ReadState};

/// The part that the connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadPhase {
    /// No deadline here: a request is in flight, or the connection is not HTTP/1.1.
    Nothing,
    /// The first byte on this connection.
    FirstByte,
    /// The first byte of another request.
    NextRequest,
    /// The rest of a request head.
    RestOfHead,
}

/// A [`ReadPhase`] and the tick at which it began.
#[derive(Clone, Copy, Debug)]
struct PhaseStart {
    phase: ReadPhase,
    since: u64,
}

/// The timer wheel of a worker's connections, and their timeouts.
#[derive(Debug)]
pub(super) struct TimerContext {
    pub(super) wheel: TimerWheel<Deadlines>,
    timeouts: Timeouts,
}

/// The timeouts in ticks.
#[derive(Debug)]
struct Timeouts {
    hibernate_after: u64,
    first_byte: u64,
    header_read: u64,
    keep_alive: u64,
    write_stall: u64,
    half_close: u64,
}

impl TimerContext {
    pub(super) fn new(settings: &ListenerSettings) -> Arc<Self> {
        Arc::new(Self {
            wheel: TimerWheel::new(),
            timeouts: Timeouts {
                hibernate_after: to_ticks(settings.hibernate_after),
                first_byte: to_ticks(settings.first_byte_timeout),
                header_read: to_ticks(settings.header_read_timeout),
                keep_alive: to_ticks(settings.keep_alive_timeout),
                write_stall: to_ticks(settings.write_stall_timeout),
                half_close: to_ticks(settings.half_close_timeout),
            },
        })
    }
}

/// The deadlines of one connection.
#[derive(Debug)]
pub(super) struct Deadlines {
    timer: Arc<TimerContext>,
    /// A [`PhaseStart`], packed so that both parts change together.
    phase: AtomicU64,
    half_close: HalfClose,
    /// One more than the tick since which the client accepts no bytes; zero while it does.
    write_blocked_since: AtomicU64,
    /// Whether the connection ends because the client accepted no bytes for too long.
    write_has_stalled: AtomicBool,
    /// The tick of the next check.
    scheduled_tick: AtomicU64,
    /// Whether the last read found no more bytes.
    read_drained: AtomicBool,
    /// Whether all written bytes were passed to the kernel.
    flushed: AtomicBool,
    hibernating: AtomicBool,
    /// Whether the connection was asked to close.
    evicted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Deadlines {
    pub(super) fn new(timer: Arc<TimerContext>) -> Self {
        let start = PhaseStart {
            phase: ReadPhase::Nothing,
            since: 0,
        };
        Self {
            timer,
            phase: AtomicU64::new(start.pack()),
            half_close: HalfClose::default(),
            write_has_stalled: AtomicBool::new(false),
            write_blocked_since: AtomicU64::new(0),
            scheduled_tick: AtomicU64::new(0),
            read_drained: AtomicBool::new(false),
            flushed: AtomicBool::new(true),
            hibernating: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Enters `phase` now.
    pub(super) fn set_phase(&self, phase: ReadPhase) {
        self.store_phase(PhaseStart {
            phase,
            since: self.timer.wheel.now(),
        });
    }

    fn store_phase(&self, start: PhaseStart) {
        self.phase.store(start.pack(), Ordering::Relaxed);
    }

    fn load_phase(&self) -> PhaseStart {
        PhaseStart::unpack(self.phase.load(Ordering::Relaxed))
    }

    /// A request was received. `has_body`: its body was not read yet.
    pub(super) fn on_request(&self, has_body: bool) {
        self.set_phase(ReadPhase::Nothing);
        self.half_close.on_request(has_body);
    }

    /// The last response was written: only the end of the client's stream is awaited.
    pub(super) fn on_last_response(&self) {
        self.set_phase(ReadPhase::NextRequest);
    }

    /// The connection switches protocols.
    pub(super) fn on_upgrade(&self) {
        self.half_close.on_upgrade();
    }

    /// The client's stream has ended. Returns whether the end is withheld for now, because the
    /// request in flight can still be answered. `waker` is woken when it no longer is.
    pub(super) fn withholds_end(&self, waker: &Waker) -> bool {
        if self.load_phase().phase != ReadPhase::Nothing || self.timer.timeouts.half_close == 0 {
            return false;
        }
        let Some(since) = self.half_close.on_end(self.timer.wheel.now()) else {
            return false;
        };
        self.register_waker(waker);
        !self.has_elapsed(since, self.timer.timeouts.half_close)
    }

    /// hyper waits for the next head; any response before it has been written.
    fn on_head_awaited(&self) {
        if self.load_phase().phase == ReadPhase::Nothing {
            self.set_phase(ReadPhase::NextRequest);
        }
    }

    /// Bytes that arrived while a response was still being written are part of the next head.
    pub(super) fn on_partial_head(&self) {
        self.store_phase(PhaseStart {
            phase: ReadPhase::RestOfHead,
            since: self.load_phase().since,
        });
    }

    /// A read returned bytes.
    pub(super) fn on_read(&self) {
        self.read_drained.store(false, Ordering::Relaxed);
        self.half_close.on_read();
        match self.load_phase().phase {
            ReadPhase::Nothing | ReadPhase::RestOfHead => {}
            ReadPhase::FirstByte | ReadPhase::NextRequest => self.set_phase(ReadPhase::RestOfHead),
        }
    }

    /// A read found no bytes.
    pub(super) fn on_read_pending(&self) {
        self.read_drained.store(true, Ordering::Relaxed);
    }

    /// A write made progress. `flushed`: all written bytes were passed to the kernel.
    pub(super) fn on_write(&self, flushed: bool) {
        self.flushed.store(flushed, Ordering::Relaxed);
        if self.write_blocked_since.load(Ordering::Relaxed) != 0 {
            self.write_blocked_since.store(0, Ordering::Relaxed);
        }
    }

    /// A write is blocked. Returns whether it has been for longer than the write stall timeout;
    /// otherwise `waker` is woken when it has.
    pub(super) fn write_stalled(&self, waker: &Waker) -> bool {
        self.flushed.store(false, Ordering::Relaxed);
        self.register_waker(waker);
        match self.write_blocked_since.load(Ordering::Relaxed) {
            0 => {
                self.write_blocked_since
                    .store(self.timer.wheel.now() + 1, Ordering::Relaxed);
                false
            }
            since => {
                let has_stalled = self.has_elapsed(since - 1, self.timer.timeouts.write_stall);
                if has_stalled {
                    self.write_has_stalled.store(true, Ordering::Relaxed);
                }
                has_stalled
            }
        }
    }

    /// Whether the connection ends because the client accepted no bytes for too long.
    pub(super) fn write_has_stalled(&self) -> bool {
        self.write_has_stalled.load(Ordering::Relaxed)
    }

    fn has_elapsed(&self, since: u64, timeout: u64) -> bool {
        // Strictly greater, because both ticks are rounded down.
        self.timer.wheel.now().saturating_sub(since) > timeout
    }

    /// The phase whose timeout has elapsed, if any.
    pub(super) fn overdue(&self) -> Option<ReadPhase> {
        let PhaseStart { phase, since } = self.load_phase();
        let timeouts = &self.timer.timeouts;
        let timeout = match phase {
            ReadPhase::Nothing => return None,
            ReadPhase::FirstByte => timeouts.first_byte,
            ReadPhase::NextRequest => timeouts.keep_alive,
            ReadPhase::RestOfHead => timeouts.header_read,
        };
        self.has_elapsed(since, timeout).then_some(phase)
    }

    /// Whether the connection may release everything except its socket: no request is in flight,
    /// the last response was passed to the kernel, all received bytes were read, and it has been
    /// idle for `hibernate_after`.
    pub(super) fn may_hibernate(&self) -> bool {
        let PhaseStart { phase, since } = self.load_phase();
        let is_idle = match phase {
            ReadPhase::FirstByte | ReadPhase::NextRequest => true,
            ReadPhase::Nothing | ReadPhase::RestOfHead => false,
        };
        is_idle
            && self.flushed.load(Ordering::Relaxed)
            && self.read_drained.load(Ordering::Relaxed)
            && (self.timer.wheel.now().saturating_sub(since) >= self.timer.timeouts.hibernate_after
                || self.overdue().is_some())
    }

    /// Whether the connection was asked to close and is idle. A request that has arrived since then
    /// cancels it.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Relaxed)
            && self.evicted.swap(false, Ordering::Relaxed)
            && self.idle_for().is_some()
    }

    /// Whether draining has started.
    pub(super) fn is_draining(&self) -> bool {
        self.timer.wheel.is_draining()
    }

    /// Sets the waker of the connection's task.
    pub(super) fn register_waker(&self, waker: &Waker) {
        let mut registered = lock(&self.waker);
        match &mut *registered {
            Some(registered) => registered.clone_from(waker),
            None => *registered = Some(waker.clone()),
        }
    }

    /// Marks the connection as hibernating until the returned guard is dropped.
    pub(super) fn hibernate<'a>(self: &'a Arc<Self>, gauge: &'a IntGauge) -> Hibernation<'a> {
        self.hibernating.store(true, Ordering::Relaxed);
        gauge.inc();
        Hibernation {
            deadlines: self,
            gauge,
        }
    }

    /// Installs a timer in hyper's parser that reports the start of each wait for a head and
    /// enforces the header read timeout. hyper starts that wait only once the previous request and
    /// response are complete.
    pub(super) fn install_head_timer(self: &Arc<Self>, parser: &mut http1::Builder) {
        let timer = HeadTimer {
            deadlines: Arc::clone(self),
            now: self.timer.wheel.start(),
        };
        parser.timer(timer).header_read_timeout(Duration::ZERO);
    }
}

impl Evictable for Deadlines {
    /// A connection that receives a request head is idle: clients send it at once.
    fn idle_for(&self) -> Option<Duration> {
        let PhaseStart { phase, since } = self.load_phase();
        let is_idle = match phase {
            ReadPhase::Nothing => false,
            ReadPhase::FirstByte | ReadPhase::NextRequest | ReadPhase::RestOfHead => true,
        };
        let ticks = self.timer.wheel.now().saturating_sub(since);
        let idle_for = TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX));
        (is_idle && self.flushed.load(Ordering::Relaxed)).then_some(idle_for)
    }

    fn evict(&self) {
        self.evicted.store(true, Ordering::Relaxed);
        self.wake();
    }
}

impl Scheduled for Deadlines {
    fn next_check(&self, now: u64) -> u64 {
        let PhaseStart { phase, since } = self.load_phase();
        let timeouts = &self.timer.timeouts;
        let hibernating = self.hibernating.load(Ordering::Relaxed);
        let deadline = match phase {
            ReadPhase::Nothing => u64::MAX,
            ReadPhase::FirstByte => since + timeouts.first_byte + 1,
            ReadPhase::NextRequest => since + timeouts.keep_alive + 1,
            ReadPhase::RestOfHead => since + timeouts.header_read + 1,
        };
        // An active connection changes its phase without rescheduling, so it is checked at
        // intervals.
        let recheck = match phase {
            ReadPhase::FirstByte | ReadPhase::NextRequest if hibernating => u64::MAX,
            ReadPhase::FirstByte | ReadPhase::NextRequest => since + timeouts.hibernate_after,
            ReadPhase::Nothing | ReadPhase::RestOfHead => now + timeouts.hibernate_after.max(1),
        };
        let write_stall = match self.write_blocked_since.load(Ordering::Relaxed) {
            0 => u64::MAX,
            since => since + timeouts.write_stall,
        };
        let half_close = match phase {
            ReadPhase::Nothing => self.half_close.next_check(timeouts.half_close),
            ReadPhase::FirstByte | ReadPhase::NextRequest | ReadPhase::RestOfHead => None,
        };
        let half_close = half_close.unwrap_or(u64::MAX);
        deadline.min(recheck).min(write_stall).min(half_close)
    }

    fn scheduled_tick(&self) -> u64 {
        self.scheduled_tick.load(Ordering::Relaxed)
    }

    fn set_scheduled_tick(&self, tick: u64) {
        self.scheduled_tick.store(tick, Ordering::Relaxed);
    }

    fn wake(&self) {
        let waker = lock(&self.waker).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl ReadProgress for Deadlines {
    fn polled(&self, state: ReadState) {
        if self.half_close.on_body_polled(state) {
            // hyper must read the end of the stream to fail the body.
            self.wake();
        }
    }
}

/// Guard of a hibernating connection.
pub(super) struct Hibernation<'a> {
    deadlines: &'a Arc<Deadlines>,
    gauge: &'a IntGauge,
}

impl Drop for Hibernation<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
        self.deadlines.hibernating.store(false, Ordering::Relaxed);
        // While hibernating, the next check was scheduled for the end of the keep-alive timeout.
        self.deadlines.timer.wheel.schedule(self.deadlines);
    }
}

struct HeadTimer {
    deadlines: Arc<Deadlines>,
    /// A constant: hyper computes deadlines from it that nothing uses.
    now: Instant,
}

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now)
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.deadlines.on_head_awaited();
        Box::pin(HeadTimeout(Arc::clone(&self.deadlines)))
    }

    fn now(&self) -> Instant {
        self.now
    }
}

/// Completes when a head takes longer than the header read timeout. The timeouts for the first byte
/// and for the next request are enforced outside hyper.
struct HeadTimeout(Arc<Deadlines>);

impl Future for HeadTimeout {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match self.0.overdue() {
            Some(ReadPhase::RestOfHead) => Poll::Ready(()),
            Some(ReadPhase::Nothing | ReadPhase::FirstByte | ReadPhase::NextRequest) | None => {
                Poll::Pending
            }
        }
    }
}

impl Sleep for HeadTimeout {}

const PHASE_COUNT: u64 = 4;

impl PhaseStart {
    fn pack(self) -> u64 {
        let phase = match self.phase {
            ReadPhase::Nothing => 0,
            ReadPhase::FirstByte => 1,
            ReadPhase::NextRequest => 2,
            ReadPhase::RestOfHead => 3,
        };
        self.since * PHASE_COUNT + phase
    }

    fn unpack(packed: u64) -> Self {
        let phase = match packed % PHASE_COUNT {
            0 => ReadPhase::Nothing,
            1 => ReadPhase::FirstByte,
            2 => ReadPhase::NextRequest,
            _ => ReadPhase::RestOfHead,
        };
        Self {
            phase,
            since: packed / PHASE_COUNT,
        }
    }
}
