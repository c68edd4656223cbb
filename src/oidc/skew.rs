//! How far a provider's clock is from ours, by the `Date` of its answers (RFC 9110 section 6.6.1), and when that is worth
//! a word to the operator: tokens are then refused, or accepted too long.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::types::time::Timestamp;

/// What a skew is while no answer has been seen.
const UNKNOWN: i64 = i64::MIN;

/// `Date` has whole seconds, and so does our time: less than this more than the leeway may be no difference at all.
const UNSURE: i64 = 1;

/// The skew of one provider's clock.
#[derive(Debug)]
pub(super) struct Skew {
    seconds: AtomicI64,
    leeway: i64,
    is_too_large: AtomicBool,
}

/// What has changed, with the seconds by which the provider is ahead of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The skew has become larger than the leeway.
    TooLarge(i64),
    /// It is within the leeway again.
    Within(i64),
}

impl Skew {
    /// Not known yet.
    pub(super) fn unknown(leeway: Duration) -> Self {
        let leeway = i64::try_from(leeway.as_secs()).unwrap_or(i64::MAX);
        Self {
            seconds: AtomicI64::new(UNKNOWN),
            leeway,
            is_too_large: AtomicBool::new(false),
        }
    }

    /// By how many seconds the provider is ahead of us, by its last answer.
    pub(super) fn seconds(&self) -> Option<i64> {
        Some(self.seconds.load(Ordering::Relaxed)).filter(|skew| *skew != UNKNOWN)
    }

    /// The seconds that are tolerated.
    pub(super) const fn leeway(&self) -> i64 {
        self.leeway
    }

    /// An answer that was made at `theirs` came at `ours`; where a cache had it, it was made so much earlier.
    pub(super) fn note(
        &self,
        theirs: Timestamp,
        in_cache: Duration,
        ours: Timestamp,
    ) -> Option<News> {
        let theirs = i64::try_from(theirs.plus(in_cache).secs()).ok()?;
        let skew = theirs.saturating_sub(i64::try_from(ours.secs()).ok()?);
        self.seconds.store(skew, Ordering::Relaxed);
        let apart = skew.saturating_abs();
        if apart > self.leeway.saturating_add(UNSURE) {
            (!self.is_too_large.swap(true, Ordering::Relaxed)).then_some(News::TooLarge(skew))
        } else if apart <= self.leeway {
            self.is_too_large
                .swap(false, Ordering::Relaxed)
                .then_some(News::Within(skew))
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
    fn a_skew_is_told_once_when_it_exceeds_the_leeway_and_once_when_it_no_longer_does() {
        let skew = Skew::unknown(Duration::from_secs(30));
        assert_eq!(skew.seconds(), None);
        let mut told = Vec::new();
        for ahead in [0, 30, 31, 32, 40, 31, 90, 30, 0, 31] {
            told.push(skew.note(NOW.plus(Duration::from_secs(ahead)), Duration::ZERO, NOW));
            assert_eq!(skew.seconds(), i64::try_from(ahead).ok());
        }
        let said: Vec<News> = told.into_iter().flatten().collect();
        assert_eq!(said, [News::TooLarge(32), News::Within(30)]);
        let behind = NOW.minus(Duration::from_secs(100));
        assert_eq!(
            skew.note(behind, Duration::ZERO, NOW),
            Some(News::TooLarge(-100))
        );
        assert_eq!(
            skew.note(behind, Duration::from_secs(100), NOW),
            Some(News::Within(0)),
            "a cache had it so long"
        );
    }

    #[test]
    fn no_date_is_too_strange() {
        let skew = Skew::unknown(Duration::MAX);
        for (theirs, ours) in [
            (0, u64::MAX),
            (u64::MAX, 0),
            (u64::MAX, u64::MAX),
            (0, i64::MAX as u64),
        ] {
            let said = skew.note(
                Timestamp::from_secs(theirs),
                Duration::MAX,
                Timestamp::from_secs(ours),
            );
            assert_eq!(said, None, "{theirs} {ours}");
        }
    }
}
