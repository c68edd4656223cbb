//! Configuration reload: reads the configuration again and replaces the one in use as a whole, or
//! keeps it if the new one is invalid. A request is handled in one configuration until its end.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::compose::{Configured, Process};
use super::listeners::ListenerControls;
use super::restart::{is_tls_changed, keep_unchangeable, restart_keys};
use super::{StartError, observe};
use crate::admin::readiness::{ConfigurationStatus, LastReload};
use crate::admin::{ReloadError, Reloaded};
use crate::config::{
    Change, Config, ConfigSource, Diagnosis, Inputs, InvalidConfig, Loaded, Problem, SealingKey,
    Severity,
};
use crate::lock::lock;
use crate::proxy::Proxy;
use crate::telemetry::audit::AuditEvent;
use crate::telemetry::log;
use crate::types::time::Timestamp;

/// How often a configuration is read again whose files changed meanwhile.
const MAX_READS: usize = 3;

/// The most changes and problems that are logged for one reload.
const MAX_LOGGED: usize = 50;

/// The most problems in `/readyz`.
const MAX_REPORTED: usize = 5;

/// A table whose changes replace the TLS settings of the listeners.
const TLS_TABLE: &str = "server.tls.";

/// The trigger of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// SIGHUP.
    Signal,
    /// A file has changed.
    Files,
    /// An operator's command to the admin listener.
    Command,
}

/// The configuration in use, and all that is needed to replace it.
pub(super) struct Reloader {
    process: Process,
    source: ConfigSource,
    current: ArcSwap<Configured>,
    workers: Vec<Arc<ArcSwap<Proxy>>>,
    listeners: ListenerControls,
    at_start: AtStart,
    /// The configuration that was read last, valid or not.
    attempted: ArcSwap<Inputs>,
    /// Locked during a reload.
    state: Mutex<State>,
    status: ArcSwap<ConfigurationStatus>,
}

/// The configuration with which the process started.
struct AtStart {
    config: Config,
    inputs: Inputs,
}

/// The parts that a reload replaces.
struct State {
    /// The sources of the configuration in use.
    inputs: Inputs,
}

/// The parts of a [`Reloader`].
pub(super) struct ReloaderParts {
    pub(super) process: Process,
    pub(super) configured: Configured,
    pub(super) inputs: Inputs,
    pub(super) source: ConfigSource,
    pub(super) workers: Vec<Arc<ArcSwap<Proxy>>>,
    pub(super) listeners: ListenerControls,
}

/// Why the configuration in use was kept.
enum Refused {
    Invalid(Diagnosis),
    Unusable(StartError),
}

impl Trigger {
    /// The value in logs and metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Files => "files",
            Self::Command => "command",
        }
    }
}

impl Reloader {
    pub(super) fn new(parts: ReloaderParts) -> Arc<Self> {
        let ReloaderParts {
            process,
            configured,
            inputs,
            source,
            workers,
            listeners,
        } = parts;
        let status = ConfigurationStatus {
            loaded_at: process.clock.now(),
            apps: configured.config.apps.len(),
            providers: configured.config.providers.len(),
            hash: inputs.hash(),
            ..ConfigurationStatus::default()
        };
        let metrics = &process.metrics;
        metrics.config_last_reload_successful.set(1);
        set_live(&process, &configured.config, &status);
        Arc::new(Self {
            at_start: AtStart {
                config: configured.config.clone(),
                inputs: inputs.clone(),
            },
            attempted: ArcSwap::from_pointee(inputs.clone()),
            state: Mutex::new(State { inputs }),
            status: ArcSwap::from_pointee(status),
            current: ArcSwap::from_pointee(configured),
            process,
            source,
            workers,
            listeners,
        })
    }

    /// The parts that all configurations share.
    pub(super) const fn process(&self) -> &Process {
        &self.process
    }

    /// The configuration in use.
    pub(super) fn current(&self) -> Arc<Configured> {
        self.current.load_full()
    }

    /// The configuration that was read last, valid or not.
    pub(super) fn attempted(&self) -> Arc<Inputs> {
        self.attempted.load_full()
    }

    /// The state of the configuration, for `/readyz`.
    pub(super) fn status(&self) -> ConfigurationStatus {
        ConfigurationStatus::clone(&self.status.load())
    }

