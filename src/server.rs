//! Startup and graceful shutdown of all components.

mod apps;
mod certificates;
mod compose;
pub mod explain;
mod listeners;
mod login_host;
mod observe;
mod operations;
mod providers;
mod readiness;
mod reload;
mod restart;
mod stores;
mod tasks;
mod upstreams;
mod watch;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Runtime;

use crate::admin::{Admin, ReloadError, Reloaded};
use crate::auth::app::AppAuth;
use crate::auth::operator_command::sealed;
use crate::auth::purposes::{
    MaintenanceCommand, ReloadCommand, SealedMaintenanceCommand, SealedReloadCommand,
};
use crate::auth::session_list::query::{SealedSessionQuery, SessionQuery};
use crate::config::{Config, Loaded};
use crate::downstream::{self, ActivatedSockets, DrainTrigger, ListenError};
use crate::runtime::BackgroundRuntime;
use crate::store::RedisSettingsError;
use crate::telemetry::access::AccessLog;
use crate::telemetry::audit::{AuditLog, AuditTarget};
use crate::telemetry::health::{Condition, Health};
use crate::telemetry::line_writer::LineWriter;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::{SpanExportError, SpanRecorder};
use crate::types::time::{Clock, SystemClock};
use crate::upstream::UpstreamPlanError;
use crate::worker::Worker;
use compose::{Configured, Process, ProcessParts, log_names};
use listeners::Listeners;
use operations::ServerOperations;
use reload::{Reloader, ReloaderParts};

pub use reload::Trigger;

pub(crate) use upstreams::plans as app_plans;

/// How long the shutdown waits until the store has the revocations of this process.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the end of the process waits for the export of spans.
const SPAN_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server.
pub struct Server {
    addresses: Vec<Option<SocketAddr>>,
    admin_address: Option<SocketAddr>,
    decision_address: Option<SocketAddr>,
    trigger: DrainTrigger,
    admin_trigger: DrainTrigger,
    serving: Condition,
    workers: Vec<JoinHandle<io::Result<()>>>,
    reloader: Arc<Reloader>,
    // Dropped in this order, after the workers have ended.
    runtime: Runtime,
    access: Option<AccessLog>,
    audit: Option<AuditLog>,
}

/// The apps of a configuration with their seals, for commands that do not serve.
///
/// # Errors
/// See [`StartError`].
pub fn apps(config: &Config) -> Result<Vec<Arc<AppAuth>>, StartError> {
    crate::oidc::install_crypto();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    compose::apps_of(config, &clock)
}

/// The message that orders a server with one of these keys to reload. `None`: no randomness.
///
/// # Errors
/// See [`StartError`].
pub fn reload_command(config: &Config) -> Result<Option<String>, StartError> {
    let given_at = SystemClock.now();
    let rings = apps::single_key_rings(config)?;
    Ok(sealed::<SealedReloadCommand>(
        &rings,
        &ReloadCommand { given_at },
    ))
}

/// The message that orders a server with one of these keys to switch maintenance of an app, or of all.
/// `None`: no randomness.
///
/// # Errors
/// See [`StartError`].
pub fn maintenance_command(
    config: &Config,
    app: Option<String>,
    is_on: bool,
) -> Result<Option<String>, StartError> {
    let given_at = SystemClock.now();
    let rings = apps::single_key_rings(config)?;
    Ok(sealed::<SealedMaintenanceCommand>(
        &rings,
        &MaintenanceCommand {
            given_at,
            app,
            is_on,
        },
    ))
}

/// The message that asks a server with one of these keys for sessions. `None`: no randomness.
///
/// # Errors
/// See [`StartError`].
pub fn session_query(config: &Config, query: &SessionQuery) -> Result<Option<String>, StartError> {
    let rings = apps::single_key_rings(config)?;
    Ok(sealed::<SealedSessionQuery>(&rings, query))
}

