//! Shell completions and manual pages, generated from the definition of the command line.

use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Exit, Output, fail};

/// The options of `doorward completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// The options of `doorward manpages`.
#[derive(Debug, Args)]
pub struct ManpagesArgs {
    /// The folder, which must exist
    folder: PathBuf,
}

/// `doorward completions`: writes the completions for a shell.
///
/// # Errors
/// The output cannot be written.
pub fn completions(arguments: &CompletionsArgs, output: &mut Output<'_>) -> io::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "doorward",
        &mut script,
    );
    output.out.write_all(&script)?;
    Ok(Exit::Success)
}

/// `doorward manpages`: writes `doorward.1`, and a page for each command.
///
/// # Errors
/// The output cannot be written.
pub fn manpages(arguments: &ManpagesArgs, output: &mut Output<'_>) -> io::Result<Exit> {
    match clap_mangen::generate_to(Cli::command(), &arguments.folder) {
        Ok(()) => Ok(Exit::Success),
        Err(error) => {
            let folder = arguments.folder.display();
            fail(output, &format_args!("cannot write into {folder}: {error}"))
        }
    }
}
