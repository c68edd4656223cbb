//! Half-close (RFC 9112 section 9.6): a client may shut down its write side after a request and
//! still read the response. To hyper the end of the stream is a disconnect, so it is withheld while
//! the request in flight can be answered. A client that has disconnected looks the same until
//! something is written to it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::types::body::ReadState;

/// How many ticks the reader of a request body has to notice bytes that arrived with the end of the
/// stream. If it does not, they were no data, and the body is truncated.
const READER_TICKS: u64 = 2;

/// Whether the end of the stream can be withheld, and since when it is.
#[derive(Debug, Default)]
pub(super) struct HalfClose {
    /// A [`RequestState`].
    request: AtomicU8,
    /// Whether bytes arrived since the request body was last waited for.
    received: AtomicBool,
    /// One more than the tick at which the stream ended; zero while it is open.
    since: AtomicU64,
}

/// How far the request in flight was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestState {
    /// No request is in flight, or the connection has switched protocols.
    None = 0,
    /// The request was received and read.
    Complete = 1,
    /// Its body was not read to its end yet.
    Reading = 2,
    /// The reader of its body waits for more.
    Waiting = 3,
}

impl HalfClose {
    fn set(&self, state: RequestState) {
        self.request.store(state as u8, Ordering::Relaxed);
    }

    fn is(&self, state: RequestState) -> bool {
        self.request.load(Ordering::Relaxed) == state as u8
    }

    /// A request head was received.
    pub(super) fn on_request(&self, has_body: bool) {
        self.set(if has_body {
            RequestState::Reading
        } else {
            RequestState::Complete
        });
    }

    /// The connection switches protocols: from now on, the end of the stream is passed on.
    pub(super) fn on_upgrade(&self) {
        self.set(RequestState::None);
    }

    /// Bytes arrived.
    pub(super) fn on_read(&self) {
        self.received.store(true, Ordering::Relaxed);
    }

    /// The request body was polled. Returns whether it is truncated: it needs bytes that no longer
    /// come.
    pub(super) fn on_body_polled(&self, state: ReadState) -> bool {
        match state {
            ReadState::Data => self.set(RequestState::Reading),
            ReadState::Ended => self.set(RequestState::Complete),
            ReadState::Waiting => {
                self.received.store(false, Ordering::Relaxed);
                self.set(RequestState::Waiting);
            }
        }
        state == ReadState::Waiting && self.since().is_some()
    }

    /// The stream has ended. Returns the tick at which that was noticed first, or `None` if the end
    /// cannot be withheld: no request is in flight, or its body is truncated.
    pub(super) fn on_end(&self, now: u64) -> Option<u64> {
        if self.is(RequestState::None) {
            return None;
        }
        let since = self.since().unwrap_or_else(|| {
            self.since.store(now + 1, Ordering::Relaxed);
            now
        });
        let is_truncated = self.is(RequestState::Waiting)
            && (!self.received.load(Ordering::Relaxed) || now >= since + READER_TICKS);
        (!is_truncated).then_some(since)
    }

    /// The tick at which the end of the stream must be looked at again, if it is withheld. `limit`
    /// is in ticks.
    pub(super) fn next_check(&self, limit: u64) -> Option<u64> {
        let ticks = if self.is(RequestState::Waiting) {
            READER_TICKS
        } else {
            limit + 1
        };
        self.since().map(|since| since + ticks)
    }

    /// The tick at which the end of the stream was noticed, if it is withheld.
    fn since(&self) -> Option<u64> {
        self.since.load(Ordering::Relaxed).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_is_withheld_while_the_request_can_be_answered() {
        let half_close = HalfClose::default();
        assert_eq!(half_close.on_end(7), None, "no request is in flight");
        half_close.on_request(false);
        assert_eq!(half_close.on_end(7), Some(7));
        assert_eq!(half_close.on_end(9), Some(7), "the first tick counts");
        half_close.on_upgrade();
        assert_eq!(half_close.on_end(9), None);
    }

    #[test]
    fn unread_body_is_awaited_and_truncated_one_is_not() {
        let half_close = HalfClose::default();
        half_close.on_request(true);
        assert_eq!(half_close.on_end(1), Some(1), "the body may be complete");
        assert!(!half_close.on_body_polled(ReadState::Data));
        assert!(half_close.on_body_polled(ReadState::Waiting), "truncated");
        assert_eq!(half_close.on_end(1), None);
        let half_close = HalfClose::default();
        half_close.on_request(true);
        assert!(!half_close.on_body_polled(ReadState::Waiting));
        half_close.on_read();
        assert_eq!(half_close.on_end(1), Some(1), "its reader was not told yet");
        assert_eq!(half_close.next_check(100), Some(3));
        assert_eq!(half_close.on_end(3), None, "there was no data for it");
        assert!(!half_close.on_body_polled(ReadState::Ended));
        assert_eq!(half_close.on_end(3), Some(1));
        assert_eq!(half_close.next_check(100), Some(102));
    }
}
