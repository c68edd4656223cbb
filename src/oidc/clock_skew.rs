//! Clock skew of a provider, from the `Date` of its responses (RFC 9110 section 6.6.1). A skew
//! beyond the leeway is reported, because tokens are then rejected, or accepted for too long.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::types::time::Timestamp;

/// The skew before the first response.
const UNKNOWN: i64 = i64::MIN;

/// Measurement error in seconds: both clocks are read in whole seconds.
const MEASUREMENT_ERROR: i64 = 1;

/// The skew of one provider's clock.
#[derive(Debug)]
pub(super) struct ClockSkew {
    seconds: AtomicI64,
    leeway: i64,
    is_too_large: AtomicBool,
}

/// A change to report, with the seconds by which the provider is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SkewChange {
    /// The skew is beyond the leeway.
    TooLarge(i64),
    /// It is within the leeway again.
    Within(i64),
}

impl ClockSkew {
    /// The skew is not known yet.
    pub(super) fn unknown(leeway: Duration) -> Self {
        let leeway = i64::try_from(leeway.as_secs()).unwrap_or(i64::MAX);
        Self {
            seconds: AtomicI64::new(UNKNOWN),
            leeway,
            is_too_large: AtomicBool::new(false),
        }
    }

    /// The seconds by which the provider is ahead, from its last response.
    pub(super) fn seconds(&self) -> Option<i64> {
        Some(self.seconds.load(Ordering::Relaxed)).filter(|skew| *skew != UNKNOWN)
    }

    /// The leeway in seconds.
    pub(super) const fn leeway(&self) -> i64 {
        self.leeway
    }

    /// Records a response with this `date` and `age` (time in caches), received at `now`.
    pub(super) fn record(
        &self,
        date: Timestamp,
        age: Duration,
        now: Timestamp,
    ) -> Option<SkewChange> {
        let provider = i64::try_from(date.plus(age).secs()).ok()?;
        let skew = provider.saturating_sub(i64::try_from(now.secs()).ok()?);
        self.seconds.store(skew, Ordering::Relaxed);
        let difference = skew.saturating_abs();
        if difference > self.leeway.saturating_add(MEASUREMENT_ERROR) {
            (!self.is_too_large.swap(true, Ordering::Relaxed)).then_some(SkewChange::TooLarge(skew))
        } else if difference <= self.leeway {
            self.is_too_large
                .swap(false, Ordering::Relaxed)
                .then_some(SkewChange::Within(skew))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn record_reports_each_change_once() {
        let skew = ClockSkew::unknown(Duration::from_secs(30));
        assert_eq!(skew.seconds(), None);
        let mut changes = Vec::new();
        for ahead in [0, 30, 31, 32, 40, 31, 90, 30, 0, 31] {
            changes.push(skew.record(NOW.plus(Duration::from_secs(ahead)), Duration::ZERO, NOW));
            assert_eq!(skew.seconds(), i64::try_from(ahead).ok());
        }
        let reported: Vec<SkewChange> = changes.into_iter().flatten().collect();
        assert_eq!(reported, [SkewChange::TooLarge(32), SkewChange::Within(30)]);
        let behind = NOW.minus(Duration::from_secs(100));
        assert_eq!(
            skew.record(behind, Duration::ZERO, NOW),
            Some(SkewChange::TooLarge(-100))
        );
        assert_eq!(
            skew.record(behind, Duration::from_secs(100), NOW),
            Some(SkewChange::Within(0)),
            "a cache had it so long"
        );
    }

    #[test]
    fn record_handles_extreme_dates() {
        let skew = ClockSkew::unknown(Duration::MAX);
        for (date, now) in [
            (0, u64::MAX),
            (u64::MAX, 0),
            (u64::MAX, u64::MAX),
            (0, i64::MAX as u64),
        ] {
            let reported = skew.record(
                Timestamp::from_secs(date),
                Duration::MAX,
                Timestamp::from_secs(now),
            );
            assert_eq!(reported, None, "{date} {now}");
        }
    }
}
