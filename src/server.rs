//! Startup and graceful shutdown of all components.

mod compose;
mod login_host;
mod observe;
mod readiness;
mod rule_lists;
mod upstreams;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::admin::Admin;
use crate::auth::app::AppAuth;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::config::Config;
use crate::dns::Resolver;
use crate::downstream::{
    self, ActivatedSockets, CertificateMonitor, DrainTrigger, ListenError, Listener,
    ListenerSettings, Role, SocketAccess,
};
use crate::runtime::BackgroundRuntime;
use crate::store::RedisSettingsError;
use crate::telemetry::access::AccessLog;
use crate::telemetry::health::{Condition, Health};
use crate::telemetry::metrics::Metrics;
use crate::types::time::{Clock, SystemClock};
use crate::upstream::{Tunnels, UpstreamPlanError};
use crate::worker::{Worker, WorkerListener};
use compose::Components;

/// How long the shutdown waits until the store has the revocations of this process.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server.
pub struct Server {
    addresses: Vec<Option<SocketAddr>>,
    admin_address: Option<SocketAddr>,
    decision_address: Option<SocketAddr>,
    trigger: DrainTrigger,
    admin_trigger: DrainTrigger,
    serving: Condition,
    workers: Vec<JoinHandle<io::Result<()>>>,
    revocations: RevocationReplicator,
    // Dropped in this order, after the workers have ended.
    runtime: Runtime,
    access: Option<AccessLog>,
}

