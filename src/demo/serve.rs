//! The HTTP/1.1 server of the demo's provider and apps. It buffers the request, within limits, and
//! calls a synchronous handler, so that no lock is held across an await point.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::types::net::ParseOriginError;

const MAX_BODY: usize = 64 * 1024;
const MAX_CONNECTIONS: usize = 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A buffered request.
pub(super) struct HttpRequest {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A response.
pub(super) type HttpResponse = Response<ResponseBody>;

/// A synchronous request handler.
pub(super) trait Handler: Send + Sync + 'static {
    fn handle(&self, request: &HttpRequest) -> HttpResponse;
}

/// The body of an [`HttpResponse`].
pub(super) enum ResponseBody {
    Whole(Full<Bytes>),
    EventStream(EventStream),
}

/// An endless stream of server-sent events, one per second, with a counter and `note`.
pub(super) struct EventStream {
    interval: tokio::time::Interval,
    count: u64,
    note: String,
}

/// A running server. It stops when this is dropped.
pub(super) struct RunningServer {
    pub(super) address: SocketAddr,
    accepting: AbortHandle,
}

/// Why the demo could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is not a loopback address. The demo has well-known passwords, so it is local
    /// only.
    #[error("the demo listens on loopback addresses only, not on `{0}`")]
    NotLoopback(SocketAddr),
    /// An address could not be bound.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// A listener has no local address.
    #[error("a listener has no local address")]
    Listener(#[source] io::Error),
    /// A key or client secret could not be generated.
    #[error("the provider could not generate its keys")]
    Key,
    /// The provider's address is not an origin.
    #[error("the provider's address is not an origin")]
    Issuer(#[source] ParseOriginError),
    /// A template is invalid.
    #[error("a template of the demo is invalid")]
    Page,
}

/// Serves `handler` on `listener`, which must be bound to a loopback address.
pub(super) fn serve(
    listener: TcpListener,
    handler: Arc<impl Handler>,
) -> Result<RunningServer, StartError> {
    let address = listener.local_addr().map_err(StartError::Listener)?;
    if !address.ip().is_loopback() {
        return Err(StartError::NotLoopback(address));
    }
    let accepting = tokio::spawn(accept(listener, handler)).abort_handle();
    Ok(RunningServer { address, accepting })
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, handler: Arc<impl Handler>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS || connections.try_join_next().is_some() {
            if connections.len() >= MAX_CONNECTIONS {
                connections.join_next().await;
            }
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&handler)));
            }
            // Most likely out of file descriptors. The pause prevents a busy loop.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, handler: Arc<impl Handler>) {
    let service = service_fn(|request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(respond(request, &*handler).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // The demo ignores connections that clients abort.
    drop(served);
}

async fn respond(request: Request<Incoming>, handler: &impl Handler) -> HttpResponse {
    let (head, body) = request.into_parts();
    let body =
        match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return empty(StatusCode::PAYLOAD_TOO_LARGE);
            }
            Ok(Err(_)) => return empty(StatusCode::BAD_REQUEST),
            Err(_) => return empty(StatusCode::REQUEST_TIMEOUT),
        };
    handler.handle(&HttpRequest {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    })
}

impl HttpRequest {
    /// Whether the method is GET or HEAD. Hyper omits the body for HEAD.
    pub(super) fn is_get_or_head(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// The first value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The value of a cookie.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self
            .headers
            .get_all(header::COOKIE)
            .into_iter()
            .filter_map(|line| line.to_str().ok());
        lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Whether the body is a form, by its content type.
    pub(super) fn is_form(&self) -> bool {
        let media = self
            .header("content-type")
            .and_then(|value| value.split(';').next())
            .unwrap_or_default();
        media
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }
}

/// An HTML page with this Content-Security-Policy, which must not be cached.
pub(super) fn page(status: StatusCode, html: String, policy: &str) -> HttpResponse {
    let mut response = with_body(status, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // Not `no-referrer`: browsers would send `Origin: null` with the page's forms.
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    match HeaderValue::from_str(policy) {
        Ok(policy) => headers.insert(header::CONTENT_SECURITY_POLICY, policy),
        Err(_) => headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'"),
        ),
    };
    response
}

/// A response with a body of this media type.
pub(super) fn with_body(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> HttpResponse {
    let mut response = Response::new(ResponseBody::Whole(Full::new(body.into())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> HttpResponse {
    let mut response = Response::new(ResponseBody::Whole(Full::default()));
    *response.status_mut() = status;
    response
}

/// 405 with the allowed methods.
pub(super) fn method_not_allowed(allowed: &'static str) -> HttpResponse {
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// A redirect to `location`; 500 if it is not a valid header value.
pub(super) fn redirect(status: StatusCode, location: &str) -> HttpResponse {
    let Ok(location) = HeaderValue::from_str(location) else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = empty(status);
    response.headers_mut().insert(header::LOCATION, location);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A response with an endless `text/event-stream`.
pub(super) fn event_stream(note: String) -> HttpResponse {
    let interval = tokio::time::interval(Duration::from_secs(1));
    let mut response = Response::new(ResponseBody::EventStream(EventStream {
        interval,
        count: 0,
        note,
    }));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::EventStream(event_stream) => event_stream.interval.poll_tick(cx).map(|_| {
                event_stream.count = event_stream.count.saturating_add(1);
                let event =
                    serde_json::json!({ "tick": event_stream.count, "note": event_stream.note });
                Some(Ok(Frame::data(Bytes::from(format!("data: {event}\n\n")))))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::EventStream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::EventStream(_) => SizeHint::default(),
        }
    }
}
