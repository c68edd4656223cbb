//! Time: timestamps and clocks. Only [`SystemClock`] reads the system's clock. Pure functions take
//! `now` as an argument, and each request reads its [`Clock`] once, so that tests control the time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Whole seconds since 1970-01-01T00:00:00Z (a NumericDate of RFC 7519 section 2, without the
/// fraction).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The timestamp `secs` seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// Seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0
    }

    /// `self + span`, whole seconds, saturating.
    #[must_use]
    pub const fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()))
    }

    /// `self - span`, whole seconds, not before the epoch.
    #[must_use]
    pub const fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_secs()))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A source of the current time.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The time to the nanosecond, for logs and traces.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the system's clock"
    )]
    pub fn precise() -> SystemTime {
        SystemTime::now()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = Self::precise().duration_since(UNIX_EPOCH);
        Timestamp::from_secs(since_epoch.map_or(0, |span| span.as_secs()))
    }
}

/// A clock for tests that only changes when set.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock set to `start`.
    pub const fn starting_at(start: Timestamp) -> Self {
        Self(AtomicU64::new(start.secs()))
    }

    /// Advances the clock by whole seconds.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_secs(), Ordering::SeqCst);
    }

    /// Sets the clock back by whole seconds, as a time server may.
    pub fn set_back(&self, span: Duration) {
        self.0.fetch_sub(span.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_arithmetic_saturates() {
        let end = Timestamp::from_secs(u64::MAX);
        assert_eq!(end.plus(Duration::from_secs(5)), end);
        assert_eq!(
            Timestamp::from_secs(3).minus(Duration::from_secs(5)).secs(),
            0
        );
        assert_eq!(
            Timestamp::from_secs(3).since(Timestamp::from_secs(5)),
            Duration::ZERO
        );
    }
}
