//! The way to an app's backend: one door, own framing, own connections.

mod client;
mod client_certificate;
mod error;
mod farewell;
mod frames;
mod framing;
mod headers;
mod http2;
mod outgoing;
mod patience;
mod stall;
mod target;
mod trailers;
mod tunnel;
mod upgrade;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

pub use client::Upstream;
pub use client_certificate::{ClientCertificate, ClientCertificateError};
pub use error::UpstreamError;
pub use farewell::{LoggedOut, log_out_of_app};
pub use headers::HeaderPolicy;
pub use target::{
    HostPort, NotAnUpstream, UpstreamPlan, UpstreamPlanError, UpstreamProtocol, UpstreamSettings, UpstreamUrl,
};
pub use upgrade::Tunnels;

use self::client::{Lease, Wanted};
use self::framing::Framing;
use self::outgoing::{Outgoing, Progress};
use self::upgrade::TunnelLimits;
use crate::policy::decide::Permit;
use crate::types::body::{Body, Holds};

/// What was decided about a request that goes to the backend.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    /// Path and query, sent byte for byte: the same that the rules were asked about.
    pub target: &'a str,
    /// The fields that say who is asking.
    pub identity_headers: &'a [(HeaderName, HeaderValue)],
    /// `X-Forwarded-For`.
    pub forwarded_for: &'a str,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: &'a str,
    /// `X-Forwarded-Host`, and `Host` where the app keeps the public one.
    pub forwarded_host: &'a str,
    /// Whether `Authorization` was meant for us and ends here.
    pub consume_authorization: bool,
    /// Whether the request passes on the strength of an identity, so that shared caches must not keep the answer.
    pub on_identity: bool,
    /// Says whether an upgraded connection may go on.
    pub holds: Option<&'a Holds>,
}

/// Passes a request that was permitted to the backend and gives its answer's head; both bodies stream. What the
/// request upgrades to lasts while `holds`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn forward(
    upstream: &Upstream,
    permit: Permit<'_>,
    request: Request<Body>,
    holds: Option<&Holds>,
) -> Result<Response<Body>, UpstreamError> {
    let (facts, origin) = (permit.facts(), &permit.place().app.origin);
    let passage = Passage {
        target: facts.target.as_str(),
        identity_headers: permit.identity().map_or(&[], |identity| identity.headers.as_slice()),
        forwarded_for: &facts.address.forwarded_for,
        forwarded_proto: origin.scheme(),
        forwarded_host: origin.authority(),
        // A session wins over a token: that is neither read nor passed on beside it.
        consume_authorization: permit.identity().is_some(),
        on_identity: permit.identity().is_some(),
        holds,
    };
    send(upstream, passage, request).await
}

async fn send(
    upstream: &Upstream,
    passage: Passage<'_>,
    request: Request<Body>,
) -> Result<Response<Body>, UpstreamError> {
    let answer = pass(upstream, passage, request).await;
    if let Err(error) = &answer {
        upstream.failed(error);
    }
    answer
}

async fn pass(
    upstream: &Upstream,
    passage: Passage<'_>,
    request: Request<Body>,
) -> Result<Response<Body>, UpstreamError> {
    let (mut client, body) = request.into_parts();
    let target = target(&client.method, passage.target)?;
    if let Some(links) = &upstream.links
        && !upgrade::is_asked_for(&client, &body)
        && let Some(stream) = links.stream(&upstream.plan).await?
    {
        return http2::pass(upstream, links, http2::Asked { passage, client, target, body }, stream).await;
    }
    let switch = upgrade::is_asked_for(&client, &body).then(|| client.extensions.remove::<OnUpgrade>()).flatten();
    let framing = Framing::of(&client, &body);
    let head =
        Head { upstream, client: &client, passage: &passage, target: &target, framing, switch: switch.is_some() };

    let repeatable = framing == Framing::None && client.method.is_safe();
    let wanted = match (&switch, repeatable) {
        (Some(_), _) => Wanted::New,
        (None, true) => Wanted::Any,
        (None, false) => Wanted::JustUsed,
    };
    let (body, progress) = match framing {
        Framing::None | Framing::Zero => (Outgoing::empty(), None),
        Framing::Length(_) | Framing::Chunked => {
            let (body, progress) = Outgoing::new(body);
            (body, Some(progress))
        }
    };
    let mut lease = upstream.lease(wanted).await?;
    let mut outcome = exchange(upstream, &mut lease, head.request(body), progress.as_deref()).await;
    if lease.used_before {
        // The backend closed the connection while it was idle: once more, on a new one.
        match outcome {
            Err(Failure::Unsent(request, _)) => {
                lease = upstream.lease(Wanted::New).await?;
                outcome = exchange(upstream, &mut lease, *request, progress.as_deref()).await;
            }
            Err(Failure::Failed(UpstreamError::BrokeOff(_))) if repeatable => {
                lease = upstream.lease(Wanted::New).await?;
                outcome = exchange(upstream, &mut lease, head.request(Outgoing::empty()), None).await;
            }
            Ok(_) | Err(Failure::Failed(_)) => {}
        }
    }
    let answer = outcome.map_err(|failure| match failure {
        Failure::Unsent(_, error) => UpstreamError::BrokeOff(error),
        Failure::Failed(error) => error,
    })?;
    accept(upstream, &passage, &client.method, lease, answer, switch)
}

