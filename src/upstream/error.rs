//! Upstream errors. Each has a stable code, which the log, the metric and the error page share.

use std::error::Error as _;
use std::{fmt, io};

/// Why the backend gave no response.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The request is of a kind that is never forwarded: `CONNECT`, `TRACE`, or a target that is
    /// not a path.
    #[error("this request cannot be forwarded: {0}")]
    NotForwardable(&'static str),
    /// The request has passed this app several times.
    #[error("the backend's address leads back to this server")]
    Loop,
    /// All connections are in use.
    #[error("all connections to the backend are in use")]
    Saturated,
    /// Its host name cannot be resolved.
    #[error("the backend's name cannot be resolved")]
    Unresolved(#[source] io::Error),
    /// It refuses connections.
    #[error("the backend refuses connections")]
    ConnectRefused(#[source] io::Error),
    /// It did not accept a connection in time.
    #[error("the backend did not accept a connection in time")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("the TLS handshake with the backend failed")]
    Tls(#[source] io::Error),
    /// It did not respond in time.
    #[error("the backend did not respond in time")]
    ResponseTimeout,
    /// The connection ended before the response.
    #[error("the backend closed the connection before it responded")]
    ConnectionClosed(#[source] io::Error),
    /// The response is not valid HTTP.
    #[error("the backend's response is not valid HTTP: {0}")]
    BadResponse(String),
    /// The client stopped sending the request body.
    #[error("the client stopped sending the request body")]
    RequestStalled,
    /// The client disconnected, or sent invalid framing, within the request body.
    #[error("the client aborted the request body")]
    RequestBodyAborted,
}

impl UpstreamError {
    /// All codes.
    pub const CODES: [&str; 12] = [
        "not_forwardable",
        "upstream_loop",
        "upstream_saturated",
        "upstream_unresolved",
        "upstream_connect_refused",
        "upstream_connect_timeout",
        "upstream_tls",
        "upstream_response_timeout",
        "upstream_connection_closed",
        "upstream_bad_response",
        "request_stalled",
        "request_body_aborted",
    ];

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotForwardable(_) => "not_forwardable",
            Self::Loop => "upstream_loop",
            Self::Saturated => "upstream_saturated",
            Self::Unresolved(_) => "upstream_unresolved",
            Self::ConnectRefused(_) => "upstream_connect_refused",
            Self::ConnectTimeout => "upstream_connect_timeout",
            Self::Tls(_) => "upstream_tls",
            Self::ResponseTimeout => "upstream_response_timeout",
            Self::ConnectionClosed(_) => "upstream_connection_closed",
            Self::BadResponse(_) => "upstream_bad_response",
            Self::RequestStalled => "request_stalled",
            Self::RequestBodyAborted => "request_body_aborted",
        }
    }

    /// Whether the request is to blame, and not the backend.
    pub const fn is_by_client(&self) -> bool {
        match self {
            Self::NotForwardable(_) | Self::RequestStalled | Self::RequestBodyAborted => true,
            Self::Loop
            | Self::Saturated
            | Self::Unresolved(_)
            | Self::ConnectRefused(_)
            | Self::ConnectTimeout
            | Self::Tls(_)
            | Self::ResponseTimeout
            | Self::ConnectionClosed(_)
            | Self::BadResponse(_) => false,
        }
    }

    /// Whether the backend may have seen the request.
    pub const fn was_sent(&self) -> bool {
        match self {
            Self::NotForwardable(_)
            | Self::Loop
            | Self::Saturated
            | Self::Unresolved(_)
            | Self::ConnectRefused(_)
            | Self::ConnectTimeout
            | Self::Tls(_) => false,
            Self::ResponseTimeout
            | Self::ConnectionClosed(_)
            | Self::BadResponse(_)
            | Self::RequestStalled
            | Self::RequestBodyAborted => true,
        }
    }

    /// Whether the client caused the error, not the backend.
    pub const fn is_client_error(&self) -> bool {
        matches!(
            self,
            Self::NotForwardable(_) | Self::RequestStalled | Self::RequestBodyAborted
        )
    }
}

/// An error with its cause, for logs.
pub(super) struct WithCause<'e>(pub(super) &'e UpstreamError);

impl fmt::Display for WithCause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0.source() {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}
