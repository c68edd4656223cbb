//! HTTP/2 server connections (RFC 9113). The h2 library bounds its buffers. Bounded here is what it
//! and hyper leave open: header fields, reset floods, stalled responses, and connections without
//! requests.

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
use super::connection_context::{ConnectionContext, Handler};
use super::deadlines::ReadPhase;
use super::extended_connect::{TooManyTunnels, TunnelAdmission, in_http2_form};
use super::streams::{StreamProgress, StreamTracker, TrackedBody, TrackedSocket};
use super::unsent::{CountedBody, UnsentData};
use super::write_buffer::BufferedSocket;
use crate::types::body::Body;
use crate::types::net::ConnectionInfo;

/// Maximum number of streams that the client reset before they were accepted (CVE-2023-44487), if
/// `max_http2_streams` is less. A client may cancel as many in one flight as it may have open. The
/// connection ends beyond it.
const MIN_PENDING_RESETS: u32 = 20;
/// Maximum number of streams that the server reset because of client errors (CVE-2025-8671). The
/// connection ends beyond it.
const MAX_LOCAL_RESETS: usize = 100;
/// Maximum number of `cookie` fields in a request. Browsers send one field per cookie (RFC 9113
/// section 8.2.3).
const MAX_COOKIE_CRUMBS: usize = 256;
/// Maximum number of response bytes buffered while the client's flow-control window is closed.
const MAX_SEND_BUFFER: usize = 128 * 1024;

/// Window of a connection and of each of its streams: the maximum number of request bytes that
/// arrive before they are read.
const WINDOW: u32 = 1024 * 1024;
/// The same for the connections of a client that has many.
const SMALL_WINDOW: u32 = 65_535;

/// How long an evicted client may take to close the connection after the GOAWAY.
const EVICTION_GRACE: Duration = Duration::from_millis(200);
/// How long an idle client may take to close the connection after another GOAWAY.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves a connection until it ends, or, once draining has started, until its current responses
/// are written.
pub(super) async fn serve<S, H>(
    stream: ClientStream<S>,
    info: ConnectionInfo,
    context: Arc<ConnectionContext<H>>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    // The deadlines below apply to the streams instead.
    stream.deadlines().set_phase(ReadPhase::Nothing);
    let settings = &context.settings;
    let mut drain = context.drain.clone();
    let handler = Arc::clone(&context.handler);
    let streams = StreamTracker::new(settings, &context.metrics, stream.deadlines());
    stream.set_state(Arc::new(streams.clone()));
    let tunnels = Arc::new(TunnelAdmission {
        registry: context.registry.clone(),
        client: stream.slot().client(),
        max_per_client: settings.max_connections_per_client,
        streams: streams.clone(),
    });
    let unsent = UnsentData::new(&context.bytes, stream.slot().client());
    let window = if stream.slot().is_small() {
        SMALL_WINDOW
    } else {
        WINDOW
    };
    let socket = BufferedSocket::new(TrackedSocket::new(stream, &streams), &unsent);
    let max_fields = settings.max_header_count;
    let max_pending_resets = settings.max_http2_streams.max(MIN_PENDING_RESETS);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (handler, unsent) = (Arc::clone(&handler), unsent.clone());
        let tunnels = Arc::clone(&tunnels);
        // Boxed, because hyper and the executor move the future, which is several KiB.
        Box::pin(async move {
            let response = match tunnels.admit(&mut request) {
                Ok(()) => handle(request, info, max_fields, &*handler).await,
                Err(TooManyTunnels) => reject(
                    &*handler,
                    info,
                    "client_connections",
                    StatusCode::TOO_MANY_REQUESTS,
                ),
            };
            let unsent = unsent.of_response(&response);
            let progress = StreamProgress::current();
            Ok::<_, Infallible>(
                response.map(|body| TrackedBody::new(CountedBody::new(body, unsent), progress)),
            )
        })
    });
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .max_concurrent_streams(settings.max_http2_streams)
        .initial_connection_window_size(window)
        .initial_stream_window_size(window)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(usize::try_from(max_pending_resets).ok())
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .enable_connect_protocol();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket.share()), service));

    let quiet_after = tokio::select! {
        biased;
        ended = socket.run(connection.as_mut()) => return log_end(&context, info, ended),
        () = streams.reset_flood() => {
            tracing::debug!(peer = info.peer.map(display), "http2_reset_flood");
            context.count_error("http2_resets");
            streams.allow_last_resets(settings.max_http2_streams);
            GOAWAY_TIMEOUT
        }
        // A request that is already on the wire is still handled.
        () = streams.idle_for(settings.header_read_timeout, settings.keep_alive_timeout) => {
            settings.header_read_timeout
        }
        () = streams.evicted() => EVICTION_GRACE,
        () = drain.started() => GOAWAY_TIMEOUT,
    };
    connection.as_mut().graceful_shutdown();
    // The requests in flight are answered. A client may ignore the GOAWAY.
    let ended = tokio::select! {
        biased;
        ended = socket.run(connection.as_mut()) => ended,
        () = streams.reset_flood() => {
            context.count_error("http2_resets");
            Ok(())
        }
        () = streams.quiet_for(quiet_after) => Ok(()),
    };
    log_end(&context, info, ended);
}

fn log_end<H>(
    context: &ConnectionContext<H>,
    info: ConnectionInfo,
    ended: Result<(), hyper::Error>,
) {
    if let Err(error) = ended {
        context.count_error("http2");
        tracing::debug!(peer = info.peer.map(display), error = %error, "connection_error");
    }
}

async fn handle<H: Handler>(
    request: Request<Incoming>,
    info: ConnectionInfo,
    max_fields: usize,
    handler: &H,
) -> Response<Body> {
    if exceeds_field_limit(request.headers(), max_fields) {
        return reject(
            handler,
            info,
            "header_too_large",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        );
    }
    let is_head = *request.method() == Method::HEAD;
    let is_connect = *request.method() == Method::CONNECT;
    let request = request.map(|body| Body::streamed(body).over_http2());
    let mut response = handler.handle(request, info).await;
    if is_connect {
        in_http2_form(&mut response);
    }
    // A response to HEAD has no body (RFC 9110 section 9.3.2). Over HTTP/1.1 hyper omits it.
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
    response
}

/// Responds as hyper does over HTTP/1.1, without a page.
fn reject<H: Handler>(
    handler: &H,
    info: ConnectionInfo,
    reason: &'static str,
    status: StatusCode,
) -> Response<Body> {
    handler.rejected(info, reason, status);
    let mut rejection = Response::new(Body::empty());
    *rejection.status_mut() = status;
    rejection
}

fn exceeds_field_limit(headers: &HeaderMap, max: usize) -> bool {
    if headers.len() <= max {
        return false;
    }
    let crumbs = headers.get_all(COOKIE).iter().count();
    crumbs > MAX_COOKIE_CRUMBS || headers.len() - crumbs > max
}
