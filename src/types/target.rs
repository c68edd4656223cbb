//! The canonical request target. The path that rules match is, byte for byte, the path that the app
//! receives. A path that two parsers could read differently is refused before any rule is matched:
//! this is the protection against path confusion.

use std::borrow::Cow;

use http::Uri;

/// Maximum length of a target, in bytes.
pub const MAX_TARGET: usize = 16 * 1024;

/// A canonical path and a query. In the path, unreserved characters are decoded and escapes are in
/// upper case (RFC 3986 section 6.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: String,
    path_len: usize,
    ambiguities: PathAmbiguities,
}

/// Why a target is rejected, regardless of an app's `allow_ambiguous_paths`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither a path nor an absolute URL with a path.
    #[error("the request target is not a path")]
    NotAPath,
    /// Longer than [`MAX_TARGET`].
    #[error("the request target is too long")]
    TooLong,
    /// A segment that is `.` or `..`, plain, escaped, or before a `;`.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A `\`, plain or escaped.
    #[error("the path has a backslash")]
    Backslash,
    /// A control character such as NUL, plain or escaped.
    #[error("the path has a control character")]
    ControlCharacter,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("the path has an incomplete escape")]
    BadEscape,
    /// A character that must be escaped in a URL, such as `#`, and is not.
    #[error("the path has a character that must be escaped")]
    Unescaped,
}

/// Spellings that servers interpret differently. Each can be allowed per app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathAmbiguity {
    /// An empty segment: `//`.
    DoubleSlash,
    /// `%2F`.
    EncodedSlash,
    /// `;` or `%3B`: some servers strip path parameters.
    Semicolon,
    /// `%25`: the path changes when it is decoded twice.
    EncodedPercent,
    /// `%3F` or `%23`: a server that decodes before it splits finds a query or fragment.
    EncodedDelimiter,
    /// Escapes that are not UTF-8, such as overlong forms of `.` and `/`.
    NotUtf8,
}

impl PathAmbiguity {
    /// Every ambiguity, with its name in the configuration file.
    pub const NAMED: [(&'static str, Self); 6] = [
        ("double-slash", Self::DoubleSlash),
        ("encoded-slash", Self::EncodedSlash),
        ("semicolon", Self::Semicolon),
        ("encoded-percent", Self::EncodedPercent),
        ("encoded-delimiter", Self::EncodedDelimiter),
        ("non-utf8", Self::NotUtf8),
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of [`PathAmbiguity`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathAmbiguities(u8);

impl PathAmbiguities {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set with `ambiguity` added.
    #[must_use]
    pub const fn with(self, ambiguity: PathAmbiguity) -> Self {
        Self(self.0 | ambiguity.bit())
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set is a subset of `allowed`.
    pub const fn within(self, allowed: Self) -> bool {
        self.0 & !allowed.0 == 0
    }
}

impl Target {
    /// The canonical target of a request.
    ///
    /// # Errors
    /// [`TargetError`] if two parsers could read the path differently.
    pub fn read(uri: &Uri) -> Result<Self, TargetError> {
        let sent = uri.path_and_query().ok_or(TargetError::NotAPath)?;
        Self::parse(sent.path(), sent.query())
    }

    /// The canonical form of `path`. `query` stays unchanged, because no rule depends on it.
    ///
    /// # Errors
    /// [`TargetError`], as for [`Target::read`].
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, TargetError> {
        if path.len() + query.map_or(0, str::len) >= MAX_TARGET {
            return Err(TargetError::TooLong);
        }
        if !path.starts_with('/') {
            return Err(TargetError::NotAPath);
        }
        let (path, ambiguities) = canonical_path(path)?;
        let path_len = path.len();
        let mut text = path.into_owned();
        if let Some(query) = query {
            text.push('?');
            text.push_str(query);
        }
        Ok(Self {
            text,
            path_len,
            ambiguities,
        })
    }

    /// The canonical path, which rules match and the app receives.
    pub fn path(&self) -> &str {
        self.text.get(..self.path_len).unwrap_or_default()
    }

    /// The unchanged query, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path_len + 1..)
    }

    /// Path and query, as sent upstream.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The ambiguities of the path.
    pub const fn ambiguities(&self) -> PathAmbiguities {
        self.ambiguities
    }
}

/// The canonical form of a path, and its ambiguities. Also used for the patterns of rules.
pub fn canonical_path(path: &str) -> Result<(Cow<'_, str>, PathAmbiguities), TargetError> {
    let (text, mut ambiguities) = if path.contains('%') {
        unescape_unreserved(path)?
    } else {
        (Cow::Borrowed(path), PathAmbiguities::NONE)
    };
    for byte in text.bytes() {
        match byte {
            b'\\' => return Err(TargetError::Backslash),
            0..=0x1f | 0x7f => return Err(TargetError::ControlCharacter),
            b' ' | b'"' | b'#' | b'<' | b'>' | b'?' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                return Err(TargetError::Unescaped);
            }
            b';' => ambiguities = ambiguities.with(PathAmbiguity::Semicolon),
            _ => {}
        }
    }
    if has_dot_segment(text.as_bytes()) {
        return Err(TargetError::DotSegment);
    }
    if text.contains("//") {
        ambiguities = ambiguities.with(PathAmbiguity::DoubleSlash);
    }
    Ok((text, ambiguities))
}

fn unescape_unreserved(path: &str) -> Result<(Cow<'_, str>, PathAmbiguities), TargetError> {
    let mut text = String::with_capacity(path.len());
    let mut ambiguities = PathAmbiguities::NONE;
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            text.push(char::from(byte));
            decoded.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (rest.next().and_then(hex), rest.next().and_then(hex)) else {
            return Err(TargetError::BadEscape);
        };
        let value = high << 4 | low;
        decoded.push(value);
        match value {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(value));
                continue;
            }
            0..=0x1f | 0x7f => return Err(TargetError::ControlCharacter),
            b'\\' => return Err(TargetError::Backslash),
            b'/' => ambiguities = ambiguities.with(PathAmbiguity::EncodedSlash),
            b';' => ambiguities = ambiguities.with(PathAmbiguity::Semicolon),
            b'%' => ambiguities = ambiguities.with(PathAmbiguity::EncodedPercent),
            b'?' | b'#' => ambiguities = ambiguities.with(PathAmbiguity::EncodedDelimiter),
            _ => {}
        }
        text.push_str(&format!("%{value:02X}"));
    }
    if has_dot_segment(&decoded) {
        return Err(TargetError::DotSegment);
    }
    if std::str::from_utf8(&decoded).is_err() {
        ambiguities = ambiguities.with(PathAmbiguity::NotUtf8);
    }
    Ok((Cow::Owned(text), ambiguities))
}

