//! Extended CONNECT over HTTP/2 (RFC 8441): admission of streams that become tunnels, and the form of
//! their responses.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::ext::Protocol;

use super::connection_registry::ConnectionRegistry;
use super::streams::{StreamProgress, StreamTracker, TunnelStream};
use crate::limits::ClientKey;
use crate::types::extended_connect::ExtendedConnect;

/// Admits the tunnels of one connection.
pub(super) struct TunnelAdmission {
    pub(super) registry: ConnectionRegistry,
    /// The client of the connection. `None`: it is not limited.
    pub(super) client: Option<ClientKey>,
    pub(super) max_per_client: usize,
    pub(super) streams: StreamTracker,
}

/// The client has too many connections and tunnels.
pub(super) struct TooManyTunnels;

impl TunnelAdmission {
    /// Marks an extended CONNECT request, and counts it until its stream ends.
    pub(super) fn admit<B>(&self, request: &mut Request<B>) -> Result<(), TooManyTunnels> {
        let Some(protocol) = request.extensions_mut().remove::<Protocol>() else {
            return Ok(());
        };
        let state = Arc::new(self.streams.clone());
        let registered = self
            .registry
            .register(self.client, self.max_per_client, state);
        let connect = ExtendedConnect::new(protocol.as_str());
        request.extensions_mut().insert(connect.clone());
        StreamProgress::current().set_tunnel(TunnelStream {
            connect,
            _registration: registered.ok_or(TooManyTunnels)?,
        });
        Ok(())
    }
}

/// Brings the response to an extended CONNECT into the form of HTTP/2, where a success opens the tunnel
/// (RFC 8441 section 5).
pub(super) fn in_http2_form<B>(response: &mut Response<B>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        *response.status_mut() = StatusCode::OK;
    }
}
