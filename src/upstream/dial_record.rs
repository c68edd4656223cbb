//! How the last attempt to connect to an app ended, in any worker. Shown by `/readyz`.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::error::UpstreamError;
use crate::lock::lock;

/// The result of the last attempt to connect.
#[derive(Debug, Default)]
pub(super) struct DialRecord(Mutex<Option<Dial>>);

#[derive(Clone, Copy, Debug)]
struct Dial {
    at: Instant,
    error: Option<&'static str>,
}

/// The last attempt to connect to an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastDial {
    /// The time since its end.
    pub age: Duration,
    /// The code of its error ([`UpstreamError::code`]), if it failed.
    pub error: Option<&'static str>,
}

impl DialRecord {
    /// Records an attempt that has just ended.
    pub(super) fn record(&self, error: Option<&UpstreamError>) {
        *lock(&self.0) = Some(Dial {
            at: Instant::now(),
            error: error.map(UpstreamError::code),
        });
    }

    /// The last attempt.
    pub(super) fn last(&self) -> Option<LastDial> {
        let dial = (*lock(&self.0))?;
        Some(LastDial {
            age: dial.at.elapsed(),
            error: dial.error,
        })
    }
}
