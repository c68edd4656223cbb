//! Access rules: which paths and methods, and who may. The first that matches wins; what none names needs
//! a signed-in person.

use std::borrow::Cow;

use http::Method;

use crate::identity::claims::{ClaimCondition, SCOPE};
use crate::types::target::{PathAmbiguities, Target, TargetError, canonical_path};

/// Who may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, signed in or not.
    Public,
    /// Anybody who is signed in.
    Authenticated,
    /// A signed-in person whose claims fulfil every condition.
    Claims(Vec<ClaimCondition>),
    /// Nobody at all.
    Denied,
}

/// How somebody may show who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthMethods {
    /// By the cookies of a session.
    pub session: bool,
    /// By an access token.
    pub bearer: bool,
}

impl AuthMethods {
    /// By cookies only.
    pub const SESSION: Self = Self {
        session: true,
        bearer: false,
    };
    /// By either; where both are there, the cookies count.
    pub const BOTH: Self = Self {
        session: true,
        bearer: true,
    };
}

/// Who is let in, and by what they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRequirement {
    /// Who may.
    pub access: Access,
    /// By what they are known.
    pub auth_methods: AuthMethods,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Any of these paths.
    pub paths: Vec<PathPattern>,
    /// Any of these methods; all where there are none. `GET` names `HEAD` too.
    pub methods: Vec<Method>,
    /// Who may.
    pub allow: AccessRequirement,
}

/// An app's rules, compiled.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    case_insensitive: bool,
    /// What no rule names.
    unnamed: AccessRequirement,
    strictest: AccessRequirement,
}

impl Rules {
    /// Compiles `rules`. With `case_insensitive`, paths match in any case: for apps that do not tell cases apart. What
    /// no rule names needs a person who is signed in `auth_methods` these.
    pub fn new(rules: Vec<Rule>, case_insensitive: bool, auth_methods: AuthMethods) -> Self {
        let unnamed = AccessRequirement {
            access: Access::Authenticated,
            auth_methods,
        };
        let strictest = rules.iter().fold(unnamed.clone(), |strictest, rule| {
            strictest.and(&rule.allow)
        });
        Self {
            rules,
            case_insensitive,
            unnamed,
            strictest,
        }
    }

    /// Who may send `method` to `target`. A target with oddities gets the strictest access of all,
    /// because the backend may read it as any path.
    pub fn requirement(&self, method: &Method, target: &Target) -> &AccessRequirement {
        if target.ambiguities() != PathAmbiguities::NONE {
            return &self.strictest;
        }
        let path = comparable(target.path(), self.case_insensitive);
        let segments: Vec<&str> = segments_of(&path).collect();
        self.rules
            .iter()
            .find(|rule| rule.names(method) && rule.covers(&segments, self.case_insensitive))
            .map_or(&self.unnamed, |rule| &rule.allow)
    }

    /// Every claim that a rule asks about; a scope is what a token has or has not, and nothing of a person.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        let conditions = self
            .rules
            .iter()
            .flat_map(|rule| rule.allow.access.conditions());
        conditions
            .map(|condition| condition.claim.as_str())
            .filter(|claim| *claim != SCOPE)
    }
}

impl Rule {
    fn names(&self, method: &Method) -> bool {
        let head_as_get = *method == Method::HEAD && self.methods.contains(&Method::GET);
        self.methods.is_empty() || self.methods.contains(method) || head_as_get
    }

    fn covers(&self, path: &[&str], case_insensitive: bool) -> bool {
        self.paths
            .iter()
            .any(|pattern| pattern.matches_segments(path, case_insensitive))
    }
}

impl AccessRequirement {
    /// What fulfils both. Who could be known by neither is nobody.
    fn and(self, other: &Self) -> Self {
        let auth_methods = AuthMethods {
            session: self.auth_methods.session && other.auth_methods.session,
            bearer: self.auth_methods.bearer && other.auth_methods.bearer,
        };
        let access = if auth_methods.session || auth_methods.bearer {
            self.access.and(&other.access)
        } else {
            Access::Denied
        };
        Self {
            access,
            auth_methods,
        }
    }
}

impl Access {
    /// The conditions on claims.
    pub fn conditions(&self) -> &[ClaimCondition] {
        match self {
            Self::Claims(conditions) => conditions,
            Self::Public | Self::Authenticated | Self::Denied => &[],
        }
    }

