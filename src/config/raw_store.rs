//! The schema of the store.

use serde::Deserialize;

use super::values::{HumanDuration, List};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawStore {
    pub(super) url: Option<String>,
    pub(super) max_entries: Option<u32>,
    pub(super) max_revoked: Option<u32>,
    pub(super) journal_file: Option<String>,
    pub(super) redis: Option<RawRedis>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawRedis {
    pub(super) nodes: Option<List<String>>,
    pub(super) cluster: Option<bool>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) ca_file: Option<String>,
    pub(super) key_prefix: Option<String>,
    pub(super) timeout: Option<HumanDuration>,
    pub(super) sentinel_master: Option<String>,
    pub(super) sentinel_username: Option<String>,
    pub(super) sentinel_password_file: Option<String>,
}
