//! One diagnostic of a configuration: severity, location, key, message and hint.

use std::ops::Range;

/// One error, warning or advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the configuration is rejected because of it.
    pub severity: Severity,
    /// Where it is.
    pub location: ProblemLocation,
    /// The dotted key, such as `apps.store.rules.1.paths`. Empty for the file as a whole.
    pub key: String,
    /// The problem.
    pub message: String,
    /// How to correct it.
    pub hint: Option<String>,
}

/// The severity of a [`Problem`], the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is rejected.
    Error,
    /// The configuration is accepted.
    Warning,
    /// The configuration is accepted. It is safe under a condition that it cannot show, for example
    /// that a firewall protects the app. Shown by `doorward check`, but not at each start.
    Advice,
}

/// The location of a [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemLocation {
    /// In the file.
    File {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The bytes of the key or value, from 0.
        span: Range<usize>,
    },
    /// In the environment variable of this name.
    Variable(String),
    /// No location: the file is empty or cannot be read.
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
