//! The `doorward` binary.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use doorward::cli::{self, Command, Exit, Output};

/// Returns the memory of hibernating connections to the system, which the default allocator keeps.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut out = io::stdout();
    let mut err = io::stderr();
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
    let result = match &cli.command {
        Command::Run(arguments) => cli::run(arguments, std::env::vars_os(), &mut output),
        Command::Check(arguments) => cli::check(arguments, std::env::vars_os(), &mut output),
        Command::Explain(arguments) => cli::explain(arguments, std::env::vars_os(), &mut output),
        Command::Test(arguments) => cli::test(arguments, std::env::vars_os(), &mut output),
        Command::Keygen(arguments) => cli::keygen(arguments, &mut output),
        Command::Reload(arguments) => cli::reload(arguments, std::env::vars_os(), &mut output),
        Command::Revoke(arguments) => cli::revoke(arguments, std::env::vars_os(), &mut output),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => cli::demo(arguments, &mut output),
    };
    result.unwrap_or(Exit::Runtime).into()
}
