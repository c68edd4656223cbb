//! [`StoreTime`]: the time of the store, which orders what several replicas do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since the epoch by the clock of the store. The clocks of replicas may differ by
/// seconds; this one is the same for all.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct StoreTime(u64);

impl StoreTime {
    /// The time `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// `self + span`, saturating.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// `self - span`, not before the epoch.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_time_arithmetic_saturates() {
        let time = StoreTime::from_millis(1500);
        assert_eq!(time.plus(Duration::from_secs(1)).millis(), 2500);
        assert_eq!(time.minus(Duration::from_secs(2)).millis(), 0);
        let end = StoreTime::from_millis(u64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
    }
}
