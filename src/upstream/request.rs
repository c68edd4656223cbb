//! Upstream requests: what was decided about a request that is forwarded.

use http::{HeaderName, HeaderValue};

use crate::identity::header_edits::RequestFacts;
use crate::policy::path_routes::PathRoute;
use crate::types::body::StreamSession;
use crate::types::net::ConnectionId;
use crate::types::secret::Secret;
use crate::types::trace_context::ForwardedTrace;

/// A request to forward, beside the client's headers and body.
#[derive(Clone, Copy, Debug)]
pub struct ForwardRequest<'a> {
    /// Path and query, sent byte for byte as the rules matched them, with the prefix of the route.
    pub target: &'a str,
    /// The route, if the path has one of its own.
    pub route: Option<&'a PathRoute>,
    /// The identity headers.
    pub identity_headers: &'a [(HeaderName, HeaderValue)],
    /// The values of variables in header templates, and `X-Request-Id`.
    pub facts: RequestFacts<'a>,
    /// `X-Forwarded-For`.
    pub forwarded_for: &'a str,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: &'a str,
    /// `X-Forwarded-Host`, and `Host` if the app preserves the public host.
    pub forwarded_host: &'a str,
    /// The client connection to which an upstream connection can be pinned. `None` if the client connection carries
    /// requests of several users.
    pub pin: Option<ClientPin<'a>>,
    /// The trace, in place of the client's `traceparent`. `None`: the client's fields are forwarded.
    pub trace: Option<ForwardedTrace>,
    /// Whether the request is authenticated, so that shared caches must not store the response.
    pub authenticated: bool,
    /// The session of an upgraded connection.
    pub session: Option<&'a StreamSession>,
    /// What proves to the app that the request comes from Doorward.
    pub credentials: AppCredentials<'a>,
}

/// What proves to the app that a request comes from Doorward, and for which user.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppCredentials<'a> {
    /// The signed assertion.
    pub assertion: Option<&'a HeaderValue>,
    /// Whether the credentials of the configuration are sent, and the token.
    pub are_sent: bool,
    /// The token of the user.
    pub token: Option<&'a Secret<String>>,
}

/// A client connection and the session on it. An upstream connection that the backend authenticated
/// is used for them only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPin<'a> {
    /// The connection.
    pub connection: ConnectionId,
    /// The name of the session or access token, if the request has one.
    pub caller: Option<&'a str>,
}