/// The apps of a configuration with their seals, for commands that do not serve.
///
/// # Errors
/// See [`StartError`].
pub fn apps(config: &Config) -> Result<Vec<Arc<AppAuth>>, StartError> {
    crate::oidc::install_crypto();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    compose::build_apps(config, &clock, &Resolver::default()).map(|components| components.apps)
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
    /// No listener is configured.
    #[error("no listener is configured")]
    NoListener,
    /// The pages do not compile.
    #[error("cannot compile the built-in pages: {0}")]
    Pages(#[from] crate::proxy::pages::PagesError),
    /// A metric name is invalid or not unique.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A thread, socket or random bytes are not available.
    #[error("system resource: {0}")]
    System(#[from] io::Error),
}

/// Opens the listeners for clients. Their connections share one set of limits.
fn open_listeners(
    config: &Config,
    inherited: &mut ActivatedSockets,
) -> Result<Vec<WorkerListener>, ListenError> {
    let tls = config.server.tls.as_ref();
    let mut listeners: Vec<WorkerListener> = Vec::new();
    for (index, one) in config.server.listeners.iter().enumerate() {
        let settings = ListenerSettings {
            proxy_protocol: one.proxy_protocol,
            redirects_to_https: one.redirects_to_https,
            socket_access: one.socket_access,
            ..config.server.limits.clone()
        };
        let opened = Listener::open(Role::Listen(index), &one.address, &settings, inherited)?;
        let listener = match listeners.first() {
            Some(first) => opened.sharing_limits_of(&first.listener),
            None => opened,
        };
        listeners.push(WorkerListener {
            listener,
            tls: tls.filter(|_| one.tls).map(|tls| Arc::clone(&tls.config)),
            settings: Arc::new(settings),
        });
    }
    Ok(listeners)
}

/// Opens the decision listener. The requests to it are those of clients with a description added to
/// them. A Unix domain socket has the permissions of the first listener's.
fn open_decision_listener(
    config: &Config,
    inherited: &mut ActivatedSockets,
) -> Result<Option<WorkerListener>, ListenError> {
    /// Fields that a description adds.
    const ADDED_FIELDS: usize = 20;
    let Some(address) = &config.server.decision_listen else {
        return Ok(None);
    };
    let limits = &config.server.limits;
    let first = config.server.listeners.first();
    let settings = ListenerSettings {
        max_header_bytes: limits.max_header_bytes.saturating_mul(2),
        max_header_count: limits.max_header_count.saturating_add(ADDED_FIELDS),
        socket_access: first.map_or_else(SocketAccess::default, |first| first.socket_access),
        ..limits.clone()
    };
    Ok(Some(WorkerListener {
        listener: Listener::open(Role::DecisionListen, address, &settings, inherited)?,
        tls: None,
        settings: Arc::new(settings),
    }))
}

impl Server {
    /// Starts all components. The provider need not be available yet.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running.
    pub fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        access_to: Option<Box<dyn io::Write + Send>>,
    ) -> Result<Self, StartError> {
        Self::start_on(ActivatedSockets::default(), config, clock, access_to)
    }

    /// Like [`Self::start`], with sockets from socket activation.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running.
    pub fn start_on(
        mut inherited: ActivatedSockets,
        config: &Config,
        clock: Arc<dyn Clock>,
        access_to: Option<Box<dyn io::Write + Send>>,
    ) -> Result<Self, StartError> {
        crate::oidc::install_crypto();
        let metrics = Arc::new(Metrics::new()?);
        let mut health = Health::new();
        let serving = health.condition("serving");
        let revocations_known = health.condition("revocations");
        let workers_alive = health.liveness("workers");
        let access = access_to.map(AccessLog::start).transpose()?;
        // Probes do not pass a load balancer.
        let admin_settings = Arc::new(ListenerSettings {
            proxy_protocol: false,
            // Its permissions are those of the process.
            socket_access: SocketAccess::default(),
            ..config.server.limits.clone()
        });
        let listeners = open_listeners(config, &mut inherited)?;
        let admin = Listener::open(
            Role::AdminListen,
            &config.server.admin_listen,
            &admin_settings,
            &mut inherited,
        )?;
        let decision = open_decision_listener(config, &mut inherited)?;
        if let Some(unused) = inherited.unused() {
            return Err(StartError::UnusedSocket(unused));
        }
        let addresses = listeners.iter().map(|open| open.listener.local_addr());
        let addresses = addresses.collect();
        let admin_address = admin.local_addr();
        let decision_address = decision
            .as_ref()
            .and_then(|open| open.listener.local_addr());

        let (background, runtime) = BackgroundRuntime::start()?;
        let first = listeners.first().ok_or(StartError::NoListener)?;
        let bytes = Arc::clone(first.listener.byte_budget());
        let components = Components::new(config, &background, &metrics, bytes, Arc::clone(&clock))?;
        let (trigger, drain) = downstream::drain();
        let (admin_trigger, admin_drain) = downstream::drain();
        // First, so that probes are answered while revocations are read.
        let admin_handler = Arc::new(Admin::new(
            Arc::new(health),
            Arc::clone(&metrics),
            components.gauge_refresher(&metrics),
            components.dependency_probe(config),
            components.command_handler(),
            config.server.admin_hosts.clone(),
        ));
        let admin_metrics = Arc::clone(&metrics);
        background.supervise("admin_listener", move || {
            let admin = admin.try_clone();
            let settings = Arc::clone(&admin_settings);
            let handler = Arc::clone(&admin_handler);
            let (metrics, drain) = (Arc::clone(&admin_metrics), admin_drain.clone());
            async move {
                let served = match admin {
                    Ok(admin) => {
                        downstream::serve(admin, None, settings, handler, metrics, drain).await
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    tracing::error!(%error, "admin_listener_failed");
                }
            }
        });
        components.start_replication(&background, revocations_known);
        let tunnels = Tunnels::new(&metrics);
        let mut workers = Vec::with_capacity(config.server.workers.get());
        for index in 0..config.server.workers.get() {
            let buffer = access.as_ref().map(|access| access.buffer(&metrics));
            let duplicates = listeners.iter().map(WorkerListener::try_clone);
            let decision = decision.as_ref().map(WorkerListener::try_clone);
            let worker = Worker {
                listeners: duplicates.collect::<io::Result<_>>()?,
                decision: decision.transpose()?,
                drain_timeout: config.server.limits.drain_timeout,
                proxy: Arc::new(components.proxy(buffer, &metrics, &tunnels)),
                tunnels: Arc::clone(&tunnels),
                metrics: Arc::clone(&metrics),
                drain: drain.clone(),
                alive: workers_alive.clone(),
            };
            workers.push(worker.start(index)?);
        }
        // After the workers, which can serve without provider metadata and trust store.
        components.start_background_tasks(&background, &metrics);
        if let Some(tls) = &config.server.tls {
            let certificates = Arc::clone(&tls.certificates);
            let monitor = CertificateMonitor::new(
                Arc::clone(&metrics),
                Arc::clone(&components.clock),
                tls.hosts.clone(),
            );
            background.supervise("certificate_reload", move || {
                Arc::clone(&certificates).keep_fresh(Arc::clone(&monitor))
            });
        }
        serving.met();
        Ok(Self {
            addresses,
            admin_address,
            decision_address,
            trigger,
            admin_trigger,
            serving,
            workers,
            revocations: components.revocations(),
            runtime,
            access,
        })
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
        self.runtime
            .block_on(self.revocations.flush(PUBLISH_TIMEOUT));
        // Last, so that probes and metrics are available while the rest drains.
        self.admin_trigger.start();
        // Background tasks such as refreshes may still run, but no request waits for them.
        self.runtime.shutdown_background();
        drop(self.access);
    }
}
