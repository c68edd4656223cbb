//! Maintenance: while a switch is on, requests to an app get 503, except those from allowed addresses.
//! Doorward's own endpoints go on, so that users can log out and providers can end sessions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::policy::request_info::RequestInfo;
use crate::policy::route::Route;
use crate::policy::rule_lists::Networks;

/// Settings of the maintenance of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceSettings {
    /// The file whose presence switches it on.
    pub file: Option<PathBuf>,
    /// How long clients are told to wait.
    pub retry_after: Duration,
    /// The addresses whose requests pass.
    pub allowed: Networks,
}

/// The switches of all apps.
#[derive(Debug)]
pub struct Maintenance {
    all: Switch,
    /// By app index. Login hosts, which have no backend, have none.
    apps: Vec<AppMaintenance>,
}

/// The maintenance of one app.
#[derive(Debug)]
struct AppMaintenance {
    name: String,
    switch: Switch,
    retry_after: Duration,
    allowed: Networks,
}

/// A switch, and the file that it follows.
#[derive(Debug)]
struct Switch {
    positions: Arc<Positions>,
    file: Option<PathBuf>,
}

/// The positions of a switch, which outlive a configuration. It is on if one of them is.
#[derive(Debug, Default)]
struct Positions {
    by_command: AtomicBool,
    by_file: AtomicBool,
    /// Whether the file could not be looked for, which is logged once.
    is_unreadable: AtomicBool,
}

/// The state of the switches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaintenanceState {
    /// Whether that of all apps is on.
    pub all: bool,
    /// The apps that have their own switched on.
    pub apps: Vec<String>,
}

/// No app has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no app has this name")]
pub struct UnknownApp;

/// An app's name and settings.
#[derive(Clone, Copy, Debug)]
pub struct NamedMaintenance<'c> {
    /// The name of the app.
    pub name: &'c str,
    /// Its settings.
    pub settings: &'c MaintenanceSettings,
}

