//! Health of an address. Passive ejection: an address whose requests fail one after another gets none for a
//! while, which doubles each time. Then one request at a time tries it, until one succeeds. An address
//! whose health checks fail gets none until one passes.

use std::time::Duration;

use tokio::time::Instant;

/// The number of consecutive failures after which an address is ejected.
const MAX_FAILURES: u32 = 5;
/// Duration of the first ejection. It doubles with each further one until a request succeeds.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest ejection.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The number of consecutive failed checks after which an address is unhealthy.
const MAX_FAILED_CHECKS: u32 = 2;

/// What requests to one address and checks of it say about it.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Health {
    /// Failures since the last success or ejection.
    failures: u32,
    /// Ejections since the last success.
    ejections: u32,
    /// The end of the last ejection. `None` after a success.
    ejected_until: Option<Instant>,
    /// Failed checks since the last one that passed.
    failed_checks: u32,
}

/// Whether an address gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Standing {
    /// It works, as far as known.
    Working,
    /// It was ejected, and gets one request at a time.
    OnTrial,
    /// It gets requests only if no other address is left.
    Ejected,
    /// The same, because its health checks fail.
    Unhealthy,
}

impl Health {
    pub(super) fn standing(&self, now: Instant) -> Standing {
        if self.is_unhealthy() {
            return Standing::Unhealthy;
        }
        match self.ejected_until {
            None => Standing::Working,
            Some(until) if now < until => Standing::Ejected,
            Some(_) => Standing::OnTrial,
        }
    }

    const fn is_unhealthy(&self) -> bool {
        self.failed_checks >= MAX_FAILED_CHECKS
    }

    /// Whether nothing is known against the address.
    pub(super) const fn is_clean(&self) -> bool {
        self.failures == 0 && self.ejected_until.is_none() && self.failed_checks == 0
    }

    /// Records a health check. Returns whether the address became healthy or unhealthy by it.
    pub(super) fn checked(&mut self, passed: bool) -> bool {
        let was_unhealthy = self.is_unhealthy();
        self.failed_checks = if passed {
            0
        } else {
            self.failed_checks.saturating_add(1)
        };
        was_unhealthy != self.is_unhealthy()
    }

    /// Records a failed request. Returns the duration of the ejection that follows from it, unless
    /// `may_eject` is false because too many other addresses are ejected.
    pub(super) fn failed(&mut self, now: Instant, may_eject: bool) -> Option<Duration> {
        let limit = match self.standing(now) {
            Standing::Working => MAX_FAILURES,
            Standing::OnTrial => 1,
            Standing::Ejected | Standing::Unhealthy => return None,
        };
        self.failures = self.failures.saturating_add(1);
        if self.failures < limit || !may_eject {
            return None;
        }
        let doublings = 2_u32.saturating_pow(self.ejections);
        let backoff = FIRST_BACKOFF.saturating_mul(doublings).min(MAX_BACKOFF);
        self.ejections = self.ejections.saturating_add(1);
        self.failures = 0;
        self.ejected_until = Some(now + backoff);
        Some(backoff)
    }

    /// Records a successful request. Returns whether it ends an ejection.
    pub(super) fn succeeded(&mut self) -> bool {
        let was_ejected = self.ejected_until.is_some();
        *self = Self {
            failed_checks: self.failed_checks,
            ..Self::default()
        };
        was_ejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Fails until the address is ejected, and returns for how long.
    fn eject(health: &mut Health, now: Instant) -> Duration {
        let mut attempts = (0..MAX_FAILURES).map(|_| health.failed(now, true));
        attempts.find_map(|ejected| ejected).unwrap()
    }

    #[test]
    fn consecutive_failures_eject_and_a_success_in_between_does_not() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..MAX_FAILURES - 1 {
            assert_eq!(health.failed(now, true), None);
        }
        assert!(!health.succeeded(), "it was not ejected");
        for _ in 0..MAX_FAILURES - 1 {
            assert_eq!(health.failed(now, true), None);
        }
        assert_eq!(health.standing(now), Standing::Working);
        assert_eq!(health.failed(now, true), Some(secs(1)));
        assert_eq!(health.standing(now), Standing::Ejected);
    }

    #[test]
    fn ejections_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut now = Instant::now();
        let mut health = Health::default();
        let mut backoffs = vec![eject(&mut health, now)];
        for _ in 0..8 {
            now = health.ejected_until.unwrap();
            assert_eq!(health.standing(now), Standing::OnTrial);
            backoffs.push(health.failed(now, true).unwrap());
        }
        assert_eq!(backoffs, [1, 2, 4, 8, 16, 32, 60, 60, 60].map(secs));
        assert!(health.succeeded());
        assert_eq!(eject(&mut health, now), secs(1));
    }

    #[test]
    fn requests_sent_before_an_ejection_do_not_prolong_it() {
        let now = Instant::now();
        let mut health = Health::default();
        eject(&mut health, now);
        assert_eq!(health.failed(now + secs(1) / 2, true), None);
        assert_eq!(health.standing(now + secs(1)), Standing::OnTrial);
    }

    #[test]
    fn address_that_must_not_be_ejected_is_ejected_as_soon_as_it_may() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..100 {
            assert_eq!(health.failed(now, false), None);
        }
        assert_eq!(health.standing(now), Standing::Working);
        assert_eq!(health.failed(now, true), Some(secs(1)));
    }

    #[test]
    fn two_failed_checks_make_unhealthy_and_one_that_passes_healthy() {
        let now = Instant::now();
        let mut health = Health::default();
        assert!(!health.checked(false));
        assert!(!health.checked(true));
        assert!(!health.checked(false));
        assert_eq!(health.standing(now), Standing::Working);
        assert!(health.checked(false));
        assert!(!health.checked(false));
        assert_eq!(health.standing(now), Standing::Unhealthy);
        assert!(!health.succeeded());
        assert_eq!(
            health.standing(now),
            Standing::Unhealthy,
            "a request is no check"
        );
        assert!(health.checked(true));
        assert_eq!(health.standing(now), Standing::Working);
    }
}
