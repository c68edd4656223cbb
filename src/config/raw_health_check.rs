//! The schema of health checks.

use serde::Deserialize;

use super::values::HumanDuration;

/// `[apps.NAME.health_check]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawHealthCheck {
    pub(super) path: Option<String>,
    pub(super) interval: Option<HumanDuration>,
    pub(super) timeout: Option<HumanDuration>,
    pub(super) status: Option<u32>,
}
