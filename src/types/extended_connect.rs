//! Extended CONNECT (RFC 8441): an HTTP/2 request for a tunnel, such as a WebSocket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The `:protocol` that is supported.
pub const WEBSOCKET: &str = "websocket";

/// An extended CONNECT request. It is in the extensions of the request.
#[derive(Clone, Debug)]
pub struct ExtendedConnect {
    protocol: Box<str>,
    is_closed: Arc<AtomicBool>,
}

impl ExtendedConnect {
    /// A request with this `:protocol`.
    pub fn new(protocol: &str) -> Self {
        Self {
            protocol: protocol.into(),
            is_closed: Arc::default(),
        }
    }

    /// Whether it requests a WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.protocol.eq_ignore_ascii_case(WEBSOCKET)
    }

    /// Records that no data can be sent to the client any more.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Whether no data can be sent to the client any more: it reset the stream, or the connection has
    /// ended. For the reader of the stream, a reset looks like an ordinary end.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}