/// Errors at startup.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A socket was passed by systemd that no listener uses.
    #[error(
        "the socket `{0}` was passed, but no listener uses it; \
         name it `listen`, `listen-2`, …, `admin_listen` or `decision_listen` (systemd: FileDescriptorName=), or do not pass it"
    )]
    UnusedSocket(String),
    /// The settings of an upstream are invalid.
    #[error("the upstream of app `{0}`: {1}")]
    Upstream(String, UpstreamPlanError),
    /// An app refers to an unknown provider.
    #[error("app `{0}` refers to a provider that is not configured")]
    UnknownProvider(String),
    /// A sealing key is invalid.
    #[error("a sealing key is invalid")]
    Key,
    /// The settings of the store are invalid.
    #[error("the store: {0}")]
    Store(#[from] RedisSettingsError),
    /// The journal cannot be opened.
    #[error("the journal `{0}`: {1}")]
    Journal(PathBuf, io::Error),
    /// The audit log cannot be opened.
    #[error("the audit log `{0}`: {1}")]
    AuditLog(AuditTarget, io::Error),
    /// The export of traces cannot be set up.
    #[error("the export of traces: {0}")]
    Spans(SpanExportError),
    /// No listener is configured.
    #[error("no listener is configured")]
    NoListener,
    /// A metric name is invalid or not unique.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A thread, socket or random bytes are not available.
    #[error("system resource: {0}")]
    System(#[from] io::Error),
}

impl Server {
    /// Starts all components. The provider need not be available yet. Without `stdout` there is no access
    /// log.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running.
    pub fn start(
        loaded: Loaded,
        clock: Arc<dyn Clock>,
        stdout: Option<Arc<LineWriter>>,
    ) -> Result<Self, StartError> {
        Self::start_on(ActivatedSockets::default(), loaded, clock, stdout)
    }

    /// Like [`Self::start`], with sockets from socket activation.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running.
    pub fn start_on(
        mut inherited: ActivatedSockets,
        loaded: Loaded,
        clock: Arc<dyn Clock>,
        stdout: Option<Arc<LineWriter>>,
    ) -> Result<Self, StartError> {
        crate::oidc::install_crypto();
        let Loaded {
            config,
            inputs,
            source,
            ..
        } = loaded;
        let metrics = Arc::new(Metrics::new()?);
        let version = [env!("CARGO_PKG_VERSION")];
        metrics.build_info.with_label_values(&version).set(1);
        metrics.begin();
        let mut health = Health::new();
        let serving = health.condition("serving");
        let revocations_known = health.condition("revocations");
        let workers_alive = health.liveness("workers");
        let audit = config.log.audit.as_ref();
        let audit = audit.map(|settings| {
            AuditLog::start(settings, Arc::clone(&clock), &metrics, stdout.as_ref())
                .map_err(|error| StartError::AuditLog(settings.target.clone(), error))
        });
        let audit = audit.transpose()?;
        let access = stdout.filter(|_| config.log.access).map(AccessLog::on);
        let (listeners, controls) = Listeners::open(&config, &mut inherited)?;
        if let Some(unused) = inherited.unused() {
            return Err(StartError::UnusedSocket(unused));
        }
        let addresses = listeners.clients.iter();
        let addresses = addresses.map(|open| open.listener.local_addr()).collect();
        let admin_address = listeners.admin.listener.local_addr();
        let decision = listeners.decision.as_ref();
        let decision_address = decision.and_then(|open| open.listener.local_addr());

        let (background, runtime) = BackgroundRuntime::start()?;
        let first = listeners.clients.first().ok_or(StartError::NoListener)?;
        let bytes = Arc::clone(first.listener.byte_budget());
        let audit_buffer = audit.as_ref().map(AuditLog::buffer);
        let endpoint = config.tracing.otlp_endpoint.as_ref();
        let spans = endpoint.map(|endpoint| {
            let seed = RandomState::new().hash_one(());
            SpanRecorder::start(endpoint.as_str(), background.handle(), &metrics, seed)
                .map_err(StartError::Spans)
        });
        let spans = spans.transpose()?;
        let process = Process::new(ProcessParts {
            runtime: background.clone(),
            metrics: Arc::clone(&metrics),
            clock,
            bytes,
            audit: audit_buffer.clone(),
            spans,
            names: log_names(&config)?,
        })?;
        let number = config.server.workers.get();
        let configured = Configured::at_start(config, &process)?;
        let proxies = (0..number).map(|_| {
            let buffer = access
                .as_ref()
                .map(|access| access.buffer(configured.config.log.access_format, &metrics));
            Arc::new(ArcSwap::from_pointee(configured.proxy(buffer, &process)))
        });
        let proxies: Vec<_> = proxies.collect();
        let reloader = Reloader::new(ReloaderParts {
            process,
            configured,
            inputs,
            source,
            workers: proxies.clone(),
            listeners: controls,
        });
        let (trigger, drain) = downstream::drain();
        let (admin_trigger, admin_drain) = downstream::drain();
        // First, so that probes are answered while revocations are read.
        let operations = Arc::new(ServerOperations(Arc::clone(&reloader)));
        let admin_handler = Admin {
            health: Arc::new(health),
            metrics: Arc::clone(&metrics),
            operations,
            audit: audit_buffer,
        };
        let mut of_workers = listeners.for_workers(number)?.into_iter();
        tasks::serve_admin(
            &background,
            listeners.admin,
            Arc::new(admin_handler),
            &metrics,
            admin_drain,
        );
        tasks::start_replication(&reloader, revocations_known);
        let mut workers = Vec::with_capacity(number);
        for (index, proxy) in proxies.into_iter().enumerate() {
            let duplicates = of_workers.next().unwrap_or_default();
            let worker = Worker {
                listeners: duplicates.clients,
                decision: duplicates.decision,
                proxy,
                tunnels: Arc::clone(&reloader.process().tunnels),
                metrics: Arc::clone(&metrics),
                drain: drain.clone(),
                alive: workers_alive.clone(),
            };
            workers.push(worker.start(index)?);
        }
        // After the workers, which can serve without provider metadata and trust store.
        tasks::start_periodic(&reloader);
        serving.met();
        Ok(Self {
            addresses,
            admin_address,
            decision_address,
            trigger,
            admin_trigger,
            serving,
            workers,
            reloader,
            runtime,
            access,
            audit,
        })
    }

    /// Reads the configuration again and uses it. The outcome is logged.
    ///
    /// # Errors
    /// The configuration is invalid. The one in use stays.
    pub async fn reload(&self, trigger: Trigger) -> Result<Reloaded, ReloadError> {
        self.reloader.reload(trigger).await
    }

    /// How long to serve after a termination signal, before [`Self::shut_down`].
    pub fn shutdown_delay(&self) -> Duration {
        self.reloader.current().config.server.shutdown_delay
    }

    /// The address of the first listener for clients. `None` for a Unix domain socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses.first().copied().flatten()
    }

    /// The addresses of all listeners for clients, in the order of the configuration. `None` for a
    /// Unix domain socket.
    pub fn addresses(&self) -> &[Option<SocketAddr>] {
        &self.addresses
    }

    /// The address of the admin listener. `None` for a Unix domain socket.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// The address of the decision listener. `None` for a Unix domain socket, or without one.
    pub const fn decision_address(&self) -> Option<SocketAddr> {
        self.decision_address
    }

    /// Whether all worker threads are running.
    pub fn all_workers_alive(&self) -> bool {
        self.workers.iter().all(|worker| !worker.is_finished())
    }

    /// Reports not ready and closes connections after their next response, but continues to serve,
    /// so that load balancers can stop sending requests.
    pub fn begin_shutdown(&self) {
        self.serving.unmet();
        self.trigger.announce();
    }

    /// Stops accepting, waits for requests in flight until the drain deadline, and stops all
    /// components. Blocks, so it must not be called on an async runtime.
    pub fn shut_down(self) {
        self.serving.unmet();
        self.trigger.start();
        for worker in self.workers {
            match worker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "worker_failed"),
                Err(_) => tracing::error!(error = "panicked", "worker_failed"),
            }
        }
        let revocations = self.reloader.current().auth.revocations.clone();
        self.runtime.block_on(revocations.flush(PUBLISH_TIMEOUT));
        if let Some(spans) = &self.reloader.process().spans {
            let _ = self
                .runtime
                .block_on(async { tokio::time::timeout(SPAN_FLUSH_TIMEOUT, spans.flush()).await });
        }
        // Last, so that probes and metrics are available while the rest drains.
        self.admin_trigger.start();
        // Background tasks such as refreshes may still run, but no request waits for them.
        self.runtime.shutdown_background();
        drop((self.access, self.audit));
    }
}
