//! `doorward maintenance`: switches maintenance of a running server on or off. The command is sealed here and
//! sent to the admin listener.

use std::ffi::OsString;
use std::io;

use clap::{Args, ValueEnum};
use http::StatusCode;

use super::admin_client::{Response, admin_of, post};
use super::{ConfigArgs, Exit, Output, fail};
use crate::admin::MAINTENANCE_PATH;
use crate::server;
use crate::types::net::ListenAddr;

/// The options of `doorward maintenance`.
#[derive(Debug, Args)]
pub struct MaintenanceArgs {
    /// Whether maintenance begins or ends
    #[arg(value_enum)]
    position: Position,
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this app [default: all]
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// The admin listener of a replica [default: `admin_listen` in the configuration]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<ListenAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Position {
    /// Requests get 503
    On,
    /// Requests are served again
    Off,
}

/// `doorward maintenance`: switches maintenance, and reports what the server says.
///
/// # Errors
/// The output cannot be written.
pub fn maintenance(
    arguments: &MaintenanceArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let config = match super::load(arguments.config.config.as_deref(), variables, output)? {
        Ok(loaded) => loaded.config,
        Err(exit) => return Ok(exit),
    };
    let is_on = arguments.position == Position::On;
    let command = match server::maintenance_command(&config, arguments.app.clone(), is_on) {
        Ok(Some(command)) => command,
        Ok(None) => return fail(output, &"the random number generator failed"),
        Err(error) => return fail(output, &error),
    };
    let admin = admin_of(arguments.admin.as_ref(), &config);
    match post(&admin, MAINTENANCE_PATH, command)? {
        Ok(Response {
            status: StatusCode::OK,
            text,
        }) => {
            let app = arguments.app.as_deref().unwrap_or("all apps");
            writeln!(output.out, "maintenance of {app} at {admin}: {text}")?;
            Ok(Exit::Success)
        }
        Ok(Response { status, text }) => fail(
            output,
            &format_args!("not switched: {admin}: {status}: {text}"),
        ),
        Err(error) => fail(
            output,
            &format_args!("switch not confirmed: {admin}: {error}"),
        ),
    }
}
