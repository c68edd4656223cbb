//! Options of oauth2-proxy from TOML, environment variables and arguments.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::settings::{Position, Setting, SettingValue, Settings};
use super::super::{ImportError, MAX_BYTES};
use super::options::OPTIONS;
use super::{Source, alpha};

const PREFIX: &str = "OAUTH2_PROXY_";

/// The flags whose values are lists: commas separate their elements outside of TOML arrays.
const LISTS: [&str; 28] = [
    "allowed-group",
    "allowed-role",
    "api-route",
    "cookie-domain",
    "email-domain",
    "entra-id-allowed-tenant",
    "exclude-logging-path",
    "extra-jwt-issuers",
    "github-user",
    "gitlab-group",
    "gitlab-project",
    "google-group",
    "htpasswd-user-group",
    "keycloak-group",
    "oidc-audience-claim",
    "oidc-enabled-signing-alg",
    "oidc-extra-audience",
    "oidc-public-key-file",
    "provider-ca-file",
    "redis-cluster-connection-urls",
    "redis-sentinel-connection-urls",
    "skip-auth-regex",
    "skip-auth-route",
    "tls-cipher-suite",
    "trusted-ip",
    "trusted-proxy-ip",
    "upstream",
    "whitelist-domain",
];

/// Reads a source. An option replaces that of an earlier source.
pub(super) fn read(source: Source<'_>, settings: &mut Settings) -> Result<(), ImportError> {
    let found = match source {
        Source::Config { name, text } => config(name, bounded(name, text)?)?,
        Source::Alpha { name, text } => return alpha::read(name, bounded(name, text)?, settings),
        Source::VariableFile { name, text } => variable_file(name, bounded(name, text)?),
        Source::Variables(variables) => variables_of(variables),
        Source::Arguments(arguments) => flags(arguments),
    };
    for setting in found {
        settings.replace(setting)?;
    }
    Ok(())
}

fn bounded<'t>(name: &str, text: &'t str) -> Result<&'t str, ImportError> {
    if text.len() > MAX_BYTES {
        return Err(ImportError::TooLarge(name.to_owned()));
    }
    Ok(text)
}

/// The name of the flag for a name in a file or variable, where lists have a plural.
fn flag_of(name: &str) -> String {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let is_it = |flag: &str| flag == name || name.strip_suffix('s') == Some(flag);
    let exact = OPTIONS.iter().find(|option| option.name == name);
    let option = exact.or_else(|| OPTIONS.iter().find(|option| is_it(option.name)));
    option.map_or(name, |option| option.name.to_owned())
}

/// The elements of a text, which are several if the flag is a list.
fn elements(flag: &str, text: &str) -> Vec<String> {
    if !LISTS.contains(&flag) {
        return vec![text.to_owned()];
    }
    text.split(',').map(|part| part.trim().to_owned()).collect()
}

fn setting(written: &str, flag: String, texts: Vec<String>, at: &Position) -> Setting {
    let value = |text| SettingValue {
        written: written.to_owned(),
        text,
        at: at.clone(),
    };
    Setting {
        name: flag,
        written: written.to_owned(),
        values: texts.into_iter().map(value).collect(),
        at: at.clone(),
        scope: None,
    }
}

/// The lines of a file by byte offset.
struct Lines<'t> {
    file: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(file: &'t str, text: &str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Self { file, starts }
    }

    fn position(&self, span: Range<usize>) -> Position {
        let line = self.starts.partition_point(|start| *start <= span.start);
        Position::line(self.file, line, line)
    }
}

fn config(name: &str, text: &str) -> Result<Vec<Setting>, ImportError> {
    let lines = Lines::of(name, text);
    let table = DeTable::parse(text).map_err(|error| ImportError::Malformed {
        at: lines.position(error.span().unwrap_or_default()),
        message: "not TOML".to_owned(),
    })?;
    let mut found = Vec::new();
    for (key, value) in table.get_ref() {
        let flag = flag_of(key.get_ref());
        let written = key.get_ref();
        let value_at = |text: String, span| SettingValue {
            written: written.to_string(),
            text,
            at: lines.position(span),
        };
        let values = if let DeValue::Array(array) = value.get_ref() {
            // Elements are whole: regular expressions may have commas.
            let elements = array.iter();
            let value_of = |element: &Spanned<DeValue<'_>>| {
                value_at(scalar(element.get_ref()), element.span())
            };
            elements.map(value_of).collect()
        } else {
            let elements = elements(&flag, &scalar(value.get_ref())).into_iter();
            elements.map(|text| value_at(text, value.span())).collect()
        };
        found.push(Setting {
            name: flag,
            written: written.to_string(),
            values,
            at: lines.position(key.span()),
            scope: None,
        });
    }
    found.sort_by_key(|setting| setting.at.order());
    Ok(found)
}

/// The text of a value. No option takes a table or a list in a list.
fn scalar(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => "a table or a list".to_owned(),
    }
}

fn variable_file(name: &str, text: &str) -> Vec<Setting> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.starts_with('#') {
            continue;
        }
        let Some((variable, value)) = line.split_once('=') else {
            continue;
        };
        let at = Position::line(name, index + 1, MAX_BYTES + index);
        found.extend(variable_setting(
            variable.trim(),
            unquoted(value.trim()),
            &at,
        ));
    }
    found
}

/// The text without the quotes around it.
fn unquoted(text: &str) -> &str {
    let within = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

fn variables_of(variables: &[(String, String)]) -> Vec<Setting> {
    let variables = variables.iter().enumerate();
    let settings = variables.filter_map(|(index, (name, value))| {
        let at = Position::labelled("environment".to_owned(), 2 * MAX_BYTES + index);
        variable_setting(name, value, &at)
    });
    settings.collect()
}

/// The option of a variable; `None` if it is not one of oauth2-proxy.
fn variable_setting(name: &str, value: &str, at: &Position) -> Option<Setting> {
    let flag = flag_of(name.strip_prefix(PREFIX)?);
    let texts = elements(&flag, value);
    Some(setting(name, flag, texts, at))
}

/// The options of a command line: `--flag=value`, `--flag value` and `--flag`.
fn flags(arguments: &[String]) -> Vec<Setting> {
    let mut found: Vec<Setting> = Vec::new();
    let mut rest = arguments.iter().enumerate().peekable();
    while let Some((index, argument)) = rest.next() {
        let at = Position::labelled(format!("argument {}", index + 1), 3 * MAX_BYTES + index);
        let Some(name) = argument.strip_prefix("--").or(argument.strip_prefix('-')) else {
            let texts = vec!["an argument".to_owned()];
            found.push(setting("argument", String::new(), texts, &at));
            continue;
        };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => match rest.next_if(|(_, next)| !next.starts_with('-')) {
                Some((_, value)) => (name, value.clone()),
                None => (name, "true".to_owned()),
            },
        };
        let written = format!("--{name}");
        let flag = name.to_ascii_lowercase();
        let new = setting(&written, flag.clone(), elements(&flag, &value), &at);
        match found.iter_mut().find(|setting| setting.name == flag) {
            Some(earlier) if LISTS.contains(&flag.as_str()) => earlier.values.extend(new.values),
            Some(earlier) => *earlier = new,
            None => found.push(new),
        }
    }
    found
}
