//! Configuration: a TOML file, overridden by environment variables, or variables alone. Secrets are in
//! separate files, or in variables that a key names.
//!
//! `raw` is the schema, `extract` deserializes it, and `check` validates it. All problems are
//! reported at once. No other module reads the environment or these files.

mod check;
mod diagnosis;
mod environment;
mod extract;
mod files;
mod flat_variables;
mod inputs;
mod keys;
mod keywords;
mod logo;
mod problem;
mod raw;
mod raw_assertion;
mod raw_credentials;
mod raw_device_binding;
mod raw_headers;
mod raw_health_check;
mod raw_limits;
mod raw_log;
mod raw_native;
mod raw_pages;
mod raw_provider;
mod raw_registration;
mod raw_routes;
mod raw_rules;
mod raw_store;
mod raw_tls;
mod raw_unbound_sessions;
mod report;
mod rule_list_file;
pub mod schema;
mod settings;
mod source;
mod template_folder;
mod values;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::Serialized;
use figment::value::{Dict, Value};
use figment::{Figment, Profile};
use zeroize::Zeroizing;

pub use self::diagnosis::Diagnosis;
pub use self::inputs::{Change, Inputs};
pub use self::keys::{KeyFileError, RandomError, SealingKey, write_new_key};
pub use self::problem::{Problem, ProblemLocation, Severity};
pub use self::rule_list_file::{RuleListError, RuleListFile};
pub use self::settings::{
    AppConfig, BearerConfig, Config, LogConfig, LoginHostConfig, Registration, RouteConfig,
    ServerConfig, StoreBackend, StoreConfig, TlsConfig,
};

use self::environment::Environment;
use self::files::{Folder, describe, read_text};
use self::flat_variables::flat_variable;
use self::inputs::InputFile;
use self::report::{Location, Report};
use self::source::{Source, SyntaxError};
use self::values::HumanDuration;

/// The name of a configuration without a file in messages.
const NO_FILE: &str = "environment";

/// The most syntax errors that are reported.
const MAX_SYNTAX_ERRORS: usize = 10;

/// A valid configuration, with its warnings.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The warnings and the advice.
    pub warnings: Diagnosis,
    /// Its inputs.
    pub inputs: Inputs,
    /// Where it can be read again.
    pub source: ConfigSource,
}

/// An invalid configuration.
#[derive(Debug)]
pub struct InvalidConfig {
    /// Its problems.
    pub diagnosis: Diagnosis,
    /// Its inputs.
    pub inputs: Inputs,
}

/// Where a configuration is read from.
#[derive(Clone)]
pub struct ConfigSource {
    file: Option<PathBuf>,
    variables: Vec<(OsString, OsString)>,
}

impl ConfigSource {
    /// Reads `file`, if there is one. Those of `variables` that begin with `DOORWARD_` and contain
    /// `__` override it. A key can name others in place of a file, such as `env:SESSION_KEY`.
    pub fn new(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        Self {
            file: file.map(Path::to_path_buf),
            variables: variables.into_iter().collect(),
        }
    }

    /// Whether there is neither a file nor a variable that sets a key.
    pub fn is_empty(&self) -> bool {
        let mut names = self.variables.iter().map(|(name, _)| name);
        self.file.is_none() && !names.any(|name| environment::sets_a_key(name))
    }

    /// Loads the configuration as it is now.
    ///
    /// # Errors
    /// All problems of the configuration.
    pub fn load(&self) -> Result<Loaded, InvalidConfig> {
        let Attempt { inputs, result } = read(self.file.as_deref(), &self.variables);
        match result {
            Ok(Checked { config, warnings }) => Ok(Loaded {
                config,
                warnings,
                inputs,
                source: self.clone(),
            }),
            Err(diagnosis) => Err(InvalidConfig { diagnosis, inputs }),
        }
    }
}

impl fmt::Debug for ConfigSource {
    /// The variables may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConfigSource").field(&self.file).finish()
    }
}

