//! The schema of logs and traces.

use serde::Deserialize;

use super::keywords::LogLevel;
use crate::telemetry::log::LogFormat;
use crate::types::trace_context::TraceSource;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawLog {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<LogLevel>,
    pub(super) access: Option<bool>,
    pub(super) access_format: Option<LogFormat>,
    pub(super) audit: Option<String>,
    pub(super) max_audit_buffer_bytes: Option<u32>,
    pub(super) user: Option<String>,
    pub(super) user_agent: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawTracing {
    pub(super) context: Option<TraceSource>,
    pub(super) sampling_ratio: Option<f64>,
    pub(super) otlp_endpoint: Option<String>,
}