    /// Reads the configuration again and uses it if it is valid.
    ///
    /// # Errors
    /// It is invalid. The one in use stays.
    pub(super) async fn reload(
        self: &Arc<Self>,
        trigger: Trigger,
    ) -> Result<Reloaded, ReloadError> {
        let this = Arc::clone(self);
        let runtime = self.process.runtime.handle();
        // Reads files.
        let reloaded = runtime.spawn_blocking(move || this.reload_blocking(trigger));
        let reloaded = reloaded.await;
        reloaded.unwrap_or_else(|error| Err(ReloadError::Invalid(format!("{error}\n"))))
    }

    fn reload_blocking(&self, trigger: Trigger) -> Result<Reloaded, ReloadError> {
        let mut state = lock(&self.state);
        let result = self.apply(&mut state);
        let at = self.process.clock.now();
        let outcome = match &result {
            Ok(reloaded) if reloaded.changes == 0 => "unchanged",
            Ok(_) => "applied",
            Err(_) => "refused",
        };
        let metrics = &self.process.metrics;
        metrics
            .config_reloads
            .with_label_values(&[trigger.name(), outcome])
            .inc();
        metrics
            .config_last_reload_successful
            .set(i64::from(result.is_ok()));
        match result {
            Ok(reloaded) => {
                self.succeeded(trigger, &reloaded, at);
                Ok(reloaded)
            }
            Err(refused) => Err(self.refused(trigger, &refused, at)),
        }
    }

    /// Replaces the configuration in use, unless nothing has changed.
    fn apply(&self, state: &mut State) -> Result<Reloaded, Refused> {
        let loaded = match self.read() {
            Ok(loaded) => loaded,
            Err(InvalidConfig { diagnosis, inputs }) => {
                self.attempted.store(Arc::new(inputs));
                return Err(Refused::Invalid(diagnosis));
            }
        };
        self.attempted.store(Arc::new(loaded.inputs.clone()));
        let changes = loaded.inputs.changes_since(&state.inputs);
        let is_tls_changed = is_tls_changed(&loaded.config, &self.at_start.config);
        let restart_keys = restart_keys(&loaded.inputs, &self.at_start.inputs, is_tls_changed);
        if !changes.is_empty() {
            let previous = self.current();
            let mut config = keep_unchangeable(loaded.config, &previous.config);
            let changes_tls = changes
                .iter()
                .any(|change| change.key.starts_with(TLS_TABLE));
            if let (false, Some(tls), Some(before)) = (
                changes_tls,
                &mut config.server.tls,
                &previous.config.server.tls,
            ) {
                // Clients can continue to resume TLS sessions.
                tls.config = Arc::clone(&before.config);
            }
            let configured = previous
                .successor(config, &self.process)
                .map_err(Refused::Unusable)?;
            self.use_from_now_on(configured, &previous);
            log_changes(&changes);
            log_problems(loaded.warnings.without_advice().problems());
        }
        state.inputs = loaded.inputs;
        Ok(Reloaded {
            changes: changes.len(),
            restart_keys,
        })
    }

    /// Reads the configuration in one state of its files, as far as their times tell.
    fn read(&self) -> Result<Loaded, InvalidConfig> {
        let mut reads = 1;
        loop {
            let read = self.source.load();
            let inputs = match &read {
                Ok(loaded) => &loaded.inputs,
                Err(invalid) => &invalid.inputs,
            };
            if inputs.are_current() || reads == MAX_READS {
                return read;
            }
            reads += 1;
        }
    }

    fn use_from_now_on(&self, configured: Configured, previous: &Configured) {
        let configured = Arc::new(configured);
        configured.take_over_from(previous, &self.process);
        self.current.store(Arc::clone(&configured));
        for worker in &self.workers {
            let proxy = configured.proxy_after(&worker.load(), &self.process);
            worker.store(Arc::new(proxy));
        }
        self.listeners.apply(&configured.config);
        if let Err(error) = log::set_filter(configured.config.log.filter) {
            tracing::error!(%error, "log_level_not_set");
        }
        observe::reset_gauges(&self.process.metrics);
        configured.start_tasks(&self.process);
    }

