//! Command line: `doorward run`, `check`, `explain`, `test`, `import`, `keygen`, `reload`, `maintenance`,
//! `revoke`, `sessions`, `demo`, and the files that a package has of it.

mod admin_client;
mod check;
mod command_files;
#[cfg(feature = "demo")]
mod demo;
mod expectations;
mod explain;
mod explain_log;
mod import;
mod maintenance;
mod reload;
mod render_pages;
mod revoke;
mod revoke_until;
mod run;
mod service;
mod session_table;
mod sessions;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::auth::assertion::{AssertionAlgorithm, AssertionKey};
use crate::config::{ConfigSource, Diagnosis, Loaded, RandomError, SealingKey, write_new_key};

pub use self::check::{CheckArgs, check};
pub use self::command_files::{CompletionsArgs, ManpagesArgs, completions, manpages};
#[cfg(feature = "demo")]
pub use self::demo::{DemoArgs, demo};
pub use self::expectations::{TestArgs, test};
pub use self::explain::{ExplainArgs, explain};
pub use self::import::{ImportArgs, import};
pub use self::maintenance::{MaintenanceArgs, maintenance};
pub use self::reload::{ReloadArgs, reload};
pub use self::revoke::{RevokeArgs, revoke};
pub use self::run::run;
pub use self::sessions::{SessionsArgs, sessions};

/// The command line of `doorward`.
#[derive(Debug, Parser)]
#[command(name = "doorward", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy until SIGTERM or SIGINT
    Run(ConfigArgs),
    /// Check a configuration file and report all problems
    Check(CheckArgs),
    /// Explain what Doorward does with a request, and why
    Explain(ExplainArgs),
    /// Test a configuration: compare the decisions about requests with expected ones
    Test(TestArgs),
    /// Write a configuration from that of another product
    Import(ImportArgs),
    /// Generate a key that seals cookies, or signs assertions
    Keygen(KeygenArgs),
    /// Let a running server read its configuration again
    Reload(ReloadArgs),
    /// Switch maintenance of a running server on or off
    Maintenance(MaintenanceArgs),
    /// Revoke sessions: of a user, a single one, or all of an app
    Revoke(RevokeArgs),
    /// List the sessions of a running server, or end some
    Sessions(SessionsArgs),
    /// Try Doorward with an identity provider and two apps, a store and a forum, on loopback
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Write completions of this command line for a shell to the standard output
    Completions(CompletionsArgs),
    /// Write manual pages of this command line into a folder
    Manpages(ManpagesArgs),
}

/// The configuration option.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file (TOML) [default: none, only environment variables count]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The options of `doorward keygen`.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// The file to write, which must not exist [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// A key that signs assertions for apps, in place of one that seals cookies
    #[arg(long, value_name = "ALGORITHM", value_enum)]
    pub assertion: Option<SigningAlgorithm>,
}

/// The algorithm of a key that signs assertions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256
    Es256,
    /// Ed25519
    #[value(name = "eddsa")]
    EdDsa,
}

/// The exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success: 0.
    Success,
    /// An error at runtime: 1.
    Runtime,
    /// Imported, but something is not mapped or left to decide: 65 (`EX_DATAERR` of sysexits).
    Incomplete,
    /// The configuration is valid, but a dependency is not: 69 (`EX_UNAVAILABLE` of sysexits).
    Unavailable,
    /// Done in part, and the rest follows later: 75 (`EX_TEMPFAIL` of sysexits).
    Pending,
    /// An invalid command line: 64 (`EX_USAGE` of sysexits).
    Usage,
    /// An invalid configuration: 78 (`EX_CONFIG` of sysexits).
    Config,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Runtime => 1,
            Exit::Incomplete => 65,
            Exit::Unavailable => 69,
            Exit::Pending => 75,
            Exit::Usage => 64,
            Exit::Config => 78,
        })
    }
}

