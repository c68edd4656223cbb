//! Configuration: any file is accepted, or rejected with messages whose lines exist.

use std::fs;

use doorward::config::{ProblemLocation, load};

/// Panics if `text` is rejected without a message, or with a line that does not exist.
pub(crate) fn check(text: &str) {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
    let file = folder.path().join("doorward.toml");
    fs::write(&file, text).unwrap_or_else(|error| panic!("cannot write: {error}"));
    let diagnosis = match load(&file, []) {
        Ok(loaded) => {
            assert_eq!(loaded.warnings.errors(), 0, "taken with errors:\n{text}");
            loaded.warnings
        }
        Err(refused) => {
            assert!(refused.errors() > 0, "refused without a word:\n{text}");
            refused
        }
    };
    let lines = text.split('\n').count();
    for problem in diagnosis.problems() {
        assert!(!problem.message.is_empty());
        if let Some(line) = problem.location.line() {
            assert!(
                (1..=lines).contains(&line),
                "line {line} of {lines}: {}",
                problem.message
            );
        }
        assert!(
            !matches!(problem.location, ProblemLocation::Variable(_)),
            "no variable was set"
        );
    }
    assert!(!diagnosis.render(false).is_empty() || diagnosis.problems().is_empty());
}