/// `CONNECT` and `TRACE` are never passed on (RFC 9110 sections 9.3.6, 9.3.8), nor anything but a path.
fn target(method: &Method, target: &str) -> Result<Uri, UpstreamError> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(UpstreamError::Unforwardable("its method"));
    }
    let uri = Uri::try_from(target).map_err(|_| UpstreamError::Unforwardable("its target"))?;
    let asterisk = target == "*" && *method == Method::OPTIONS;
    let unchanged = uri.path_and_query().is_some_and(|path| path.as_str() == target);
    if unchanged && uri.authority().is_none() && (target.starts_with('/') || asterisk) {
        Ok(uri)
    } else {
        Err(UpstreamError::Unforwardable("its target"))
    }
}

/// The host that the backend sees: the public one, or its own.
fn host(plan: &UpstreamPlan, passage: &Passage<'_>) -> HeaderValue {
    let public = HeaderValue::from_str(passage.forwarded_host).ok();
    public.filter(|_| plan.settings.preserve_host).unwrap_or_else(|| plan.host.clone())
}

/// All that a request's head is made of, so that it can be made twice.
struct Head<'a> {
    upstream: &'a Upstream,
    client: &'a Parts,
    passage: &'a Passage<'a>,
    target: &'a Uri,
    framing: Framing,
    switch: bool,
}

impl Head<'_> {
    fn request(&self, body: Outgoing) -> Request<Outgoing> {
        let plan = &self.upstream.plan;
        let mut headers = plan.headers.upstream_headers(&self.client.headers, self.passage);
        headers.insert(HOST, host(plan, self.passage));
        self.framing.set(&mut headers);
        if self.switch {
            upgrade::set_switch(&mut headers);
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.client.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        request
    }
}

enum Failure {
    /// Nothing of it went out.
    Unsent(Box<Request<Outgoing>>, hyper::Error),
    Failed(UpstreamError),
}

async fn exchange(
    upstream: &Upstream,
    lease: &mut Lease,
    request: Request<Outgoing>,
    progress: Option<&Progress>,
) -> Result<Response<Incoming>, Failure> {
    let answer = patience::wait(lease.sender.try_send_request(request), &upstream.plan.settings, progress);
    match answer.await.map_err(Failure::Failed)? {
        Ok(answer) => Ok(answer),
        Err(mut error) => Err(match error.take_message() {
            Some(request) => Failure::Unsent(Box::new(request), error.into_error()),
            None => Failure::Failed(blame(error.into_error(), progress)),
        }),
    }
}

/// Who broke the exchange: a client that stopped or left in its body looks like a failing backend from here.
fn blame(error: hyper::Error, progress: Option<&Progress>) -> UpstreamError {
    if progress.is_some_and(Progress::broke) {
        return UpstreamError::RequestBroke;
    }
    let error = UpstreamError::from_exchange(error);
    let stalled = matches!(error, UpstreamError::ResponseTimeout) && progress.is_some_and(Progress::awaits_client);
    if stalled { UpstreamError::RequestStalled } else { error }
}

/// Judges the answer's head, decides about the connection, and makes the head that the client gets.
fn accept(
    upstream: &Upstream,
    passage: &Passage<'_>,
    method: &Method,
    lease: Lease,
    answer: Response<Incoming>,
    switch: Option<OnUpgrade>,
) -> Result<Response<Body>, UpstreamError> {
    let (mut head, body) = answer.into_parts();
    let plan = &upstream.plan;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let agreed = upgrade::switches_to_websocket(&head.headers);
        let backend = head.extensions.remove::<OnUpgrade>();
        let (Some(client), Some(backend), true) = (switch, backend, agreed) else {
            return Err(UpstreamError::BadResponse("it switches protocols without being asked".to_owned()));
        };
        lease.watched.store(false, Ordering::Relaxed);
        let limits = TunnelLimits {
            app: plan.app.clone(),
            idle: plan.settings.tunnel_idle_timeout,
            max_age: plan.settings.stream_max_age,
            holds: passage.holds.cloned(),
        };
        upstream.tunnels.open_between(client, backend, limits);
        plan.headers.clean_response(&mut head.headers, passage.on_identity);
        head.headers.remove(CONTENT_LENGTH);
        upgrade::set_switch(&mut head.headers);
        return Ok(Response::from_parts(head, Body::empty()));
    }
    framing::check_codings(&head.headers)?;
    if switch.is_none() {
        upstream.shelve(lease);
    }
    plan.headers.clean_response(&mut head.headers, passage.on_identity);
    framing::set_length(&mut head.headers, head.status, method, &body)?;
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(head, Body::streamed(body)))
}
