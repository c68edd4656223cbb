//! `[maintenance]` and `[apps.NAME.maintenance]`.

use std::path::PathBuf;
use std::time::Duration;

use super::super::files::Folder;
use super::super::raw::RawMaintenance;
use super::super::report::{Location, quoted};
use super::conditions::networks;
use super::nonzero;
use crate::policy::rule_lists::Networks;
use crate::proxy::MaintenanceSettings;

const RETRY_AFTER: Duration = Duration::from_secs(60);

/// `[maintenance]`, whose other keys than `file` are defaults for the apps.
pub(super) fn check(
    raw: RawMaintenance,
    at: &Location<'_>,
    folder: &Folder,
) -> MaintenanceSettings {
    let default = MaintenanceSettings {
        file: None,
        retry_after: RETRY_AFTER,
        allowed: Networks::default(),
    };
    check_app(raw, &default, at, folder)
}

/// `[apps.NAME.maintenance]`.
pub(super) fn check_app(
    raw: RawMaintenance,
    default: &MaintenanceSettings,
    at: &Location<'_>,
    folder: &Folder,
) -> MaintenanceSettings {
    let RawMaintenance {
        file,
        retry_after,
        allowed_addresses,
    } = raw;
    let retry_after = retry_after.map(|wait| nonzero(wait, &at.key("retry_after")));
    let allowed = allowed_addresses.map(|listed| networks(listed, &at.key("allowed_addresses")));
    MaintenanceSettings {
        file: file.and_then(|file| switch_file(&file, &at.key("file"), folder)),
        retry_after: retry_after.unwrap_or(default.retry_after),
        allowed: allowed.unwrap_or_else(|| default.allowed.clone()),
    }
}

fn switch_file(name: &str, at: &Location<'_>, folder: &Folder) -> Option<PathBuf> {
    let path = folder.path(name);
    if name.is_empty() || path.is_dir() {
        at.error(
            format!("{} is not a file", quoted(name)),
            "a path such as `/run/doorward/maintenance`: the file switches maintenance on while it exists",
        );
        return None;
    }
    Some(path)
}
