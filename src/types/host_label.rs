//! Host labels: the variable label of a wildcard host.

use std::fmt;
use std::sync::Arc;

/// A label of a host name: 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end
/// (RFC 1123 section 2.1), and no `--` in the third and fourth position. Those labels are reserved
/// (RFC 5890 section 2.3.1): they encode other characters, which can look like another label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostLabel(Arc<str>);

impl HostLabel {
    /// The label `text`; `None` if it is not one. Upper-case letters are not accepted.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_allowed =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        let is_reserved = bytes.get(2..4) == Some(b"--");
        let is_label = (1..=63).contains(&bytes.len())
            && bytes.iter().all(is_allowed)
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !is_reserved;
        is_label.then(|| Self(text.into()))
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_accepts_plain_labels_only() {
        let longest = "a".repeat(63);
        for text in ["a", "a1", "1", "a-b", "a--b-c", "blue", &longest] {
            assert_eq!(HostLabel::parse(text).unwrap().as_str(), text);
        }
        let too_long = "a".repeat(64);
        for text in [
            "", "-", "-a", "a-", "A", "a.b", "a_b", "*", "xn--a", "ab--c", "a b", "a:1", "a/b",
            "a%2e", "\u{e9}", "a\0", "{label}", &too_long,
        ] {
            assert_eq!(HostLabel::parse(text), None, "{text}");
        }
    }
}
