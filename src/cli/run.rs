//! `doorward run`: serves until a termination signal.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::{ConfigArgs, Exit, Output, fail, load, service};
use crate::config::Config;
use crate::downstream::ActivatedSockets;
use crate::server::{Server, Trigger};
use crate::telemetry::log;
use crate::types::net::ListenAddr;
use crate::types::time::SystemClock;

/// The names of the passed sockets (`sd_listen_fds_with_names(3)`).
const SOCKET_NAMES: &str = "LISTEN_FDNAMES";

/// How often `run` looks whether all workers are alive.
const WORKER_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// `doorward run`: serves until SIGTERM or SIGINT, and reloads at SIGHUP. Then it reports not ready, but serves for
/// `shutdown_delay` or until another signal, and drains.
///
/// # Errors
/// The output cannot be written.
pub fn run(
    arguments: &ConfigArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let variables: Vec<_> = variables.into_iter().collect();
    let names = variables
        .iter()
        .find(|(name, _)| name == SOCKET_NAMES)
        .and_then(|(_, names)| names.to_str());
    // Before other threads start.
    let inherited = match ActivatedSockets::take(names.unwrap_or_default()) {
        Ok(inherited) => inherited,
        Err(error) => {
            return fail(output, &format_args!("socket activation: {error}"));
        }
    };
    let loaded = match load(arguments.config.as_deref(), variables, output)? {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let config = loaded.config.clone();
    let log = match log::start(config.log.format, config.log.filter) {
        Ok(log) => log,
        Err(error) => return fail(output, &error),
    };
    service::raise_descriptor_limit(config.server.limits.max_connections);
    // Before the listeners open, because a signal may follow as soon as they are.
    let mut stop = Stop::new()?;
    let stdout = config.log.uses_stdout();
    let stdout = stdout.then(|| log.writer_of_stdout()).transpose()?;
    let server = match Server::start_on(inherited, loaded, Arc::new(SystemClock), stdout) {
        Ok(server) => server,
        Err(error) => return fail(output, &error),
    };
    tracing::info!(
        address = %bound_listeners(&server, &config),
        decisions = config.server.decision_listen.as_ref().map(|address| {
            tracing::field::display(bound(server.decision_address(), address))
        }),
        admin = %bound(server.admin_address(), &config.server.admin_listen),
        apps = config.apps.len(),
        "serving"
    );
    service::tell_ready();
    let failed = stop.runtime.block_on(async {
        tokio::select! {
            () = serve(&mut stop.signals, &server) => {}
            () = service::keep_alive(|| server.all_workers_alive()) => {}
            // A process that serves with some of its workers only is hard to notice from outside.
            () = worker_ended(&server) => return true,
        }
        let delay = server.shutdown_delay();
        if !delay.is_zero() {
            service::tell_stopping("waiting for shutdown_delay");
            server.begin_shutdown();
            tracing::info!(seconds = delay.as_secs(), "shutdown_delayed");
            let _ = timeout(delay, stop.signals.received()).await;
        }
        false
    });
    service::tell_stopping("draining");
    tracing::info!("draining");
    server.shut_down();
    Ok(if failed { Exit::Runtime } else { Exit::Success })
}

/// Reloads the configuration at each SIGHUP. Returns at a signal that ends the process.
async fn serve(signals: &mut Signals, server: &Server) {
    loop {
        match signals.next().await {
            Received::Stop => return,
            Received::Hangup => {
                service::tell_reloading();
                // The outcome was logged.
                let _ = server.reload(Trigger::Signal).await;
                service::tell_ready();
            }
            Received::Other(signal) => tracing::warn!(signal, "signal_ignored"),
        }
    }
}

/// Returns when a worker has ended although nothing told it to.
async fn worker_ended(server: &Server) {
    while server.all_workers_alive() {
        sleep(WORKER_CHECK_INTERVAL).await;
    }
}

/// The bound address, with the port that the system chose for port 0.
fn bound(address: Option<SocketAddr>, configured: &ListenAddr) -> ListenAddr {
    address.map_or_else(|| configured.clone(), ListenAddr::Tcp)
}

/// The bound addresses of the listeners for clients.
fn bound_listeners(server: &Server, config: &Config) -> String {
    let configured = config.server.listeners.iter();
    let addresses = server.addresses().iter().zip(configured);
    let addresses = addresses.map(|(one, configured)| bound(*one, &configured.address).to_string());
    addresses.collect::<Vec<_>>().join(", ")
}

/// Signal handlers, with the runtime that receives the signals.
pub(super) struct Stop {
    pub(super) signals: Signals,
    pub(super) runtime: Runtime,
}

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user_1: Signal,
    user_2: Signal,
}

/// A received signal, by its effect.
enum Received {
    Stop,
    Hangup,
    /// An ignored signal, with its name.
    Other(&'static str),
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        };
        drop(context);
        Ok(Self { signals, runtime })
    }
}

impl Signals {
    /// Returns at a signal that ends the process. The signals that would end it by default, and
    /// that other services use for something else, are logged and ignored.
    pub(super) async fn received(&mut self) {
        loop {
            match self.next().await {
                Received::Stop => return,
                Received::Hangup => tracing::warn!(signal = "SIGHUP", "signal_ignored"),
                Received::Other(signal) => tracing::warn!(signal, "signal_ignored"),
            }
        }
    }

    /// Like [`Self::received`], and also at SIGHUP, which a terminal that is closed sends.
    #[cfg(feature = "demo")]
    pub(super) async fn received_or_hung_up(&mut self) {
        while let Received::Other(signal) = self.next().await {
            tracing::warn!(signal, "signal_ignored");
        }
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::Stop,
            _ = self.interrupt.recv() => Received::Stop,
            _ = self.quit.recv() => Received::Stop,
            _ = self.hangup.recv() => Received::Hangup,
            _ = self.user_1.recv() => Received::Other("SIGUSR1"),
            _ = self.user_2.recv() => Received::Other("SIGUSR2"),
        }
    }
}