/// Loads `file`. Those of `variables` that begin with `DOORWARD_` and contain `__` override it.
///
/// # Errors
/// All problems of the configuration.
pub fn load(
    file: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Diagnosis> {
    let loaded = ConfigSource::new(Some(file), variables).load();
    loaded.map_err(|invalid| invalid.diagnosis)
}

/// An attempt to read a configuration.
struct Attempt {
    inputs: Inputs,
    result: Result<Checked, Diagnosis>,
}

struct Checked {
    config: Config,
    warnings: Diagnosis,
}

fn read(file: Option<&Path>, variables: &[(OsString, OsString)]) -> Attempt {
    let config_file = file.map(|file| InputFile::before_reading(String::new(), file));
    let failed = |config_file: Option<InputFile>, diagnosis: Diagnosis| Attempt {
        inputs: Inputs::unparsed(config_file),
        result: Err(diagnosis),
    };
    let folder = Folder::of(file, variables);
    let text = file.map_or_else(|| Ok(Zeroizing::default()), |file| Ok(read_text(file)?.0));
    let file = file.unwrap_or(Path::new(NO_FILE));
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot be read: {}", describe(&error));
            return failed(config_file, unreadable(file, message));
        }
    };
    let (source, errors) = Source::parse(file.to_path_buf(), &text);
    if !errors.is_empty() {
        return failed(config_file, not_toml(&source, errors));
    }
    let (values, unsupported) = source.values();
    let (environment, not_text) = Environment::read(variables.iter().cloned(), &values);
    let report = Report::new(&source, &environment);
    report_flat_variables(&environment, &values, &report.root());
    for name in not_text {
        report.root().error(
            format!("the environment variable `{name}` is not UTF-8 text"),
            "",
        );
    }
    for path in unsupported {
        let at = report.location(path);
        at.error(
            "no key takes a date or a number of this size",
            "put dates and large numbers in quotes",
        );
        at.mark_invalid();
    }
    let values = merged(values, &environment, &report.root());
    let (raw, unknown) = extract::extract(values.clone(), &report);
    let config = check::check(raw, &report.root(), &folder);
    let files = config_file.into_iter().chain(report.take_files());
    let inputs = Inputs::new(&values, files.collect());
    let (problems, has_errors) = report.into_problems();
    let diagnosis = Diagnosis {
        file: file.to_path_buf(),
        text: source.masked(&unknown),
        problems,
    };
    let result = match config {
        Some(config) if !has_errors => Ok(Checked {
            config,
            warnings: diagnosis,
        }),
        Some(_) | None => Err(diagnosis),
    };
    Attempt { inputs, result }
}

/// Parses a duration: a whole number with the unit `s`, `m`, `h` or `d`.
///
/// # Errors
/// [`ParseDurationError`].
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    HumanDuration::parse(text)
        .map(|duration| duration.0)
        .ok_or(ParseDurationError)
}

/// A string that is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a whole number with a unit, such as `90s`, `30m`, `12h` or `1d`")]
pub struct ParseDurationError;

/// Reports variables with `_` where `__` was meant.
fn report_flat_variables(environment: &Environment, file: &Dict, root: &Location<'_>) {
    let others = environment.others().iter();
    for variable in others.filter_map(|name| flat_variable(name, file)) {
        let name = variable.name;
        let message = format!("the environment variable `{name}` sets nothing");
        match variable.meant {
            Some(meant) => root.error(
                message,
                format!("did you mean `{meant}`? `__` separates the levels of a key"),
            ),
            None => root.warning(
                message,
                "`__` separates the levels of a key: `DOORWARD_APPS__STORE__CLIENT_ID`",
            ),
        }
    }
}

fn merged(file: Dict, environment: &Environment, root: &Location<'_>) -> Value {
    let from = |dict: Dict| Serialized::from(dict, Profile::Default);
    match Figment::from(from(file))
        .merge(from(environment.values()))
        .extract::<Value>()
    {
        Ok(values) => values,
        Err(error) => {
            root.error(format!("the values cannot be merged: {}", error.kind), "");
            Value::from(Dict::new())
        }
    }
}

fn unreadable(file: &Path, message: String) -> Diagnosis {
    let problem = Problem {
        severity: Severity::Error,
        location: ProblemLocation::Nowhere,
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

/// The problems of a file that is not TOML: one per line, because one mistake can cause several
/// errors, and at most [`MAX_SYNTAX_ERRORS`].
fn not_toml(source: &Source<'_>, mut errors: Vec<SyntaxError>) -> Diagnosis {
    let problem = |error: SyntaxError| Problem {
        severity: Severity::Error,
        location: error
            .span
            .map_or(ProblemLocation::Nowhere, |span| source.location(span)),
        key: String::new(),
        message: format!("not TOML: {}", error.message),
        hint: None,
    };
    errors.sort_by_key(|error| error.span.as_ref().map_or(0, |span| span.start));
    let mut problems: Vec<Problem> = errors.into_iter().map(problem).collect();
    problems.dedup_by_key(|problem| problem.location.line());
    problems.truncate(MAX_SYNTAX_ERRORS);
    Diagnosis {
        file: source.file.clone(),
        text: source.masked_unparsed(),
        problems,
    }
}
