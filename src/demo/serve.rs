//! The small HTTP/1.1 server under the demonstration's provider and apps. It reads a request whole,
//! within limits, and answers from a plain function: so no lock of theirs can be held over an await.

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

/// A request that has arrived as a whole.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer.
pub(super) type Answer = Response<Content>;

/// Something that answers requests without waiting for anything.
pub(super) trait Site: Send + Sync + 'static {
    fn answer(&self, asked: &Asked) -> Answer;
}

/// The body of an [`Answer`].
pub(super) enum Content {
    Whole(Full<Bytes>),
    Ticks(Ticks),
}

/// An endless stream of server-sent events, one a second: its number and `note`.
pub(super) struct Ticks {
    interval: tokio::time::Interval,
    count: u64,
    note: String,
}

/// A server that runs until this is dropped.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    accepting: AbortHandle,
}

/// Why a piece of the demonstration could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The demonstration has well-known passwords: it serves this machine only.
    #[error("the demonstration listens on loopback addresses only, not on `{0}`")]
    NotLoopback(SocketAddr),
    /// A listener could not be had.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A listener could not be used.
    #[error("a listener is of no use")]
    Listener(#[source] io::Error),
    /// No key or client secret could be made.
    #[error("the provider could not make its keys")]
    Key,
    /// The provider's address is no origin.
    #[error("the provider's address cannot be used")]
    Issuer(#[source] ParseOriginError),
    /// A page's template is wrong.
    #[error("a page of the demonstration cannot be compiled")]
    Page,
}

/// Serves `site` from `listener`, which must be bound to a loopback address.
pub(super) fn serve(listener: TcpListener, site: Arc<impl Site>) -> Result<Running, StartError> {
    let address = listener.local_addr().map_err(StartError::Listener)?;
    if !address.ip().is_loopback() {
        return Err(StartError::NotLoopback(address));
    }
    let accepting = tokio::spawn(accept(listener, site)).abort_handle();
    Ok(Running { address, accepting })
}

impl Drop for Running {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, site: Arc<impl Site>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS || connections.try_join_next().is_some() {
            if connections.len() >= MAX_CONNECTIONS {
                connections.join_next().await;
            }
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&site)));
            }
            // Out of file descriptors, most likely: the pause keeps this from spinning.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<impl Site>) {
    let service = service_fn(|request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(respond(request, &*site).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // A peer that breaks off is of no interest to a demonstration.
    drop(served);
}

async fn respond(request: Request<Incoming>, site: &impl Site) -> Answer {
    let (head, body) = request.into_parts();
    let body =
        match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return bare(StatusCode::PAYLOAD_TOO_LARGE);
            }
            Ok(Err(_)) => return bare(StatusCode::BAD_REQUEST),
            Err(_) => return bare(StatusCode::REQUEST_TIMEOUT),
        };
    site.answer(&Asked {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    })
}

impl Asked {
    /// Whether this only reads: GET, or HEAD, whose body hyper leaves out.
    pub(super) fn reads(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// A header's text, where it is there once or more: its first value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A cookie's value.
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

    /// Whether the body says of itself that it is a form.
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

/// A page, never cached, that may load only what `policy` (a Content-Security-Policy) allows.
pub(super) fn page(status: StatusCode, html: String, policy: &str) -> Answer {
    let mut answer = whole(status, "text/html; charset=utf-8", html);
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // Not `no-referrer`: with it browsers send `Origin: null` along with the page's own forms.
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
    answer
}

/// A whole body with its media type.
pub(super) fn whole(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Content::Whole(Full::new(body.into())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// A status and nothing else.
pub(super) fn bare(status: StatusCode) -> Answer {
    let mut answer = Response::new(Content::Whole(Full::default()));
    *answer.status_mut() = status;
    answer
}

/// Status 405, naming the methods that would do.
pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = bare(StatusCode::METHOD_NOT_ALLOWED);
    answer
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// A redirect to `location`; what cannot be in a header is a 500.
pub(super) fn redirect(status: StatusCode, location: &str) -> Answer {
    let Ok(location) = HeaderValue::from_str(location) else {
        return bare(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut answer = bare(status);
    answer.headers_mut().insert(header::LOCATION, location);
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The beginning of an endless `text/event-stream`.
pub(super) fn ticks(note: String) -> Answer {
    let interval = tokio::time::interval(Duration::from_secs(1));
    let mut answer = Response::new(Content::Ticks(Ticks {
        interval,
        count: 0,
        note,
    }));
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Ticks(ticks) => ticks.interval.poll_tick(cx).map(|_| {
                ticks.count = ticks.count.saturating_add(1);
                let event = serde_json::json!({ "tick": ticks.count, "note": ticks.note });
                Some(Ok(Frame::data(Bytes::from(format!("data: {event}\n\n")))))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Ticks(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Ticks(_) => SizeHint::default(),
        }
    }
}
