//! Connection context: what all connections of one worker share.

use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use tokio_rustls::TlsAcceptor;

use super::connection_registry::ConnectionRegistry;
use super::deadline_timer::DeadlineTimer;
use super::drain::Drain;
use super::settings::ListenerSettings;
use crate::limits::ByteBudget;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;

/// Handles HTTP requests.
pub trait Handler: Send + Sync + 'static {
    /// Produces the response to one request. The future is dropped when the client disconnects.
    fn handle(
        &self,
        request: Request<Incoming>,
        info: ConnectionInfo,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// The `https` origin of the app that has this `Host`, for clients that send plain HTTP to a
    /// TLS port.
    fn https_origin(&self, _host: &str) -> Option<String> {
        None
    }
}

/// Shared by all connections of a worker.
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
}

impl<H> ConnectionContext<H> {
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
