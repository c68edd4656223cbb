//! Forwarding of permitted requests to one address. Requests without an upgrade use HTTP/2 if the backend is
//! configured for it.

use std::io;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRAILER, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};

use super::client::Upstream;
use super::connection_auth;
use super::error::UpstreamError;
use super::framing::Framing;
use super::headers::HeaderPolicy;
use super::http1::{
    BodyDecoder, Connection, ConnectionReturn, Failure, RequestBodyWriter, ResponseHead,
    ReusePolicy, write_field, write_request_line,
};
use super::http2::{self, Http2Request};
use super::members::InFlight;
use super::request::{AppCredentials, ClientPin, ForwardRequest};
use super::trailers::{self, ReceivedTrailers};
use super::upgrade::{self, TunnelLimits, Upgrade};
use crate::policy::decide::Permit;
use crate::types::body::{Body, StreamSession};
use crate::types::request_id::RequestId;
use crate::types::trace_context::ForwardedTrace;

/// How a forwarded request is tied to its client, its session and its log entry.
#[derive(Clone, Copy, Debug)]
pub struct ForwardLimits<'a> {
    /// An upgraded connection lasts as long as this allows.
    pub session: Option<&'a StreamSession>,
    /// See [`ForwardRequest::pin`].
    pub pin: Option<ClientPin<'a>>,
    /// The request ID for the app.
    pub request_id: RequestId,
    /// See [`ForwardRequest::trace`].
    pub trace: Option<ForwardedTrace>,
    /// See [`ForwardRequest::credentials`].
    pub credentials: AppCredentials<'a>,
}

/// The upstream request of a permitted request.
pub(super) fn upstream_request<'a>(
    permit: &'a Permit<'a>,
    limits: ForwardLimits<'a>,
) -> ForwardRequest<'a> {
    let info = permit.info();
    let origin = &permit.app_ref().app.origin;
    ForwardRequest {
        target: permit.target(),
        route: permit.path_route().map(|matched| matched.route),
        identity_headers: permit
            .identity()
            .map_or(&[], |identity| identity.headers.as_slice()),
        facts: permit.facts(limits.request_id),
        forwarded_for: &info.address.forwarded_for,
        forwarded_proto: origin.scheme(),
        forwarded_host: origin.authority(),
        authenticated: permit.identity().is_some(),
        session: limits.session,
        pin: limits.pin,
        trace: limits.trace,
        credentials: limits.credentials,
    }
}

/// The header fields that the app of a permitted request receives, without `Host` and framing.
pub fn app_headers(
    policy: &HeaderPolicy,
    permit: &Permit<'_>,
    client: &HeaderMap,
    request_id: RequestId,
) -> HeaderMap {
    let limits = ForwardLimits {
        session: None,
        pin: None,
        request_id,
        trace: None,
        credentials: AppCredentials::default(),
    };
    policy.upstream_headers(client, &upstream_request(permit, limits))
}

/// The body of a request. Another attempt can send it as long as none has begun to.
pub(super) enum PendingBody {
    Unread(Body),
    /// For HTTP/1.1. `None` if there is no body.
    Encoded(Option<RequestBodyWriter>),
}

impl PendingBody {
    /// Takes the body, and leaves none.
    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Encoded(None))
    }

    /// Takes the body as it was received. `None` if it was encoded.
    fn unread(&mut self) -> Option<Body> {
        match self.take() {
            Self::Unread(body) => Some(body),
            Self::Encoded(None) => Some(Body::empty()),
            Self::Encoded(Some(_)) => None,
        }
    }

    /// Takes the body for HTTP/1.1.
    fn encoded(&mut self, framing: Framing) -> Option<RequestBodyWriter> {
        match self.take() {
            Self::Unread(body) => RequestBodyWriter::new(framing, body),
            Self::Encoded(writer) => writer,
        }
    }
}

/// Sends a request to the only address and records its outcome.
pub(super) async fn send(
    upstream: &Upstream,
    request: ForwardRequest<'_>,
    client: &Parts,
    body: Body,
) -> Result<Response<Body>, UpstreamError> {
    let framing = Framing::of(client, &body);
    let mut body = PendingBody::Unread(body);
    let response = exchange(upstream, &request, client, framing, &mut body, &mut None).await;
    let response = response.map_err(UpstreamError::from);
    if let Err(error) = &response {
        upstream.count_error(error);
    }
    upstream.record_outcome(response.as_ref().err());
    response
}

