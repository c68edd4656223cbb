//! Path patterns against a simple but slow reference matcher.

use doorward::policy::path_pattern::PathPattern;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const PATTERN_SEGMENTS: [&str; 16] = [
    "a", "b", "ab", "A", "*", "**", "**", "a*", "*b", "a*b", "*a*", "a*a", "*ab*b", "a*b*a", "*.b",
    "b*",
];
const PATH_SEGMENTS: [&str; 12] = [
    "a", "b", "ab", "A", "aB", "aa", "aab", "aba", "abba", "a.b", ".b", "bab",
];

fn segments(text: &str) -> Vec<&str> {
    text.split('/')
        .filter(|segment| !segment.is_empty())
        .collect()
}

fn matches_by_definition(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], rest) => rest.is_empty(),
        (["**", later @ ..], _) => {
            (0..=path.len()).any(|taken| matches_by_definition(later, &path[taken..]))
        }
        ([_, ..], []) => false,
        ([first, later @ ..], [segment, rest @ ..]) => {
            fits(first.as_bytes(), segment.as_bytes()) && matches_by_definition(later, rest)
        }
    }
}

fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], rest) => rest.is_empty(),
        ([b'*', later @ ..], _) => (0..=text.len()).any(|taken| fits(later, &text[taken..])),
        ([first, later @ ..], [byte, rest @ ..]) => first == byte && fits(later, rest),
        ([_, ..], []) => false,
    }
}

fn joined(segments: &[&str], slash: bool) -> String {
    let text = format!("/{}", segments.join("/"));
    if slash && !segments.is_empty() {
        text + "/"
    } else {
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn pattern_matches_as_the_reference_does(
        pattern in vec(select(PATTERN_SEGMENTS.as_slice()), 0..6),
        path in vec(select(PATH_SEGMENTS.as_slice()), 0..7),
        slashes in any::<(bool, bool)>(),
    ) {
        let (pattern, path) = (joined(&pattern, slashes.0), joined(&path, slashes.1));
        let parsed = PathPattern::parse(&pattern).unwrap();
        let expected = matches_by_definition(&segments(&pattern), &segments(&path));
        prop_assert_eq!(parsed.matches(&path, false), expected, "{} {}", pattern, path);
        let (pattern, path) = (pattern.to_ascii_lowercase(), path.to_ascii_lowercase());
        let expected = matches_by_definition(&segments(&pattern), &segments(&path));
        prop_assert_eq!(parsed.matches(&path, true), expected, "case-insensitive: {} {}", pattern, path);
    }

    #[test]
    fn arbitrary_text_is_accepted_or_rejected(text in any::<String>(), path in crate::adversarial_inputs::paths()) {
        if let Ok(pattern) = PathPattern::parse(&format!("/{text}")) {
            pattern.matches(&path, false);
            pattern.matches(&path, true);
        }
    }
}

/// Backtracking over every star would take practically forever.
#[test]
fn many_stars_match_in_linear_time() {
    let pattern = PathPattern::parse(&"/**/a".repeat(60)).unwrap();
    assert!(!pattern.matches(&format!("{}/b", "/a".repeat(2000)), false));
    assert!(pattern.matches(&"/a".repeat(2000), false));
    let pattern = PathPattern::parse(&format!("/{}c", "*a".repeat(200))).unwrap();
    assert!(!pattern.matches(&format!("/{}", "a".repeat(4000)), false));
}
