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

use super::sweeper::Rota;

/// What the client is to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
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
    rota: Arc<Rota>,
    /// What is awaited, and since which tick: read and written as one.
    awaited: AtomicU64,
    /// The tick, plus one, since which the client takes nothing of what we write; zero: it does.
    stuck: AtomicU64,
    /// When the sweeper looks next.
    look: AtomicU64,
    /// Whether all that could be read was.
    read_dry: AtomicBool,
    /// Whether all that was written is with the system.
    flushed: AtomicBool,
    at_rest: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Deadlines {
    pub(super) fn new(rota: Arc<Rota>) -> Self {
        Self {
            rota,
            awaited: AtomicU64::new(pack(Awaited::Nothing, 0)),
            stuck: AtomicU64::new(0),
            look: AtomicU64::new(0),
            read_dry: AtomicBool::new(false),
            flushed: AtomicBool::new(true),
            at_rest: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// From now on `awaited` is.
    pub(super) fn begin(&self, awaited: Awaited) {
        self.awaited
            .store(pack(awaited, self.rota.now()), Ordering::Relaxed);
    }

    fn awaited(&self) -> (Awaited, u64) {
        unpack(self.awaited.load(Ordering::Relaxed))
    }

    /// The connection waits for a head: the answer before it is out, if there was any.
    fn head_is_awaited(&self) {
        if self.awaited().0 == Awaited::Nothing {
            self.begin(Awaited::NextRequest);
        }
    }

    /// What came while an answer was still going out turned out to be a part of a head.
    pub(super) fn head_had_begun(&self) {
        let (_, since) = self.awaited();
        self.awaited
            .store(pack(Awaited::RestOfHead, since), Ordering::Relaxed);
    }

    /// Bytes came, or nothing is there to read.
    pub(super) fn has_read(&self, something: bool) {
        self.read_dry.store(!something, Ordering::Relaxed);
        if something {
            match self.awaited().0 {
                Awaited::Nothing | Awaited::RestOfHead => {}
                Awaited::FirstByte | Awaited::NextRequest => self.begin(Awaited::RestOfHead),
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
        self.attend(waker);
        match self.stuck.load(Ordering::Relaxed) {
            0 => {
                self.stuck.store(self.rota.now() + 1, Ordering::Relaxed);
                false
            }
            since => self.has_passed(since - 1, self.rota.limits().write_stall),
        }
    }

    fn has_passed(&self, since: u64, limit: u64) -> bool {
        // Both ends may be almost a tick off.
        self.rota.now().saturating_sub(since) > limit
    }

    /// What has been awaited for too long.
    pub(super) fn overdue(&self) -> Option<Awaited> {
        let (awaited, since) = self.awaited();
        let limits = self.rota.limits();
        let limit = match awaited {
            Awaited::Nothing => return None,
            Awaited::FirstByte => limits.first_byte,
            Awaited::NextRequest => limits.keep_alive,
            Awaited::RestOfHead => limits.header_read,
        };
        self.has_passed(since, limit).then_some(awaited)
    }

    /// Whether the connection may give everything back but its socket: no request is under way, every byte of the last
    /// answer is with the system, every byte that came was read, and it has been so for a while.
    pub(super) fn may_rest(&self) -> bool {
        let (awaited, since) = self.awaited();
        let is_quiet = match awaited {
            Awaited::FirstByte | Awaited::NextRequest => true,
            Awaited::Nothing | Awaited::RestOfHead => false,
        };
        is_quiet
            && self.flushed.load(Ordering::Relaxed)
            && self.read_dry.load(Ordering::Relaxed)
            && (self.rota.now().saturating_sub(since) >= self.rota.limits().rest_after
                || self.overdue().is_some())
    }

    /// Whether service ends.
    pub(super) fn is_draining(&self) -> bool {
        self.rota.is_draining()
    }

    /// Whom to wake.
    pub(super) fn attend(&self, waker: &Waker) {
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
    pub(super) fn next_look(&self, now: u64) -> u64 {
        let (awaited, since) = self.awaited();
        let limits = self.rota.limits();
        let at_rest = self.at_rest.load(Ordering::Relaxed);
        let over = match awaited {
            Awaited::Nothing => u64::MAX,
            Awaited::FirstByte => since + limits.first_byte + 1,
            Awaited::NextRequest => since + limits.keep_alive + 1,
            Awaited::RestOfHead => since + limits.header_read + 1,
        };
        // A connection that is awake changes meanwhile, and tells nobody.
        let again = match awaited {
            Awaited::FirstByte | Awaited::NextRequest if at_rest => u64::MAX,
            Awaited::FirstByte | Awaited::NextRequest => since + limits.rest_after,
            Awaited::Nothing | Awaited::RestOfHead => now + limits.rest_after.max(1),
        };
        let stuck = match self.stuck.load(Ordering::Relaxed) {
            0 => u64::MAX,
            since => since + limits.write_stall,
        };
        over.min(again).min(stuck)
    }

    pub(super) fn looked_at(&self) -> u64 {
        self.look.load(Ordering::Relaxed)
    }

    pub(super) fn look_at(&self, tick: u64) {
        self.look.store(tick, Ordering::Relaxed);
    }

    /// At rest until the returned value is dropped.
    pub(super) fn rest<'a>(self: &'a Arc<Self>, at_rest: &'a IntGauge) -> Resting<'a> {
        self.at_rest.store(true, Ordering::Relaxed);
        at_rest.inc();
        Resting {
            deadlines: self,
            at_rest,
        }
    }

    /// Has hyper tell when it begins to wait for a head, and believe from here that one took too long. hyper does so
    /// only once the exchange before it is over in both directions.
    pub(super) fn time_heads(self: &Arc<Self>, parser: &mut http1::Builder) {
        let timer = HeadTimer {
            deadlines: Arc::clone(self),
            now: self.rota.began(),
        };
        parser.timer(timer).header_read_timeout(Duration::ZERO);
    }
}

/// A connection at rest.
pub(super) struct Resting<'a> {
    deadlines: &'a Arc<Deadlines>,
    at_rest: &'a IntGauge,
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.at_rest.dec();
        self.deadlines.at_rest.store(false, Ordering::Relaxed);
        // The next look was to be when it had rested for too long.
        self.deadlines.rota.look_at(self.deadlines);
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
            Some(Awaited::RestOfHead) => Poll::Ready(()),
            Some(Awaited::Nothing | Awaited::FirstByte | Awaited::NextRequest) | None => {
                Poll::Pending
            }
        }
    }
}

impl Sleep for HeadWait {}

const KINDS: u64 = 4;

fn pack(awaited: Awaited, since: u64) -> u64 {
    let kind = match awaited {
        Awaited::Nothing => 0,
        Awaited::FirstByte => 1,
        Awaited::NextRequest => 2,
        Awaited::RestOfHead => 3,
    };
    since * KINDS + kind
}

fn unpack(packed: u64) -> (Awaited, u64) {
    let awaited = match packed % KINDS {
        0 => Awaited::Nothing,
        1 => Awaited::FirstByte,
        2 => Awaited::NextRequest,
        _ => Awaited::RestOfHead,
    };
    (awaited, packed / KINDS)
}
