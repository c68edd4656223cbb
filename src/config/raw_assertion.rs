//! The schema of signed assertions.

use serde::Deserialize;

use super::values::{HumanDuration, List};

/// `[assertion]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawAssertionKeys {
    pub(super) key_files: Option<List<String>>,
}

/// `[apps.NAME.assertion]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawAssertion {
    pub(super) audience: Option<String>,
    pub(super) claims: Option<List<String>>,
    pub(super) lifetime: Option<HumanDuration>,
    pub(super) bind_request: Option<bool>,
}
