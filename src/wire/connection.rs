//! One HTTP/1.1 connection from its first byte to its end. hyper parses; what it refuses by itself is counted and
//! logged here, since no access line will ever be written for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::timeout;

use super::drain::Drain;
use super::listener::ListenerSettings;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::Arrival;

/// After the last answer, what a client still sends is taken and thrown away until it was silent for this long ...
const LINGER_SILENCE: Duration = Duration::from_secs(1);
/// ... or for this long at most.
const LINGER: Duration = Duration::from_secs(10);

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Dropped in the middle when the client goes away.
    fn handle(&self, request: Request<Incoming>, arrival: Arrival) -> impl Future<Output = Response<Body>> + Send;
}

/// The parser's settings, made once a listener.
pub(super) fn parser(settings: &ListenerSettings) -> http1::Builder {
    let mut parser = http1::Builder::new();
    parser
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_read_timeout)
        .max_buf_size(settings.max_header_bytes.max(8192))
        .max_header_size(settings.max_header_bytes)
        .half_close(false)
        .keep_alive(true);
    // The default of 100 needs no allocation; asking for a number costs one a request.
    if settings.max_header_count != 100 {
        parser.max_headers(settings.max_header_count);
    }
    parser
}

/// Serves a connection until it ends, or, once draining began, until its current answer is out.
pub(super) async fn serve<S, H>(
    stream: S,
    arrival: Arrival,
    parser: &http1::Builder,
    handler: Arc<H>,
    metrics: &Metrics,
    mut drain: Drain,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.handle(request, arrival).await) }
    });
    let mut connection = parser.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = drain.started() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    let answered = match ended {
        Ok(()) => true,
        Err(error) => {
            let reason = reason(&error);
            metrics.protocol_refusals.with_label_values(&[reason]).inc();
            tracing::debug!(reason, peer = ?arrival.peer, error = %error, "connection ended early");
            error.is_parse()
        }
    };
    if answered
        && !drain.has_started()
        && let Some(parts) = connection.into_parts()
    {
        linger(parts.io.into_inner()).await;
    }
}

/// Closing a socket while the client still sends makes the system reset the connection, and the client may lose the
/// answer: the refusal of a large upload, for one. Our side is shut down already (RFC 9112 section 9.6).
async fn linger(mut stream: impl AsyncRead + Unpin) {
    // On the heap, lest every connection carry it.
    let mut scrap = vec![0; 4096];
    let silence = async { while let Ok(Ok(1..)) = timeout(LINGER_SILENCE, stream.read(&mut scrap)).await {} };
    // At the limit it is cut: the client had its time.
    let _ = timeout(LINGER, silence).await;
}

/// A bounded set of words for why a connection ended otherwise than by agreement.
fn reason(error: &hyper::Error) -> &'static str {
    if error.is_parse_too_large() {
        "header_too_large"
    } else if error.is_parse() {
        "malformed"
    } else if error.is_timeout() {
        "header_timeout"
    } else if error.is_incomplete_message() {
        "cut_by_client"
    } else if error.is_body_write_aborted() || error.is_user() {
        "answer_broke_off"
    } else {
        "transport"
    }
}