impl Maintenance {
    /// The switches of a configuration, whose file for all apps is `file`. Those of the apps that
    /// `previous` had too keep their positions.
    pub fn new<'c>(
        file: Option<&Path>,
        apps: impl Iterator<Item = NamedMaintenance<'c>>,
        previous: Option<&Self>,
    ) -> Self {
        let kept = |name: &str| {
            let positions = previous?.app(name)?.switch.positions.clone();
            Some(positions)
        };
        let apps = apps.map(|NamedMaintenance { name, settings }| AppMaintenance {
            name: name.to_owned(),
            switch: Switch {
                positions: kept(name).unwrap_or_default(),
                file: settings.file.clone(),
            },
            retry_after: settings.retry_after,
            allowed: settings.allowed.clone(),
        });
        Self {
            all: Switch {
                positions: previous
                    .map(|previous| Arc::clone(&previous.all.positions))
                    .unwrap_or_default(),
                file: file.map(Path::to_path_buf),
            },
            apps: apps.collect(),
        }
    }

    /// How long the client must wait. `None`: the request is not affected.
    pub(super) fn retry_after(&self, route: &Route<'_>, info: &RequestInfo) -> Option<Duration> {
        let app = self.apps.get(route.backend_app()?.index)?;
        if !self.all.is_on() && !app.switch.is_on() {
            return None;
        }
        let client = info.address.end_client;
        let passes = client.is_some_and(|client| app.allowed.contain(client));
        (!passes).then_some(app.retry_after)
    }

    /// Switches maintenance of an app, or of all, until the next command. Whether it is on now: its file
    /// may keep it on.
    ///
    /// # Errors
    /// No app has this name.
    pub fn command(&self, name: Option<&str>, is_on: bool) -> Result<bool, UnknownApp> {
        let switch = match name {
            None => &self.all,
            Some(name) => &self.app(name).ok_or(UnknownApp)?.switch,
        };
        if switch.positions.by_command.swap(is_on, Ordering::Relaxed) != is_on {
            log_change(name, is_on, "command");
        }
        Ok(switch.is_on())
    }

    /// Whether any switch follows a file.
    pub fn has_files(&self) -> bool {
        self.named_switches()
            .any(|(_, switch)| switch.file.is_some())
    }

    /// Looks for the files. Blocks. A switch whose file cannot be looked for stays as it is.
    pub fn check_files(&self) {
        for (name, switch) in self.named_switches() {
            let exists = switch.file.as_deref().map_or(Ok(false), Path::try_exists);
            let Positions {
                by_file,
                is_unreadable,
                ..
            } = &*switch.positions;
            let was_unreadable = is_unreadable.swap(exists.is_err(), Ordering::Relaxed);
            match exists {
                Ok(exists) if by_file.swap(exists, Ordering::Relaxed) != exists => {
                    log_change(name, exists, "file");
                }
                Err(error) if !was_unreadable => {
                    tracing::warn!(app = name, %error, "maintenance_file_unreadable");
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// The state of the switches.
    pub fn state(&self) -> MaintenanceState {
        let apps = self.apps.iter().filter(|app| app.switch.is_on());
        MaintenanceState {
            all: self.all.is_on(),
            apps: apps.map(|app| app.name.clone()).collect(),
        }
    }

    fn app(&self, name: &str) -> Option<&AppMaintenance> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// The switches, with the names of their apps.
    fn named_switches(&self) -> impl Iterator<Item = (Option<&str>, &Switch)> {
        let apps = self.apps.iter();
        let apps = apps.map(|app| (Some(app.name.as_str()), &app.switch));
        std::iter::once((None, &self.all)).chain(apps)
    }
}

impl Switch {
    fn is_on(&self) -> bool {
        let positions = [&self.positions.by_command, &self.positions.by_file];
        positions
            .iter()
            .any(|position| position.load(Ordering::Relaxed))
    }
}

fn log_change(app: Option<&str>, on: bool, by: &'static str) {
    tracing::info!(app, on, by, "maintenance_switched");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn settings(file: Option<PathBuf>) -> MaintenanceSettings {
        MaintenanceSettings {
            file,
            retry_after: Duration::from_secs(60),
            allowed: Networks::default(),
        }
    }

    fn of_apps(names: &[&str], previous: Option<&Maintenance>) -> Maintenance {
        let settings = settings(None);
        let apps = names.iter().map(|name| NamedMaintenance {
            name,
            settings: &settings,
        });
        Maintenance::new(None, apps, previous)
    }

    fn state(all: bool, apps: &[&str]) -> MaintenanceState {
        MaintenanceState {
            all,
            apps: apps.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn commands_switch_one_app_or_all() {
        let maintenance = of_apps(&["store", "forum"], None);
        assert_eq!(maintenance.state(), state(false, &[]));
        assert_eq!(maintenance.command(Some("store"), true), Ok(true));
        assert_eq!(maintenance.state(), state(false, &["store"]));
        assert_eq!(maintenance.command(None, true), Ok(true));
        assert_eq!(maintenance.command(Some("store"), false), Ok(false));
        assert_eq!(maintenance.state(), state(true, &[]));
        assert_eq!(maintenance.command(Some("wiki"), true), Err(UnknownApp));
    }

    #[test]
    fn positions_are_kept_by_name_and_forgotten_with_the_app() {
        let first = of_apps(&["store", "forum"], None);
        first.command(Some("forum"), true).unwrap();
        first.command(None, true).unwrap();
        let second = of_apps(&["wiki", "forum"], Some(&first));
        assert_eq!(second.state(), state(true, &["forum"]));
        let third = of_apps(&["wiki"], Some(&second));
        let fourth = of_apps(&["wiki", "forum"], Some(&third));
        assert_eq!(fourth.state(), state(true, &[]));
    }

    #[test]
    fn file_switches_and_wins_over_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("maintenance");
        let with_file = settings(Some(file.clone()));
        let named = |settings| NamedMaintenance {
            name: "store",
            settings,
        };
        let first = Maintenance::new(None, [named(&with_file)].into_iter(), None);
        assert!(first.has_files());
        let is_on = |maintenance: &Maintenance| {
            maintenance.check_files();
            maintenance.state() == state(false, &["store"])
        };
        assert!(!is_on(&first));
        fs::write(&file, "").unwrap();
        assert!(is_on(&first));
        assert_eq!(first.command(Some("store"), false), Ok(true));
        // Without the key, the file no longer counts.
        let without = settings(None);
        let second = Maintenance::new(None, [named(&without)].into_iter(), Some(&first));
        assert!(!second.has_files() && !is_on(&second));
        fs::remove_file(&file).unwrap();
        assert!(!is_on(&first));
    }

    #[test]
    fn switch_stays_if_its_file_cannot_be_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("parent");
        let file = parent.join("maintenance");
        fs::create_dir(&parent).unwrap();
        fs::write(&file, "").unwrap();
        let maintenance = Maintenance::new(Some(&file), std::iter::empty(), None);
        maintenance.check_files();
        assert!(maintenance.state().all);
        // Its path is now one below a file.
        fs::remove_dir_all(&parent).unwrap();
        fs::write(&parent, "").unwrap();
        maintenance.check_files();
        assert!(maintenance.state().all);
    }
}