/// Sends a request to one address. The `body` is left if nothing of the request was sent. A tunnel takes
/// `in_flight` until its end.
pub(super) async fn exchange(
    upstream: &Upstream,
    request: &ForwardRequest<'_>,
    client: &Parts,
    framing: Framing,
    body: &mut PendingBody,
    in_flight: &mut Option<InFlight>,
) -> Result<Response<Body>, Failure> {
    check_target(&client.method, request.target).map_err(Failure::Failed)?;
    if upstream.plan.headers.is_loop(&client.headers) {
        return Err(Failure::Failed(UpstreamError::Loop));
    }
    let has_no_body = matches!(framing, Framing::None | Framing::Zero);
    let is_upgrade = has_no_body && upgrade::is_upgrade_request(client);
    let repeatable = framing == Framing::None && client.method.is_safe();
    let reuse = match (is_upgrade, repeatable) {
        (true, _) => ReusePolicy::Fresh,
        (false, true) => ReusePolicy::Any,
        (false, false) => ReusePolicy::RecentlyUsed,
    };
    let pinned = upstream.pinned.take(request.pin, reuse);
    let binds_connection = upstream.plan.headers.forwards_bound_auth(&client.headers);
    if pinned.is_none()
        // HTTP/2 has no connection-bound authentication.
        && !binds_connection
        && let Some(pool) = &upstream.h2_pool
        && !is_upgrade
        && let Some(stream) = Box::pin(pool.stream(&upstream.plan)).await.map_err(Failure::Unsent)?
    {
        let request = Http2Request {
            request,
            client,
            body: body.unread().ok_or_else(|| {
                // HTTP/1.1 to another address came first.
                let error = io::Error::other("its body is encoded for HTTP/1.1");
                Failure::Failed(UpstreamError::ConnectionClosed(error))
            })?,
        };
        // Boxed, so that an HTTP/1.1 request does not carry this future.
        let response = Box::pin(http2::send(&upstream.plan, pool, request, stream));
        return response.await.map_err(http2_failure);
    }
    let upgrade = if is_upgrade {
        Upgrade::of(client).map_err(Failure::Failed)?
    } else {
        None
    };
    let exchange = Http1Exchange {
        upstream,
        client,
        request,
        framing,
        upgrade,
    };
    let mut is_bound = binds_connection || pinned.is_some();
    let mut connection = match pinned {
        Some(connection) => connection,
        None => upstream.acquire(reuse).await.map_err(Failure::Unsent)?,
    };
    let mut request_body = body.encoded(framing);
    let mut head = exchange.run(&mut connection, &mut request_body).await;
    // The backend closed the idle connection: retry once on a new one.
    let retry = match &head {
        Err(Failure::Unsent(_)) => connection.is_reused,
        Err(Failure::NoResponse(error)) => {
            let was_closed = matches!(error, UpstreamError::ConnectionClosed(_));
            was_closed && connection.is_reused && repeatable
        }
        Ok(_) | Err(Failure::Failed(_)) => false,
    };
    if retry {
        // Releases its slot, which may be the last.
        drop(connection);
        is_bound = binds_connection;
        connection = match upstream.acquire(ReusePolicy::Fresh).await {
            Ok(connection) => connection,
            Err(error) => {
                *body = PendingBody::Encoded(request_body);
                return Err(Failure::Unsent(error));
            }
        };
        head = exchange.run(&mut connection, &mut request_body).await;
    }
    let head = match head {
        Ok(head) => head,
        Err(failure) => {
            if matches!(failure, Failure::Unsent(_)) {
                *body = PendingBody::Encoded(request_body);
            }
            return Err(failure);
        }
    };
    let is_offered =
        head.status == StatusCode::UNAUTHORIZED && connection_auth::is_offered(&head.headers);
    let returns_to = if is_bound || is_offered {
        let pin = request.pin;
        pin.map(|pin| ConnectionReturn::Pinned(Arc::clone(&upstream.pinned), pin.into()))
    } else {
        Some(ConnectionReturn::Shared(Arc::clone(&upstream.idle_pool)))
    };
    let used = UsedConnection {
        connection,
        request_body,
        returns_to,
    };
    exchange
        .respond(head, used, in_flight)
        .map_err(Failure::Failed)
}

/// The failure of a request over HTTP/2, which may have been sent, and whose body is gone.
fn http2_failure(error: UpstreamError) -> Failure {
    match error {
        UpstreamError::Saturated
        | UpstreamError::Unresolved(_)
        | UpstreamError::ConnectRefused(_)
        | UpstreamError::ConnectTimeout
        | UpstreamError::Tls(_)
        | UpstreamError::ResponseTimeout
        | UpstreamError::ConnectionClosed(_) => Failure::NoResponse(error),
        UpstreamError::NotForwardable(_)
        | UpstreamError::Loop
        | UpstreamError::BadResponse(_)
        | UpstreamError::RequestStalled
        | UpstreamError::RequestBodyAborted => Failure::Failed(error),
    }
}

/// A connection whose response head was read.
struct UsedConnection {
    connection: Connection,
    /// The rest of the request body.
    request_body: Option<RequestBodyWriter>,
    /// Where the connection goes after the response, if it can be reused.
    returns_to: Option<ConnectionReturn>,
}

