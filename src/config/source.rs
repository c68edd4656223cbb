//! The configuration file: its text, and its parsed table with the span of every key and value.
//! Possible secrets are masked in the text that is shown.

use std::ops::Range;
use std::path::PathBuf;

use figment::value::{Dict, Empty, Num, Tag, Value};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::problem::ProblemLocation;

/// A parsed configuration file.
pub(super) struct Source<'t> {
    pub(super) file: PathBuf,
    text: &'t str,
    table: Spanned<DeTable<'t>>,
}

/// A TOML syntax error.
pub(super) struct SyntaxError {
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
}

/// The part of an entry that a problem is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
}

impl<'t> Source<'t> {
    /// Parses `text`. Continues after an error where possible, to report several.
    pub(super) fn parse(file: PathBuf, text: &'t str) -> (Self, Vec<SyntaxError>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let errors = errors
            .into_iter()
            .map(|error| SyntaxError {
                span: error.span(),
                message: error.message().to_owned(),
            })
            .collect();
        (Self { file, text, table }, errors)
    }

    /// The values, and the paths of values of types that no key accepts.
    pub(super) fn values(&self) -> (Dict, Vec<Vec<String>>) {
        let mut unsupported = Vec::new();
        let dict = dict_of(self.table.get_ref(), &mut Vec::new(), &mut unsupported);
        (dict, unsupported)
    }

    /// The span of the key or value at `path`, if it is in the file.
    pub(super) fn span(&self, path: &[String], part: Part) -> Option<Range<usize>> {
        let (key, value) = self.find(path)?;
        // The span of a table that is not inline is its header, where its key is.
        let is_inline = |span: Range<usize>| {
            self.text
                .get(span)
                .is_some_and(|text| text.starts_with('{'))
        };
        let has_header = matches!(value.get_ref(), DeValue::Table(_)) && !is_inline(value.span());
        Some(if part == Part::Key || has_header {
            key
        } else {
            value.span()
        })
    }

    /// The span of the key at `path` (in a list, of the element), and the value.
    fn find(&self, path: &[String]) -> Option<(Range<usize>, &Spanned<DeValue<'t>>)> {
        let (first, rest) = path.split_first()?;
        let (key, mut value) = find(self.table.get_ref(), first)?;
        let mut span = key.span();
        for step in rest {
            (span, value) = match value.get_ref() {
                DeValue::Table(table) => {
                    find(table, step).map(|(key, value)| (key.span(), value))?
                }
                DeValue::Array(array) => array
                    .get(step.parse::<usize>().ok()?)
                    .map(|value| (value.span(), value))?,
                // One text may stand for a list of one.
                DeValue::String(_) if step == "0" => (value.span(), value),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => return None,
            };
        }
        Some((span, value))
    }

    /// The line and column of `span`.
    pub(super) fn location(&self, span: Range<usize>) -> ProblemLocation {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        ProblemLocation::File { line, column, span }
    }

    /// The masked text of a file with syntax errors.
    pub(super) fn masked_unparsed(&self) -> String {
        mask_values(self.text)
    }

    /// The text with possible secrets masked. The values at `unknown` are masked too, because an
    /// unknown key may be a misspelt secret.
    pub(super) fn masked(&self, unknown: &[Vec<String>]) -> String {
        let mut spans = Vec::new();
        for value in unknown.iter().filter_map(|path| Some(self.find(path)?.1)) {
            leaves_of(value, &mut spans);
        }
        secrets_of(self.table.get_ref(), &mut spans);
        let mut bytes = self.text.as_bytes().to_vec();
        for span in spans {
            let masked = bytes.get_mut(span).unwrap_or_default();
            masked
                .iter_mut()
                .filter(|byte| **byte != b'\n')
                .for_each(|byte| *byte = b'*');
        }
        String::from_utf8(bytes).unwrap_or_default()
    }
}

fn find<'a, 't>(
    table: &'a DeTable<'t>,
    key: &str,
) -> Option<(&'a Spanned<DeString<'t>>, &'a Spanned<DeValue<'t>>)> {
    table.iter().find(|(name, _)| name.get_ref() == key)
}

fn dict_of(
    table: &DeTable<'_>,
    path: &mut Vec<String>,
    unsupported: &mut Vec<Vec<String>>,
) -> Dict {
    let mut dict = Dict::new();
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        dict.insert(
            key.get_ref().to_string(),
            value_of(value.get_ref(), path, unsupported),
        );
        path.pop();
    }
    dict
}

fn value_of(
    value: &DeValue<'_>,
    path: &mut Vec<String>,
    unsupported: &mut Vec<Vec<String>>,
) -> Value {
    let tag = Tag::Default;
    match value {
        DeValue::String(text) => Value::String(tag, text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(tag, *flag),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Value::Num(tag, Num::I64(number)),
            Err(_) => unsupported_value(path, unsupported),
        },
        DeValue::Float(float) => match float.as_str().parse() {
            Ok(number) => Value::Num(tag, Num::F64(number)),
            Err(_) => unsupported_value(path, unsupported),
        },
        DeValue::Datetime(_) => unsupported_value(path, unsupported),
        DeValue::Table(table) => Value::Dict(tag, dict_of(table, path, unsupported)),
        DeValue::Array(array) => {
            let mut values = Vec::with_capacity(array.len());
            for (index, element) in array.iter().enumerate() {
                path.push(index.to_string());
                values.push(value_of(element.get_ref(), path, unsupported));
                path.pop();
            }
            Value::Array(tag, values)
        }
    }
}