/// Whether a segment of the fully decoded path is `.` or `..`, without path parameters.
fn has_dot_segment(decoded: &[u8]) -> bool {
    decoded
        .split(|byte| *byte == b'/')
        .map(|segment| {
            segment
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
        })
        .any(|segment| matches!(segment, b"." | b".."))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<Target, TargetError> {
        Target::parse(path, None)
    }

    #[test]
    fn parse_decodes_unreserved_escapes() {
        let target = Target::parse("/%61dmin/%7euser/caf%c3%a9", Some("a=%2e%2e")).unwrap();
        assert_eq!(target.path(), "/admin/~user/caf%C3%A9");
        assert_eq!(target.query(), Some("a=%2e%2e"));
        assert_eq!(target.as_str(), "/admin/~user/caf%C3%A9?a=%2e%2e");
        assert!(target.ambiguities().is_empty());
    }

    #[test]
    fn parse_leaves_canonical_paths_unchanged() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.c/..d/...",
            "/a:b@c!$&'()*+,=",
            "/[x]",
        ] {
            let target = read(path).unwrap();
            assert_eq!((target.path(), target.query()), (path, None));
            assert!(target.ambiguities().is_empty(), "{path}");
        }
    }

    #[test]
    fn parse_path_with_two_readings_fails() {
        let cases = [
            ("", TargetError::NotAPath),
            ("*", TargetError::NotAPath),
            ("a", TargetError::NotAPath),
            ("/public/../admin", TargetError::DotSegment),
            ("/./admin", TargetError::DotSegment),
            ("/public/..", TargetError::DotSegment),
            ("/public/%2e%2e/admin", TargetError::DotSegment),
            ("/public/.%2E/admin", TargetError::DotSegment),
            ("/public/..;/admin", TargetError::DotSegment),
            ("/public/..;x=1/admin", TargetError::DotSegment),
            ("/public/..%3b/admin", TargetError::DotSegment),
            ("/public%2f..%2fadmin", TargetError::DotSegment),
            ("/public/..%2fadmin", TargetError::DotSegment),
            ("/public\\..\\admin", TargetError::Backslash),
            ("/public/%5c../admin", TargetError::Backslash),
            ("/a%00b", TargetError::ControlCharacter),
            ("/a%0d%0aX: y", TargetError::ControlCharacter),
            ("/a%7F", TargetError::ControlCharacter),
            ("/a%", TargetError::BadEscape),
            ("/a%4", TargetError::BadEscape),
            ("/a%zz", TargetError::BadEscape),
            ("/a#b", TargetError::Unescaped),
            ("/a b", TargetError::Unescaped),
            ("/caf\u{e9}", TargetError::Unescaped),
            ("/caf\u{e9}%41", TargetError::Unescaped),
        ];
        for (path, error) in cases {
            assert_eq!(read(path), Err(error), "{path}");
        }
        assert_eq!(
            read(&format!("/{}", "a".repeat(MAX_TARGET))),
            Err(TargetError::TooLong)
        );
    }

    #[test]
    fn parse_reports_each_path_ambiguity() {
        let cases = [
            ("//admin", PathAmbiguity::DoubleSlash),
            ("/a//", PathAmbiguity::DoubleSlash),
            ("/a%2Fb", PathAmbiguity::EncodedSlash),
            ("/a;v=1", PathAmbiguity::Semicolon),
            ("/a%3bv", PathAmbiguity::Semicolon),
            ("/%2561dmin", PathAmbiguity::EncodedPercent),
            (
                "/public/secret%23/endpoint",
                PathAmbiguity::EncodedDelimiter,
            ),
            ("/what%3F", PathAmbiguity::EncodedDelimiter),
            ("/%c0%ae%c0%ae/admin", PathAmbiguity::NotUtf8),
            ("/%ff", PathAmbiguity::NotUtf8),
        ];
        for (path, ambiguity) in cases {
            let ambiguities = read(path).unwrap().ambiguities();
            assert_eq!(ambiguities, PathAmbiguities::NONE.with(ambiguity), "{path}");
            assert!(!ambiguities.within(PathAmbiguities::NONE));
            assert!(ambiguities.within(ambiguities));
        }
    }

    #[test]
    fn parse_is_idempotent() {
        for path in ["/%61%2Fb", "/a%20b", "/x%C3%A9;y//z"] {
            let once = read(path).unwrap();
            let twice = read(once.path()).unwrap();
            assert_eq!(once, twice);
        }
    }
}