    fn succeeded(&self, trigger: Trigger, reloaded: &Reloaded, at: Timestamp) {
        let trigger = trigger.name();
        let current = self.current();
        let status = ConfigurationStatus {
            loaded_at: at,
            apps: current.config.apps.len(),
            providers: current.config.providers.len(),
            hash: self.attempted().hash(),
            last_reload: Some(LastReload {
                at,
                successful: true,
                problems: Vec::new(),
            }),
            restart_keys: reloaded.restart_keys.clone(),
        };
        set_live(&self.process, &current.config, &status);
        let (changes, hash) = (reloaded.changes, &status.hash);
        tracing::info!(trigger, changes, hash, "config_reloaded");
        self.audit(&AuditEvent {
            trigger: Some(trigger),
            changes: u64::try_from(changes).ok(),
            hash: Some(hash),
            ..AuditEvent::new("config_reloaded")
        });
        for key in &status.restart_keys {
            tracing::warn!(key, "config_needs_restart");
        }
        self.status.store(Arc::new(status));
    }

    fn refused(&self, trigger: Trigger, refused: &Refused, at: Timestamp) -> ReloadError {
        let trigger = trigger.name();
        let problems = match refused {
            Refused::Invalid(diagnosis) => {
                let errors = diagnosis.errors();
                tracing::error!(trigger, errors, "config_refused");
                log_problems(diagnosis.problems());
                let problems = diagnosis.problems().iter();
                let errors = problems.filter(|problem| problem.severity == Severity::Error);
                let texts = errors.map(|problem| format!("{}: {}", problem.key, problem.message));
                texts.take(MAX_REPORTED).collect()
            }
            Refused::Unusable(error) => {
                tracing::error!(trigger, errors = 1, %error, "config_refused");
                vec![error.to_string()]
            }
        };
        let mut status = self.status();
        self.audit(&AuditEvent {
            is_warning: true,
            trigger: Some(trigger),
            hash: Some(&status.hash),
            error: problems.first().map(String::as_str),
            ..AuditEvent::new("config_refused")
        });
        status.last_reload = Some(LastReload {
            at,
            successful: false,
            problems,
        });
        self.status.store(Arc::new(status));
        ReloadError::Invalid(match refused {
            Refused::Invalid(diagnosis) => diagnosis.render(false),
            Refused::Unusable(error) => format!("{error}\n"),
        })
    }

    fn audit(&self, event: &AuditEvent<'_>) {
        if let Some(audit) = &self.process.audit {
            audit.write(event);
        }
    }
}

/// Sets the metrics of the configuration in use.
fn set_live(process: &Process, config: &Config, status: &ConfigurationStatus) {
    let metrics = &process.metrics;
    let created = config.keys.first().and_then(SealingKey::created);
    let created = created.map_or(0, |created| {
        i64::try_from(created.secs()).unwrap_or(i64::MAX)
    });
    metrics.sealing_key_created.set(created);
    let loaded_at = i64::try_from(status.loaded_at.secs()).unwrap_or(i64::MAX);
    metrics.config_last_reload_success.set(loaded_at);
    metrics.config_info.reset();
    metrics
        .config_info
        .with_label_values(&[&status.hash])
        .set(1);
    let restart_keys = i64::try_from(status.restart_keys.len()).unwrap_or(i64::MAX);
    metrics.config_restart_keys.set(restart_keys);
}

fn log_changes(changes: &[Change]) {
    for Change { key, old, new } in changes.iter().take(MAX_LOGGED) {
        let (old, new) = (old.as_deref(), new.as_deref());
        tracing::info!(key, old, new, "config_changed");
    }
    log_omitted(changes.len());
}

fn log_problems(problems: &[Problem]) {
    for problem in problems.iter().take(MAX_LOGGED) {
        let Problem {
            severity,
            location,
            key,
            message,
            hint,
        } = problem;
        // Problems of the file as a whole have no key.
        let key = Some(key.as_str()).filter(|key| !key.is_empty());
        let line = location.line();
        let hint = hint.as_deref();
        match severity {
            Severity::Error => tracing::error!(key, line, error = message, hint, "config_problem"),
            Severity::Warning => tracing::warn!(key, line, error = message, hint, "config_problem"),
            Severity::Advice => {}
        }
    }
    log_omitted(problems.len());
}

fn log_omitted(count: usize) {
    if let Some(omitted @ 1..) = count.checked_sub(MAX_LOGGED) {
        tracing::info!(count = omitted, "config_log_cut");
    }
}