/// Rejects `CONNECT` and `TRACE` (RFC 9110 sections 9.3.6 and 9.3.8), and any target that is not a
/// path.
fn check_target(method: &Method, target: &str) -> Result<(), UpstreamError> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(UpstreamError::NotForwardable("its method"));
    }
    let asterisk = target == "*" && *method == Method::OPTIONS;
    let is_one_token = target
        .bytes()
        .all(|byte| byte > b' ' && byte != 0x7f && byte != b'#');
    if is_one_token && (target.starts_with('/') || asterisk) {
        Ok(())
    } else {
        Err(UpstreamError::NotForwardable("its target"))
    }
}

/// One HTTP/1.1 request; its head can be written twice, for a retry.
struct Http1Exchange<'a> {
    upstream: &'a Upstream,
    client: &'a Parts,
    request: &'a ForwardRequest<'a>,
    framing: Framing,
    upgrade: Option<Upgrade>,
}

impl Http1Exchange<'_> {
    async fn run(
        &self,
        connection: &mut Connection,
        request_body: &mut Option<RequestBodyWriter>,
    ) -> Result<ResponseHead, Failure> {
        self.write_head(connection.head());
        connection
            .exchange(request_body, &self.upstream.plan.settings)
            .await
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        let plan = &self.upstream.plan;
        write_request_line(out, &self.client.method, self.request.target);
        write_field(out, &HOST, plan.host_of(self.request));
        plan.headers
            .each_upstream_field(&self.client.headers, self.request, |name, value| {
                write_field(out, name, value)
            });
        let upgrade = self.upgrade.iter().flat_map(Upgrade::request_fields);
        for (name, value) in self.framing.field().into_iter().chain(upgrade) {
            write_field(out, &name, (&value).into());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The `Upgrade` field of a 426 response, which must have one (RFC 9110 section 15.5.22). HTTP/2
    /// has no such field.
    fn offered_protocols(&self, head: &ResponseHead) -> Option<HeaderValue> {
        if head.status != StatusCode::UPGRADE_REQUIRED || self.client.version >= Version::HTTP_2 {
            return None;
        }
        let fields = head.headers.get_all(UPGRADE).iter();
        let fields: Vec<&[u8]> = fields.map(HeaderValue::as_bytes).collect();
        let joined = HeaderValue::from_bytes(&fields.join(&b", "[..])).ok();
        joined.filter(|joined| !joined.is_empty())
    }

    /// Checks the response head, decides whether the connection can be reused, and builds the
    /// client's response.
    fn respond(
        self,
        mut head: ResponseHead,
        used: UsedConnection,
        in_flight: &mut Option<InFlight>,
    ) -> Result<Response<Body>, UpstreamError> {
        let UsedConnection {
            connection,
            request_body,
            returns_to,
        } = used;
        let upstream = self.upstream;
        let plan = &upstream.plan;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let accepted = self.upgrade.filter(|one| one.is_accepted(&head.headers));
            let Some(upgrade) = accepted else {
                return Err(UpstreamError::BadResponse(
                    "it switches protocols unasked".to_owned(),
                ));
            };
            plan.sanitize_response(&mut head.headers, self.request);
            head.headers.remove(CONTENT_LENGTH);
            upgrade.set_response_fields(&mut head.headers);
            let limits = TunnelLimits {
                app: plan.app.clone(),
                idle: plan.settings.tunnel_idle_timeout,
                max_age: plan.settings.stream_max_age,
                session: self.request.session.cloned(),
                connect: upgrade.http2.map(|http2| http2.connect),
                in_flight: in_flight.take(),
            };
            upstream
                .tunnels
                .open_between(upgrade.client, connection.into_upgraded(), limits);
            return Ok(response(head, Body::empty()));
        }
        let framing = BodyDecoder::for_response(&mut head, &self.client.method)
            .map_err(UpstreamError::BadResponse)?;
        // After a rejected upgrade, the client's tunnel bytes may still follow on this connection.
        let reusable = framing.keep_alive && self.upgrade.is_none();
        let has_trailers = framing.decoder.may_have_trailers()
            && trailers::are_accepted(self.client.version, &self.client.headers);
        let declared = has_trailers
            .then(|| trailers::declared(&head.headers, &plan.headers))
            .flatten();
        let body = connection.into_body(
            framing.decoder,
            has_trailers.then(|| ReceivedTrailers::new(plan)),
            returns_to.filter(|_| reusable),
            request_body,
            plan.settings.body_idle_timeout,
        );
        let offered = self.offered_protocols(&head);
        plan.sanitize_response(&mut head.headers, self.request);
        head.headers.extend(declared.map(|names| (TRAILER, names)));
        if let Some(protocols) = offered {
            head.headers
                .insert(CONNECTION, const { HeaderValue::from_static("upgrade") });
            head.headers.insert(UPGRADE, protocols);
        }
        Ok(response(head, body))
    }
}

fn response(head: ResponseHead, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}
