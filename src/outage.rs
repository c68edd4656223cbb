//! Outages of dependencies in the event log: one event when calls begin to fail, one when they
//! succeed again, and a count of the failures in between.
//!
//! Callers log the failure of a single call at `debug`. The access log has its decision code.

use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// An outage has ended when a call succeeds and none has failed for so long. Calls that fail and
/// succeed in turn are one outage.
const QUIET: Duration = Duration::from_secs(5);

/// The most codes that are tracked at a time. Further ones are only counted.
const MAX_CODES: usize = 32;

/// The outages of one dependency. Failures with different codes are different outages.
#[derive(Debug)]
pub struct OutageLog {
    /// The kind of dependency, such as `provider`.
    dependency: &'static str,
    name: String,
    outages: Mutex<Vec<Outage>>,
    /// Whether there are outages, so that a success usually takes no lock.
    any: AtomicBool,
}

#[derive(Debug)]
struct Outage {
    code: &'static str,
    began: Instant,
    last_failure: Instant,
    failures: u64,
}

/// An outage that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ended {
    code: &'static str,
    /// From the first to the last failure.
    lasted: Duration,
    /// The failures after the first one.
    suppressed: u64,
}

impl OutageLog {
    /// A dependency that works. `name` tells it from others of its kind.
    pub fn new(dependency: &'static str, name: impl Into<String>) -> Self {
        Self {
            dependency,
            name: name.into(),
            outages: Mutex::default(),
            any: AtomicBool::new(false),
        }
    }

    /// Records a failed call. The first one of an outage is logged.
    pub fn failed(&self, code: &'static str, error: &dyn Display) {
        if self.began(code, Instant::now()) {
            let Self {
                dependency, name, ..
            } = self;
            tracing::warn!(dependency, name, code, %error, "outage_began");
        }
    }

    /// Records a call that succeeded. Outages that it ends are logged.
    pub fn succeeded(&self) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let Self {
            dependency, name, ..
        } = self;
        for ended in self.ended(Instant::now()) {
            let Ended {
                code,
                lasted,
                suppressed,
            } = ended;
            let seconds = lasted.as_secs();
            tracing::info!(dependency, name, code, seconds, suppressed, "outage_ended");
        }
    }

    /// Whether an outage begins with a failure at `now`.
    fn began(&self, code: &'static str, now: Instant) -> bool {
        let mut outages = lock(&self.outages);
        if let Some(outage) = outages.iter_mut().find(|outage| outage.code == code) {
            outage.failures += 1;
            outage.last_failure = now;
            return false;
        }
        if outages.len() >= MAX_CODES {
            return false;
        }
        outages.push(Outage {
            code,
            began: now,
            last_failure: now,
            failures: 1,
        });
        self.any.store(true, Ordering::Relaxed);
        true
    }

    /// The outages that end with a success at `now`.
    fn ended(&self, now: Instant) -> Vec<Ended> {
        let mut outages = lock(&self.outages);
        let is_over =
            |outage: &mut Outage| now.saturating_duration_since(outage.last_failure) >= QUIET;
        let ended = outages.extract_if(.., is_over).map(|outage| Ended {
            code: outage.code,
            lasted: outage.last_failure.duration_since(outage.began),
            suppressed: outage.failures - 1,
        });
        let ended = ended.collect();
        self.any.store(!outages.is_empty(), Ordering::Relaxed);
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> OutageLog {
        OutageLog::new("store", "")
    }

    fn after(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    #[test]
    fn thousand_failures_give_two_events() {
        let (log, begin) = (log(), Instant::now());
        let began = (0..1000).filter(|millis| log.began("down", after(begin, *millis)));
        assert_eq!(began.count(), 1);
        assert_eq!(log.ended(after(begin, 1000)), [], "too early to tell");
        let expected = Ended {
            code: "down",
            lasted: Duration::from_millis(999),
            suppressed: 999,
        };
        assert_eq!(log.ended(after(begin, 999 + 5000)), [expected]);
        assert_eq!(log.ended(after(begin, 20_000)), []);
        assert!(log.began("down", after(begin, 30_000)), "a new outage");
    }

    #[test]
    fn calls_that_fail_and_succeed_in_turn_are_one_outage() {
        let (log, begin) = (log(), Instant::now());
        assert!(log.began("down", begin));
        for second in 1..100 {
            let now = after(begin, second * 1000);
            assert_eq!(log.ended(now), []);
            assert!(!log.began("down", now));
        }
        assert_eq!(log.ended(after(begin, 104_000)).len(), 1);
    }

    #[test]
    fn codes_are_separate_outages() {
        let (log, begin) = (log(), Instant::now());
        assert!(log.began("refused", begin) && log.began("silent", after(begin, 3000)));
        let ended: Vec<_> = log.ended(after(begin, 5000));
        assert_eq!(
            ended.iter().map(|of| of.code).collect::<Vec<_>>(),
            ["refused"]
        );
        assert!(log.any.load(Ordering::Relaxed));
        assert_eq!(log.ended(after(begin, 8000)).len(), 1);
        assert!(!log.any.load(Ordering::Relaxed));
    }
}
