//! Retries of HTTP/2 requests. A backend may say that it did not process a request: by
//! `REFUSED_STREAM` (RFC 9113 section 8.7), or by a GOAWAY that ends before it (section 6.8). Such a
//! request is sent again, more than once, since a backend that closes each connection after a few
//! requests may turn it away several times.

use std::time::Duration;

use tokio::time::Instant;

use super::error::connection_closed;
use crate::upstream::error::UpstreamError;

/// Maximum number of times that a request is sent.
const MAX_ATTEMPTS: u32 = 16;
/// Pause after the first refused stream. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// Why an attempt has no response.
pub(super) enum Failure {
    /// The backend refused this stream. It may be overloaded.
    Refused(hyper::Error),
    /// No byte was sent, or the connection was closing and this request came too late.
    Unprocessed(hyper::Error),
    /// The backend may have processed the request.
    Failed(UpstreamError),
}

/// A failed attempt of a request with a body `B`.
pub(super) struct FailedAttempt<B> {
    pub(super) failure: Failure,
    /// The body from its start; `None` if it was not kept.
    pub(super) body: Option<B>,
    /// Whether the request may also be processed twice: it is safe, and its connection was reused, so that
    /// the backend may have closed it just then.
    pub(super) may_run_twice: bool,
}

/// Another attempt.
pub(super) struct Retry<B> {
    pub(super) body: B,
    /// How long to wait before it.
    pub(super) pause: Duration,
}

/// The attempts of one request.
#[derive(Default)]
pub(super) struct Retries {
    failed: u32,
    refused: u32,
    /// Whether it was sent again although it may have been processed.
    ran_twice: bool,
    deadline: Option<Instant>,
}

impl Retries {
    /// Returns the next attempt. `limit` is the time for all attempts after the first failure.
    ///
    /// # Errors
    /// The request must not be sent again.
    pub(super) fn next<B>(
        &mut self,
        attempt: FailedAttempt<B>,
        limit: Duration,
        now: Instant,
    ) -> Result<Retry<B>, UpstreamError> {
        self.failed += 1;
        let deadline = *self.deadline.get_or_insert(now + limit);
        let (pause, error) = match attempt.failure {
            Failure::Failed(error @ UpstreamError::ConnectionClosed(_))
                if attempt.may_run_twice && !self.ran_twice =>
            {
                self.ran_twice = true;
                (Duration::ZERO, error)
            }
            Failure::Failed(error) => return Err(error),
            Failure::Unprocessed(error) => (Duration::ZERO, connection_closed(error)),
            Failure::Refused(error) => {
                self.refused += 1;
                (pause(self.refused), connection_closed(error))
            }
        };
        match attempt.body {
            Some(body) if self.failed < MAX_ATTEMPTS && now + pause < deadline => {
                Ok(Retry { body, pause })
            }
            Some(_) | None => Err(error),
        }
    }
}

/// The first refusal is answered at once: it may be due to a limit that was lowered just then.
fn pause(refused: u32) -> Duration {
    match refused.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(MAX_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn closed(may_run_twice: bool, body: Option<()>) -> FailedAttempt<()> {
        let error = UpstreamError::ConnectionClosed(std::io::ErrorKind::UnexpectedEof.into());
        FailedAttempt {
            failure: Failure::Failed(error),
            body,
            may_run_twice,
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<_> = (1..=8).map(|refused| pause(refused).as_millis()).collect();
        assert_eq!(pauses, [0, 5, 10, 20, 40, 80, 100, 100]);
        assert_eq!(pause(u32::MAX), MAX_PAUSE);
    }

    #[test]
    fn request_that_may_have_been_processed_is_sent_again_once_if_safe() {
        let now = Instant::now();
        let first = |attempt| Retries::default().next(attempt, LIMIT, now).is_ok();
        let mut retries = Retries::default();
        assert!(retries.next(closed(true, Some(())), LIMIT, now).is_ok());
        assert!(retries.next(closed(true, Some(())), LIMIT, now).is_err());
        assert!(!first(closed(false, Some(()))));
        assert!(!first(closed(true, None)));
        assert!(!first(FailedAttempt {
            failure: Failure::Failed(UpstreamError::ResponseTimeout),
            ..closed(true, Some(()))
        }));
    }
}
