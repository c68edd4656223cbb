//! The schema of credentials for apps.

use serde::Deserialize;

use super::keywords::AccessTokenField;
use super::values::List;

/// `upstream_basic_auth = { username = "…", password_file = "…" }`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawUpstreamBasicAuth {
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
}

/// `[apps.NAME.token_exchange]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawTokenExchange {
    pub(super) audience: Option<String>,
    pub(super) scopes: Option<List<String>>,
    pub(super) header: Option<AccessTokenField>,
    pub(super) max_entries: Option<u32>,
}
