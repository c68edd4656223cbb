//! JSON objects from outside, read so that no two readers can disagree on them. PURE.

use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Reads exactly one JSON object. A member that comes twice is refused: which one counts is a matter of
/// taste among parsers (RFC 8725 section 2.4, RFC 7515 section 4). Depth is bounded by `serde_json`.
///
/// `None` for anything else.
pub(super) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let map = reader.deserialize_map(UniqueMembers).ok()?;
    reader.end().ok()?;
    Some(map)
}

struct UniqueMembers;

impl<'de> Visitor<'de> for UniqueMembers {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a member comes twice"));
            }
        }
        Ok(map)
    }
}

/// A text from outside as it may be shown: no control characters, at most `limit` characters.
pub(super) fn printable(text: &str, limit: usize) -> String {
    text.chars()
        .filter(|c| !is_unprintable(*c))
        .take(limit)
        .collect()
}

/// Control characters, and those that reorder or hide text when displayed.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_object_with_unique_members_is_read() {
        assert_eq!(object(br#" {"a":1,"b":{"a":2}} "#).unwrap().len(), 2);
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        for bad in [
            "",
            "null",
            "[]",
            "1",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1}{}"#,
            r#"{"a":1e999}"#,
            &deep,
        ] {
            assert!(object(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
    }

    #[test]
    fn printable_text_has_no_escapes_and_an_end() {
        assert_eq!(printable("a\r\nb\u{1b}[31m\u{202e}c\u{0}", 100), "ab[31mc");
        assert_eq!(printable("ééé", 2), "éé");
    }
}