/// The output streams of a command.
pub struct Output<'w> {
    /// Results.
    pub out: &'w mut dyn Write,
    /// Errors and warnings.
    pub err: &'w mut dyn Write,
    /// Whether `err` is a terminal with colors.
    pub styled: bool,
}

/// Parses the command line.
///
/// # Errors
/// The exit code if there is no command to run. The help, version or error has been written.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    output: &mut Output<'_>,
) -> Result<Cli, Exit> {
    Cli::try_parse_from(arguments).map_err(|error| {
        let (to, exit) = if error.use_stderr() {
            (&mut *output.err, Exit::Usage)
        } else {
            (&mut *output.out, Exit::Success)
        };
        let text = error.render();
        let written = if output.styled {
            write!(to, "{}", text.ansi())
        } else {
            write!(to, "{text}")
        };
        written.map_or(Exit::Runtime, |()| exit)
    })
}

/// Writes the problems of an invalid configuration.
///
/// # Errors
/// The output cannot be written.
pub fn write_errors(diagnosis: &Diagnosis, output: &mut Output<'_>) -> io::Result<()> {
    output
        .err
        .write_all(diagnosis.render(output.styled).as_bytes())?;
    let errors = count(diagnosis.errors(), "error");
    writeln!(
        output.err,
        "{}: invalid: {errors}",
        diagnosis.file().display()
    )
}

/// `doorward keygen`: writes a new key to a new file or to standard output.
///
/// # Errors
/// The output cannot be written.
pub fn keygen(arguments: &KeygenArgs, output: &mut Output<'_>) -> io::Result<Exit> {
    let key = match arguments.assertion {
        None => SealingKey::generate().ok().map(|key| key.to_text()),
        Some(SigningAlgorithm::Es256) => AssertionKey::generate(AssertionAlgorithm::Es256),
        Some(SigningAlgorithm::EdDsa) => AssertionKey::generate(AssertionAlgorithm::EdDsa),
    };
    let Some(key) = key else {
        return fail(output, &RandomError);
    };
    let Some(file) = &arguments.out else {
        output.out.write_all(key.as_bytes())?;
        return Ok(Exit::Success);
    };
    match write_new_key(file, &key) {
        Ok(()) => {
            writeln!(
                output.out,
                "wrote {}: keep it secret, and use the same file for all replicas",
                file.display()
            )?;
            Ok(Exit::Success)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = file.display();
            fail(
                output,
                &format_args!("{file} exists already, and a key in use must not be overwritten"),
            )
        }
        Err(error) => fail(
            output,
            &format_args!("cannot write {}: {error}", file.display()),
        ),
    }
}

/// Where the configuration is read from. The exit code if neither a file nor a variable configures it.
fn source(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Result<ConfigSource, Exit>> {
    let source = ConfigSource::new(file, variables);
    if source.is_empty() {
        writeln!(
            output.err,
            "error: there is no configuration\n\n\
             Pass `--config FILE`, or set variables such as `DOORWARD_SERVER__LISTEN`.\n\
             For more information, try '--help'."
        )?;
        return Ok(Err(Exit::Usage));
    }
    Ok(Ok(source))
}

fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Result<Loaded, Exit>> {
    let source = match source(file, variables, output)? {
        Ok(source) => source,
        Err(exit) => return Ok(Err(exit)),
    };
    match source.load().map_err(|invalid| invalid.diagnosis) {
        Ok(loaded) => {
            let warnings = loaded.warnings.clone().without_advice();
            output
                .err
                .write_all(warnings.render(output.styled).as_bytes())?;
            Ok(Ok(loaded))
        }
        Err(diagnosis) => {
            write_errors(&diagnosis, output)?;
            Ok(Err(Exit::Config))
        }
    }
}

fn fail(output: &mut Output<'_>, error: &dyn fmt::Display) -> io::Result<Exit> {
    writeln!(output.err, "error: {error}")?;
    Ok(Exit::Runtime)
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}
