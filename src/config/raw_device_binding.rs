//! The schema of device-bound sessions.

use serde::Deserialize;

use super::keywords::DeviceBindingMode;
use super::values::{HumanDuration, List};

/// `[apps.NAME.device_binding]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawDeviceBinding {
    pub(super) mode: Option<DeviceBindingMode>,
    pub(super) validity: Option<HumanDuration>,
    pub(super) refresh_interval: Option<HumanDuration>,
    pub(super) challenge_window: Option<HumanDuration>,
    pub(super) pending_window: Option<HumanDuration>,
    pub(super) network_hint: Option<bool>,
    pub(super) strict: Option<List<String>>,
    pub(super) strict_validity: Option<HumanDuration>,
    pub(super) stream_proof_timeout: Option<HumanDuration>,
}
