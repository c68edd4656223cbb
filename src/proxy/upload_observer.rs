//! Observers of request bodies: they report the progress, and end a body when its limits are reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use super::stream_limits::LimitChecker;
use crate::limits::UploadProgress;
use crate::types::body::{BodyEnd, BodyError, BodyObserver};

/// Reports the progress of a request body.
pub(super) struct UploadObserver(pub(super) Arc<UploadProgress>);

impl BodyObserver for UploadObserver {
    fn admit(&mut self) -> Result<(), BodyError> {
        self.0.on_poll();
        Ok(())
    }

    fn passed(&mut self, bytes: usize) {
        self.0.on_data(bytes);
    }

    fn ended(self: Box<Self>, _end: BodyEnd) {
        self.0.on_end();
    }
}

/// The same for a body that ends when its limits are reached.
pub(super) struct LimitedUploadObserver {
    pub(super) progress: UploadObserver,
    pub(super) limits: LimitChecker,
    /// Set when the limits end the body.
    pub(super) is_cut: Arc<AtomicBool>,
}

impl BodyObserver for LimitedUploadObserver {
    fn admit(&mut self) -> Result<(), BodyError> {
        self.progress.admit()?;
        self.limits.check()
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        self.limits.poll_waiting(cx)
    }

    fn passed(&mut self, bytes: usize) {
        self.progress.passed(bytes);
        self.limits.client_sent();
    }

    fn ended(self: Box<Self>, end: BodyEnd) {
        if end == BodyEnd::Cut {
            self.is_cut.store(true, Ordering::Relaxed);
        }
        self.progress.0.on_end();
    }
}