    /// The scopes without which a token does not fulfil it.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        let scopes = self
            .conditions()
            .iter()
            .filter(|condition| condition.claim == SCOPE);
        scopes.flat_map(|condition| condition.any_of.iter().map(String::as_str))
    }

    /// What fulfils both.
    fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Denied, _) | (_, Self::Denied) => Self::Denied,
            (Self::Claims(mut ours), Self::Claims(theirs)) => {
                ours.extend(theirs.iter().cloned());
                Self::Claims(ours)
            }
            (Self::Claims(ours), Self::Public | Self::Authenticated) => Self::Claims(ours),
            (Self::Public | Self::Authenticated, Self::Claims(theirs)) => {
                Self::Claims(theirs.clone())
            }
            (Self::Public, Self::Public) => Self::Public,
            (Self::Authenticated, Self::Public | Self::Authenticated)
            | (Self::Public, Self::Authenticated) => Self::Authenticated,
        }
    }
}

/// A pattern of paths: `*` is anything within a segment, `**` any number of whole segments, none among them,
/// everything else is itself. A single trailing slash never tells two paths apart, since it rarely does in apps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
    /// The same in one case.
    folded: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`.
    AnyNumber,
    /// The literal pieces between the `*` of one segment.
    Pieces(Vec<String>),
}

/// Why a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It must start with `/`.
    #[error("a path pattern starts with `/`")]
    Relative,
    /// `**` stands for whole segments.
    #[error("`**` must be a whole segment, as in `/assets/**`")]
    PartialDoubleStar,
    /// It has what no request path that reaches a rule can have.
    #[error("no request path can match this: {0}")]
    Unmatchable(TargetError),
    /// It has an oddity; targets with one get the strictest access and match no single rule.
    #[error("a path pattern has no `//`, `;`, and none of %2F, %3B, %25, %3F, %23")]
    Odd,
}

impl PathPattern {
    /// Reads a pattern; characters outside ASCII may stand as they are.
    ///
    /// # Errors
    /// [`PatternError`]: it is none, or could never match.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if !text.starts_with('/') {
            return Err(PatternError::Relative);
        }
        let escaped = escape_non_ascii(text);
        let (canonical, ambiguities) =
            canonical_path(&escaped).map_err(PatternError::Unmatchable)?;
        if !ambiguities.is_empty() {
            return Err(PatternError::Odd);
        }
        let segments = segments_of(&canonical)
            .map(Segment::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let folded = segments.iter().map(Segment::in_one_case).collect();
        Ok(Self {
            text: text.to_owned(),
            segments,
            folded,
        })
    }

    /// The pattern as it was written.
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

    fn matches_segments(&self, path: &[&str], case_insensitive: bool) -> bool {
        matches_all(
            if case_insensitive {
                &self.folded
            } else {
                &self.segments
            },
            path,
        )
    }
}

/// A path in the form in which patterns are compared with it.
fn comparable(path: &str, case_insensitive: bool) -> Cow<'_, str> {
    let path = decode_delimiters(path);
    if case_insensitive {
        in_one_case(&path).into()
    } else {
        path
    }
}

/// The segments between the slashes; the empty one before the first and after a trailing slash do not count.
fn segments_of(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    inner.split('/').filter(move |_| !inner.is_empty())
}

/// Sub-delimiters, `:`, `@` and brackets as themselves: most backends decode them, so `%40` must not get around a
/// pattern that has `@`, nor the other way round. Only what is compared is decoded: what is sent upstream stays.
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

/// Everything in one case, escaped letters outside ASCII among it. To upper case and back, since apps do either, and
/// some letters meet another's only there: U+017F is an `S` in upper case, U+212A a `k` in lower case.
fn in_one_case(text: &str) -> String {
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

fn escape_non_ascii(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() && character != ' ' {
            escaped.push(character);
            continue;
        }
        let mut buffer = [0; 4];
        for byte in character.encode_utf8(&mut buffer).bytes() {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
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

    fn in_one_case(&self) -> Self {
        match self {
            Self::AnyNumber => Self::AnyNumber,
            Self::Pieces(pieces) => {
                Self::Pieces(pieces.iter().map(|piece| in_one_case(piece)).collect())
            }
        }
    }
}

/// Matches in time linear in `path` for each `**`: on a mismatch only the last `**` gives way.
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

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).unwrap().matches(path, false)
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
            ("/@admin/**", "/%40admin/x", true),
            ("/%40admin", "/@admin", true),
            ("/v1/orders:purge", "/v1/orders%3Apurge", true),
            ("/a,b(c)", "/a%2Cb%28c%29", true),
            ("/a[1]", "/a%5B1%5D", true),
            ("/a%2Ab", "/a*b", true),
            ("/a%2Ab", "/axb", false),
            ("/a+b", "/a%20b", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn any_case_means_that_of_every_letter() {
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
    fn bad_patterns_are_told_apart() {
        assert_eq!(PathPattern::parse("admin"), Err(PatternError::Relative));
        assert_eq!(
            PathPattern::parse("/a**"),
            Err(PatternError::PartialDoubleStar)
        );
        assert_eq!(
            PathPattern::parse("/a/../b"),
            Err(PatternError::Unmatchable(TargetError::DotSegment))
        );
        assert_eq!(PathPattern::parse("/a//b"), Err(PatternError::Odd));
    }

    fn rules(case_insensitive: bool) -> Rules {
        let rule = |path: &str, methods: Vec<Method>, allow| Rule {
            paths: vec![PathPattern::parse(path).unwrap()],
            methods,
            allow: AccessRequirement {
                access: allow,
                auth_methods: AuthMethods::SESSION,
            },
        };
        let admin = ClaimCondition {
            claim: "roles".into(),
            any_of: vec!["admin".into()],
        };
        Rules::new(
            vec![
                rule("/assets/**", vec![], Access::Public),
                rule("/admin/**", vec![], Access::Claims(vec![admin])),
                rule("/posts", vec![Method::GET], Access::Public),
            ],
            case_insensitive,
            AuthMethods::SESSION,
        )
    }

    #[test]
    fn the_first_match_wins_and_the_default_is_signed_in() {
        let rules = rules(false);
        let access = |method: Method, path: &str| {
            rules
                .requirement(&method, &Target::parse(path, None).unwrap())
                .access
                .clone()
        };
        assert_eq!(access(Method::GET, "/assets/a.css"), Access::Public);
        assert_eq!(access(Method::GET, "/posts"), Access::Public);
        assert_eq!(access(Method::HEAD, "/posts"), Access::Public);
        assert_eq!(access(Method::POST, "/posts"), Access::Authenticated);
        assert_eq!(
            access(Method::from_bytes(b"get").unwrap(), "/posts"),
            Access::Authenticated
        );
        assert_eq!(access(Method::GET, "/anything"), Access::Authenticated);
        assert!(matches!(access(Method::GET, "/%61dmin"), Access::Claims(_)));
        assert_eq!(access(Method::GET, "/ADMIN"), Access::Authenticated);
    }

    #[test]
    fn an_odd_target_gets_the_strictest_access() {
        let rules = rules(true);
        for path in ["//assets/a.css", "/assets/x;y", "/assets%2Fa"] {
            let target = Target::parse(path, None).unwrap();
            assert!(
                matches!(
                    rules.requirement(&Method::GET, &target).access,
                    Access::Claims(_)
                ),
                "{path}"
            );
        }
        let target = Target::parse("/ADMIN/x", None).unwrap();
        assert!(matches!(
            rules.requirement(&Method::GET, &target).access,
            Access::Claims(_)
        ));
    }

    #[test]
    fn an_odd_target_is_for_who_is_known_by_what_every_rule_takes() {
        let rule = |path: &str, auth_methods| Rule {
            paths: vec![PathPattern::parse(path).unwrap()],
            methods: vec![],
            allow: AccessRequirement {
                access: Access::Public,
                auth_methods,
            },
        };
        let bearer = AuthMethods {
            session: false,
            bearer: true,
        };
        let odd = Target::parse("//a", None).unwrap();
        let strictest = |rules: Vec<Rule>, auth_methods| {
            Rules::new(rules, false, auth_methods)
                .requirement(&Method::GET, &odd)
                .clone()
        };
        let one = strictest(vec![rule("/api/**", bearer)], AuthMethods::BOTH);
        assert_eq!(
            one,
            AccessRequirement {
                access: Access::Authenticated,
                auth_methods: bearer
            }
        );
        let none = strictest(
            vec![
                rule("/api/**", bearer),
                rule("/pages/**", AuthMethods::SESSION),
            ],
            AuthMethods::BOTH,
        );
        assert_eq!(none.access, Access::Denied);
    }
}
