//! The schema of limits per client, and of maintenance.

use serde::Deserialize;

use super::values::{HumanDuration, List};

/// `[apps.NAME.client_limits]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawClientLimits {
    pub(super) address: Option<RawClientLimit>,
    pub(super) session: Option<RawClientLimit>,
}

/// `[apps.NAME.client_limits.address]` and `[apps.NAME.client_limits.session]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawClientLimit {
    pub(super) requests_per_second: Option<f64>,
    pub(super) burst: Option<u32>,
    pub(super) max_in_flight_requests: Option<u32>,
    pub(super) max_entries: Option<u32>,
}

/// `[maintenance]` and `[apps.NAME.maintenance]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawMaintenance {
    pub(super) file: Option<String>,
    pub(super) retry_after: Option<HumanDuration>,
    pub(super) allowed_addresses: Option<List<String>>,
}
