//! Path patterns of access rules.

use std::borrow::Cow;

use crate::types::public_url::BasePath;
use crate::types::target::{TargetError, canonical_path};

/// A path pattern. `*` matches any characters within a segment, `**` any number of whole segments
/// including none, and everything else matches itself. A single trailing slash is ignored, because
/// most apps ignore it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
    /// The same, case-folded.
    folded: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`.
    AnyNumber,
    /// The literal pieces around each `*` of one segment.
    Pieces(Vec<String>),
}

/// Why a pattern is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not start with `/`.
    #[error("a path pattern starts with `/`")]
    Relative,
    /// `**` is not a whole segment.
    #[error("`**` must be a whole segment, as in `/assets/**`")]
    PartialDoubleStar,
    /// No request path that reaches the rules can match it.
    #[error("no request path can match this: {0}")]
    Unmatchable(TargetError),
    /// It looks like a regular expression.
    #[error("it looks like a regular expression")]
    RegularExpression,
    /// It looks like the route of a web framework.
    #[error("it looks like a route with a parameter")]
    RouteParameter,
    /// It contains an ambiguity. Targets with one get the combination of all requirements and match
    /// no single rule.
    #[error(
        "a path pattern must not contain `//`, `;`, %2F, %3B, %25, %3F, %23, `:$`, a lookalike \
         slash, a segment that ends with a dot or blank, or text that NFKC changes"
    )]
    Ambiguous,
}

impl PatternError {
    /// How to correct it; may be empty.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::RegularExpression => {
                "use `*` for anything within a segment and `**` for any number of segments; \
                 a literal character is escaped, such as `%5B` for `[`, or `%2E*` for dot files"
            }
            Self::RouteParameter => {
                "use `*` for any one segment, as in `/users/*/edit`; \
                 a literal character is escaped, such as `%7B` for `{` or `%3A` for `:`"
            }
            Self::Relative | Self::PartialDoubleStar | Self::Unmatchable(_) | Self::Ambiguous => "",
        }
    }
}

/// The syntax of another language that a pattern seems to use. Characters that are meant literally
/// can be escaped.
fn foreign_syntax(text: &str) -> Option<PatternError> {
    let is_name = |text: &str| {
        let text = text.trim_start_matches("...");
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let is_parameter = |segment: &str| {
        let in_brackets = segment
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        in_brackets.is_some_and(is_name)
            || segment.contains(['{', '}', '<', '>'])
            || segment
                .strip_prefix(':')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
    };
    let is_expression = |segment: &str| {
        segment.contains(['[', ']', '\\', '^', '|', '?'])
            || matches!(segment, ".*" | ".+")
            || [".*)", ".+)", ")*", ")+"]
                .iter()
                .any(|part| segment.contains(part))
    };
    let mut segments = text.split('/');
    if segments.clone().any(is_parameter) {
        Some(PatternError::RouteParameter)
    } else if segments.any(is_expression) || text.ends_with('$') {
        Some(PatternError::RegularExpression)
    } else {
        None
    }
}

impl PathPattern {
    /// Parses a pattern. Spaces and characters outside ASCII need not be escaped.
    ///
    /// # Errors
    /// [`PatternError`]: it is invalid or can never match.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(error) = foreign_syntax(text) {
            return Err(error);
        }
        if !text.starts_with('/') {
            return Err(PatternError::Relative);
        }
        let escaped = text.replace(' ', "%20");
        let canonical = canonical_path(&escaped).map_err(PatternError::Unmatchable)?;
        if !canonical.ambiguities.is_empty() {
            return Err(PatternError::Ambiguous);
        }
        let segments = segments_of(&canonical.text)
            .map(Segment::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let folded = segments.iter().map(Segment::fold_case).collect();
        Ok(Self {
            text: text.to_owned(),
            segments,
            folded,
        })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches every path.
    pub fn matches_everything(&self) -> bool {
        matches!(self.segments.as_slice(), [Segment::AnyNumber])
    }

    /// Whether `path`, in canonical form, matches.
    pub fn matches(&self, path: &str, case_insensitive: bool) -> bool {
        let path = comparable(path, case_insensitive);
        self.matches_segments(&segments_of(&path).collect::<Vec<_>>(), case_insensitive)
    }

    /// Whether it matches all paths that `other` matches. An approximation without false positives.
    pub fn covers(&self, other: &Self, case_insensitive: bool) -> bool {
        covers_all(
            self.segments(case_insensitive),
            other.segments(case_insensitive),
        )
    }

    /// Whether it matches any path that is `base` or below it.
    pub fn matches_below(&self, base: &BasePath, case_insensitive: bool) -> bool {
        let segments = if case_insensitive {
            &self.folded
        } else {
            &self.segments
        };
        let base = comparable(base.as_str(), case_insensitive);
        let mut base = segments_of(&base);
        for pattern in segments {
            let (Segment::Pieces(pieces), Some(segment)) = (pattern, base.next()) else {
                return true;
            };
            if !matches_pieces(pieces, segment) {
                return false;
            }
        }
        base.next().is_none()
    }

    pub(super) fn matches_segments(&self, path: &[&str], case_insensitive: bool) -> bool {
        matches_all(self.segments(case_insensitive), path)
    }

    /// The segments before the first one with a `*`. A path matches only if it begins with them.
    pub(super) fn literal_segments(&self, case_insensitive: bool) -> impl Iterator<Item = &str> {
        let segments = self.segments(case_insensitive).iter();
        segments.map_while(|segment| match segment {
            Segment::Pieces(pieces) => match pieces.as_slice() {
                [literal] => Some(literal.as_str()),
                _ => None,
            },
            Segment::AnyNumber => None,
        })
    }

    fn segments(&self, case_insensitive: bool) -> &[Segment] {
        if case_insensitive {
            &self.folded
        } else {
            &self.segments
        }
    }
}

/// A path in the form that patterns are compared with.
pub fn comparable(path: &str, case_insensitive: bool) -> Cow<'_, str> {
    let path = decode_delimiters(path);
    if case_insensitive {
        fold_case(&path).into()
    } else {
        path
    }
}

/// The segments between slashes, without the empty ones before the first and after a trailing
/// slash.
pub(super) fn segments_of(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    inner.split('/').filter(move |_| !inner.is_empty())
}

/// Decodes sub-delimiters, `:`, `@` and brackets. Most backends decode them, so `%40` must match a
/// pattern with `@` and the other way round. Only the compared form is decoded, not the forwarded
/// path.
fn decode_delimiters(text: &str) -> Cow<'_, str> {
    const DELIMITERS: [(&str, &str); 14] = [
        ("%21", "!"),
        ("%24", "$"),
        ("%26", "&"),
        ("%27", "'"),
        ("%28", "("),
        ("%29", ")"),
        ("%2A", "*"),
        ("%2B", "+"),
        ("%2C", ","),
        ("%3A", ":"),
        ("%3D", "="),
        ("%40", "@"),
        ("%5B", "["),
        ("%5D", "]"),
    ];
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let decoded = DELIMITERS
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| {
            text.replace(escape, plain)
        });
    Cow::Owned(decoded)
}

/// Folds case, also of percent-encoded letters outside ASCII. Converts to upper case and back,
/// since apps do either and some letters become equal only that way: U+017F is `S` in upper case,
/// U+212A is `k` in lower case.
fn fold_case(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let byte = escaped
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let decoded = byte.filter(|byte| !byte.is_ascii()).zip(escaped.get(2..));
        let (byte, after) = decoded.unwrap_or((b'%', escaped));
        bytes.push(byte);
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    let upper = String::from_utf8_lossy(&bytes).to_uppercase();
    upper.chars().flat_map(char::to_lowercase).collect()
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "**" {
            return Ok(Self::AnyNumber);
        }
        if text.contains("**") {
            return Err(PatternError::PartialDoubleStar);
        }
        Ok(Self::Pieces(
            text.split('*')
                .map(|piece| decode_delimiters(piece).into_owned())
                .collect(),
        ))
    }

    fn fold_case(&self) -> Self {
        match self {
            Self::AnyNumber => Self::AnyNumber,
            Self::Pieces(pieces) => {
                Self::Pieces(pieces.iter().map(|piece| fold_case(piece)).collect())
            }
        }
    }
}

fn covers_all(outer: &[Segment], inner: &[Segment]) -> bool {
    match (outer.split_first(), inner.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((Segment::AnyNumber, outer_rest)), Some((_, inner_rest))) => {
            covers_all(outer_rest, inner) || covers_all(outer, inner_rest)
        }
        (Some((Segment::AnyNumber, outer_rest)), None) => covers_all(outer_rest, inner),
        (Some((Segment::Pieces(_), _)), None | Some((Segment::AnyNumber, _))) => false,
        (
            Some((Segment::Pieces(outer), outer_rest)),
            Some((Segment::Pieces(inner), inner_rest)),
        ) => covers_pieces(outer, inner) && covers_all(outer_rest, inner_rest),
    }
}

fn covers_pieces(outer: &[String], inner: &[String]) -> bool {
    match (outer, inner) {
        (outer, [literal]) => matches_pieces(outer, literal),
        ([start, end], [first, .., last]) => first.starts_with(start) && last.ends_with(end),
        (outer, inner) => outer == inner,
    }
}

/// Matches in time linear in `path` for each `**`: after a mismatch only the last `**` takes
/// another segment.
fn matches_all(pattern: &[Segment], path: &[&str]) -> bool {
    let (mut at_pattern, mut at_path) = (0, 0);
    let mut fallback: Option<(usize, usize)> = None;
    while at_path < path.len() {
        match (pattern.get(at_pattern), path.get(at_path)) {
            (Some(Segment::AnyNumber), _) => {
                fallback = Some((at_pattern, at_path));
                at_pattern += 1;
                continue;
            }
            (Some(Segment::Pieces(pieces)), Some(segment)) if matches_pieces(pieces, segment) => {
                at_pattern += 1;
                at_path += 1;
                continue;
            }
            (Some(Segment::Pieces(_)) | None, _) => {}
        }
        let Some((star, taken)) = fallback else {
            return false;
        };
        fallback = Some((star, taken + 1));
        at_pattern = star + 1;
        at_path = taken + 1;
    }
    pattern
        .iter()
        .skip(at_pattern)
        .all(|segment| *segment == Segment::AnyNumber)
}

fn matches_pieces(pieces: &[String], text: &str) -> bool {
    let Some((first, rest)) = pieces.split_first() else {
        return false;
    };
    let Some((last, middle)) = rest.split_last() else {
        return first == text;
    };
    let fits = |start: usize, end: usize, piece: &str| {
        text.get(start..end).is_some_and(|part| part == piece)
    };
    let Some(end) = text.len().checked_sub(last.len()) else {
        return false;
    };
    if first.len() > end || !fits(0, first.len(), first) || !fits(end, text.len(), last) {
        return false;
    }
    let mut at = first.len();
    for piece in middle {
        let found = (at..=end.saturating_sub(piece.len()))
            .find(|start| fits(*start, start + piece.len(), piece));
        match found {
            Some(start) if start + piece.len() <= end => at = start + piece.len(),
            Some(_) | None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::target::Target;

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).unwrap().matches(path, false)
    }

    #[test]
    fn matches_below_finds_any_path_below_the_base() {
        let base = BasePath::parse("/shop/v1").unwrap();
        for (pattern, ignores_case, expected) in [
            ("/**", false, true),
            ("/shop/**", false, true),
            ("/shop/v1", false, true),
            ("/shop/v1/admin/**", false, true),
            ("/*/v*/x", false, true),
            ("/**/*.css", false, true),
            ("/", false, false),
            ("/shop", false, false),
            ("/admin/**", false, false),
            ("/shop/v2/**", false, false),
            ("/SHOP/**", false, false),
            ("/SHOP/**", true, true),
        ] {
            let found = PathPattern::parse(pattern)
                .unwrap()
                .matches_below(&base, ignores_case);
            assert_eq!(found, expected, "{pattern}");
        }
        let everywhere = PathPattern::parse("/admin").unwrap();
        assert!(everywhere.matches_below(&BasePath::default(), false));
    }

    #[test]
    fn patterns_match_whole_segments() {
        let cases = [
            ("/", "/", true),
            ("/", "/a", false),
            ("/admin", "/admin", true),
            ("/admin", "/admin/", true),
            ("/admin/", "/admin", true),
            ("/admin", "/admins", false),
            ("/admin", "/admin/x", false),
            ("/admin/**", "/admin", true),
            ("/admin/**", "/admin/", true),
            ("/admin/**", "/admin/a/b", true),
            ("/admin/**", "/administrator", false),
            ("/**", "/", true),
            ("/**", "/a/b/c", true),
            ("/**/edit", "/edit", true),
            ("/**/edit", "/a/b/edit", true),
            ("/**/edit", "/a/b/edit/c", false),
            ("/a/**/b/**/c", "/a/x/b/y/b/c", true),
            ("/a/**/b/**/c", "/a/x/y/c", false),
            ("/*/b", "/a/b", true),
            ("/*/b", "/a/c/b", false),
            ("/*.css", "/site.css", true),
            ("/*.css", "/site.css.map", false),
            ("/a*b*c", "/aXbYc", true),
            ("/a*b*c", "/abc", true),
            ("/a*b*c", "/ac", false),
            ("/a*a", "/a", false),
            ("/f.o", "/fxo", false),
            ("/caf\u{e9}", "/caf%C3%A9", true),
            ("/%61", "/a", true),
            ("/a b", "/a%20b", true),
            ("/a%7cb/%7bc%7D", "/a%7Cb/%7Bc%7D", true),
            ("/%2E*", "/.git", true),
            ("/%2E*", "/git", false),
            ("/@admin/**", "/%40admin/x", true),
            ("/%40admin", "/@admin", true),
            ("/v1/orders:purge", "/v1/orders%3Apurge", true),
            ("/a,b(c)", "/a%2Cb%28c%29", true),
            ("/a%5b1%5D", "/a%5B1%5D", true),
            ("/a%5b1%5D", "/a[1]", true),
            ("/a%2Ab", "/a*b", true),
            ("/a%2Ab", "/axb", false),
            ("/a+b", "/a%20b", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn case_insensitive_match_covers_non_ascii_letters() {
        let cases = [
            ("/caf\u{e9}/**", "/CAF%C3%89/x", true),
            ("/CAF\u{c9}", "/caf%c3%a9", true),
            ("/users/**", "/u%C5%BFers/x", true),
            ("/kiosk", "/%E2%84%AAiosk", true),
            ("/\u{434}*", "/%D0%94%D0%B0", true),
            ("/\u{3c3}*", "/%CE%A3", true),
            ("/a%20b@c", "/A%20B%40C", true),
            ("/caf\u{e9}", "/cafe", false),
        ];
        for (pattern, path, expected) in cases {
            let target = Target::parse(path, None).unwrap();
            let parsed = PathPattern::parse(pattern).unwrap();
            assert_eq!(
                parsed.matches(target.path(), true),
                expected,
                "{pattern} {path}"
            );
        }
        assert!(!matches("/caf\u{e9}", "/CAF%C3%89"));
    }

    #[test]
    fn syntax_of_other_languages_is_refused() {
        let error = |text| PathPattern::parse(text).unwrap_err();
        for text in [
            "/x/[0-9]+/**",
            "^/admin",
            "/admin$",
            "/api/.*",
            "/api/.+",
            "/(a|b)",
            "/a|/b",
            "/a/(.*)",
            "/(v1/)?x",
            "/a\\d",
            "/colou?r",
            "/(ab)+",
            "/[^/]+",
            "/^a",
        ] {
            assert_eq!(error(text), PatternError::RegularExpression, "{text}");
        }
        for text in [
            "/users/:id",
            "/:tenant/x",
            "/users/{id}",
            "/users/{id:int}/x",
            "/users/<int:id>",
            "/posts/[slug]",
            "/docs/[...path]",
        ] {
            assert_eq!(error(text), PatternError::RouteParameter, "{text}");
        }
        for text in [
            "/v1/orders:purge",
            "/a.b*",
            "/favicon.*",
            "/a,b(c)",
            "/$metadata",
            "/Orders(1)",
            "/a+b",
            "/~user/*",
            "/*name",
            "/:8080",
            "/a'b!",
        ] {
            assert!(PathPattern::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn covering_pattern_matches_whatever_the_other_matches() {
        let covers = |outer: &str, inner: &str, case_insensitive: bool| {
            let [outer, inner] = [outer, inner].map(|text| PathPattern::parse(text).unwrap());
            outer.covers(&inner, case_insensitive)
        };
        for (outer, inner, expected) in [
            ("/**", "/a/*/b", true),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b*c", true),
            ("/a/*", "/a/**", false),
            ("/a/*", "/a", false),
            ("/**/x", "/a/x", true),
            ("/**/x", "/x", true),
            ("/**/x", "/a/**/x", true),
            ("/a/**", "/a/**/b/*", true),
            ("/a/**", "/a", true),
            ("/a/**/c", "/a/b/**", false),
            ("/a*", "/ab*", true),
            ("/a*c", "/ab*c", true),
            ("/a*c", "/a*", false),
            ("/%61/**", "/a/b", true),
            ("/*.css", "/site.css", true),
            ("/*.css", "/*.min.css", true),
            ("/", "/**", false),
            ("/A", "/a", false),
        ] {
            assert_eq!(covers(outer, inner, false), expected, "{outer} {inner}");
        }
        assert!(covers("/A/**", "/a/b", true));
    }

    #[test]
    fn invalid_patterns_have_distinct_errors() {
        assert_eq!(PathPattern::parse("admin"), Err(PatternError::Relative));
        assert_eq!(
            PathPattern::parse("/a**"),
            Err(PatternError::PartialDoubleStar)
        );
        assert_eq!(
            PathPattern::parse("/a/../b"),
            Err(PatternError::Unmatchable(TargetError::DotSegment))
        );
        assert_eq!(PathPattern::parse("/a//b"), Err(PatternError::Ambiguous));
        assert_eq!(
            PathPattern::parse("/a\u{ff0f}b"),
            Err(PatternError::Ambiguous)
        );
    }
}
