//! Regular expressions for paths as path patterns, where both match the same paths. A slash at the
//! end makes no difference to patterns, so it makes none here.

use crate::policy::path_pattern::PathPattern;

/// The most patterns of one expression.
const MAX_PATTERNS: usize = 16;

/// Why an expression is not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UntranslatableError {
    /// An operator without an equivalent.
    #[error("the expression has an operator that path patterns do not have")]
    Operator,
    /// `.` that is not a literal dot.
    #[error("`.` matches any character; a literal dot is `\\.`")]
    AnyCharacter,
    /// It is not anchored.
    #[error("the expression may match anywhere in the path; begin it with `^/`")]
    Unanchored,
    /// The pattern is invalid or matches nothing.
    #[error("no path pattern matches the same paths")]
    Unmatchable,
}

/// One part of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `[^/]*` (`false`) and `[^/]+` (`true`).
    WithinSegment {
        needs_one: bool,
    },
    /// `.*` and `.+`.
    Anything,
    /// `(a|b)`.
    OneOf(Vec<String>),
    /// `/?` or `(/.*)?` before the end.
    OptionalSlash,
    OptionalRest,
}

/// The patterns that together match the same paths as the expression.
pub(super) fn patterns(expression: &str) -> Result<Vec<String>, UntranslatableError> {
    let anchored = expression.strip_prefix('^');
    let inner = anchored.unwrap_or(expression);
    let is_escaped =
        |text: &str| text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
    let (inner, has_end) = match inner.strip_suffix('$') {
        Some(inner) if !is_escaped(inner) => (inner, true),
        Some(_) | None => (inner, false),
    };
    let mut parts = parse(inner)?;
    if anchored.is_none() && !matches!(parts.first(), Some(Part::Anything)) {
        parts.insert(0, Part::Anything);
    }
    if !has_end && !matches!(parts.last(), Some(Part::Anything | Part::OptionalRest)) {
        parts.push(Part::Anything);
    }
    let texts = expand(&parts)?;
    let is_valid = |text: &String| PathPattern::parse(text).is_ok();
    if texts.iter().all(is_valid) {
        Ok(texts)
    } else {
        Err(UntranslatableError::Unmatchable)
    }
}

fn parse(text: &str) -> Result<Vec<Part>, UntranslatableError> {
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let tokens = [
            ("[^/]*", Part::WithinSegment { needs_one: false }),
            ("[^/]+", Part::WithinSegment { needs_one: true }),
            (".*", Part::Anything),
        ];
        let token = tokens
            .into_iter()
            .find_map(|(token, part)| Some((rest.strip_prefix(token)?, part)));
        if let Some((after, part)) = token {
            rest = after;
            parts.push(part);
            continue;
        }
        if let Some(after) = rest
            .strip_prefix("(/.*)?")
            .or_else(|| rest.strip_prefix("(?:/.*)?"))
        {
            return at_end(parts, after, Part::OptionalRest);
        }
        if let Some(after) = rest.strip_prefix("/?") {
            return at_end(parts, after, Part::OptionalSlash);
        }
        if let Some(group) = rest.strip_prefix('(') {
            let group = group.strip_prefix("?:").unwrap_or(group);
            let (choices, after) = group.split_once(')').ok_or(UntranslatableError::Operator)?;
            let choices = choices.split('|').map(literal);
            parts.push(Part::OneOf(choices.collect::<Result<_, _>>()?));
            rest = no_repetition(after)?;
            continue;
        }
        let (character, after) = character(rest)?;
        rest = no_repetition(after)?;
        match parts.last_mut() {
            Some(Part::Literal(text)) => text.push(character),
            Some(_) | None => parts.push(Part::Literal(character.into())),
        }
    }
    Ok(parts)
}

/// The parts with one that must be the last.
fn at_end(mut parts: Vec<Part>, after: &str, part: Part) -> Result<Vec<Part>, UntranslatableError> {
    if !after.is_empty() {
        return Err(UntranslatableError::Operator);
    }
    parts.push(part);
    Ok(parts)
}

/// The rest after something literal, which must not be repeated.
fn no_repetition(rest: &str) -> Result<&str, UntranslatableError> {
    if rest.starts_with(['*', '+', '?', '{']) {
        Err(UntranslatableError::Operator)
    } else {
        Ok(rest)
    }
}

fn literal(text: &str) -> Result<String, UntranslatableError> {
    let mut literal = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (character, after) = character(rest)?;
        rest = no_repetition(after)?;
        literal.push(character);
    }
    Ok(literal)
}

/// A literal character that patterns may have, and the rest.
fn character(text: &str) -> Result<(char, &str), UntranslatableError> {
    let mut characters = text.chars();
    let first = characters.next().ok_or(UntranslatableError::Operator)?;
    match first {
        '\\' => {
            let escaped = characters.next().ok_or(UntranslatableError::Operator)?;
            let is_plain = matches!(escaped, '.' | '-' | '/' | '_' | '~' | '+');
            let rest = characters.as_str();
            is_plain
                .then_some((escaped, rest))
                .ok_or(UntranslatableError::Operator)
        }
        '.' => Err(UntranslatableError::AnyCharacter),
        '/' | '-' | '_' | '~' | '@' | '=' | ',' => Ok((first, characters.as_str())),
        _ if first.is_ascii_alphanumeric() => Ok((first, characters.as_str())),
        _ => Err(UntranslatableError::Operator),
    }
}

