//! Limits on a body that is passed on: the session or token that permitted it must stay valid, and
//! it may have a maximum age. Both are checked at intervals.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::types::body::{BodyError, StreamSession};

/// Interval of the checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Limits on a body.
#[derive(Default)]
pub struct StreamLimits {
    /// The body ends when this check fails.
    pub session: Option<StreamSession>,
    /// The body ends at this age.
    pub max_age: Option<Duration>,
}

/// Checks the limits of one body. A body whose data is always ready costs no timer.
pub(super) struct LimitChecker {
    limits: StreamLimits,
    started: Instant,
    /// `None` until the first call, with which the first interval begins.
    next_check: Option<Instant>,
    /// Wakes a body that waits for data.
    timer: Option<Pin<Box<Sleep>>>,
}

impl StreamLimits {
    const fn is_unlimited(&self) -> bool {
        self.session.is_none() && self.max_age.is_none()
    }
}

impl LimitChecker {
    /// A checker for a body that begins now.
    pub(super) fn new(limits: StreamLimits) -> Self {
        Self {
            limits,
            started: Instant::now(),
            next_check: None,
            timer: None,
        }
    }

    /// The client sent a part of the body.
    pub(super) fn client_sent(&self) {
        if let Some(session) = &self.limits.session {
            session.client_sent();
        }
    }

    /// Checks the limits if the interval has passed.
    ///
    /// # Errors
    /// The limit that was reached.
    pub(super) fn check(&mut self) -> Result<(), BodyError> {
        if self.limits.is_unlimited() {
            return Ok(());
        }
        self.check_at(Instant::now())
    }

    fn check_at(&mut self, now: Instant) -> Result<(), BodyError> {
        let next_check = *self.next_check.get_or_insert(now + CHECK_INTERVAL);
        if now < next_check {
            return Ok(());
        }
        self.next_check = Some(now + CHECK_INTERVAL);
        let StreamLimits { session, max_age } = &self.limits;
        if session.as_ref().is_some_and(|session| !session.is_valid()) {
            return Err(BodyError::SessionOver);
        }
        if max_age.is_some_and(|max_age| now.duration_since(self.started) >= max_age) {
            return Err(BodyError::TooOld);
        }
        Ok(())
    }

    /// As [`Self::check`], and wakes the task for the next check.
    ///
    /// # Errors
    /// The limit that was reached.
    pub(super) fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        if self.limits.is_unlimited() {
            return Ok(());
        }
        loop {
            self.check()?;
            let Some(next_check) = self.next_check else {
                return Ok(());
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(next_check)));
            if timer.deadline() != next_check {
                timer.as_mut().reset(next_check);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Poll;

    use super::*;

    #[test]
    fn limits_are_checked_at_the_end_of_each_interval() {
        let valid = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&valid);
        let mut checker = LimitChecker::new(StreamLimits {
            session: Some(StreamSession::new(move || flag.load(Ordering::Relaxed))),
            max_age: Some(3 * CHECK_INTERVAL),
        });
        let started = checker.started;
        let [first, second, third] = [1, 2, 3].map(|count| started + count * CHECK_INTERVAL);
        assert!(checker.check_at(started).is_ok());
        assert!(checker.check_at(first).is_ok());
        valid.store(false, Ordering::Relaxed);
        assert!(
            checker.check_at(first).is_ok(),
            "the interval has not passed"
        );
        assert!(matches!(
            checker.check_at(second),
            Err(BodyError::SessionOver)
        ));
        valid.store(true, Ordering::Relaxed);
        assert!(matches!(checker.check_at(third), Err(BodyError::TooOld)));
    }

    #[tokio::test]
    async fn waiting_body_is_woken_to_be_checked() {
        let mut checker = LimitChecker::new(StreamLimits {
            session: Some(StreamSession::new(|| false)),
            max_age: None,
        });
        let ended = poll_fn(|cx| match checker.poll_waiting(cx) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        });
        assert!(matches!(ended.await, BodyError::SessionOver));
    }
}
