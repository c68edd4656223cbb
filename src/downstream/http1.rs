//! HTTP/1.1 server connections. hyper parses; requests that it rejects are counted and logged here,
//! because they have no access log entry. An idle connection hibernates: it leaves hyper, which
//! would hold about 20 KiB for it, and returns when the client sends again.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::{Request, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::client_stream::{ClientStream, Readable};
use super::connection_context::{ConnectionContext, ConnectionFuture, Handler};
use super::deadlines::{Deadlines, ReadPhase};
use super::http1_response_body::Http1ResponseBody;
use super::settings::ListenerSettings;
use super::unsent::{CountedBody, UnsentData};
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;

/// The lingering close ends once the client has been silent for this long.
const LINGER_READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum duration of a lingering close.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);
/// hyper's default limit of header fields, for which it needs no allocation per request.
const DEFAULT_MAX_HEADERS: usize = 100;

/// Builds the parser configuration of a listener.
pub(super) fn parser(settings: &ListenerSettings) -> http1::Builder {
    let mut parser = http1::Builder::new();
    parser
        .max_buf_size(settings.max_header_bytes.max(8192))
        .max_header_size(settings.max_header_bytes)
        // With hyper's own support, a disconnect would be noticed at the next write only.
        .half_close(false)
        .keep_alive(true);
    if settings.max_header_count != DEFAULT_MAX_HEADERS {
        parser.max_headers(settings.max_header_count);
    }
    parser
}

/// Serves a connection until it ends, or, once draining has started, until its current response is
/// written.
pub(super) fn serve<S, H>(
    mut stream: ClientStream<S>,
    info: ConnectionInfo,
    context: Arc<ConnectionContext<H>>,
) -> ConnectionFuture
where
    S: AsyncRead + AsyncWrite + Readable + Send + Unpin + 'static,
    H: Handler,
{
    // Not an `async fn`, whose future would store its arguments twice.
    Box::pin(async move {
        loop {
            // Boxed, so that a hibernating connection does not hold this future.
            match Box::pin(serve_requests(stream, info, &context)).await {
                Some(idle) => stream = idle,
                None => return,
            }
            if !stream.has_unread() && !hibernate(&stream, &context).await {
                // The client may have disconnected already.
                let _ = stream.shutdown().await;
                return;
            }
        }
    })
}

/// Why the parser is left.
enum Served {
    /// The connection is idle.
    Idle,
    /// It was idle and makes space for another.
    Evicted,
    /// It is over.
    Ended(hyper::Result<()>),
}

