//! The way to an app's backend: one door, own framing, own connections.

mod app_logout;
mod client;
mod client_certificate;
mod error;
mod frames;
mod framing;
mod headers;
mod http1;
mod http2;
mod target;
mod trailers;
mod tunnel;
mod upgrade;

#[cfg(test)]
mod tests;

use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;

pub use app_logout::{LoggedOut, send_app_logout};
pub use client::Upstream;
pub use client_certificate::{ClientCertificate, ClientCertificateError};
pub use error::UpstreamError;
pub use headers::HeaderPolicy;
pub use target::{
    HostPort, ParseUpstreamError, UpstreamPlan, UpstreamPlanError, UpstreamProtocol,
    UpstreamSettings, UpstreamUrl,
};
pub use upgrade::Tunnels;

use self::client::ReusePolicy;
use self::framing::Framing;
use self::http1::{
    BodyDecoder, Connection, Failure, RequestBodyWriter, ResponseHead, write_field, write_line,
};
use self::upgrade::TunnelLimits;
use crate::policy::decide::Permit;
use crate::types::body::{Body, ValidityCheck};

/// What was decided about a request that goes to the backend.
#[derive(Clone, Copy, Debug)]
pub struct ForwardRequest<'a> {
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
    pub authenticated: bool,
    /// Says whether an upgraded connection may go on.
    pub holds: Option<&'a ValidityCheck>,
}

/// Passes a request that was permitted to the backend and gives its answer's head; both bodies stream. What the
/// request upgrades to lasts while `holds`.
///
/// # Errors
/// See [`UpstreamError`].
pub fn forward<'a>(
    upstream: &'a Upstream,
    permit: &'a Permit<'a>,
    client: &'a mut Parts,
    body: Body,
    holds: Option<&'a ValidityCheck>,
) -> impl Future<Output = Result<Response<Body>, UpstreamError>> + Send {
    let (info, origin) = (permit.info(), &permit.app_ref().app.origin);
    let forward = ForwardRequest {
        target: info.target.as_str(),
        identity_headers: permit
            .identity()
            .map_or(&[], |identity| identity.headers.as_slice()),
        forwarded_for: &info.address.forwarded_for,
        forwarded_proto: origin.scheme(),
        forwarded_host: origin.authority(),
        // A session wins over a token: that is neither read nor passed on beside it.
        consume_authorization: permit.identity().is_some(),
        authenticated: permit.identity().is_some(),
        holds,
    };
    send(upstream, forward, client, body)
}

async fn send(
    upstream: &Upstream,
    forward: ForwardRequest<'_>,
    client: &mut Parts,
    body: Body,
) -> Result<Response<Body>, UpstreamError> {
    let answer = pass(upstream, &forward, client, body).await;
    if let Err(error) = &answer {
        upstream.failed(error);
    }
    answer
}

async fn pass(
    upstream: &Upstream,
    forward: &ForwardRequest<'_>,
    client: &mut Parts,
    body: Body,
) -> Result<Response<Body>, UpstreamError> {
    check_target(&client.method, forward.target)?;
    if let Some(links) = &upstream.links
        && !upgrade::is_asked_for(client, &body)
        && let Some(stream) = Box::pin(links.stream(&upstream.plan)).await?
    {
        // On the heap, lest every other request carry the room for it.
        return Box::pin(http2::pass(
            upstream,
            links,
            http2::Asked {
                forward,
                client,
                body,
            },
            stream,
        ))
        .await;
    }
    let switch = upgrade::is_asked_for(client, &body)
        .then(|| client.extensions.remove::<OnUpgrade>())
        .flatten();
    let framing = Framing::of(client, &body);
    let head = Head {
        upstream,
        client,
        forward,
        framing,
        switch: switch.is_some(),
    };
    let mut request_body = RequestBodyWriter::of(framing, body);

    let repeatable = framing == Framing::None && client.method.is_safe();
    let reuse = match (&switch, repeatable) {
        (Some(_), _) => ReusePolicy::Fresh,
        (None, true) => ReusePolicy::Any,
        (None, false) => ReusePolicy::RecentlyUsed,
    };
    let mut connection = upstream.connection(reuse).await?;
    let mut answer = head.exchange(&mut connection, &mut request_body).await;
    // The backend closed the connection while it rested: once more, on a new one.
    let again = match &answer {
        Err(Failure::Unsent(_)) => connection.used_before,
        Err(Failure::Unanswered(_)) => connection.used_before && repeatable,
        Ok(_) | Err(Failure::Failed(_)) => false,
    };
    if again {
        // Its slot may be the last.
        drop(connection);
        connection = upstream.connection(ReusePolicy::Fresh).await?;
        answer = head.exchange(&mut connection, &mut request_body).await;
    }
    accept(&head, answer?, connection, request_body, switch)
}

