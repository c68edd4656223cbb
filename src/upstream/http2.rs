//! HTTP/2 client (RFC 9113): many requests on one connection. Header filter, canonical target,
//! limits and response checks are those of HTTP/1.1. Retries differ, and trailers are forwarded.
//! WebSockets use HTTP/1.1.

mod error;
mod idle_timeout;
mod pool;
mod request_body;
mod response_body;
mod response_timeout;
mod retry;

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, TE, TRAILER};
use http::request::Parts;
use http::uri::{self, Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep};

use self::error::{ResetReason, classify};
use self::request_body::{RequestBody, Upload};
use self::response_body::ResponseBody;
use self::retry::{FailedAttempt, Failure, Retries};
use super::error::UpstreamError;
use super::framing::Framing;
use super::request::ForwardRequest;
use super::target::UpstreamPlan;
use super::trailers;
use crate::types::body::Body;

pub(super) use self::pool::{ConnectionSlots, H2Pool, OpenStream};

/// A request to send over HTTP/2.
pub(super) struct Http2Request<'a> {
    pub(super) request: &'a ForwardRequest<'a>,
    pub(super) client: &'a Parts,
    pub(super) body: Body,
}

/// Sends the request on `stream` and returns the response; both bodies are streamed.
pub(super) async fn send(
    plan: &Arc<UpstreamPlan>,
    pool: &H2Pool,
    request: Http2Request<'_>,
    mut stream: OpenStream,
) -> Result<Response<Body>, UpstreamError> {
    let Http2Request {
        request,
        client,
        body,
    } = request;
    let framing = Framing::of(client, &body);
    let head = RequestHead {
        plan,
        client,
        request,
        uri: uri(plan, request)?,
        framing,
    };
    let (upload, mut body) = match framing {
        Framing::None | Framing::Zero => (None, RequestBody::empty()),
        Framing::Length(_) | Framing::Chunked => {
            let (upload, body) = Upload::new(body.with_trailers(), plan, pool.replay_budget());
            (Some(upload), body)
        }
    };
    let mut retries = Retries::default();
    loop {
        let attempt = exchange(plan, &stream, head.with_body(body), upload.as_deref());
        let failure = match attempt.await {
            Ok(response) => {
                if let Some(upload) = &upload {
                    upload.stop_keeping();
                }
                return respond(&head, response, stream, upload);
            }
            Err(failure) => failure,
        };
        let failed = FailedAttempt {
            failure,
            body: match &upload {
                Some(upload) => upload.attempt(),
                None => Some(RequestBody::empty()),
            },
            may_run_twice: stream.is_reused() && client.method.is_safe(),
        };
        let retry = retries.next(failed, plan.settings.connect_timeout, Instant::now())?;
        drop(stream);
        if !retry.pause.is_zero() {
            sleep(retry.pause).await;
        }
        body = retry.body;
        stream = pool
            .stream(plan)
            .await?
            .ok_or_else(|| UpstreamError::BadResponse("it no longer offers HTTP/2".to_owned()))?;
    }
}

/// Checks the response head and builds the client's response.
fn respond(
    request: &RequestHead<'_>,
    response: Response<Incoming>,
    stream: OpenStream,
    upload: Option<Arc<Upload>>,
) -> Result<Response<Body>, UpstreamError> {
    let RequestHead { plan, client, .. } = request;
    let (mut head, incoming) = response.into_parts();
    if head.status.is_informational() {
        return Err(UpstreamError::BadResponse(
            "it switches protocols within HTTP/2".to_owned(),
        ));
    }
    let accepts_trailers = trailers::are_accepted(client.version, &client.headers);
    let declared = trailers::declared(&head.headers, &plan.headers).filter(|_| accepts_trailers);
    plan.sanitize_response(&mut head.headers, request.request);
    set_content_length(&mut head.headers, head.status, &client.method, &incoming)?;
    head.headers.extend(declared.map(|names| (TRAILER, names)));
    head.version = Version::HTTP_11;
    let body = if incoming.is_end_stream() {
        Body::empty()
    } else {
        Body::read_by(Box::pin(ResponseBody::new(
            incoming,
            stream,
            plan,
            upload,
            accepts_trailers,
        )))
    };
    Ok(Response::from_parts(head, body))
}

