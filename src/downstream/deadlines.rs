//! What one connection waits for and since when, told by whoever sees it happen: the socket's wrapper and hyper. All of
//! it is a few stores in the connection's own memory; the sweeper reads them, and wakes the connection in time.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use hyper::server::conn::http1;
use prometheus::IntGauge;

use super::deadline_timer::TimerWheel;

/// What the client is to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadPhase {
    /// Nothing that has a time here: a request is under way, or it is not HTTP/1.1.
    Nothing,
    /// Its first byte on this connection.
    FirstByte,
    /// The first byte of another request.
    NextRequest,
    /// The rest of a head.
    RestOfHead,
}

/// The times of one connection.
#[derive(Debug)]
pub(super) struct Deadlines {
    wheel: Arc<TimerWheel>,
    /// What is awaited, and since which tick: read and written as one.
    phase: AtomicU64,
    /// The tick, plus one, since which the client takes nothing of what we write; zero: it does.
    stuck: AtomicU64,
    /// When the sweeper looks next.
    look: AtomicU64,
    /// Whether all that could be read was.
    read_dry: AtomicBool,
    /// Whether all that was written is with the system.
    flushed: AtomicBool,
    hibernating: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Deadlines {
    pub(super) fn new(wheel: Arc<TimerWheel>) -> Self {
        Self {
            wheel,
            phase: AtomicU64::new(pack(ReadPhase::Nothing, 0)),
            stuck: AtomicU64::new(0),
            look: AtomicU64::new(0),
            read_dry: AtomicBool::new(false),
            flushed: AtomicBool::new(true),
            hibernating: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// From now on `phase` is.
    pub(super) fn begin(&self, phase: ReadPhase) {
        self.phase
            .store(pack(phase, self.wheel.now()), Ordering::Relaxed);
    }

    fn phase(&self) -> (ReadPhase, u64) {
        unpack(self.phase.load(Ordering::Relaxed))
    }

    /// The connection waits for a head: the answer before it is out, if there was any.
    fn head_is_awaited(&self) {
        if self.phase().0 == ReadPhase::Nothing {
            self.begin(ReadPhase::NextRequest);
        }
    }

    /// What came while an answer was still going out turned out to be a part of a head.
    pub(super) fn head_had_begun(&self) {
        let (_, since) = self.phase();
        self.phase
            .store(pack(ReadPhase::RestOfHead, since), Ordering::Relaxed);
    }

    /// Bytes came, or nothing is there to read.
    pub(super) fn has_read(&self, something: bool) {
        self.read_dry.store(!something, Ordering::Relaxed);
        if something {
            match self.phase().0 {
                ReadPhase::Nothing | ReadPhase::RestOfHead => {}
                ReadPhase::FirstByte | ReadPhase::NextRequest => self.begin(ReadPhase::RestOfHead),
            }
        }
    }

    /// The client takes what we write.
    pub(super) fn has_written(&self, all: bool) {
        self.flushed.store(all, Ordering::Relaxed);
        if self.stuck.load(Ordering::Relaxed) != 0 {
            self.stuck.store(0, Ordering::Relaxed);
        }
    }

    /// It does not; whether that has lasted too long. `waker` is told when it has.
    pub(super) fn is_stuck_for_too_long(&self, waker: &Waker) -> bool {
        self.flushed.store(false, Ordering::Relaxed);
        self.register_waker(waker);
        match self.stuck.load(Ordering::Relaxed) {
            0 => {
                self.stuck.store(self.wheel.now() + 1, Ordering::Relaxed);
                false
            }
            since => self.has_passed(since - 1, self.wheel.limits().write_stall),
        }
    }

    fn has_passed(&self, since: u64, limit: u64) -> bool {
        // Both ends may be almost a tick off.
        self.wheel.now().saturating_sub(since) > limit
    }

    /// What has been awaited for too long.
    pub(super) fn overdue(&self) -> Option<ReadPhase> {
        let (phase, since) = self.phase();
        let limits = self.wheel.limits();
        let limit = match phase {
            ReadPhase::Nothing => return None,
            ReadPhase::FirstByte => limits.first_byte,
            ReadPhase::NextRequest => limits.keep_alive,
            ReadPhase::RestOfHead => limits.header_read,
        };
        self.has_passed(since, limit).then_some(phase)
    }

    /// Whether the connection may give everything back but its socket: no request is under way, every byte of the last
    /// answer is with the system, every byte that came was read, and it has been so for a while.
    pub(super) fn may_rest(&self) -> bool {
        let (phase, since) = self.phase();
        let is_quiet = match phase {
            ReadPhase::FirstByte | ReadPhase::NextRequest => true,
            ReadPhase::Nothing | ReadPhase::RestOfHead => false,
        };
        is_quiet
            && self.flushed.load(Ordering::Relaxed)
            && self.read_dry.load(Ordering::Relaxed)
            && (self.wheel.now().saturating_sub(since) >= self.wheel.limits().rest_after
                || self.overdue().is_some())
    }

    /// Whether service ends.
    pub(super) fn is_draining(&self) -> bool {
        self.wheel.is_draining()
    }

    /// Whom to wake.
    pub(super) fn register_waker(&self, waker: &Waker) {
        let mut known = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }

    pub(super) fn wake(&self) {
        let waker = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The tick at which there may be something to do.
    pub(super) fn next_check(&self, now: u64) -> u64 {
        let (phase, since) = self.phase();
        let limits = self.wheel.limits();
        let hibernating = self.hibernating.load(Ordering::Relaxed);
        let over = match phase {
            ReadPhase::Nothing => u64::MAX,
            ReadPhase::FirstByte => since + limits.first_byte + 1,
            ReadPhase::NextRequest => since + limits.keep_alive + 1,
            ReadPhase::RestOfHead => since + limits.header_read + 1,
        };
        // A connection that is awake changes meanwhile, and tells nobody.
        let again = match phase {
            ReadPhase::FirstByte | ReadPhase::NextRequest if hibernating => u64::MAX,
            ReadPhase::FirstByte | ReadPhase::NextRequest => since + limits.rest_after,
            ReadPhase::Nothing | ReadPhase::RestOfHead => now + limits.rest_after.max(1),
        };
        let stuck = match self.stuck.load(Ordering::Relaxed) {
            0 => u64::MAX,
            since => since + limits.write_stall,
        };
        over.min(again).min(stuck)
    }

    pub(super) fn scheduled_at(&self) -> u64 {
        self.look.load(Ordering::Relaxed)
    }

    pub(super) fn schedule(&self, tick: u64) {
        self.look.store(tick, Ordering::Relaxed);
    }

    /// At rest until the returned value is dropped.
    pub(super) fn rest<'a>(self: &'a Arc<Self>, hibernating: &'a IntGauge) -> Hibernation<'a> {
        self.hibernating.store(true, Ordering::Relaxed);
        hibernating.inc();
        Hibernation {
            deadlines: self,
            hibernating,
        }
    }

    /// Has hyper tell when it begins to wait for a head, and believe from here that one took too long. hyper does so
    /// only once the exchange before it is over in both directions.
    pub(super) fn time_heads(self: &Arc<Self>, parser: &mut http1::Builder) {
        let timer = HeadTimer {
            deadlines: Arc::clone(self),
            now: self.wheel.began(),
        };
        parser.timer(timer).header_read_timeout(Duration::ZERO);
    }
}

/// A connection at rest.
pub(super) struct Hibernation<'a> {
    deadlines: &'a Arc<Deadlines>,
    hibernating: &'a IntGauge,
}

impl Drop for Hibernation<'_> {
    fn drop(&mut self) {
        self.hibernating.dec();
        self.deadlines.hibernating.store(false, Ordering::Relaxed);
        // The next look was to be when it had rested for too long.
        self.deadlines.wheel.schedule(self.deadlines);
    }
}

struct HeadTimer {
    deadlines: Arc<Deadlines>,
    /// hyper computes a deadline that nobody looks at.
    now: Instant,
}

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now)
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.deadlines.head_is_awaited();
        Box::pin(HeadWait(Arc::clone(&self.deadlines)))
    }

    fn now(&self) -> Instant {
        self.now
    }
}

/// Over when a head has taken too long. Who sends none at all is not hyper's business.
struct HeadWait(Arc<Deadlines>);

impl Future for HeadWait {
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

impl Sleep for HeadWait {}

const KINDS: u64 = 4;

fn pack(phase: ReadPhase, since: u64) -> u64 {
    let kind = match phase {
        ReadPhase::Nothing => 0,
        ReadPhase::FirstByte => 1,
        ReadPhase::NextRequest => 2,
        ReadPhase::RestOfHead => 3,
    };
    since * KINDS + kind
}

fn unpack(packed: u64) -> (ReadPhase, u64) {
    let phase = match packed % KINDS {
        0 => ReadPhase::Nothing,
        1 => ReadPhase::FirstByte,
        2 => ReadPhase::NextRequest,
        _ => ReadPhase::RestOfHead,
    };
    (phase, packed / KINDS)
}