fn unsupported_value(path: &[String], unsupported: &mut Vec<Vec<String>>) -> Value {
    unsupported.push(path.to_vec());
    Value::Empty(Tag::Default, Empty::None)
}

/// Whether the value of this key may be a secret.
pub(super) fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    (key.contains("secret") || key.contains("password")) && !key.ends_with("_file")
}

/// Whether the text may be a URL with a user name or password.
pub(super) fn has_credentials(text: &str) -> bool {
    // Anywhere: a password with a `/` makes the URL invalid, but is still a password.
    text.split_once("://")
        .is_some_and(|(_, rest)| rest.contains('@'))
}

fn leaves_of(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => table.iter().for_each(|(_, value)| leaves_of(value, spans)),
        DeValue::Array(array) => array.iter().for_each(|element| leaves_of(element, spans)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {
            spans.push(value.span());
        }
    }
}

fn secrets_of(table: &DeTable<'_>, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        // `password_grant = true` is not a secret.
        if names_a_secret(key.get_ref()) && !matches!(value.get_ref(), DeValue::Boolean(_)) {
            leaves_of(value, spans);
        } else {
            secrets_within(value, spans);
        }
    }
}

fn secrets_within(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => secrets_of(table, spans),
        DeValue::Array(array) => array
            .iter()
            .for_each(|element| secrets_within(element, spans)),
        DeValue::String(text) if has_credentials(text) => spans.push(value.span()),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

/// Masks all values of a file with syntax errors, because the error may hide which value is a
/// secret. Punctuation stays, because that is where the errors are.
fn mask_values(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut in_value = !line.contains('=') && !line.trim_start().starts_with('[');
        for character in line.chars() {
            in_value |= matches!(character, '=' | '"' | '\'');
            if in_value && (character.is_alphanumeric() || !character.is_ascii()) {
                (0..character.len_utf8()).for_each(|_| masked.push('*'));
            } else {
                masked.push(character);
            }
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"[store]
url = "redis://user:hunter2@host/0"

[apps.store]
client_secret = "hunter2"
client_secret_file = "secrets/store"
scopes = ["openid", "email"]
headers = { X-A = "{a}" }

[[apps.store.rules]]
paths = ["/é", "/b"]

[[apps.store.rules]]
paths = ["/c"]
"#;

    fn source() -> Source<'static> {
        let (source, errors) = Source::parse("x.toml".into(), TEXT);
        assert!(errors.is_empty());
        source
    }

    fn located(path: &str, part: Part) -> (String, usize, usize) {
        let source = source();
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let span = source.span(&path, part).unwrap();
        match source.location(span.clone()) {
            ProblemLocation::File { line, column, .. } => {
                (TEXT.get(span).unwrap().to_owned(), line, column)
            }
            ProblemLocation::Variable(_) | ProblemLocation::Nowhere => panic!("not in the file"),
        }
    }

    #[test]
    fn keys_and_values_are_located() {
        let cases = [
            ("store", Part::Key, "store", 1, 2),
            ("store.url", Part::Key, "url", 2, 1),
            ("apps.store", Part::Value, "store", 4, 7),
            ("apps.store.scopes.1", Part::Value, "\"email\"", 7, 21),
            ("apps.store.headers.X-A", Part::Value, "\"{a}\"", 8, 19),
            ("apps.store.rules.0.paths.1", Part::Value, "\"/b\"", 11, 16),
            (
                "apps.store.rules.1",
                Part::Value,
                "[[apps.store.rules]]",
                13,
                1,
            ),
            ("apps.store.rules.1.paths.0", Part::Value, "\"/c\"", 14, 10),
        ];
        for (path, part, text, line, column) in cases {
            assert_eq!(
                located(path, part),
                (text.to_owned(), line, column),
                "{path}"
            );
        }
    }

    #[test]
    fn secrets_are_masked_in_place() {
        let masked = source().masked(&[]);
        assert!(!masked.contains("hunter2"), "{masked}");
        assert!(masked.contains("client_secret_file = \"secrets/store\""));
        assert_eq!(masked.len(), TEXT.len());
        let (broken, errors) =
            Source::parse("x.toml".into(), "a = 1\nclient_secret = 'hunter2\nb = 2");
        assert!(!errors.is_empty());
        assert!(!broken.masked_unparsed().contains("hunter2"));
    }

    #[test]
    fn dates_and_large_numbers_are_unsupported() {
        let text = "a = 1979-05-27\nb = [1, 99999999999999999999999999999999999999999]";
        let (source, errors) = Source::parse("x.toml".into(), text);
        assert!(errors.is_empty());
        assert_eq!(
            source.values().1,
            [vec!["a".to_owned()], vec!["b".to_owned(), "1".to_owned()]]
        );
    }
}
