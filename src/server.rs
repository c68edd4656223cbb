//! Composes a running Doorward from a checked configuration, and ends it in order.

mod compose;
mod observe;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::Runtime;

use crate::admin::Admin;
use crate::auth::app::AppAuth;
use crate::config::Config;
use crate::downstream::{
    self, ActivatedSockets, DrainTrigger, ListenError, Listener, ListenerSettings, Role,
};
use crate::runtime::BackgroundRuntime;
use crate::store::RedisSettingsError;
use crate::telemetry::access::AccessLog;
use crate::telemetry::health::{Condition, Health};
use crate::telemetry::metrics::Metrics;
use crate::types::time::{Clock, SystemClock};
use crate::upstream::{Tunnels, UpstreamPlanError};
use crate::worker::Worker;
use compose::Components;

/// A Doorward that serves.
pub struct Server {
    address: Option<SocketAddr>,
    admin_address: Option<SocketAddr>,
    trigger: DrainTrigger,
    admin_trigger: DrainTrigger,
    serving: Condition,
    workers: Vec<JoinHandle<io::Result<()>>>,
    // Dropped after the workers have ended, in this order.
    runtime: Runtime,
    access: Option<AccessLog>,
}

/// The apps of a configuration with their seals, for a command that does not serve.
///
/// # Errors
/// See [`StartError`].
pub fn guarded_apps(config: &Config) -> Result<Vec<Arc<AppAuth>>, StartError> {
    crate::oidc::install_crypto();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    compose::build_apps(config, &clock).map(|build_apps| build_apps.apps)
}

/// Why Doorward does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A socket was handed over that nobody would answer on.
    #[error(
        "the socket {0} was handed over, but no listener of the configuration is there; \
         call it `listen` or `admin_listen` (systemd: FileDescriptorName=), or do not open it"
    )]
    Handed(String),
    /// A backend's settings cannot be used.
    #[error("the backend of app `{0}`: {1}")]
    Upstream(String, UpstreamPlanError),
    /// An app names a provider that there is none of.
    #[error("app `{0}` names a provider that is not configured")]
    NoProvider(String),
    /// A sealing key is not one.
    #[error("a sealing key cannot be used")]
    Key,
    /// The store's settings cannot be used.
    #[error("the store: {0}")]
    Store(#[from] RedisSettingsError),
    /// The journal cannot be used.
    #[error("the journal {0}: {1}")]
    Journal(PathBuf, io::Error),
    /// The pages do not compile.
    #[error("the built-in pages cannot be made: {0}")]
    Pages(#[from] crate::proxy::pages::PagesError),
    /// The metrics clash.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system gives no thread, socket or randomness.
    #[error("the system refused a resource: {0}")]
    System(#[from] io::Error),
}

impl Server {
    /// Starts serving `config`. The provider need not be there: it is found when it comes.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        access_to: Option<Box<dyn io::Write + Send>>,
    ) -> Result<Self, StartError> {
        Self::start_on(ActivatedSockets::default(), config, clock, access_to)
    }

    /// The same, listening on the sockets that were handed over.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
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
        let workers_alive = health.liveness("workers");
        let access = access_to.map(AccessLog::start).transpose()?;
        let settings = Arc::new(config.server.limits.clone());
        // Probes come from anywhere within, and by no load balancer.
        let admin_settings = Arc::new(ListenerSettings {
            proxy_protocol: false,
            ..config.server.limits.clone()
        });
        let listener = Listener::open(
            Role::Listen,
            &config.server.listen,
            &settings,
            &mut inherited,
        )?;
        let admin = Listener::open(
            Role::AdminListen,
            &config.server.admin_listen,
            &admin_settings,
            &mut inherited,
        )?;
        if let Some(left) = inherited.unused() {
            return Err(StartError::Handed(left));
        }
        let (address, admin_address) = (listener.local_addr(), admin.local_addr());
        let tls = config
            .server
            .tls
            .as_ref()
            .map(|tls| Arc::clone(&tls.config));

        let (background, runtime) = BackgroundRuntime::start()?;
        let components = Components::new(config, &background, &metrics, Arc::clone(&clock))?;
        components.listen(&background);
        let (trigger, drain) = downstream::drain();
        let (admin_trigger, admin_drain) = downstream::drain();
        let tunnels = Tunnels::new(&metrics);
        let mut workers = Vec::with_capacity(config.server.workers.get());
        for index in 0..config.server.workers.get() {
            let buffer = access.as_ref().map(|access| access.buffer(&metrics));
            let worker = Worker {
                listener: listener.try_clone()?,
                tls: tls.clone(),
                settings: Arc::clone(&settings),
                proxy: Arc::new(components.proxy(buffer, &metrics, &tunnels)),
                tunnels: Arc::clone(&tunnels),
                metrics: Arc::clone(&metrics),
                drain: drain.clone(),
                alive: workers_alive.clone(),
            };
            workers.push(worker.start(index)?);
        }
        // After the workers, which need neither provider nor trust store to answer.
        components.keep_fresh(&background, &metrics);
        if let Some(tls) = &config.server.tls {
            let (certificates, metrics) = (Arc::clone(&tls.certificates), Arc::clone(&metrics));
            background.supervise("certificate_reload", move || {
                Arc::clone(&certificates).keep_fresh(Arc::clone(&metrics))
            });
        }
        let admin_handler = Arc::new(Admin::new(
            Arc::new(health),
            Arc::clone(&metrics),
            components.gauges(&metrics),
            components.orders(),
        ));
        background.supervise("admin_listener", move || {
            let admin = admin.try_clone();
            let settings = Arc::clone(&admin_settings);
            let handler = Arc::clone(&admin_handler);
            let (metrics, drain) = (Arc::clone(&metrics), admin_drain.clone());
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
        serving.met();
        Ok(Self {
            address,
            admin_address,
            trigger,
            admin_trigger,
            serving,
            workers,
            runtime,
            access,
        })
    }

    /// Where browsers and programs connect; `None` for a Unix domain socket.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where probes and metrics are answered; `None` for a Unix domain socket.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Whether every worker still works.
    pub fn all_workers_alive(&self) -> bool {
        self.workers.iter().all(|worker| !worker.is_finished())
    }

    /// Is not ready any more from now on, and says so with each answer, but serves on: whoever sends requests here has
    /// time to hear of it.
    pub fn begin_shutdown(&self) {
        self.serving.unmet();
        self.trigger.announce();
    }

    /// Stops accepting, lets what is under way end within the drain deadline, and returns when all is over.
    /// Blocks: not to be called on a runtime.
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
        // Last, so that probes and metrics could be read while everything else ended.
        self.admin_trigger.start();
        // A refresh under way may still be answered; nobody waits for it any more.
        self.runtime.shutdown_background();
        drop(self.access);
    }
}
