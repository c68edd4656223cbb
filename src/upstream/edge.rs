//! Permitted requests that another proxy forwards: the same header filter, as changes for that proxy.

use http::HeaderMap;

use super::client::Upstream;
use super::forward::{ForwardLimits, upstream_request};
use super::headers::ASSERTION;
use super::headers::edge::EdgeChanges;
use super::request::{AppCredentials, ForwardRequest};
use crate::identity::identity::HeaderTemplate;
use crate::policy::decide::Permit;
use crate::types::request_id::RequestId;

/// The changes that another proxy must make to a permitted request with the header fields `client`, so that
/// the app receives the fields that [`forward()`](super::forward()) sends. `None` if the cookies
/// cannot be told apart.
pub fn edge_changes(
    upstream: &Upstream,
    permit: &Permit<'_>,
    client: &HeaderMap,
    request_id: RequestId,
    credentials: AppCredentials<'_>,
) -> Option<EdgeChanges> {
    let policy = &upstream.plan.headers;
    if policy.hides_own_cookie(client) {
        return None;
    }
    let limits = ForwardLimits {
        session: None,
        pin: None,
        trace: None,
        request_id,
        credentials,
    };
    let app = permit.app_ref().app;
    let client_header = app.bearer.iter().map(|bearer| &bearer.client_header);
    let identity = app.headers.iter().chain(client_header);
    let request = ForwardRequest {
        // The other proxy chooses the path.
        route: None,
        ..upstream_request(permit, limits)
    };
    let identity = identity.map(HeaderTemplate::name);
    let identity = identity.chain(app.assertion.iter().map(|_| &ASSERTION));
    Some(policy.edge_changes(client, &request, identity))
}
