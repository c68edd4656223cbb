//! The schema of `[pages]` and `[apps.NAME.pages]`.

use serde::Deserialize;

use super::values::{List, Named};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawPages {
    pub(super) name: Option<String>,
    pub(super) logo_file: Option<String>,
    pub(super) contact: Option<String>,
    pub(super) home_url: Option<String>,
    pub(super) accent_color: Option<String>,
    pub(super) accent_color_dark: Option<String>,
    pub(super) background_color: Option<String>,
    pub(super) background_color_dark: Option<String>,
    pub(super) languages: Option<List<String>>,
    pub(super) template_folder: Option<String>,
    pub(super) message_files: Option<Named<String>>,
}
