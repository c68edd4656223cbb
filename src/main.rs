//! The command `doorward`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use doorward::cli::{self, Command, Exit, Output};

/// The system's allocator keeps what connections held when they were busy; this one gives it back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let styled = err.is_terminal();
    let mut output = Output {
        out: &mut out,
        err: &mut err,
        styled,
    };
    let cli = match cli::parse(std::env::args_os(), &mut output) {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let ended = match &cli.command {
        Command::Run(arguments) => cli::run(arguments, std::env::vars_os(), &mut output),
        Command::Check(arguments) => cli::check(arguments, std::env::vars_os(), &mut output),
        Command::Keygen(arguments) => cli::keygen(arguments, &mut output),
        Command::Revoke(arguments) => cli::revoke(arguments, std::env::vars_os(), &mut output),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => cli::demo(arguments, &mut output),
    };
    ended.unwrap_or(Exit::Runtime).into()
}
