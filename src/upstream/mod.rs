//! Upstream: HTTP/1.1 and HTTP/2 clients for an app's backend, with connection pools, header
//! filters and WebSocket tunnels. [`forward()`] is the only way for a client's request to a backend.

mod address;
mod app_logout;
mod by_label;
mod client;
mod client_certificate;
mod connection_auth;
mod credentials;
mod dial;
mod dial_record;
mod edge;
mod error;
mod failover;
mod field_value;
mod folded_name;
mod foreign_identity;
mod forward;
mod frames;
mod framing;
mod group;
mod headers;
mod health_check;
mod http1;
mod http2;
mod loop_guard;
mod members;
mod probe;
mod public_urls;
mod request;
mod settings;
mod target;
mod template;
mod trailers;
mod tunnel;
mod upgrade;

#[cfg(test)]
mod tests;

pub use address::{HostPort, ParseUpstreamError, UpstreamUrl};
pub use app_logout::{AppLogoutResponse, LoggingOut, send_app_logout};
pub use by_label::{AppPlans, UpstreamHandle, Upstreams};
pub use client::{ClientParts, Upstream, UpstreamTelemetry};
pub use client_certificate::{ClientCertificate, ClientCertificateError};
pub use credentials::{TokenField, UpstreamCredentials};
pub use dial_record::LastDial;
pub use edge::edge_changes;
pub use error::UpstreamError;
pub use failover::forward;
pub use foreign_identity::is_foreign_identity;
pub use forward::{ForwardLimits, app_headers};
pub use headers::edge::{EdgeChanges, EdgeField};
pub use headers::{HeaderPolicy, make_private};
pub use health_check::keep_checked;
pub use members::MemberStatus;
pub use probe::probe;
pub use request::{AppCredentials, ClientPin, ForwardRequest};
pub use settings::{HealthCheck, IdleReuse, UpstreamHost, UpstreamProtocol, UpstreamSettings};
pub use target::{UpstreamPlan, UpstreamPlanError};
pub use template::{ByLabel, LABEL, UpstreamTemplate};
pub use upgrade::Tunnels;
