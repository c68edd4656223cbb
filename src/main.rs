//! The `doorward` binary.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use doorward::cli::{self, Command, Exit, Output};
use tikv_jemalloc_ctl::{Access as _, AsName as _};

/// Returns the memory of hibernating connections to the system, which the default allocator keeps.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long the allocator keeps free memory. Its background threads return it then.
const FREE_MEMORY_DECAY_MS: isize = 500;

/// When the allocator returns free memory: for arenas to come, and for that of the main thread.
const DECAY_SETTINGS: [(&[u8], isize); 4] = [
    (b"arenas.dirty_decay_ms\0", FREE_MEMORY_DECAY_MS),
    (b"arena.0.dirty_decay_ms\0", FREE_MEMORY_DECAY_MS),
    (b"arenas.muzzy_decay_ms\0", 0),
    (b"arena.0.muzzy_decay_ms\0", 0),
];

fn main() -> ExitCode {
    // Before other threads start. It is set here and not when the allocator is compiled, so that
    // each way to build Doorward has it. A failure costs memory only.
    for (name, milliseconds) in DECAY_SETTINGS {
        let _ = name.name().write(milliseconds);
    }
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
        Command::Import(arguments) => cli::import(arguments, std::env::vars_os(), &mut output),
        Command::Keygen(arguments) => cli::keygen(arguments, &mut output),
        Command::Reload(arguments) => cli::reload(arguments, std::env::vars_os(), &mut output),
        Command::Maintenance(arguments) => {
            cli::maintenance(arguments, std::env::vars_os(), &mut output)
        }
        Command::Revoke(arguments) => cli::revoke(arguments, std::env::vars_os(), &mut output),
        Command::Sessions(arguments) => cli::sessions(arguments, std::env::vars_os(), &mut output),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => cli::demo(arguments, &mut output),
        Command::Completions(arguments) => cli::completions(arguments, &mut output),
        Command::Manpages(arguments) => cli::manpages(arguments, &mut output),
    };
    result.unwrap_or(Exit::Runtime).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocator_accepts_its_settings() {
        for (name, milliseconds) in DECAY_SETTINGS {
            name.name().write(milliseconds).unwrap();
            let read: isize = name.name().read().unwrap();
            assert_eq!(read, milliseconds);
        }
    }
}
