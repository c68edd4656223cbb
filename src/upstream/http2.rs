//! Requests to backends that speak HTTP/2 (RFC 9113), many on one connection. The same header filter, canonical target,
//! limits and judgement of answers as over HTTP/1.1; what differs is when an exchange can be repeated, and that
//! trailers pass. WebSockets go over HTTP/1.1 here too.

mod outgoing;
mod pool;
mod response;
mod stall;
mod timer;

use std::io;

use http::header::{CONTENT_LENGTH, TE, TRAILER};
use http::request::Parts;
use http::uri::{self, Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use self::outgoing::{Outgoing, Progress};
pub(super) use self::pool::H2Pool;
use self::pool::{OpenStream, Sending};
use self::response::Answer;
use super::client::Upstream;
use super::error::UpstreamError;
use super::framing::Framing;
use super::target::{UpstreamPlan, UpstreamUrl};
use super::{ForwardRequest, host, trailers};
use crate::types::body::Body;

/// A request that goes out over HTTP/2.
pub(super) struct Asked<'a> {
    pub(super) forward: &'a ForwardRequest<'a>,
    pub(super) client: &'a Parts,
    pub(super) body: Body,
}

enum Failure {
    /// Nothing of it went out.
    Unsent(Box<Request<Sending>>, hyper::Error),
    /// The backend says that it did nothing about it (RFC 9113 sections 6.8 and 8.7).
    Unprocessed(hyper::Error),
    Failed(UpstreamError),
}

/// Passes the request on `stream` and gives the answer's head; both bodies stream.
pub(super) async fn pass(
    upstream: &Upstream,
    links: &H2Pool,
    asked: Asked<'_>,
    mut stream: OpenStream,
) -> Result<Response<Body>, UpstreamError> {
    let Asked {
        forward,
        client,
        body,
    } = asked;
    let plan = &upstream.plan;
    let framing = Framing::of(client, &body);
    let uri = uri(plan, forward)?;
    let head = || head(plan, client, forward, &uri, framing);
    let (body, progress) = match framing {
        Framing::None | Framing::Zero => (Outgoing::empty(), None),
        Framing::Length(_) | Framing::Chunked => {
            let (body, progress) = Outgoing::new(body.with_trailers());
            (body, Some(progress))
        }
    };
    let request = head().map(|()| Sending::new(body, plan));
    let answer = match exchange(plan, &stream, request, progress.as_deref()).await {
        Ok(answer) => answer,
        Err(failure) => {
            let again = failure.repeats(stream.was_used() && client.method.is_safe())?;
            let again = match again {
                Again::Same(request) => *request,
                // A body that has begun to go out cannot begin again.
                Again::WithoutBody(error) if progress.is_some() => return Err(error),
                Again::WithoutBody(_) => head().map(|()| Sending::new(Outgoing::empty(), plan)),
            };
            drop(stream);
            stream = links.stream(plan).await?.ok_or_else(lost)?;
            exchange(plan, &stream, again, progress.as_deref())
                .await
                .map_err(UpstreamError::from)?
        }
    };
    let (mut head, incoming) = answer.into_parts();
    if head.status.is_informational() {
        return Err(UpstreamError::BadResponse(
            "it switches protocols within HTTP/2".to_owned(),
        ));
    }
    let takes_trailers = trailers::are_taken(client.version, &client.headers);
    let declared = trailers::declared(&head.headers, &plan.headers).filter(|_| takes_trailers);
    plan.headers
        .clean_response(&mut head.headers, forward.authenticated);
    set_answer_length(&mut head.headers, head.status, &client.method, &incoming)?;
    head.headers.extend(declared.map(|names| (TRAILER, names)));
    head.version = Version::HTTP_11;
    let body = if incoming.is_end_stream() {
        Body::empty()
    } else {
        Body::read_by(Box::pin(Answer::new(
            incoming,
            stream,
            plan,
            progress,
            takes_trailers,
        )))
    };
    Ok(Response::from_parts(head, body))
}

/// One `BodyDecoder-Length` at most, in canonical form; for an answer without a body, the one that a body would have.
fn set_answer_length(
    headers: &mut HeaderMap,
    status: StatusCode,
    method: &Method,
    body: &Incoming,
) -> Result<(), UpstreamError> {
    let Some(given) = headers.remove(CONTENT_LENGTH) else {
        return Ok(());
    };
    let bodiless = *method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    let length = if bodiless {
        let digits = given
            .to_str()
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|text| text.parse().ok());
        Some(length.ok_or_else(|| UpstreamError::BadResponse("an unreadable length".to_owned()))?)
    } else if status == StatusCode::NO_CONTENT {
        None
    } else {
        body.size_hint().exact()
    };
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

fn lost() -> UpstreamError {
    UpstreamError::BadResponse("it does not speak HTTP/2 any more".to_owned())
}

/// What can be sent once more.
enum Again {
    /// The very request.
    Same(Box<Request<Sending>>),
    /// One like it, unless it has a body; else it failed so.
    WithoutBody(UpstreamError),
}

impl Failure {
    /// Whether the request can be repeated without being carried out twice; `harmless`: also if it was, since the
    /// connection had served others before, and the backend may have closed it just when the request came.
    fn repeats(self, harmless: bool) -> Result<Again, UpstreamError> {
        match self {
            Self::Unsent(request, _) => Ok(Again::Same(request)),
            Self::Unprocessed(error) => Ok(Again::WithoutBody(broke_off(error))),
            Self::Failed(error @ UpstreamError::BrokeOff(_)) if harmless => {
                Ok(Again::WithoutBody(error))
            }
            Self::Failed(error) => Err(error),
        }
    }
}