/// `CONNECT` and `TRACE` are never passed on (RFC 9110 sections 9.3.6, 9.3.8), nor anything but a path.
fn check_target(method: &Method, target: &str) -> Result<(), UpstreamError> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(UpstreamError::Unforwardable("its method"));
    }
    let asterisk = target == "*" && *method == Method::OPTIONS;
    let stays_whole = target
        .bytes()
        .all(|byte| byte > b' ' && byte != 0x7f && byte != b'#');
    if stays_whole && (target.starts_with('/') || asterisk) {
        Ok(())
    } else {
        Err(UpstreamError::Unforwardable("its target"))
    }
}

/// The host that the backend sees: the public one, or its own.
fn host(plan: &UpstreamPlan, forward: &ForwardRequest<'_>) -> HeaderValue {
    let public = HeaderValue::from_str(forward.forwarded_host).ok();
    public
        .filter(|_| plan.settings.preserve_host)
        .unwrap_or_else(|| plan.host.clone())
}

/// All that a request's head is made of, so that it can be made twice.
struct Head<'a> {
    upstream: &'a Upstream,
    client: &'a Parts,
    forward: &'a ForwardRequest<'a>,
    framing: Framing,
    switch: bool,
}

impl Head<'_> {
    async fn exchange(
        &self,
        connection: &mut Connection,
        request_body: &mut Option<RequestBodyWriter>,
    ) -> Result<ResponseHead, Failure> {
        self.write(connection.head());
        connection
            .exchange(request_body, &self.upstream.plan.settings)
            .await
    }

    fn write(&self, out: &mut Vec<u8>) {
        let plan = &self.upstream.plan;
        write_line(out, &self.client.method, self.forward.target);
        write_field(out, &HOST, &host(plan, self.forward));
        plan.headers
            .each_upstream_field(&self.client.headers, self.forward, |name, value| {
                write_field(out, name, value)
            });
        let switch = self.switch.then(upgrade::switch).into_iter().flatten();
        for (name, value) in self.framing.field().into_iter().chain(switch) {
            write_field(out, &name, &value);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Judges the answer's head, decides about the connection, and makes the head that the client gets.
fn accept(
    asked: &Head<'_>,
    mut head: ResponseHead,
    connection: Connection,
    request_body: Option<RequestBodyWriter>,
    switch: Option<OnUpgrade>,
) -> Result<Response<Body>, UpstreamError> {
    let Head {
        upstream,
        client,
        forward,
        ..
    } = asked;
    let plan = &upstream.plan;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let agreed = upgrade::switches_to_websocket(&head.headers);
        let (Some(client), true) = (switch, agreed) else {
            return Err(UpstreamError::BadResponse(
                "it switches protocols without being asked".to_owned(),
            ));
        };
        let limits = TunnelLimits {
            app: plan.app.clone(),
            idle: plan.settings.tunnel_idle_timeout,
            max_age: plan.settings.stream_max_age,
            holds: forward.holds.cloned(),
        };
        upstream
            .tunnels
            .open_between(client, connection.switched(), limits);
        plan.headers
            .clean_response(&mut head.headers, forward.authenticated);
        head.headers.remove(CONTENT_LENGTH);
        head.headers.extend(upgrade::switch());
        return Ok(answer(head, Body::empty()));
    }
    let (decoder, keeps) =
        BodyDecoder::of(&mut head, &client.method).map_err(UpstreamError::BadResponse)?;
    // A connection that was to be a tunnel may have bytes of one behind it.
    let idle_pool = Some(&upstream.idle_pool).filter(|_| keeps && switch.is_none());
    let body = connection.into_body(
        decoder,
        idle_pool,
        request_body,
        plan.settings.body_idle_timeout,
    );
    plan.headers
        .clean_response(&mut head.headers, forward.authenticated);
    Ok(answer(head, body))
}

fn answer(head: ResponseHead, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    answer
}
