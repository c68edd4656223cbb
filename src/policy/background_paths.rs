//! Paths that pages ask for by themselves, such as for new messages: who asks them need not be there.

use super::rules::PathPattern;
use crate::types::target::{PathAmbiguities, Target};

/// The polling paths of one app.
#[derive(Clone, Debug, Default)]
pub struct BackgroundPaths {
    patterns: Vec<PathPattern>,
    case_insensitive: bool,
}

impl BackgroundPaths {
    /// Paths that match one of `patterns`, in any case with `case_insensitive`.
    pub const fn new(patterns: Vec<PathPattern>, case_insensitive: bool) -> Self {
        Self {
            patterns,
            case_insensitive,
        }
    }

    /// Whether `target` is one of them. One with oddities is none: the backend may read it as any path.
    pub fn contains(&self, target: &Target) -> bool {
        let matches = |pattern: &PathPattern| pattern.matches(target.path(), self.case_insensitive);
        !self.patterns.is_empty()
            && target.ambiguities() == PathAmbiguities::NONE
            && self.patterns.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_paths_are_patterns_and_odd_spellings_match_none() {
        let patterns = vec![
            PathPattern::parse("/api/news/**").unwrap(),
            PathPattern::parse("/Ping").unwrap(),
        ];
        for (case_insensitive, path, expected) in [
            (false, "/api/news", true),
            (false, "/api/news/1", true),
            (false, "/api/newsletter", false),
            (false, "/ping", false),
            (true, "/pING", true),
            (true, "/api//news", false),
            (true, "/api/news;x", false),
        ] {
            let paths = BackgroundPaths::new(patterns.clone(), case_insensitive);
            assert_eq!(
                paths.contains(&Target::parse(path, Some("since=3")).unwrap()),
                expected,
                "{path}"
            );
        }
        assert!(!BackgroundPaths::default().contains(&Target::parse("/ping", None).unwrap()));
    }
}