impl From<Failure> for UpstreamError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsent(_, error) | Failure::Unprocessed(error) => broke_off(error),
            Failure::Failed(error) => error,
        }
    }
}

/// `:scheme`, `:authority` and `:path` (RFC 9113 section 8.3.1); the path is byte for byte the one that was judged.
fn uri(plan: &UpstreamPlan, forward: &ForwardRequest<'_>) -> Result<Uri, UpstreamError> {
    let unforwardable = |_| UpstreamError::Unforwardable("its host");
    let scheme = match plan.settings.url {
        UpstreamUrl::Https(_) => Scheme::HTTPS,
        UpstreamUrl::Http(_) | UpstreamUrl::Unix(_) => Scheme::HTTP,
    };
    let target = PathAndQuery::try_from(forward.target)
        .map_err(|_| UpstreamError::Unforwardable("its target"))?;
    let mut parts = uri::Parts::default();
    parts.path_and_query = Some(target);
    parts.scheme = Some(scheme);
    parts.authority =
        Some(Authority::try_from(host(plan, forward).as_bytes()).map_err(unforwardable)?);
    let uri = Uri::from_parts(parts).map_err(|_| UpstreamError::Unforwardable("its target"))?;
    if uri
        .path_and_query()
        .is_some_and(|path| path.as_str() == forward.target)
    {
        Ok(uri)
    } else {
        Err(UpstreamError::Unforwardable("its target"))
    }
}

fn head(
    plan: &UpstreamPlan,
    client: &Parts,
    forward: &ForwardRequest<'_>,
    uri: &Uri,
    framing: Framing,
) -> Request<()> {
    let mut headers = plan.headers.upstream_headers(&client.headers, forward);
    set_length(framing, &mut headers);
    // gRPC servers ask for it, to know that no proxy before them drops trailers.
    if trailers::asks_for(&client.headers) {
        headers.insert(TE, const { HeaderValue::from_static("trailers") });
    }
    let mut request = Request::new(());
    *request.method_mut() = client.method.clone();
    *request.uri_mut() = uri.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    request
}

/// A stream ends by itself: only a length that is known is said.
fn set_length(framing: Framing, headers: &mut HeaderMap) {
    match framing {
        Framing::None | Framing::Zero | Framing::Length(_) => headers.extend(framing.field()),
        Framing::Chunked => {}
    }
}

async fn exchange(
    plan: &UpstreamPlan,
    stream: &OpenStream,
    request: Request<Sending>,
    progress: Option<&Progress>,
) -> Result<Response<Incoming>, Failure> {
    let answer = timer::wait(
        stream.sender().try_send_request(request),
        &plan.settings,
        progress,
    )
    .await;
    match answer {
        Ok(Ok(answer)) => {
            stream.heard();
            Ok(answer)
        }
        Ok(Err(mut error)) => {
            let request = error.take_message();
            let error = error.into_error();
            match (request, reason(&error)) {
                (Some(request), _) => Err(Failure::Unsent(Box::new(request), error)),
                (None, Reason::Refused) => Err(Failure::Unprocessed(error)),
                (None, Reason::GoingAway) => {
                    stream.retire();
                    Err(Failure::Unprocessed(error))
                }
                (None, Reason::Other) => Err(Failure::Failed(blame(error, progress))),
            }
        }
        Err(error) => {
            if matches!(error, UpstreamError::ResponseTimeout) {
                stream.retire_if_silent();
            }
            Err(Failure::Failed(error))
        }
    }
}

enum Reason {
    /// This request was not looked at.
    Refused,
    /// The connection ends, and this request came too late for it.
    GoingAway,
    Other,
}

fn reason(error: &hyper::Error) -> Reason {
    match cause(error) {
        Some(cause)
            if cause.is_remote()
                && cause.is_reset()
                && cause.reason() == Some(h2::Reason::REFUSED_STREAM) =>
        {
            Reason::Refused
        }
        // The h2 library says so of streams beyond the last that the backend takes, and of no others.
        Some(cause) if cause.is_remote() && cause.is_go_away() => Reason::GoingAway,
        Some(_) | None => Reason::Other,
    }
}

fn cause(error: &hyper::Error) -> Option<&h2::Error> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
        .find_map(|cause| cause.downcast_ref())
}

/// Who broke the exchange: a client that stopped or left in its body looks like a failing backend from here.
fn blame(error: hyper::Error, progress: Option<&Progress>) -> UpstreamError {
    if progress.is_some_and(Progress::broke) {
        return UpstreamError::RequestBroke;
    }
    if error.is_timeout() {
        return UpstreamError::ResponseTimeout;
    }
    match cause(&error) {
        // What the library itself finds wrong is the backend's mistake: malformed heads, frames out of order.
        Some(cause) if cause.is_library() => UpstreamError::BadResponse(cause.to_string()),
        Some(_) | None => from_exchange(error),
    }
}

fn from_exchange(error: hyper::Error) -> UpstreamError {
    if error.is_parse() {
        return UpstreamError::BadResponse(error.to_string());
    }
    let timed_out =
        std::iter::successors(std::error::Error::source(&error), |cause| cause.source())
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::TimedOut);
    if timed_out {
        UpstreamError::ResponseTimeout
    } else {
        broke_off(error)
    }
}

fn broke_off(error: hyper::Error) -> UpstreamError {
    UpstreamError::BrokeOff(io::Error::other(error))
}
