//! The schema of the settings of sessions that are bound to no device.

use serde::Deserialize;

use super::values::HumanDuration;
use crate::session::client_continuity::OnClientChange;

/// `[apps.NAME.unbound_sessions]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawUnboundSessions {
    pub(super) client_change: Option<OnClientChange>,
    pub(super) idle_timeout: Option<HumanDuration>,
    pub(super) absolute_timeout: Option<HumanDuration>,
}
