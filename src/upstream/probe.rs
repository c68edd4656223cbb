//! Probe: an anonymous request to an app, which shows whether the app can be reached and speaks HTTP.

use http::{Method, Request, StatusCode};

use super::client::Upstream;
use super::error::UpstreamError;
use super::forward::{PendingBody, exchange, send};
use super::framing::Framing;
use super::request::{AppCredentials, ForwardRequest};
use crate::identity::header_edits::RequestFacts;
use crate::policy::app::App;
use crate::types::body::Body;
use crate::types::net::Origin;
use crate::types::request_id::RequestId;

/// The address that the app gets as that of the client.
const CLIENT: &str = "127.0.0.1";

/// Requests the start page of `app` without identity headers, as for an anonymous user. Returns the
/// status of the response.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn probe(upstream: &Upstream, app: &App) -> Result<StatusCode, UpstreamError> {
    let (parts, body) = get().into_parts();
    let start_page = app.paths.base.home();
    let request = anonymous(&start_page, &app.origin);
    let response = send(upstream, request, &parts, body).await?;
    Ok(response.status())
}

/// Requests `target` at `origin` in the same way, without a trace in the outages and errors of the app.
pub(super) async fn check(
    upstream: &Upstream,
    origin: &Origin,
    target: &str,
) -> Result<StatusCode, UpstreamError> {
    let (parts, body) = get().into_parts();
    let framing = Framing::of(&parts, &body);
    let mut body = PendingBody::Unread(body);
    let request = anonymous(target, origin);
    let response = exchange(upstream, &request, &parts, framing, &mut body, &mut None).await?;
    Ok(response.status())
}

fn get() -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    request
}

fn anonymous<'a>(target: &'a str, origin: &'a Origin) -> ForwardRequest<'a> {
    ForwardRequest {
        target,
        route: None,
        identity_headers: &[],
        facts: RequestFacts {
            request_id: RequestId::new(0),
            client: CLIENT.parse().ok(),
            host: origin.authority(),
            label: None,
            claims: None,
        },
        forwarded_for: CLIENT,
        forwarded_proto: origin.scheme(),
        forwarded_host: origin.authority(),
        authenticated: false,
        session: None,
        pin: None,
        trace: None,
        credentials: AppCredentials::default(),
    }
}