/// The patterns of the parts. `.*` becomes `**` only where it is bounded by slashes or the ends.
fn expand(parts: &[Part]) -> Result<Vec<String>, UntranslatableError> {
    let mut texts = vec![String::new()];
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        match part {
            Part::Literal(literal) => texts.iter_mut().for_each(|text| text.push_str(literal)),
            Part::WithinSegment { needs_one } => {
                let next = parts.get(at + 1);
                for text in &mut texts {
                    // `*` is a whole segment, which has at least one character, or a part that may be empty.
                    let is_segment = text.ends_with('/')
                        && match next {
                            None => true,
                            Some(Part::Literal(literal)) => literal.starts_with('/'),
                            Some(Part::OptionalSlash | Part::OptionalRest) => true,
                            Some(Part::WithinSegment { .. } | Part::Anything | Part::OneOf(_)) => {
                                false
                            }
                        };
                    if is_segment != *needs_one || text.ends_with('*') {
                        return Err(UntranslatableError::Operator);
                    }
                    text.push('*');
                }
            }
            Part::OneOf(choices) => {
                if texts.len() * choices.len() > MAX_PATTERNS {
                    return Err(UntranslatableError::Operator);
                }
                let with = |text: &String| {
                    choices
                        .iter()
                        .map(|choice| format!("{text}{choice}"))
                        .collect::<Vec<_>>()
                };
                texts = texts.iter().flat_map(with).collect();
            }
            Part::OptionalSlash => {}
            Part::OptionalRest => texts.iter_mut().for_each(|text| text.push_str("/**")),
            Part::Anything if at == 0 => {
                let rest = parts.get(1);
                texts = match rest {
                    None => vec!["/**".to_owned()],
                    // Any name in any folder that ends like this.
                    Some(Part::Literal(literal)) if !literal.contains('/') => {
                        vec!["/**/*".to_owned()]
                    }
                    Some(_) => return Err(UntranslatableError::Unanchored),
                };
            }
            Part::Anything => {
                for text in &mut texts {
                    *text = anything(text, parts.get(at + 1), is_last)?;
                }
            }
        }
    }
    Ok(texts)
}

/// `.*` after `text`.
fn anything(text: &str, next: Option<&Part>, is_last: bool) -> Result<String, UntranslatableError> {
    if text.contains('*') && !text.ends_with('/') {
        return Err(UntranslatableError::Operator);
    }
    match (next, text.ends_with('/')) {
        // `^/a/.*` and `^/a.*`.
        (None, true) if is_last => Ok(format!("{text}**")),
        (None, false) if is_last => Ok(format!("{text}*/**")),
        // `^/a/.*/b`: at least one segment in between.
        (Some(Part::Literal(literal)), true) if literal.starts_with('/') => {
            Ok(format!("{text}*/**"))
        }
        // `^/a/.*\.js$`: any folder below, any name.
        (Some(Part::Literal(literal)), true) if !literal.contains('/') => Ok(format!("{text}**/*")),
        (Some(_) | None, _) => Err(UntranslatableError::Operator),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_patterns_that_match_the_same_paths() {
        let cases: [(&str, &[&str]); 19] = [
            ("^/assets/", &["/assets/**"]),
            ("^/assets/.*$", &["/assets/**"]),
            ("^/assets(/.*)?$", &["/assets/**"]),
            ("^/assets", &["/assets*/**"]),
            ("^/health$", &["/health"]),
            ("^/health/?$", &["/health"]),
            ("^/$", &["/"]),
            ("^/", &["/**"]),
            (".*", &["/**"]),
            ("^", &["/**"]),
            ("^.*\\.css$", &["/**/*.css"]),
            ("\\.css$", &["/**/*.css"]),
            (".*\\.css$", &["/**/*.css"]),
            ("^/js/.*\\.js$", &["/js/**/*.js"]),
            ("^/api/[^/]+/public$", &["/api/*/public"]),
            ("^/img-[^/]*\\.png$", &["/img-*.png"]),
            ("^/(css|js)/", &["/css/**", "/js/**"]),
            ("^/a/.*/b$", &["/a/*/**/b"]),
            ("^/favicon\\.ico$", &["/favicon.ico"]),
        ];
        for (expression, expected) in cases {
            assert_eq!(patterns(expression).unwrap(), expected, "{expression}");
        }
    }

    #[test]
    fn other_expressions_are_refused() {
        for expression in [
            "^/favicon.ico$",
            "^/a+$",
            "^/a?$",
            "^/[a-z]+$",
            "^/a|/b",
            "(?i)^/a",
            "^/a{2}$",
            "^/\\d+$",
            "^/a$|^/b$",
            "/assets/",
            "^/a/[^/]*$",
            "^/a/[^/]*/b$",
            "^/a[^/]+$",
            "^/a.*b$",
            "^/(a|.*)$",
            "^/a\\$",
            "^/a//b",
            "^a",
            "^/(a|b)+$",
            "^/x[^/]*.*/y$",
            "^/é$",
            "^/a/(b",
        ] {
            assert!(
                patterns(expression).is_err(),
                "{expression}: {:?}",
                patterns(expression)
            );
        }
    }
}
