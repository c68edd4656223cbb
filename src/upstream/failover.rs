//! Failover: a request to an upstream with several addresses is sent to another one if the first does not
//! work. A request that the first one may have processed is repeated only if it is safe.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::by_label::UpstreamHandle;
use super::error::UpstreamError;
use super::forward::{ForwardLimits, PendingBody, exchange, send, upstream_request};
use super::framing::Framing;
use super::group::{Balanced, MemberClient};
use super::http1::Failure;
use super::members::InFlight;
use super::request::ForwardRequest;
use crate::policy::decide::Permit;
use crate::types::body::{Body, BodyError};

/// The most addresses that one request is sent to.
const MAX_ATTEMPTS: usize = 3;
/// The statuses of responses that count against an address.
const FAULT_STATUSES: [StatusCode; 4] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Forwards a permitted request to the backend and returns the response; both bodies are streamed.
///
/// # Errors
/// See [`UpstreamError`].
pub fn forward<'a>(
    upstream: &'a mut UpstreamHandle<'_>,
    permit: &'a Permit<'a>,
    client: &'a Parts,
    body: Body,
    limits: ForwardLimits<'a>,
) -> impl Future<Output = Result<Response<Body>, UpstreamError>> + Send {
    send_to_any(upstream, upstream_request(permit, limits), client, body)
}

/// Sends a request to one of the addresses and records its outcome.
pub(super) async fn send_to_any(
    upstream: &mut UpstreamHandle<'_>,
    request: ForwardRequest<'_>,
    client: &Parts,
    body: Body,
) -> Result<Response<Body>, UpstreamError> {
    match upstream.balanced() {
        // Boxed, so that a request to the only address does not carry this future.
        Some(balanced) => Box::pin(send_balanced(balanced, &request, client, body)).await,
        None => send(upstream, request, client, body).await,
    }
}

pub(super) async fn send_balanced(
    balanced: &mut Balanced,
    request: &ForwardRequest<'_>,
    client: &Parts,
    body: Body,
) -> Result<Response<Body>, UpstreamError> {
    let pin = request.pin;
    if let Some(pinned) = pin.and_then(|pin| balanced.view.pinned_to(pin)) {
        balanced.chosen = pinned;
    }
    let result = attempts(balanced, request, client, body).await;
    let upstream = &balanced.chosen.upstream;
    upstream.record_outcome(result.as_ref().err());
    result
}

async fn attempts(
    balanced: &mut Balanced,
    request: &ForwardRequest<'_>,
    client: &Parts,
    body: Body,
) -> Result<Response<Body>, UpstreamError> {
    let framing = Framing::of(client, &body);
    let mut body = PendingBody::Unread(body);
    let mut tried = Tried {
        is_repeatable: framing == Framing::None && client.method.is_safe(),
        has_timed_out: false,
        clients: Vec::new(),
    };
    loop {
        let member = &*balanced.chosen;
        let mut in_flight = Some(member.member.begin());
        let attempt = exchange(
            &member.upstream,
            request,
            client,
            framing,
            &mut body,
            &mut in_flight,
        );
        let failure = match attempt.await {
            Ok(response) => {
                let status = response.status();
                if FAULT_STATUSES.contains(&status) {
                    member.failed(status.as_str());
                } else {
                    member.succeeded();
                }
                let is_retried = member
                    .upstream
                    .plan
                    .settings
                    .retry_statuses
                    .contains(&status);
                if is_retried && let Some(next) = tried.next(balanced, None) {
                    balanced.move_to(next, status.as_str());
                    continue;
                }
                return Ok(count_until_end(response, in_flight));
            }
            Err(failure) => failure,
        };
        drop(in_flight);
        let error = failure.error();
        member.upstream.count_error(error);
        if is_fault_of_address(error) {
            member.failed(error.code());
        }
        match tried.next(balanced, Some(&failure)) {
            Some(next) => balanced.move_to(next, error.code()),
            None => return Err(failure.into()),
        }
    }
}

/// The addresses that a request was sent to.
struct Tried {
    is_repeatable: bool,
    /// Whether an address took the request and did not respond in time.
    has_timed_out: bool,
    clients: Vec<Arc<MemberClient>>,
}

impl Tried {
    /// Another address for the request: after this failure, or after a response that calls for one.
    fn next(
        &mut self,
        balanced: &Balanced,
        failure: Option<&Failure>,
    ) -> Option<Arc<MemberClient>> {
        let may_move = match failure {
            Some(Failure::Unsent(_)) => true,
            // A request that is slow everywhere must not wait for each address in turn.
            Some(Failure::NoResponse(UpstreamError::ResponseTimeout)) => {
                self.is_repeatable && !std::mem::replace(&mut self.has_timed_out, true)
            }
            Some(Failure::NoResponse(_)) | None => self.is_repeatable,
            Some(Failure::Failed(_)) => false,
        };
        self.clients.push(Arc::clone(&balanced.chosen));
        if !may_move || self.clients.len() >= MAX_ATTEMPTS {
            return None;
        }
        balanced.view.choose(&self.clients)
    }
}

impl Balanced {
    fn move_to(&mut self, next: Arc<MemberClient>, code: &str) {
        let (from, to) = (&self.chosen.member.id, &next.member.id);
        tracing::debug!(app = self.chosen.upstream.plan.app(), %from, %to, code, "upstream_retried");
        self.chosen.retries.inc();
        self.chosen = next;
    }
}

/// Whether an error shows that the address does not work.
const fn is_fault_of_address(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Unresolved(_)
        | UpstreamError::ConnectRefused(_)
        | UpstreamError::ConnectTimeout
        | UpstreamError::Tls(_)
        | UpstreamError::ResponseTimeout
        | UpstreamError::ConnectionClosed(_) => true,
        UpstreamError::NotForwardable(_)
        | UpstreamError::Loop
        | UpstreamError::Saturated
        | UpstreamError::BadResponse(_)
        | UpstreamError::RequestStalled
        | UpstreamError::RequestBodyAborted => false,
    }
}

/// A response body whose request counts for its address until the end.
struct CountedBody {
    body: Body,
    in_flight: Option<InFlight>,
}

/// `in_flight` is `None` if a tunnel has taken it.
fn count_until_end(response: Response<Body>, in_flight: Option<InFlight>) -> Response<Body> {
    if in_flight.is_none() || response.body().is_end_stream() {
        return response;
    }
    response.map(|body| Body::read_by(Box::pin(CountedBody { body, in_flight })))
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx);
        if self.body.is_end_stream() {
            self.in_flight = None;
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
