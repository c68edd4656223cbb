//! The schema of header changes.

use serde::Deserialize;

use super::values::{List, Named};

/// `request_headers` and `response_headers` of an app or a route.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawHeaderEdits {
    pub(super) set: Option<Named<String>>,
    pub(super) add: Option<Named<String>>,
    pub(super) remove: Option<List<String>>,
}
