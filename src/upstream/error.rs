//! Why a backend gave no answer. Every failure has a code that the log, the metric and the page share.

use std::io;

/// Why a request brought no answer from the backend.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The request is of a kind that is never passed on (`CONNECT`, `TRACE`, a target that is no path).
    #[error("this request cannot be passed on: {0}")]
    Unforwardable(&'static str),
    /// All connections stayed in use.
    #[error("all connections to the backend are in use")]
    Saturated,
    /// Its name leads nowhere.
    #[error("the backend's name cannot be resolved")]
    Unresolved(#[source] io::Error),
    /// It accepts no connection.
    #[error("the backend accepts no connection")]
    ConnectRefused(#[source] io::Error),
    /// It did not accept a connection in time.
    #[error("the backend did not accept a connection in time")]
    ConnectTimeout,
    /// No secure connection came about.
    #[error("no secure connection to the backend came about")]
    Tls(#[source] io::Error),
    /// It did not answer in time.
    #[error("the backend did not answer in time")]
    ResponseTimeout,
    /// The connection ended before an answer came.
    #[error("the backend broke off before it answered")]
    BrokeOff(#[source] io::Error),
    /// What came is not a proper answer.
    #[error("the backend's answer is not proper HTTP: {0}")]
    BadResponse(String),
    /// The client stopped sending the request's body.
    #[error("the client stopped sending the request's body")]
    RequestStalled,
    /// The client went away, or broke the framing, in the middle of the request's body.
    #[error("the client broke off in the request's body")]
    RequestBroke,
}

impl UpstreamError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unforwardable(_) => "not_forwardable",
            Self::Saturated => "upstream_saturated",
            Self::Unresolved(_) => "upstream_unresolved",
            Self::ConnectRefused(_) => "upstream_connect_refused",
            Self::ConnectTimeout => "upstream_connect_timeout",
            Self::Tls(_) => "upstream_tls",
            Self::ResponseTimeout => "upstream_response_timeout",
            Self::BrokeOff(_) => "upstream_connection_closed",
            Self::BadResponse(_) => "upstream_bad_response",
            Self::RequestStalled => "request_stalled",
            Self::RequestBroke => "request_body_aborted",
        }
    }

    /// Whether the backend may have seen the request.
    pub const fn was_sent(&self) -> bool {
        match self {
            Self::Unforwardable(_)
            | Self::Saturated
            | Self::Unresolved(_)
            | Self::ConnectRefused(_)
            | Self::ConnectTimeout
            | Self::Tls(_) => false,
            Self::ResponseTimeout
            | Self::BrokeOff(_)
            | Self::BadResponse(_)
            | Self::RequestStalled
            | Self::RequestBroke => true,
        }
    }

    /// Whether the client is to blame, not the backend.
    pub const fn is_clients(&self) -> bool {
        matches!(
            self,
            Self::Unforwardable(_) | Self::RequestStalled | Self::RequestBroke
        )
    }
}
