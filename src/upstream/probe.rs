//! Probe: an anonymous request to an app, which shows whether the app can be reached and speaks HTTP.

use http::{Method, Request, StatusCode};

use super::client::Upstream;
use super::error::UpstreamError;
use super::forward::send;
use super::request::{AppCredentials, ForwardRequest};
use crate::identity::header_edits::RequestFacts;
use crate::types::body::Body;
use crate::types::net::Origin;
use crate::types::request_id::RequestId;

/// The address that the app gets as that of the client.
const CLIENT: &str = "127.0.0.1";

/// Sends `GET /` without identity headers, as for an anonymous user of the app at `origin`. Returns
/// the status of the response.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn probe(upstream: &Upstream, origin: &Origin) -> Result<StatusCode, UpstreamError> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    let (mut parts, body) = request.into_parts();
    let forward = ForwardRequest {
        target: "/",
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
    };
    let response = send(upstream, forward, &mut parts, body).await?;
    Ok(response.status())
}
