//! Strict parsing of untrusted JSON objects, without parser differentials. PURE.

use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Parses exactly one JSON object. Duplicate members are rejected, because parsers differ on which
/// one counts (RFC 8725 section 2.4, RFC 7515 section 4). `serde_json` bounds the depth.
///
/// Returns `None` for anything else.
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
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(map)
    }
}

/// Makes untrusted text safe to display: without control characters, and at most `limit`
/// characters.
pub(super) fn printable(text: &str, limit: usize) -> String {
    text.chars()
        .filter(|c| !is_unprintable(*c))
        .take(limit)
        .collect()
}

/// Control characters, and characters that reorder or hide text.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_rejects_duplicates_and_trailing_data() {
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
    fn printable_removes_control_characters_and_truncates() {
        assert_eq!(printable("a\r\nb\u{1b}[31m\u{202e}c\u{0}", 100), "ab[31mc");
        assert_eq!(printable("ééé", 2), "éé");
    }
}
