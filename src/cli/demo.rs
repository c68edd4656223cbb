//! `doorward demo`: an OpenID provider, two apps and Doorward in front of them, on loopback.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Builder;

use super::run::Stop;
use super::{Exit, Output, fail, write_errors};
use crate::config::{self, SealingKey};
use crate::demo::{Demo, DemoFiles, DemoOptions, FusionAuthOptions};
use crate::server::Server;
use crate::telemetry::log::{self, LogFormat};
use crate::types::time::SystemClock;

/// The options of `doorward demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The port of the store and the forum
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// The port of the identity provider
    #[arg(long, default_value_t = 8090)]
    pub provider_port: u16,
    /// How long a JWT lives, so that a refresh can be watched
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = jwt_lifetime)]
    pub jwt_lifetime: Duration,
    /// Let the provider emulate FusionAuth
    #[arg(long)]
    pub fusionauth: bool,
}

/// `doorward demo`: starts the provider, the store, the forum and Doorward in front of both, until
/// a signal says to stop.
///
/// # Errors
/// The output cannot be written.
pub fn demo(arguments: &DemoArgs, output: &mut Output<'_>) -> io::Result<Exit> {
    let _log = match log::start(LogFormat::Text, "warn") {
        Ok(log) => log,
        Err(error) => return fail(output, &error),
    };
    let options = DemoOptions {
        port: arguments.port,
        provider_port: arguments.provider_port,
        jwt_lifetime: arguments.jwt_lifetime,
        fusionauth: arguments
            .fusionauth
            .then_some(FusionAuthOptions { one_time_use: true }),
    };
    let mut stop = Stop::new()?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (demo, mut event_log) = match runtime.block_on(Demo::start(&options, Arc::new(SystemClock)))
    {
        Ok(started) => started,
        Err(error) => return fail(output, &error),
    };
    let key = match SealingKey::generate() {
        Ok(key) => key,
        Err(error) => return fail(output, &error),
    };
    let files = DemoFiles::write(&demo, &key.to_text())?;
    // The demo's configuration is fixed: its warnings are of no use to the user.
    let loaded = match config::load(&files.config_file(), []) {
        Ok(loaded) => loaded,
        Err(diagnosis) => {
            write_errors(&diagnosis, output)?;
            return Ok(Exit::Config);
        }
    };
    let server = match Server::start(loaded, Arc::new(SystemClock), None) {
        Ok(server) => server,
        Err(error) => return fail(output, &error),
    };
    output.out.write_all(demo.greeting().as_bytes())?;
    output.out.flush()?;
    stop.runtime.block_on(async {
        loop {
            let line = tokio::select! {
                () = stop.signals.received_or_hung_up() => return io::Result::Ok(()),
                line = event_log.next_line() => line,
            };
            let Some(line) = line else { return Ok(()) };
            writeln!(output.out, "{line}")?;
            output.out.flush()?;
        }
    })?;
    server.shut_down();
    Ok(Exit::Success)
}

/// Parses `--jwt-lifetime`. With a lifetime of zero every request would refresh its session.
fn jwt_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = config::parse_duration(text).map_err(|error| error.to_string())?;
    if lifetime.is_zero() {
        return Err("a JWT must live for at least `1s`".to_owned());
    }
    Ok(lifetime)
}
