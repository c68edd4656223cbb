//! Background paths: requests that pages send on their own, such as polling. They do not reset the
//! idle timeout.

use super::path_pattern::PathPattern;
use crate::types::target::{PathAmbiguities, Target};

/// The background paths of one app.
#[derive(Clone, Debug, Default)]
pub struct BackgroundPaths {
    patterns: Vec<PathPattern>,
    case_insensitive: bool,
}

impl BackgroundPaths {
    /// Paths that match one of `patterns`.
    pub const fn new(patterns: Vec<PathPattern>, case_insensitive: bool) -> Self {
        Self {
            patterns,
            case_insensitive,
        }
    }

    /// Whether `target` is a background path. One with an ambiguity is not, because the backend may
    /// read it as any path.
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
    fn patterns_match_but_ambiguous_paths_do_not() {
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
