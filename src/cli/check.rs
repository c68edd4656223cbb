//! `doorward check`: reports the problems of a configuration, and with `--online` those of its
//! dependencies.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use tokio::runtime::Builder;

use super::render_pages::render_pages;
use super::{ConfigArgs, Exit, Output, count, fail, source, write_errors};
use crate::config::{Diagnosis, Loaded, Severity};
use crate::doctor::{self, Finding};
use crate::types::time::{Clock, SystemClock};

/// Variables by which other programs find a proxy.
const PROXY_VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

/// The options of `doorward check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Examine providers, registrations, store and apps too. Nobody logs in
    #[arg(long)]
    online: bool,
    /// Write Doorward's own pages with sample values into this folder
    #[arg(long, value_name = "FOLDER")]
    render_pages: Option<PathBuf>,
    /// Let warnings fail the check
    #[arg(long)]
    strict: bool,
    /// The form of the output: text, or one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// `doorward check`: reports all problems of a configuration.
///
/// # Errors
/// The output cannot be written.
pub fn check(
    arguments: &CheckArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let variables: Vec<_> = variables.into_iter().collect();
    let proxy_variable = PROXY_VARIABLES.into_iter().find(|name| {
        let mut variables = variables.iter();
        variables.any(|(variable, value)| variable == name && !value.is_empty())
    });
    let source = match source(arguments.config.config.as_deref(), variables, output)? {
        Ok(source) => source,
        Err(exit) => return Ok(exit),
    };
    let loaded = match source.load().map_err(|invalid| invalid.diagnosis) {
        Ok(loaded) => loaded,
        Err(diagnosis) => {
            match arguments.format {
                Format::Text => write_errors(&diagnosis, output)?,
                Format::Json => write_json(&problems(&diagnosis), output)?,
            }
            return Ok(Exit::Config);
        }
    };
    match arguments.format {
        Format::Text => {
            let warnings = loaded.warnings.render(output.styled);
            output.err.write_all(warnings.as_bytes())?;
            let apps = count(loaded.config.apps.len(), "app");
            let providers = count(loaded.config.providers.len(), "provider");
            let file = loaded.warnings.file().display();
            writeln!(output.out, "{file}: valid: {apps}, {providers}")?;
        }
        Format::Json => write_json(&problems(&loaded.warnings), output)?,
    }
    if let Some(folder) = &arguments.render_pages {
        match render_pages(&loaded.config.pages, folder) {
            Ok(pages) => {
                let pages = count(pages, "page");
                writeln!(output.err, "{}: {pages} written", folder.display())?;
            }
            Err(error) => {
                let message = format!("cannot write pages to {}: {error}", folder.display());
                return fail(output, &message);
            }
        }
    }
    let online = if arguments.online {
        examine(arguments, &loaded, proxy_variable, output)?
    } else {
        Exit::Success
    };
    let warnings = loaded.warnings.count(Severity::Warning);
    if online == Exit::Success && arguments.strict && warnings > 0 {
        let warnings = count(warnings, "warning");
        writeln!(output.err, "failed: {warnings}, with `--strict`")?;
        return Ok(Exit::Config);
    }
    Ok(online)
}

/// Examines the dependencies of the configuration and writes the findings.
fn examine(
    arguments: &CheckArgs,
    loaded: &Loaded,
    proxy_variable: Option<&str>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(doctor::examine(&loaded.config, &clock, proxy_variable));
    // A lookup of the system's resolver may still hold a thread.
    runtime.shutdown_background();
    let findings = match findings {
        Ok(findings) => findings,
        Err(error) => return fail(output, &error),
    };
    let number = |severity| {
        let findings = findings.iter();
        findings
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    match arguments.format {
        Format::Text => {
            for finding in &findings {
                writeln!(output.err, "{finding}")?;
            }
            writeln!(
                output.out,
                "{}: online: {}, {}",
                loaded.warnings.file().display(),
                count(errors, "error"),
                count(warnings, "warning"),
            )?;
        }
        Format::Json => write_json(&findings, output)?,
    }
    let has_failed = errors > 0 || (arguments.strict && warnings > 0);
    Ok(if has_failed {
        Exit::Unavailable
    } else {
        Exit::Success
    })
}

fn problems(diagnosis: &Diagnosis) -> Vec<Finding> {
    diagnosis.problems().iter().map(Finding::from).collect()
}

fn write_json(findings: &[Finding], output: &mut Output<'_>) -> io::Result<()> {
    for finding in findings {
        serde_json::to_writer(&mut *output.out, finding)?;
        writeln!(output.out)?;
    }
    Ok(())
}
