//! `doorward reload`: lets a running server read its configuration again. The command is sealed here
//! and sent to the admin listener.

use std::ffi::OsString;
use std::io;

use clap::Args;
use http::StatusCode;

use super::admin_client::{Response, admin_of, post};
use super::{ConfigArgs, Exit, Output, fail};
use crate::admin::RELOAD_PATH;
use crate::server;
use crate::types::net::ListenAddr;

/// The options of `doorward reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The admin listener of the server [default: `admin_listen` in the configuration]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<ListenAddr>,
}

/// `doorward reload`: reports the outcome of a reload. An invalid configuration is not sent.
///
/// # Errors
/// The output cannot be written.
pub fn reload(
    arguments: &ReloadArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let config = match super::load(arguments.config.config.as_deref(), variables, output)? {
        Ok(loaded) => loaded.config,
        Err(exit) => return Ok(exit),
    };
    let command = match server::reload_command(&config) {
        Ok(Some(command)) => command,
        Ok(None) => return fail(output, &"the random number generator failed"),
        Err(error) => return fail(output, &error),
    };
    let admin = admin_of(arguments.admin.as_ref(), &config);
    let Response { status, text } = match post(&admin, RELOAD_PATH, command)? {
        Ok(response) => response,
        Err(error) => {
            return fail(
                output,
                &format_args!("reload not confirmed: {admin}: {error}"),
            );
        }
    };
    match status {
        StatusCode::OK => {
            writeln!(output.out, "reloaded: {admin}: {text}")?;
            Ok(Exit::Success)
        }
        StatusCode::UNPROCESSABLE_ENTITY => {
            writeln!(output.err, "{text}\nerror: {admin}: not reloaded")?;
            Ok(Exit::Config)
        }
        _ => fail(
            output,
            &format_args!("not reloaded: {admin}: {status}: {text}"),
        ),
    }
}
