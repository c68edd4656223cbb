//! The schema of native apps.

use serde::Deserialize;

use super::values::{HumanDuration, List};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawNative {
    pub(super) password_grant: Option<bool>,
    pub(super) client_id: Option<String>,
    pub(super) inline_refresh: Option<bool>,
    pub(super) dangerously_plain_tokens: Option<bool>,
    pub(super) cors_origins: Option<List<String>>,
    pub(super) failures_per_account: Option<u32>,
    pub(super) failures_per_address: Option<u32>,
    pub(super) max_backoff: Option<HumanDuration>,
    pub(super) logins_per_minute: Option<u32>,
}
