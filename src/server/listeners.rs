//! The listeners of a process, and the settings of their connections, which a reload changes.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::downstream::{
    ActivatedSockets, ConnectionSettings, ListenError, Listener, ListenerSettings, Role,
    SocketAccess, WorkerLoads,
};
use crate::worker::WorkerListener;

/// Fields that the description of a request adds to it.
const ADDED_FIELDS: usize = 20;

/// All listeners of a process.
pub(super) struct Listeners {
    pub(super) clients: Vec<WorkerListener>,
    pub(super) admin: WorkerListener,
    pub(super) decision: Option<WorkerListener>,
}

/// Changes the settings of connections that are accepted later.
pub(super) struct ListenerControls {
    clients: Vec<watch::Sender<ConnectionSettings>>,
    admin: watch::Sender<ConnectionSettings>,
    decision: watch::Sender<ConnectionSettings>,
}

impl Listeners {
    /// Opens the listeners. Those for clients share one set of limits.
    pub(super) fn open(
        config: &Config,
        inherited: &mut ActivatedSockets,
    ) -> Result<(Self, ListenerControls), ListenError> {
        let mut clients: Vec<WorkerListener> = Vec::new();
        let mut controls = Vec::new();
        for (index, one) in config.server.listeners.iter().enumerate() {
            let (control, settings) = watch::channel(client_settings(config, index));
            let limits = Arc::clone(&settings.borrow().limits);
            let opened = Listener::open(Role::Listen(index), &one.address, &limits, inherited)?;
            let listener = match clients.first() {
                Some(first) => opened.sharing_limits_of(&first.listener),
                None => opened,
            };
            clients.push(WorkerListener { listener, settings });
            controls.push(control);
        }
        let (admin_control, settings) = watch::channel(admin_settings(config));
        let limits = Arc::clone(&settings.borrow().limits);
        let address = &config.server.admin_listen;
        let admin = Listener::open(Role::AdminListen, address, &limits, inherited)?;
        let admin = WorkerListener {
            listener: admin,
            settings,
        };
        let (decision_control, settings) = watch::channel(decision_settings(config));
        let limits = Arc::clone(&settings.borrow().limits);
        let decision = match &config.server.decision_listen {
            None => None,
            Some(address) => Some(WorkerListener {
                listener: Listener::open(Role::DecisionListen, address, &limits, inherited)?,
                settings,
            }),
        };
        let controls = ListenerControls {
            clients: controls,
            admin: admin_control,
            decision: decision_control,
        };
        let listeners = Self {
            clients,
            admin,
            decision,
        };
        Ok((listeners, controls))
    }

    /// Duplicates all but the admin listener for each worker.
    pub(super) fn for_workers(&self, workers: usize) -> io::Result<Vec<ListenersOfWorker>> {
        let loads = WorkerLoads::new(workers);
        let mut of_workers = Vec::new();
        of_workers.resize_with(workers, ListenersOfWorker::default);
        for client in &self.clients {
            let duplicates = client.for_workers(&loads)?;
            for (of_worker, duplicate) in of_workers.iter_mut().zip(duplicates) {
                of_worker.clients.push(duplicate);
            }
        }
        if let Some(decision) = &self.decision {
            let duplicates = decision.for_workers(&loads)?;
            for (of_worker, duplicate) in of_workers.iter_mut().zip(duplicates) {
                of_worker.decision = Some(duplicate);
            }
        }
        Ok(of_workers)
    }
}

/// The duplicates of all listeners that one worker serves.
#[derive(Default)]
pub(super) struct ListenersOfWorker {
    pub(super) clients: Vec<WorkerListener>,
    pub(super) decision: Option<WorkerListener>,
}

impl ListenerControls {
    /// Applies the settings of a configuration with the same listeners.
    pub(super) fn apply(&self, config: &Config) {
        for (index, control) in self.clients.iter().enumerate() {
            set(control, client_settings(config, index));
        }
        set(&self.admin, admin_settings(config));
        set(&self.decision, decision_settings(config));
    }
}

fn set(control: &watch::Sender<ConnectionSettings>, settings: ConnectionSettings) {
    control.send_if_modified(|current| {
        let is_changed = !current.is_same_as(&settings);
        if is_changed {
            *current = settings;
        }
        is_changed
    });
}

/// The settings of the listener for clients with this index.
fn client_settings(config: &Config, index: usize) -> ConnectionSettings {
    let limits = &config.server.limits;
    let Some(one) = config.server.listeners.get(index) else {
        return plain(limits.clone());
    };
    let tls = config.server.tls.as_ref().filter(|_| one.tls);
    ConnectionSettings {
        tls: tls.map(|tls| Arc::clone(&tls.config)),
        limits: Arc::new(ListenerSettings {
            proxy_protocol: one.proxy_protocol,
            redirects_to_https: one.redirects_to_https,
            socket_access: one.socket_access,
            ..limits.clone()
        }),
    }
}

fn admin_settings(config: &Config) -> ConnectionSettings {
    plain(ListenerSettings {
        // Probes do not pass a load balancer.
        proxy_protocol: false,
        // Its permissions are those of the process.
        socket_access: SocketAccess::default(),
        ..config.server.limits.clone()
    })
}

/// The requests to the decision listener are those of clients with a description added to them. A
/// Unix domain socket has the permissions of the first listener's.
fn decision_settings(config: &Config) -> ConnectionSettings {
    let limits = &config.server.limits;
    let first = config.server.listeners.first();
    plain(ListenerSettings {
        max_header_bytes: limits.max_header_bytes.saturating_mul(2),
        max_header_count: limits.max_header_count.saturating_add(ADDED_FIELDS),
        socket_access: first.map_or_else(SocketAccess::default, |first| first.socket_access),
        ..limits.clone()
    })
}

fn plain(limits: ListenerSettings) -> ConnectionSettings {
    ConnectionSettings {
        tls: None,
        limits: Arc::new(limits),
    }
}
