//! Token bucket for the requests that an HTTP/2 client cancels. Browsers cancel many at once, for
//! example the tiles of a map that scrolls; a reset flood (CVE-2023-44487) cancels without end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The cancelled requests of one connection. It is used by one worker only, so that its values need
/// not change together.
#[derive(Debug)]
pub(super) struct ResetBudget {
    per_second: u64,
    /// How many may be spent at once.
    burst: AtomicU64,
    spent: AtomicU64,
    /// In milliseconds.
    refilled_at: AtomicU64,
    /// Whether nothing is refilled any more.
    is_final: AtomicBool,
}

impl ResetBudget {
    /// A full bucket of `burst` tokens that is refilled by `per_second`.
    pub(super) fn new(burst: u32, per_second: u32) -> Self {
        Self {
            per_second: per_second.into(),
            burst: AtomicU64::new(burst.into()),
            spent: AtomicU64::new(0),
            refilled_at: AtomicU64::new(0),
            is_final: AtomicBool::new(false),
        }
    }

    /// A request was cancelled, `now` milliseconds after the start. Returns whether the bucket was
    /// empty.
    pub(super) fn cancelled(&self, now: u64) -> bool {
        self.refill(now);
        let spent = self.spent.load(Ordering::Relaxed);
        if spent >= self.burst.load(Ordering::Relaxed) {
            return true;
        }
        self.spent.store(spent + 1, Ordering::Relaxed);
        false
    }

    /// A request was completed, which makes up for one that was cancelled.
    pub(super) fn completed(&self) {
        let spent = self.spent.load(Ordering::Relaxed);
        if spent > 0 && !self.is_final.load(Ordering::Relaxed) {
            self.spent.store(spent - 1, Ordering::Relaxed);
        }
    }

    /// Allows `count` more cancelled requests, and none after that.
    pub(super) fn allow_last(&self, count: u32) {
        self.is_final.store(true, Ordering::Relaxed);
        self.spent.store(0, Ordering::Relaxed);
        self.burst.store(count.into(), Ordering::Relaxed);
    }

    fn refill(&self, now: u64) {
        let since = self.refilled_at.load(Ordering::Relaxed);
        let tokens = now.saturating_sub(since).saturating_mul(self.per_second) / 1000;
        if tokens == 0 || self.is_final.load(Ordering::Relaxed) {
            return;
        }
        // The time of a part of a token is kept.
        let used = tokens.saturating_mul(1000).div_ceil(self.per_second.max(1));
        self.refilled_at.store(since + used, Ordering::Relaxed);
        let spent = self.spent.load(Ordering::Relaxed);
        self.spent
            .store(spent.saturating_sub(tokens), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests can be cancelled at this time.
    fn cancels_at(budget: &ResetBudget, now: u64) -> usize {
        (0..10_000).take_while(|_| !budget.cancelled(now)).count()
    }

    #[test]
    fn burst_is_spent_and_refilled_by_time() {
        let budget = ResetBudget::new(5, 10);
        assert_eq!(cancels_at(&budget, 0), 5);
        assert_eq!(cancels_at(&budget, 99), 0);
        assert_eq!(cancels_at(&budget, 250), 2);
        assert_eq!(cancels_at(&budget, 300), 1, "half a token was kept");
        assert_eq!(
            cancels_at(&budget, 1_000_000),
            5,
            "never more than the burst"
        );
    }

    #[test]
    fn completed_request_makes_up_for_a_cancelled_one() {
        let budget = ResetBudget::new(5, 0);
        assert_eq!(cancels_at(&budget, 0), 5);
        budget.completed();
        assert_eq!(cancels_at(&budget, 0), 1);
        (0..100).for_each(|_| budget.completed());
        assert_eq!(cancels_at(&budget, 0), 5);
    }

    #[test]
    fn last_cancels_are_not_refilled() {
        let budget = ResetBudget::new(5, 10);
        assert_eq!(cancels_at(&budget, 0), 5);
        budget.allow_last(3);
        budget.completed();
        assert_eq!(cancels_at(&budget, 60_000), 3);
        assert_eq!(cancels_at(&budget, 120_000), 0);
    }
}