/// Serves requests until the connection is idle. Returns the stream then, or `None` if the
/// connection is over.
async fn serve_requests<S, H>(
    stream: ClientStream<S>,
    info: ConnectionInfo,
    context: &ConnectionContext<H>,
) -> Option<ClientStream<S>>
where
    S: AsyncRead + AsyncWrite + Readable + Send + Unpin + 'static,
    H: Handler,
{
    let deadlines = Arc::clone(stream.deadlines());
    let mut parser = context.parser.clone();
    deadlines.install_head_timer(&mut parser);
    let handler = Arc::clone(&context.handler);
    let request_deadlines = Arc::clone(&deadlines);
    let unsent = UnsentData::new(&context.bytes, stream.slot().client());
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, deadlines) = (Arc::clone(&handler), Arc::clone(&request_deadlines));
        let unsent = unsent.clone();
        deadlines.on_request(!request.body().is_end_stream());
        async move {
            let request = request.map(|body| received_body(body, &deadlines));
            let response = handler.handle(request, info).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                deadlines.on_upgrade();
            }
            let unsent = unsent.of_response(&response);
            let counted = |body| CountedBody::new(body, unsent);
            Ok::<_, Infallible>(
                response.map(|body| Http1ResponseBody::new(counted(body), deadlines)),
            )
        }
    });
    let mut connection = parser
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();

    let mut waker = Waker::noop().clone();
    let mut shutdown_started = false;
    let served = poll_fn(|cx| {
        if !waker.will_wake(cx.waker()) {
            waker.clone_from(cx.waker());
            deadlines.register_waker(&waker);
        }
        let mut polled = Pin::new(&mut connection).poll(cx);
        if polled.is_pending() && !shutdown_started && deadlines.is_draining() {
            shutdown_started = true;
            Pin::new(&mut connection).graceful_shutdown();
            polled = Pin::new(&mut connection).poll(cx);
        }
        match polled {
            Poll::Pending if deadlines.is_evicted() => Poll::Ready(Served::Evicted),
            Poll::Pending if !shutdown_started && deadlines.may_hibernate() => {
                Poll::Ready(Served::Idle)
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(ended) => Poll::Ready(Served::Ended(ended)),
        }
    })
    .await;

    let responded = match served {
        Served::Idle => {
            let parts = connection.into_parts()?;
            let mut stream = parts.io.into_inner();
            if !parts.read_buf.is_empty() {
                deadlines.on_partial_head();
                stream.unread(parts.read_buf);
            }
            return Some(stream);
        }
        Served::Evicted => return None,
        Served::Ended(Ok(())) => true,
        Served::Ended(Err(error)) => {
            let reason = if deadlines.write_has_stalled() {
                "client_stalled"
            } else {
                error_reason(&error)
            };
            context.count_error(reason);
            tracing::debug!(reason, peer = info.peer.map(display), error = %error, "connection_error");
            if let Some(status) = rejection_status(&error) {
                context.handler.rejected(info, reason, status);
            }
            error.is_parse()
        }
    };
    if responded
        && !deadlines.is_draining()
        && let Some(parts) = connection.into_parts()
    {
        deadlines.on_last_response();
        linger(parts.io.into_inner()).await;
    }
    None
}

/// The body of a request. The deadlines are told how far it was read.
fn received_body(body: Incoming, deadlines: &Arc<Deadlines>) -> Body {
    if body.is_end_stream() {
        return Body::streamed(body);
    }
    Body::streamed_with(body, Arc::<Deadlines>::clone(deadlines))
}

/// Waits until the stream is readable. Returns `false` on a timeout and when draining starts.
async fn hibernate<S: Readable, H>(
    stream: &ClientStream<S>,
    context: &ConnectionContext<H>,
) -> bool {
    let deadlines = stream.deadlines();
    let _hibernation = deadlines.hibernate(&context.metrics.connections_hibernating);
    poll_fn(|cx| {
        deadlines.register_waker(cx.waker());
        // An error of the stream is reported by the next read.
        if stream.poll_readable(cx).is_ready() {
            return Poll::Ready(true);
        }
        if deadlines.is_evicted() {
            return Poll::Ready(false);
        }
        match deadlines.overdue() {
            Some(ReadPhase::FirstByte) => {
                context.count_error("first_byte_timeout");
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

/// Lingering close (RFC 9112 section 9.6): discards what the client still sends. Closing the socket
/// at once would make the kernel reset the connection, and the client could lose the response, such
/// as the rejection of a large upload. The write side is shut down already.
async fn linger(mut stream: impl AsyncRead + Unpin) {
    // On the heap, so that the connection's future does not contain the buffer.
    let mut discarded = vec![0; 4096];
    let silence = async {
        while let Ok(Ok(1..)) = timeout(LINGER_READ_TIMEOUT, stream.read(&mut discarded)).await {}
    };
    // Closing is right in either case.
    let _ = timeout(LINGER_TIMEOUT, silence).await;
}

/// The status that hyper responded with to a head that it could not parse.
fn rejection_status(error: &hyper::Error) -> Option<StatusCode> {
    if error.is_parse_too_large() {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else if error.is_parse() {
        Some(StatusCode::BAD_REQUEST)
    } else {
        None
    }
}

/// The metric label for a connection error.
fn error_reason(error: &hyper::Error) -> &'static str {
    if error.is_parse_too_large() {
        "header_too_large"
    } else if error.is_parse() {
        "malformed_request"
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
