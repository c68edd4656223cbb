//! Connection context: what all connections of one worker share.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response, StatusCode};
use hyper::server::conn::http1;
use tokio_rustls::TlsAcceptor;

use super::connection_registry::ConnectionRegistry;
use super::deadline_timer::DeadlineTimer;
use super::drain::Drain;
use super::settings::ListenerSettings;
use crate::limits::ByteBudget;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::{ConnectionId, ConnectionInfo, ListenerKind};

/// Handles HTTP requests.
pub trait Handler: Send + Sync + 'static {
    /// Produces the response to one request. The future is dropped when the client disconnects. On a
    /// connection of a trusted proxy, a [`ClientKey`](crate::limits::ClientKey) in the extensions of
    /// the response says for whom its unsent data counts.
    fn handle(
        &self,
        request: Request<Body>,
        info: ConnectionInfo,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// The `https` origin of the app that has this `Host`, for clients that send plain HTTP to a
    /// TLS port.
    fn https_origin(&self, _host: &str) -> Option<String> {
        None
    }

    /// Told of a request that was rejected before it could be handled, with the reason and the
    /// status of the response.
    fn rejected(&self, _info: ConnectionInfo, _reason: &'static str, _status: StatusCode) {}

    /// Told that no connection is accepted any more, and that responses without an end should end.
    fn drain_started(&self) {}

    /// Told that the drain timeout has passed, and that the remaining connections are closed.
    fn cut_off(&self) {}
}

/// Numbers connections. The listeners of one worker share it, since a connection's number
/// identifies it within its worker.
#[derive(Clone, Debug, Default)]
pub struct ConnectionIds(Arc<AtomicU64>);

impl ConnectionIds {
    fn next(&self) -> ConnectionId {
        ConnectionId::new(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Shared by all connections of a worker to one listener.
pub(super) struct ConnectionContext<H> {
    pub(super) parser: http1::Builder,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) settings: Arc<ListenerSettings>,
    pub(super) handler: Arc<H>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Drain,
    pub(super) registry: ConnectionRegistry,
    pub(super) bytes: Arc<ByteBudget>,
    pub(super) deadline_timer: DeadlineTimer,
    pub(super) ids: ConnectionIds,
}

impl<H> ConnectionContext<H> {
    /// Identifies a connection from `peer`, whose handshake is complete.
    pub(super) fn connection_info(&self, peer: Option<SocketAddr>) -> ConnectionInfo {
        let listener = match (&self.tls, self.settings.redirects_to_https) {
            (Some(_), _) => ListenerKind::Tls,
            (None, true) => ListenerKind::RedirectToHttps,
            (None, false) => ListenerKind::Plain,
        };
        ConnectionInfo {
            id: self.ids.next(),
            peer,
            listener,
        }
    }

    /// Counts a connection that ended with an error.
    pub(super) fn count_error(&self, reason: &'static str) {
        self.metrics
            .connection_errors
            .with_label_values(&[reason])
            .inc();
    }
}

/// Serves a connection whose handshake is complete.
pub(super) type ConnectionFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
