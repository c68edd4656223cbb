//! One HTTP/2 connection (RFC 9113), in from clients only. The h2 library bounds what it holds; what it and hyper leave
//! open is bounded here: fields in a head, requests that are cancelled as fast as they are made, answers that nobody
//! takes, and connections on which nothing is asked.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::client_stream::ClientStream;
use super::connection::Handler;
use super::connection_context::ConnectionContext;
use super::deadlines::ReadPhase;
use super::streams::{Answer, Socket, StreamProgress, StreamTracker};
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;

/// Streams that the client opened and reset before we even saw them ...
const MAX_UNSEEN_RESETS: usize = 20;
/// ... and that we had to reset for the client's mistakes: beyond either the connection ends (CVE-2023-44487,
/// CVE-2025-8671).
const MAX_OWN_RESETS: usize = 100;
/// Most pieces that a client may cut its cookies into: browsers send every cookie as a field.
const MAX_CRUMBS: usize = 256;
/// Longest part of an answer that waits in memory for the client's window, in bytes.
const MAX_SEND_BUFFER: usize = 128 * 1024;

/// How long a client without a request has to agree to the end when service ends.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Serves a connection until it ends, or, once draining began, until its current answers are out.
pub(super) async fn serve<S, H>(
    stream: ClientStream<S>,
    info: ConnectionInfo,
    server: Arc<ConnectionContext<H>>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    // Times are the streams' here.
    stream.deadlines().begin(ReadPhase::Nothing);
    let (settings, metrics, mut drain) = (&server.settings, &server.metrics, server.drain.clone());
    let handler = Arc::clone(&server.handler);
    let streams = StreamTracker::new(settings, metrics);
    let most = settings.max_header_count;
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        // On the heap, since hyper and the executor move it about: some KiB each time.
        Box::pin(async move { Ok::<_, Infallible>(answer(request, info, most, &*handler).await) })
    });
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .max_concurrent_streams(settings.max_http2_streams)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(MAX_OWN_RESETS)
        .max_send_buf_size(MAX_SEND_BUFFER);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(Socket::new(stream, &streams)), service));

    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = streams.reset_flood() => {
            tracing::debug!(peer = ?info.peer, "a client cancels its requests as fast as it makes them");
            metrics.connection_errors.with_label_values(&["http2_resets"]).inc();
            return;
        }
        () = streams.idle_for(settings.header_read_timeout, settings.keep_alive_timeout) => {
            connection.as_mut().graceful_shutdown();
            // A client need not agree to the end; a request that crossed it is answered.
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = streams.quiet_for(settings.header_read_timeout) => Ok(()),
            }
        }
        () = drain.started() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = streams.quiet_for(CLOSE_GRACE) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        metrics
            .connection_errors
            .with_label_values(&["http2"])
            .inc();
        tracing::debug!(peer = ?info.peer, error = %error, "connection ended early");
    }
}

async fn answer<H: Handler>(
    request: Request<Incoming>,
    info: ConnectionInfo,
    most_fields: usize,
    handler: &H,
) -> Response<Answer> {
    let progress = StreamProgress::of_this_stream();
    if has_too_many(request.headers(), most_fields) {
        // The same that hyper says over HTTP/1.1, where it has no page either.
        let mut refusal = Response::new(Answer::new(Body::empty(), progress));
        *refusal.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return refusal;
    }
    let is_head = *request.method() == Method::HEAD;
    let mut response = handler.handle(request, info).await;
    // Over HTTP/1.1 hyper leaves the body out by itself (RFC 9110 section 9.3.2).
    if is_head && !response.body().is_end_stream() {
        if let (Some(length), false) = (
            response.body().size_hint().exact(),
            response.headers().contains_key(CONTENT_LENGTH),
        ) {
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::empty();
    }
    response.map(|body| Answer::new(body, progress))
}

fn has_too_many(headers: &HeaderMap, most: usize) -> bool {
    if headers.len() <= most {
        return false;
    }
    let crumbs = headers.get_all(COOKIE).iter().count();
    crumbs > MAX_CRUMBS || headers.len() - crumbs > most
}
