//! The command line: `doorward run`, `check`, `keygen`, `revoke` and `demo`. What a command prints goes to the writers it is handed.

#[cfg(feature = "demo")]
mod demo;
mod revoke;
mod run;
mod service;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, Diagnosis, SealingKey};

#[cfg(feature = "demo")]
pub use self::demo::{DemoArgs, demo};
pub use self::revoke::{RevokeArgs, revoke};
pub use self::run::run;

/// What `doorward` was asked to do.
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
    /// Serve what a configuration file says, until SIGTERM or SIGINT
    Run(ConfigArgs),
    /// Check a configuration file: every problem at once
    Check(ConfigArgs),
    /// Make a key that seals cookies
    Keygen(KeygenArgs),
    /// End sessions before their time: of a person, one by its name, or all of an app
    Revoke(RevokeArgs),
    /// Try it: a provider, a store and a forum on loopback, with Doorward in front
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file (TOML)
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

/// What `keygen` takes.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// The file to write, which must not be there yet; without it the key goes to the standard output
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well: 0.
    Success,
    /// Something failed while running: 1.
    Runtime,
    /// The command line makes no sense: 64 (`EX_USAGE` of sysexits).
    Usage,
    /// The configuration makes no sense: 78 (`EX_CONFIG` of sysexits).
    Config,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Runtime => 1,
            Exit::Usage => 64,
            Exit::Config => 78,
        })
    }
}

/// Where a command writes.
pub struct Output<'w> {
    /// What was asked for.
    pub out: &'w mut dyn Write,
    /// What went wrong, and advice.
    pub err: &'w mut dyn Write,
    /// Whether `err` shows colours.
    pub styled: bool,
}

/// Reads the command line; writes help, version or what is wrong with it, and says how to end, if there is no command.
///
/// # Errors
/// How to end the process: well after `--help` and `--version`.
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

/// `doorward check`: says whether `arguments.config` can be used, and everything that is wrong with it.
///
/// # Errors
/// The answer cannot be written.
pub fn check(
    arguments: &ConfigArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    match config::load(&arguments.config, variables) {
        Ok(loaded) => {
            output
                .err
                .write_all(loaded.warnings.render(output.styled).as_bytes())?;
            let apps = count(loaded.config.apps.len(), "app");
            let providers = count(loaded.config.providers.len(), "provider");
            writeln!(
                output.out,
                "{}: good: {apps}, {providers}",
                arguments.config.display()
            )?;
            Ok(Exit::Success)
        }
        Err(diagnosis) => {
            refuse(&diagnosis, output)?;
            Ok(Exit::Config)
        }
    }
}

/// Writes why a configuration is refused.
///
/// # Errors
/// It cannot be written.
pub fn refuse(diagnosis: &Diagnosis, output: &mut Output<'_>) -> io::Result<()> {
    output
        .err
        .write_all(diagnosis.render(output.styled).as_bytes())?;
    let problems = count(diagnosis.errors(), "problem");
    writeln!(
        output.err,
        "{}: {problems}, nothing was started",
        diagnosis.file().display()
    )
}

/// `doorward keygen`: a new key, into a new file or to the standard output.
///
/// # Errors
/// The answer cannot be written.
pub fn keygen(arguments: &KeygenArgs, output: &mut Output<'_>) -> io::Result<Exit> {
    let key = match SealingKey::generate() {
        Ok(key) => key,
        Err(error) => return fail(output, &error),
    };
    let Some(file) = &arguments.out else {
        output.out.write_all(key.to_text().as_bytes())?;
        return Ok(Exit::Success);
    };
    match key.write_new(file) {
        Ok(()) => {
            writeln!(
                output.out,
                "wrote {}: keep it secret, give every replica the same",
                file.display()
            )?;
            Ok(Exit::Success)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = file.display();
            fail(
                output,
                &format_args!(
                    "{file} is there already, and a key in use must not be lost; name another file"
                ),
            )
        }
        Err(error) => fail(
            output,
            &format_args!("{} cannot be written: {error}", file.display()),
        ),
    }
}

fn load(
    file: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Result<Config, Exit>> {
    match config::load(file, variables) {
        Ok(loaded) => {
            output
                .err
                .write_all(loaded.warnings.render(output.styled).as_bytes())?;
            Ok(Ok(loaded.config))
        }
        Err(diagnosis) => {
            refuse(&diagnosis, output)?;
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
