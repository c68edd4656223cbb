//! Circuit breaker for token refreshes: while the provider fails, one refresh a second reaches it.
//! The first response closes the circuit.
//!
//! Only failures of different sessions open it, so that a few sessions that always fail do not
//! affect the others.

use std::sync::Mutex;
use std::time::Duration;

use crate::lock::lock;
use crate::types::time::Timestamp;

/// How many sessions in a row must fail, without a response to any other.
const MAX_FAILED_SESSIONS: usize = 5;

/// The interval of calls while the circuit is open.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The state of one provider.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker(Mutex<Circuit>);

#[derive(Debug, Default)]
struct Circuit {
    /// The sessions that failed since the last response, at most [`MAX_FAILED_SESSIONS`].
    failed: Vec<u64>,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    last_probe: Timestamp,
    /// How many calls were not made.
    suppressed: u64,
}

/// A change of the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It opened.
    Opened,
    /// It closed.
    Closed {
        /// How many calls were not made while it was open.
        suppressed: u64,
    },
}

impl CircuitBreaker {
    /// Whether a call may be made at `now`.
    pub(super) fn permits(&self, now: Timestamp) -> bool {
        let mut circuit = lock(&self.0);
        let Some(open) = &mut circuit.open else {
            return true;
        };
        // A clock that was set back counts as a new interval.
        let is_due = now < open.last_probe || now.since(open.last_probe) >= PROBE_INTERVAL;
        if is_due {
            open.last_probe = now;
        } else {
            open.suppressed = open.suppressed.saturating_add(1);
        }
        is_due
    }

    /// Records a call for `session`, an identifier of any kind: whether the provider responded.
    pub(super) fn record(&self, session: u64, responded: bool, now: Timestamp) -> Option<Change> {
        let mut circuit = lock(&self.0);
        if responded {
            circuit.failed.clear();
            let open = circuit.open.take()?;
            return Some(Change::Closed {
                suppressed: open.suppressed,
            });
        }
        if circuit.open.is_some() || circuit.failed.contains(&session) {
            return None;
        }
        circuit.failed.push(session);
        if circuit.failed.len() < MAX_FAILED_SESSIONS {
            return None;
        }
        circuit.open = Some(Open {
            last_probe: now,
            suppressed: 0,
        });
        Some(Change::Opened)
    }

    /// Whether the circuit is open.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.0).open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    fn opened() -> CircuitBreaker {
        let breaker = CircuitBreaker::default();
        for session in 0..4 {
            assert_eq!(breaker.record(session, false, at(0)), None);
        }
        assert_eq!(breaker.record(4, false, at(0)), Some(Change::Opened));
        breaker
    }

    #[test]
    fn open_circuit_permits_one_call_a_second_and_closes_at_a_response() {
        let breaker = opened();
        assert!(breaker.is_open() && !breaker.permits(at(0)));
        assert!(breaker.permits(at(1)));
        assert!(!breaker.permits(at(1)));
        assert_eq!(breaker.record(7, false, at(1)), None);
        assert!(breaker.permits(at(2)));
        let closed = Some(Change::Closed { suppressed: 2 });
        assert_eq!(breaker.record(8, true, at(2)), closed);
        assert!(!breaker.is_open() && breaker.permits(at(2)) && breaker.permits(at(2)));
    }

    #[test]
    fn one_failing_session_does_not_open_the_circuit() {
        let breaker = CircuitBreaker::default();
        for second in 0..100 {
            assert!(breaker.permits(at(second)));
            assert_eq!(breaker.record(1, false, at(second)), None);
        }
        for session in 0..100 {
            assert_eq!(breaker.record(session, false, at(0)), None);
            assert_eq!(
                breaker.record(0, true, at(0)),
                None,
                "a response in between"
            );
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn clock_that_was_set_back_keeps_no_circuit_shut() {
        let breaker = opened();
        assert!(breaker.permits(Timestamp::from_secs(1_700_000_000)));
    }
}
