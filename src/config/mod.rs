//! The configuration: a TOML file, the environment on top, secrets in files of their own.
//!
//! `raw` says what can be written, `extract` reads all of it that can be read, `check` makes [`Config`] of it or says
//! everything that is wrong at once. Nothing else in Doorward reads the environment or these files.

mod check;
mod environment;
mod extract;
mod files;
mod keys;
mod problem;
mod raw;
mod render;
mod report;
pub mod schema;
mod settings;
mod source;
mod values;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use figment::providers::Serialized;
use figment::value::{Dict, Value};
use figment::{Figment, Profile};

pub use self::keys::{KeyFileError, RandomError, SealingKey};
pub use self::problem::{Diagnosis, Problem, ProblemLocation, Severity};
pub use self::settings::{
    AppConfig, BearerConfig, Config, LogConfig, ServerConfig, StoreConfig, StorePlace, TlsConfig,
};

use self::environment::Environment;
use self::files::{Folder, plain, read_text};
use self::report::{Location, Report};
use self::source::{Source, SyntaxError};
use self::values::HumanDuration;

/// Most syntax errors that are told at once.
const MAX_SYNTAX_ERRORS: usize = 10;

/// A configuration that can be used, and what an operator should know about it all the same.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Advice only.
    pub warnings: Diagnosis,
}

/// Reads `file`, with those of `variables` that begin with `DOORWARD_` and have `__` in their name on top.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn load(
    file: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Diagnosis> {
    let text = match read_text(file) {
        Ok((text, _)) => text,
        Err(error) => {
            return Err(unreadable(
                file,
                format!("cannot be read: {}", plain(&error)),
            ));
        }
    };
    let (source, errors) = Source::parse(file.to_path_buf(), &text);
    if !errors.is_empty() {
        return Err(broken(&source, errors));
    }
    let (values, unusable) = source.values();
    let (environment, not_text) = Environment::read(variables, &values);
    let report = Report::new(&source, &environment);
    for name in not_text {
        report.root().error(
            format!("the environment variable `{name}` is not UTF-8 text"),
            "",
        );
    }
    for path in unusable {
        let at = report.at(path);
        at.error(
            "no key takes a date or a number of this size",
            "dates and large numbers go in quotes",
        );
        at.note_unreadable();
    }
    let (raw, unknown) = extract::extract(merged(values, &environment, &report.root()), &report);
    let config = check::check(raw, &report.root(), &Folder::of(file));
    let (problems, refused) = report.into_problems();
    let diagnosis = Diagnosis {
        file: file.to_path_buf(),
        text: source.masked(&unknown),
        problems,
    };
    match config {
        Some(config) if !refused => Ok(Loaded {
            config,
            warnings: diagnosis,
        }),
        Some(_) | None => Err(diagnosis),
    }
}

/// Reads a duration as the file has them: a whole number and `s`, `m`, `h` or `d`.
///
/// # Errors
/// What a duration looks like.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    HumanDuration::parse(text)
        .map(|span| span.0)
        .ok_or(ParseDurationError)
}

/// A text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a whole number and a unit, such as `90s`, `30m`, `12h` or `1d`")]
pub struct ParseDurationError;

fn merged(file: Dict, environment: &Environment, root: &Location<'_>) -> Value {
    let from = |dict: Dict| Serialized::from(dict, Profile::Default);
    match Figment::from(from(file))
        .merge(from(environment.values()))
        .extract::<Value>()
    {
        Ok(values) => values,
        Err(error) => {
            root.error(format!("the values cannot be read: {}", error.kind), "");
            Value::from(Dict::new())
        }
    }
}

fn unreadable(file: &Path, message: String) -> Diagnosis {
    let problem = Problem {
        severity: Severity::Error,
        place: ProblemLocation::Nowhere,
        key: String::new(),
        message,
        hint: None,
    };
    Diagnosis {
        file: file.to_path_buf(),
        text: String::new(),
        problems: vec![problem],
    }
}

/// A file that is not TOML: one problem a line, since one slip makes the parser stumble on, and not endlessly many.
fn broken(source: &Source<'_>, mut errors: Vec<SyntaxError>) -> Diagnosis {
    let problem = |error: SyntaxError| Problem {
        severity: Severity::Error,
        place: error
            .span
            .map_or(ProblemLocation::Nowhere, |span| source.place(span)),
        key: String::new(),
        message: format!("not TOML: {}", error.message),
        hint: None,
    };
    errors.sort_by_key(|error| error.span.as_ref().map_or(0, |span| span.start));
    let mut problems: Vec<Problem> = errors.into_iter().map(problem).collect();
    problems.dedup_by_key(|problem| problem.place.line());
    problems.truncate(MAX_SYNTAX_ERRORS);
    Diagnosis {
        file: source.file.clone(),
        text: source.masked_unparsed(),
        problems,
    }
}
