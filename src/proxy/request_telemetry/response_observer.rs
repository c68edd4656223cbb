//! Observer of a response body: limits it, and records the request at its end.

use std::sync::atomic::Ordering;
use std::task::Context;

use super::super::event_stream::EndedByDrain;
use super::super::stream_limits::LimitChecker;
use super::{Outcome, RequestRecord};
use crate::types::body::{BodyEnd, BodyError, BodyObserver};

/// Observes a response body, cuts it when its limits are reached, and records the request at its
/// end.
pub(super) struct ResponseObserver {
    pub(super) record: Box<RequestRecord>,
    pub(super) code: &'static str,
    pub(super) status: u16,
    pub(super) bytes_out: u64,
    /// Whether the length of the body is unknown, as for streams.
    pub(super) is_stream: bool,
    /// Of an event stream: whether it ended because of the drain.
    pub(super) ended_by_drain: Option<EndedByDrain>,
    pub(super) limits: LimitChecker,
}

impl ResponseObserver {
    pub(super) fn record_end(&mut self) {
        self.record.record(&Outcome {
            code: self.code,
            status: self.status,
            bytes_out: self.bytes_out,
        });
    }

    /// A sized response is not checked before its first byte, so that what was permitted is
    /// delivered however late it comes.
    const fn is_exempt(&self) -> bool {
        !self.is_stream && self.bytes_out == 0
    }

    /// Remembers which limit was reached.
    fn noted(&mut self, checked: Result<(), BodyError>) -> Result<(), BodyError> {
        match &checked {
            Ok(()) => {}
            Err(BodyError::TooOld) => self.code = "stream_max_age",
            Err(_) => self.code = "session_over",
        }
        checked
    }
}

impl BodyObserver for ResponseObserver {
    fn admit(&mut self) -> Result<(), BodyError> {
        if self.is_exempt() {
            return Ok(());
        }
        let checked = self.limits.check();
        self.noted(checked)
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        if self.is_exempt() {
            return Ok(());
        }
        let checked = self.limits.poll_waiting(cx);
        self.noted(checked)
    }

    fn passed(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    fn ended(mut self: Box<Self>, end: BodyEnd) {
        let ended_by_drain = self.ended_by_drain.as_ref();
        match end {
            BodyEnd::Complete
                if ended_by_drain.is_some_and(|ended| ended.load(Ordering::Relaxed)) =>
            {
                self.code = "shutting_down";
            }
            BodyEnd::Complete | BodyEnd::Cut => {}
            BodyEnd::Broken => self.code = "upstream_body_aborted",
            BodyEnd::Abandoned => self.code = self.record.shared.worker.early_end(),
            BodyEnd::Stalled => self.code = "client_stalled",
        }
        self.record_end();
    }
}
