//! Deserializes the values into typed tables. Deserialization stops at the first error, so each
//! error is reported, its value is removed, and deserialization is repeated until it succeeds.

use figment::error::{Actual, Kind};
use figment::value::{Empty, Tag, Value};
use serde::Deserialize;

use super::raw::RawConfig;
use super::report::{Location, Report, did_you_mean, nearest, quoted};
use super::source::names_a_secret;

/// The typed tables of all valid values, and the paths of unknown keys.
pub(super) fn extract(mut values: Value, report: &Report<'_>) -> (RawConfig, Vec<Vec<String>>) {
    let mut unknown = Vec::new();
    let mut retried: Vec<Vec<String>> = Vec::new();
    loop {
        let error = match RawConfig::deserialize(&values) {
            Ok(raw) => return (raw, unknown),
            Err(error) => error,
        };
        let at = report.location(error.path.clone());
        if matches!(error.kind, Kind::UnknownField(..)) {
            unknown.push(error.path.clone());
        } else if let Some(text) = report
            .environment
            .text_at(&error.path)
            .filter(|_| !retried.contains(&error.path))
        {
            // `DOORWARD_APPS__STORE__CLIENT_ID=12345` was parsed as a number, but the key takes text.
            retried.push(error.path.clone());
            replace(&mut values, &error.path, Some(Value::from(text)));
            continue;
        }
        explain(
            &at,
            &error.kind,
            error.path.last().map_or("", String::as_str),
        );
        let is_known_key = !matches!(error.kind, Kind::UnknownField(..));
        if is_known_key {
            at.mark_invalid();
        }
        if !replace(
            &mut values,
            &error.path,
            is_known_key.then_some(Value::Empty(Tag::Default, Empty::None)),
        ) {
            return (RawConfig::default(), unknown);
        }
    }
}

/// Replaces the value at `path`, or removes the key. Returns false if there is no such value.
fn replace(value: &mut Value, path: &[String], new: Option<Value>) -> bool {
    let Some((step, rest)) = path.split_first() else {
        return false;
    };
    match value {
        Value::Dict(_, table) if rest.is_empty() => match new {
            Some(new) => table.insert(step.clone(), new).is_some(),
            None => table.remove(step).is_some(),
        },
        Value::Dict(_, table) => table
            .get_mut(step)
            .is_some_and(|value| replace(value, rest, new)),
        Value::Array(_, list) => {
            let Some(element) = step
                .parse::<usize>()
                .ok()
                .and_then(|index| list.get_mut(index))
            else {
                return false;
            };
            if !rest.is_empty() {
                return replace(element, rest, new);
            }
            *element = new.unwrap_or(Value::Empty(Tag::Default, Empty::None));
            true
        }
        Value::String(..)
        | Value::Char(..)
        | Value::Bool(..)
        | Value::Num(..)
        | Value::Empty(..) => false,
    }
}

fn explain(at: &Location<'_>, kind: &Kind, key: &str) {
    match kind {
        Kind::UnknownField(name, known) => {
            at.key_error(
                format!("unknown key {}", quoted(name)),
                did_you_mean(name, known.iter().copied()),
            );
            // The suggested key is not reported as missing too.
            if let Some(suggested) = nearest(name, known.iter().copied()) {
                at.sibling(suggested).mark_invalid();
            }
        }
        Kind::UnknownVariant(keyword, known) => {
            at.error(
                format!("unknown value {}", quoted(keyword)),
                did_you_mean(keyword, known.iter().copied()),
            );
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            let found = if names_a_secret(key) {
                "`[redacted]`".to_owned()
            } else {
                plain_actual(found)
            };
            let (expected, hint) = expected.split_once("; ").unwrap_or((expected, ""));
            at.error(
                format!("found {found}, expected {}", plain_expected(expected)),
                hint,
            );
        }
        Kind::Message(_)
        | Kind::InvalidLength(..)
        | Kind::MissingField(_)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => at.error("invalid value", ""),
    }
}

fn plain_actual(actual: &Actual) -> String {
    match actual {
        Actual::Bool(flag) => quoted(flag),
        Actual::Unsigned(number) => format!("the number {}", quoted(number)),
        Actual::Signed(number) => format!("the number {}", quoted(number)),
        Actual::Float(number) => format!("the number {}", quoted(number)),
        Actual::Char(text) => quoted(text),
        Actual::Str(text) => quoted(text),
        Actual::Seq => "an array".to_owned(),
        Actual::Map => "a table".to_owned(),
        Actual::Bytes(_)
        | Actual::Unit
        | Actual::Option
        | Actual::NewtypeStruct
        | Actual::Enum
        | Actual::UnitVariant
        | Actual::NewtypeVariant
        | Actual::TupleVariant
        | Actual::StructVariant
        | Actual::Other(_) => "another type".to_owned(),
    }
}

/// Replaces Rust's type names by those of TOML.
fn plain_expected(expected: &str) -> &str {
    match expected {
        "a string" | "string" => "a string",
        "a sequence" => "an array",
        "a map" => "a table",
        "a boolean" => "`true` or `false`",
        "u32" => "an integer from 0 to 4294967295",
        other => other,
    }
}
