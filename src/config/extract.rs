//! From values to typed tables. The reader stops at its first error, so each is reported, what it is about is left
//! out, and the reading begins again, until all that is left can be read.

use figment::error::{Actual, Kind};
use figment::value::{Empty, Tag, Value};
use serde::Deserialize;

use super::raw::RawConfig;
use super::report::{Location, Report, did_you_mean, nearest, quoted};
use super::source::names_a_secret;

/// The typed tables of all that can be read, and the paths of unknown keys.
pub(super) fn extract(mut values: Value, report: &Report<'_>) -> (RawConfig, Vec<Vec<String>>) {
    let mut unknown = Vec::new();
    let mut retried: Vec<Vec<String>> = Vec::new();
    loop {
        let error = match RawConfig::deserialize(&values) {
            Ok(raw) => return (raw, unknown),
            Err(error) => error,
        };
        let at = report.at(error.path.clone());
        if matches!(error.kind, Kind::UnknownField(..)) {
            unknown.push(error.path.clone());
        } else if let Some(text) = report
            .environment
            .text_at(&error.path)
            .filter(|_| !retried.contains(&error.path))
        {
            // `DOORWARD_APPS__STORE__CLIENT_ID=12345` looks like a number and is meant as text.
            retried.push(error.path.clone());
            replace(&mut values, &error.path, Some(Value::from(text)));
            continue;
        }
        explain(
            &at,
            &error.kind,
            error.path.last().map_or("", String::as_str),
        );
        let leave_gap = !matches!(error.kind, Kind::UnknownField(..));
        if leave_gap {
            at.note_unreadable();
        }
        if !replace(
            &mut values,
            &error.path,
            leave_gap.then_some(Value::Empty(Tag::Default, Empty::None)),
        ) {
            return (RawConfig::default(), unknown);
        }
    }
}

/// Puts `new` at `path`, or takes the key away; false if there is no such place.
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
            at.refuse_key(
                format!("no such key: {}", quoted(name)),
                did_you_mean(name, known.iter().copied()),
            );
            // What it was meant to be is not missing on top of that.
            if let Some(meant) = nearest(name, known.iter().copied()) {
                at.beside(meant).note_unreadable();
            }
        }
        Kind::UnknownVariant(word, known) => {
            at.error(
                format!("{} is not known here", quoted(word)),
                did_you_mean(word, known.iter().copied()),
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
        | Kind::UnsupportedKey(..) => at.error("this value cannot be read", ""),
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
        Actual::Seq => "a list".to_owned(),
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
        | Actual::Other(_) => "something else".to_owned(),
    }
}

/// The reader's own words for plain types, without its programming language.
fn plain_expected(expected: &str) -> &str {
    match expected {
        "a string" | "string" => "text in quotes",
        "a sequence" => "a list in brackets",
        "a map" => "a table",
        "a boolean" => "`true` or `false`",
        "u32" => "a whole number from 0 to 4294967295",
        other => other,
    }
}
