//! What is wrong with a configuration, and where: every problem has a place, the key, what was found and a hint.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong, or that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the configuration is refused for it.
    pub severity: Severity,
    /// Where it is.
    pub place: ProblemLocation,
    /// The key in dotted form, such as `apps.store.rules.1.paths`; empty where the file as a whole is meant.
    pub key: String,
    /// What was found and why it cannot be.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used; an operator should know this.
    Advice,
}

/// Where a [`Problem`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemLocation {
    /// In the file; line and column count characters from 1, the span counts bytes from 0.
    File {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The bytes of the key or value.
        span: Range<usize>,
    },
    /// In the environment, in the variable of this name.
    Variable(String),
    /// Nowhere in particular: the file is empty, or is not there.
    Nowhere,
}

impl ProblemLocation {
    /// The line in the file, from 1.
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => Some(*line),
            Self::Variable(_) | Self::Nowhere => None,
        }
    }
}

/// All problems of one configuration, with what is needed to show them. Secrets are masked already.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) problems: Vec<Problem>,
}

impl Diagnosis {
    /// The configuration file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The problems: first those of the environment, then those of the file from top to bottom.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many of the problems refuse the configuration.
    pub fn errors(&self) -> usize {
        self.problems
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count()
    }

    /// All problems for a person to read; `styled` with colours for a terminal.
    pub fn render(&self, styled: bool) -> String {
        super::render::render(self, styled)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnosis {}
