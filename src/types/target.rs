//! The canonical request target. The path that rules match is, byte for byte, the path that the app
//! receives. A path that two parsers could read differently is refused before any rule is matched:
//! this is the protection against path confusion.

use std::borrow::Cow;

use http::Uri;

use super::lookalike::Lookalikes;
use super::other_reading::OtherReading;
pub use super::path_ambiguity::{PathAmbiguities, PathAmbiguity};
use super::percent_encoding::{hex, push_escape};

/// Maximum length of a target, in bytes.
pub const MAX_TARGET: usize = 16 * 1024;

/// A canonical path and a query. In the path, unreserved characters are decoded, characters that a
/// URL cannot contain are encoded, and escapes are in upper case (RFC 3986 section 6.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: String,
    path_len: usize,
    ambiguities: PathAmbiguities,
    other_reading: Option<Box<str>>,
}

/// A path in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'p> {
    /// The path.
    pub text: Cow<'p, str>,
    /// Its ambiguities.
    pub ambiguities: PathAmbiguities,
    /// The path that some servers read instead, if it is one.
    pub other_reading: Option<String>,
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
    /// A segment that is `.` or `..`: plain, escaped, before a `;`, with blanks, or in characters
    /// that some servers turn into dots.
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
    /// A blank, or a `#` or `?`, which end the path, and are not escaped.
    #[error("the path has a character that must be escaped")]
    Unescaped,
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
        let CanonicalPath {
            text,
            ambiguities,
            other_reading,
        } = canonical_path(path)?;
        let path_len = text.len();
        let mut text = text.into_owned();
        if let Some(query) = query {
            text.push('?');
            text.push_str(query);
        }
        Ok(Self {
            text,
            path_len,
            ambiguities,
            other_reading: other_reading.map(String::into_boxed_str),
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

    /// The ambiguities of the path. If it has one other reading, it depends on the rules whether they
    /// matter.
    pub const fn ambiguities(&self) -> PathAmbiguities {
        self.ambiguities
    }

    /// The path that some servers read instead, in canonical form.
    pub fn other_reading(&self) -> Option<&str> {
        self.other_reading.as_deref()
    }
}

/// The canonical form of a path, and its ambiguities. Also used for the patterns of rules.
///
/// # Errors
/// [`TargetError`].
pub fn canonical_path(path: &str) -> Result<CanonicalPath<'_>, TargetError> {
    let is_spelled_out = |byte| byte != b'%' && !must_be_escaped(byte);
    let CanonicalPath {
        text,
        mut ambiguities,
        other_reading,
    } = if path.bytes().all(is_spelled_out) {
        path.bytes().try_for_each(check_plain)?;
        if has_dot_segment(path.as_bytes()) {
            return Err(TargetError::DotSegment);
        }
        CanonicalPath::new(
            Cow::Borrowed(path),
            PathAmbiguities::NONE,
            OtherReading::of(path.as_bytes()),
        )
    } else {
        canonical_spelling(path)?
    };
    if text.contains(';') {
        ambiguities = ambiguities.with(PathAmbiguity::Semicolon);
    }
    if text.contains("//") {
        ambiguities = ambiguities.with(PathAmbiguity::DoubleSlash);
    }
    Ok(CanonicalPath {
        text,
        ambiguities,
        other_reading,
    })
}

impl<'p> CanonicalPath<'p> {
    fn new(
        text: Cow<'p, str>,
        ambiguities: PathAmbiguities,
        other_reading: Option<OtherReading>,
    ) -> Self {
        let (other_reading, others) = match other_reading {
            Some(reading) => (Some(reading.path), reading.ambiguities),
            None => (None, PathAmbiguities::NONE),
        };
        Self {
            text,
            ambiguities: ambiguities.and(others),
            other_reading,
        }
    }
}

/// Characters that browsers and other clients send as they are, although a URL cannot contain them
/// (RFC 3986 section 2).
const fn must_be_escaped(byte: u8) -> bool {
    matches!(
        byte,
        b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..
    )
}

