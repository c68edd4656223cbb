//! YAML as a tree with line numbers.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    /// Numbers and switches are texts too; nothing is the empty text.
    Scalar(String),
    List(Vec<Spanned<Value>>),
    Table(Vec<Entry>),
}

/// An entry of a table.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Spanned<Value>,
}

/// The line of a value.
pub(super) fn line(value: &Spanned<Value>) -> usize {
    usize::try_from(value.referenced.line()).unwrap_or_default()
}

/// Parses a text. The size of the tree is bounded, even if the text repeats parts by aliases.
///
/// # Errors
/// The line where the text is not YAML.
pub(super) fn parse(text: &str) -> Result<Spanned<Value>, usize> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        usize::try_from(line).unwrap_or_default()
    })
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list or a table")
    }

    fn visit_bool<E: Error>(self, switch: bool) -> Result<Value, E> {
        Ok(Value::Scalar(switch.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Scalar(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Scalar(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Scalar(number.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Scalar(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Scalar(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = sequence.next_element()? {
            list.push(element);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut table = Vec::new();
        while let Some(key) = map.next_key()? {
            let value = map.next_value()?;
            table.push(Entry { key, value });
        }
        Ok(Value::Table(table))
    }
}
