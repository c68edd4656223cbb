//! One HTTP/1.1 connection from its first byte to its end. hyper parses; what it refuses by itself is counted and
//! logged here, since no access line will ever be written for it. A connection that is idle is taken out of hyper, which
//! would keep some 20 KiB for it, and given to it again when something comes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::client_stream::{ClientStream, Readable};
use super::connection_context::{ConnectionContext, Serving};
use super::deadlines::ReadPhase;
use super::listener::ListenerSettings;
use crate::telemetry::metrics::Metrics;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;

/// After the last answer, what a client still sends is taken and thrown away until it was silent for this long ...
const LINGER_SILENCE: Duration = Duration::from_secs(1);
/// ... or for this long at most.
const LINGER: Duration = Duration::from_secs(10);

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Dropped in the middle when the client goes away.
    fn handle(
        &self,
        request: Request<Incoming>,
        info: ConnectionInfo,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// The parser's settings, made once a listener.
pub(super) fn parser(settings: &ListenerSettings) -> http1::Builder {
    let mut parser = http1::Builder::new();
    parser
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
pub(super) fn serve<S, H>(
    mut stream: ClientStream<S>,
    info: ConnectionInfo,
    server: Arc<ConnectionContext<H>>,
) -> Serving
where
    S: AsyncRead + AsyncWrite + Readable + Send + Unpin + 'static,
    H: Handler,
{
    // Not an `async fn`, which would have room for its arguments twice.
    Box::pin(async move {
        loop {
            // On the heap, lest a connection at rest carry it.
            match Box::pin(exchange(stream, info, &server)).await {
                Some(quiet) => stream = quiet,
                None => return,
            }
            if stream.has_nothing_ahead() && !rest(&stream, &server.metrics).await {
                // The client may be gone, and is not told then.
                let _ = stream.shutdown().await;
                return;
            }
        }
    })
}

/// Serves request after request. Gives the stream back when there was none for a while; `None`: the connection is over.
async fn exchange<S, H>(
    stream: ClientStream<S>,
    info: ConnectionInfo,
    server: &ConnectionContext<H>,
) -> Option<ClientStream<S>>
where
    S: AsyncRead + AsyncWrite + Readable + Send + Unpin + 'static,
    H: Handler,
{
    let deadlines = Arc::clone(stream.deadlines());
    let mut parser = server.parser.clone();
    deadlines.time_heads(&mut parser);
    let (handler, times) = (Arc::clone(&server.handler), Arc::clone(&deadlines));
    let service = service_fn(move |request| {
        times.begin(ReadPhase::Nothing);
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.handle(request, info).await) }
    });
    let mut connection = parser
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();

    let (mut known, mut is_told) = (Waker::noop().clone(), false);
    let ended = poll_fn(|cx| {
        if !known.will_wake(cx.waker()) {
            known.clone_from(cx.waker());
            deadlines.register_waker(&known);
        }
        let mut polled = Pin::new(&mut connection).poll(cx);
        if polled.is_pending() && !is_told && deadlines.is_draining() {
            is_told = true;
            Pin::new(&mut connection).graceful_shutdown();
            polled = Pin::new(&mut connection).poll(cx);
        }
        match polled {
            Poll::Pending if !is_told && deadlines.may_rest() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
        }
    })
    .await;

    let answered = match ended {
        None => {
            let parts = connection.into_parts()?;
            let mut stream = parts.io.into_inner();
            if !parts.read_buf.is_empty() {
                deadlines.head_had_begun();
                stream.put_back(parts.read_buf);
            }
            return Some(stream);
        }
        Some(Ok(())) => true,
        Some(Err(error)) => {
            let reason = reason(&error);
            server
                .metrics
                .connection_errors
                .with_label_values(&[reason])
                .inc();
            tracing::debug!(reason, peer = ?info.peer, error = %error, "connection ended early");
            error.is_parse()
        }
    };
    if answered
        && !deadlines.is_draining()
        && let Some(parts) = connection.into_parts()
    {
        linger(parts.io.into_inner()).await;
    }
    None
}

/// Waits for something to read; `false`: for too long, or service ends.
async fn rest<S: Readable>(stream: &ClientStream<S>, metrics: &Metrics) -> bool {
    let deadlines = stream.deadlines();
    let _resting = deadlines.rest(&metrics.connections_hibernating);
    poll_fn(|cx| {
        deadlines.register_waker(cx.waker());
        // What is wrong with the stream will be said by who reads it.
        if stream.poll_readable(cx).is_ready() {
            return Poll::Ready(true);
        }
        match deadlines.overdue() {
            Some(ReadPhase::FirstByte) => {
                metrics
                    .connection_errors
                    .with_label_values(&["first_byte_timeout"])
                    .inc();
                Poll::Ready(false)
            }
            Some(ReadPhase::Nothing | ReadPhase::NextRequest | ReadPhase::RestOfHead) => {
                Poll::Ready(false)
            }
            None if deadlines.is_draining() => Poll::Ready(false),
            None => Poll::Pending,
        }
    })
    .await
}

/// Closing a socket while the client still sends makes the system reset the connection, and the client may lose the
/// answer: the refusal of a large upload, for one. Our side is shut down already (RFC 9112 section 9.6).
async fn linger(mut stream: impl AsyncRead + Unpin) {
    // On the heap, lest every connection carry it.
    let mut scrap = vec![0; 4096];
    let silence =
        async { while let Ok(Ok(1..)) = timeout(LINGER_SILENCE, stream.read(&mut scrap)).await {} };
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
        "body_aborted_by_client"
    } else if error.is_body_write_aborted() || error.is_user() {
        "upstream_body_aborted"
    } else {
        "transport"
    }
}
