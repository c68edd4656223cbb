//! Readiness report: the JSON body of `/readyz`. Probes need only the status.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::types::time::Timestamp;

/// The state of the components that a process depends on. Nothing is called to find it out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Dependencies {
    /// The configuration in use.
    pub configuration: ConfigurationStatus,
    /// Maintenance, which makes no process unready.
    pub maintenance: MaintenanceStatus,
    /// The store.
    pub store: StoreStatus,
    /// The replication of revocations.
    pub revocations: RevocationStatus,
    /// The providers, by name.
    pub providers: BTreeMap<String, ProviderStatus>,
    /// The apps' upstreams, by name of the app.
    pub upstreams: BTreeMap<String, UpstreamStatus>,
}

/// The configuration in use.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConfigurationStatus {
    /// When it was loaded, in seconds since the epoch.
    pub loaded_at: Timestamp,
    /// The number of apps.
    pub apps: usize,
    /// The number of providers.
    pub providers: usize,
    /// Identifies it, as in the metric `doorward_config_info`.
    pub hash: String,
    /// The last attempt to load another one. `None` before the first.
    pub last_reload: Option<LastReload>,
    /// Keys whose values need a restart.
    pub restart_keys: Vec<String>,
}

/// An attempt to load another configuration.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LastReload {
    /// When, in seconds since the epoch.
    pub at: Timestamp,
    /// Whether the configuration was valid.
    pub successful: bool,
    /// The first problems of an invalid one.
    pub problems: Vec<String>,
}

/// Which apps are in maintenance.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MaintenanceStatus {
    /// Whether all are.
    pub all: bool,
    /// The apps that are in maintenance on their own.
    pub apps: Vec<String>,
}

/// The store.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoreStatus {
    /// `memory` or `redis`.
    pub backend: &'static str,
    /// Whether the last call succeeded. `None` before the first call.
    pub up: Option<bool>,
}

/// The replication of revocations.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RevocationStatus {
    /// Whether all published revocations are known here.
    pub synced: bool,
}

/// A provider.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProviderStatus {
    /// Whether its metadata and keys were ever fetched by this process.
    pub reached: bool,
    /// Whether readiness still waits for it.
    pub awaited: bool,
    /// Why the last fetch of metadata or keys failed.
    pub failure: Option<Failure>,
}

/// Why a call failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The stable code.
    pub code: &'static str,
    /// The error, with the URL.
    pub message: String,
}

/// The upstream of an app.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UpstreamStatus {
    /// The connections to the app's own address.
    #[serde(flatten)]
    pub app: DialStatus,
    /// Those to other addresses of its routes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, DialStatus>,
    /// The addresses of the app and its routes, if there are several.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, AddressStatus>,
}

/// The connections to an address.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DialStatus {
    /// How the last attempt to connect ended: `ok`, or the code of the error. `None` before it.
    pub last_dial: Option<&'static str>,
    /// The seconds since then.
    pub seconds_ago: Option<u64>,
}

/// One of several addresses of an upstream.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AddressStatus {
    /// `working`, `on_trial`, `ejected` or `unhealthy`.
    pub state: &'static str,
    /// Requests whose response is not complete.
    pub in_flight: usize,
}

/// The whole report.
#[derive(Serialize)]
struct Report<'r> {
    status: &'static str,
    /// The conditions that are not met.
    unmet: &'r [String],
    #[serde(flatten)]
    dependencies: &'r Dependencies,
}

/// Readiness at one moment.
pub(super) struct Readiness {
    pub(super) is_ready: bool,
    /// The report, in JSON.
    pub(super) text: String,
}

impl Readiness {
    /// Adds the providers that are still awaited to the conditions that are not met.
    pub(super) fn of(missing: impl Iterator<Item = &'static str>, state: &Dependencies) -> Self {
        let awaited = state.providers.iter().filter(|(_, state)| state.awaited);
        let awaited = awaited.map(|(name, _)| format!("provider:{name}"));
        let unmet: Vec<String> = missing.map(str::to_owned).chain(awaited).collect();
        let is_ready = unmet.is_empty();
        let report = Report {
            status: if is_ready { "ready" } else { "not ready" },
            unmet: &unmet,
            dependencies: state,
        };
        // Serialization of these types does not fail. Without it the status still counts.
        let mut text = serde_json::to_string(&report).unwrap_or_default();
        text.push('\n');
        Self { is_ready, text }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn awaited_provider_is_unmet_and_a_failing_one_is_not() {
        let provider = |awaited: bool| ProviderStatus {
            reached: !awaited,
            awaited,
            failure: Some(Failure {
                code: "provider_unreachable",
                message: "at https://login.example.com/".to_owned(),
            }),
        };
        for (awaited, missing, unmet) in [
            (false, &[][..], json!([])),
            (true, &[], json!(["provider:login"])),
            (true, &["serving"], json!(["serving", "provider:login"])),
        ] {
            let state = Dependencies {
                providers: BTreeMap::from([("login".to_owned(), provider(awaited))]),
                ..Dependencies::default()
            };
            let readiness = Readiness::of(missing.iter().copied(), &state);
            let report: Value = serde_json::from_str(&readiness.text).unwrap();
            assert_eq!(report["unmet"], unmet);
            assert_eq!(readiness.is_ready, report["status"] == "ready");
            assert_eq!(
                report["providers"]["login"]["failure"]["code"],
                "provider_unreachable"
            );
        }
    }
}
