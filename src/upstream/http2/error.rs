//! Classification of hyper's HTTP/2 errors.

use std::io;

use super::request_body::Upload;
use crate::upstream::error::UpstreamError;

/// The effect of a failed request on its connection.
pub(super) enum ResetReason {
    /// The backend did not process this request (RFC 9113 section 8.7).
    Refused,
    /// The connection is closing, and this request is beyond the last one that is processed (RFC
    /// 9113 section 6.8).
    GoingAway,
    Other,
}

impl ResetReason {
    pub(super) fn of(error: &hyper::Error) -> Self {
        match h2_cause(error) {
            Some(cause)
                if cause.is_remote()
                    && cause.is_reset()
                    && cause.reason() == Some(h2::Reason::REFUSED_STREAM) =>
            {
                Self::Refused
            }
            // The h2 library reports this only for streams beyond the last one that the backend
            // processes.
            Some(cause) if cause.is_remote() && cause.is_go_away() => Self::GoingAway,
            Some(_) | None => Self::Other,
        }
    }
}

/// The error of a request that the backend may have processed. A client that aborts its body looks
/// like a failing backend to hyper.
pub(super) fn classify(error: hyper::Error, upload: Option<&Upload>) -> UpstreamError {
    if upload.is_some_and(Upload::aborted) {
        return UpstreamError::RequestBodyAborted;
    }
    if error.is_timeout() {
        return UpstreamError::ResponseTimeout;
    }
    match h2_cause(&error) {
        // Errors detected by the library are the backend's: malformed heads, unexpected frames.
        Some(cause) if cause.is_library() => UpstreamError::BadResponse(cause.to_string()),
        Some(_) | None => classify_io(error),
    }
}

fn classify_io(error: hyper::Error) -> UpstreamError {
    if error.is_parse() {
        return UpstreamError::BadResponse(error.to_string());
    }
    let timed_out =
        std::iter::successors(std::error::Error::source(&error), |cause| cause.source())
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::TimedOut);
    if timed_out {
        UpstreamError::ResponseTimeout
    } else {
        connection_closed(error)
    }
}

pub(super) fn connection_closed(error: hyper::Error) -> UpstreamError {
    UpstreamError::ConnectionClosed(io::Error::other(error))
}

fn h2_cause(error: &hyper::Error) -> Option<&h2::Error> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
        .find_map(|cause| cause.downcast_ref())
}