/// Checks a byte that is not escaped.
const fn check_plain(byte: u8) -> Result<(), TargetError> {
    match byte {
        b'\\' => Err(TargetError::Backslash),
        0..=0x1f | 0x7f => Err(TargetError::ControlCharacter),
        b' ' | b'#' | b'?' => Err(TargetError::Unescaped),
        _ => Ok(()),
    }
}

/// Decodes the escapes of unreserved characters, and escapes what must be escaped.
fn canonical_spelling(path: &str) -> Result<CanonicalPath<'_>, TargetError> {
    let mut text = String::with_capacity(path.len());
    let mut ambiguities = PathAmbiguities::NONE;
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            check_plain(byte)?;
            decoded.push(byte);
            if must_be_escaped(byte) {
                push_escape(&mut text, byte);
            } else {
                text.push(char::from(byte));
            }
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
        push_escape(&mut text, value);
    }
    let lookalikes = Lookalikes::of(&decoded);
    if has_dot_segment(&decoded) || lookalikes.dot_segment {
        return Err(TargetError::DotSegment);
    }
    if lookalikes.slash {
        ambiguities = ambiguities.with(PathAmbiguity::LookalikeSlash);
    }
    if std::str::from_utf8(&decoded).is_err() {
        ambiguities = ambiguities.with(PathAmbiguity::NotUtf8);
    }
    Ok(CanonicalPath::new(
        Cow::Owned(text),
        ambiguities,
        OtherReading::of(&decoded),
    ))
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
        for path in ["/", "/a", "/a/", "/a/b.c/..d/e", "/a:b@c!$&'()*+,=", "/[x]"] {
            let target = read(path).unwrap();
            assert_eq!((target.path(), target.query()), (path, None));
            assert!(target.ambiguities().is_empty(), "{path}");
        }
    }

    /// Browsers send some of them as they are.
    #[test]
    fn parse_escapes_what_a_url_cannot_contain() {
        for (path, canonical) in [
            ("/a|b", "/a%7Cb"),
            ("/{a}/^\"b\"", "/%7Ba%7D/%5E%22b%22"),
            ("/<a>`", "/%3Ca%3E%60"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf\u{e9}%41%7c", "/caf%C3%A9A%7C"),
            ("/\u{1f600}", "/%F0%9F%98%80"),
        ] {
            let target = Target::parse(path, Some("q={\u{e9}|}")).unwrap();
            assert_eq!(target.path(), canonical);
            assert_eq!(target.query(), Some("q={\u{e9}|}"));
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
            ("/a?b", TargetError::Unescaped),
            ("/public/..%20/admin", TargetError::DotSegment),
            ("/public/%20../admin", TargetError::DotSegment),
            ("/public/..%c2%a0/admin", TargetError::DotSegment),
            ("/public/%ef%bc%8e%ef%bc%8e/admin", TargetError::DotSegment),
            ("/public/\u{ff0e}./admin", TargetError::DotSegment),
            ("/public/%e2%80%a4%e2%80%a4/admin", TargetError::DotSegment),
            ("/public%e2%88%95..%e2%88%95admin", TargetError::DotSegment),
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
            ("/a%ef%bc%8fb", PathAmbiguity::LookalikeSlash),
            ("/a\u{2215}b", PathAmbiguity::LookalikeSlash),
            ("/admin.", PathAmbiguity::TrailingDot),
            ("/admin%20/x", PathAmbiguity::TrailingDot),
            ("/a/.../b", PathAmbiguity::TrailingDot),
            ("/admin::$DATA", PathAmbiguity::NtfsStream),
            ("/admin%3a%3a%24data", PathAmbiguity::NtfsStream),
            ("/%ef%bd%81dmin", PathAmbiguity::NotNormalized),
            ("/cafe\u{301}", PathAmbiguity::NotNormalized),
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
        for path in ["/%61%2Fb", "/a%20b", "/x%C3%A9;y//z", "/{\u{e9}|\u{ff0f}}"] {
            let once = read(path).unwrap();
            let twice = read(once.path()).unwrap();
            assert_eq!(once, twice);
        }
    }
}