/// Sets at most one `Content-Length`, in canonical form. A response without a body keeps the length
/// that its body would have.
fn set_content_length(
    headers: &mut HeaderMap,
    status: StatusCode,
    method: &Method,
    body: &Incoming,
) -> Result<(), UpstreamError> {
    let Some(value) = headers.remove(CONTENT_LENGTH) else {
        return Ok(());
    };
    let bodiless = *method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    let length =
        if bodiless {
            let digits = value
                .to_str()
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse().ok());
            Some(length.ok_or_else(|| {
                UpstreamError::BadResponse("an invalid content length".to_owned())
            })?)
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

/// `:scheme`, `:authority` and `:path` (RFC 9113 section 8.3.1). The path is byte for byte the
/// authorized one.
fn uri(plan: &UpstreamPlan, request: &ForwardRequest<'_>) -> Result<Uri, UpstreamError> {
    let scheme = if plan.settings.url.uses_tls() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    let target = PathAndQuery::try_from(request.target)
        .map_err(|_| UpstreamError::NotForwardable("its target"))?;
    let authority = Authority::try_from(plan.host_of(request).as_bytes())
        .map_err(|_| UpstreamError::NotForwardable("its host"))?;
    let mut parts = uri::Parts::default();
    parts.path_and_query = Some(target);
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    let uri = Uri::from_parts(parts).map_err(|_| UpstreamError::NotForwardable("its target"))?;
    if uri
        .path_and_query()
        .is_some_and(|path| path.as_str() == request.target)
    {
        Ok(uri)
    } else {
        Err(UpstreamError::NotForwardable("its target"))
    }
}

/// One HTTP/2 request; its head can be built again, for a retry.
struct RequestHead<'a> {
    plan: &'a Arc<UpstreamPlan>,
    client: &'a Parts,
    request: &'a ForwardRequest<'a>,
    uri: Uri,
    framing: Framing,
}

impl RequestHead<'_> {
    fn with_body(&self, body: RequestBody) -> Request<RequestBody> {
        let mut headers = self
            .plan
            .headers
            .upstream_headers(&self.client.headers, self.request);
        // A stream has an end of its own, so only a known length is sent.
        match self.framing {
            Framing::None | Framing::Zero | Framing::Length(_) => {
                headers.extend(self.framing.field())
            }
            Framing::Chunked => {}
        }
        // gRPC servers require it, to detect proxies that drop trailers.
        if trailers::te_has_trailers(&self.client.headers) {
            headers.insert(TE, const { HeaderValue::from_static("trailers") });
        }
        // Never indexed by HPACK, so that a compression table never holds them (RFC 7541 section
        // 7.1.3).
        for name in [AUTHORIZATION, COOKIE] {
            if let http::header::Entry::Occupied(mut entry) = headers.entry(name) {
                entry.iter_mut().for_each(|value| value.set_sensitive(true));
            }
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.client.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        request
    }
}

async fn exchange(
    plan: &UpstreamPlan,
    stream: &OpenStream,
    request: Request<RequestBody>,
    upload: Option<&Upload>,
) -> Result<Response<Incoming>, Failure> {
    let response = response_timeout::wait(
        stream.sender().try_send_request(request),
        &plan.settings,
        upload,
    )
    .await;
    match response {
        Ok(Ok(response)) => {
            stream.record_received();
            Ok(response)
        }
        Ok(Err(mut error)) => {
            let is_unsent = error.take_message().is_some();
            let error = error.into_error();
            if is_unsent {
                stream.retire();
                return Err(Failure::Unprocessed(error));
            }
            Err(match ResetReason::of(&error) {
                ResetReason::Refused => Failure::Refused(error),
                ResetReason::GoingAway => {
                    stream.retire();
                    Failure::Unprocessed(error)
                }
                ResetReason::Other => Failure::Failed(classify(error, upload)),
            })
        }
        Err(error) => {
            if matches!(error, UpstreamError::ResponseTimeout) {
                stream.retire_if_silent();
            }
            Err(Failure::Failed(error))
        }
    }
}
