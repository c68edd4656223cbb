//! The schema of routes by path.

use serde::Deserialize;

use super::keywords::{AccessTokenField, IdTokenField};
use super::raw_credentials::RawUpstreamBasicAuth;
use super::raw_headers::RawHeaderEdits;
use super::raw_health_check::RawHealthCheck;
use super::values::{HumanDuration, OneOrMany};
use crate::upstream::UpstreamProtocol;

/// `[[apps.NAME.routes]]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawRoute {
    pub(super) path: Option<String>,
    pub(super) upstream: Option<OneOrMany>,
    pub(super) upstream_protocol: Option<UpstreamProtocol>,
    pub(super) upstream_host: Option<String>,
    pub(super) upstream_ca_file: Option<String>,
    pub(super) upstream_cert_file: Option<String>,
    pub(super) upstream_key_file: Option<String>,
    pub(super) upstream_server_name: Option<String>,
    pub(super) strip_prefix: Option<String>,
    pub(super) add_prefix: Option<String>,
    pub(super) connect_timeout: Option<HumanDuration>,
    pub(super) response_timeout: Option<HumanDuration>,
    pub(super) stream_idle_timeout: Option<HumanDuration>,
    pub(super) stream_max_age: Option<HumanDuration>,
    pub(super) max_in_flight_requests: Option<u32>,
    pub(super) request_headers: Option<RawHeaderEdits>,
    pub(super) response_headers: Option<RawHeaderEdits>,
    pub(super) dangerously_pass_access_token: Option<AccessTokenField>,
    pub(super) dangerously_pass_id_token: Option<IdTokenField>,
    pub(super) upstream_basic_auth: Option<RawUpstreamBasicAuth>,
    pub(super) upstream_bearer_file: Option<String>,
    pub(super) health_check: Option<RawHealthCheck>,
    pub(super) redirect: Option<RawRedirect>,
    pub(super) respond: Option<RawRespond>,
    pub(super) files: Option<String>,
}

/// `redirect = { to = "/new/**", status = 308 }`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawRedirect {
    pub(super) to: Option<String>,
    pub(super) status: Option<u16>,
}

/// `respond = { status = 410, body = "gone" }`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawRespond {
    pub(super) status: Option<u16>,
    pub(super) content_type: Option<String>,
    pub(super) body: Option<String>,
}
