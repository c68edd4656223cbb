//! Collects problems while a configuration is loaded. A [`Location`] reports problems of one key.

use std::cell::RefCell;
use std::fmt::Display;

use super::environment::Environment;
use super::inputs::InputFile;
use super::problem::{Problem, ProblemLocation, Severity};
use super::source::{Part, Source, has_credentials};

/// The longest value that a message quotes, in characters.
const MAX_QUOTED: usize = 80;

/// The problems found so far, and the sources of the values.
pub(super) struct Report<'s> {
    pub(super) source: &'s Source<'s>,
    pub(super) environment: &'s Environment,
    problems: RefCell<Vec<Problem>>,
    /// The paths of values that were reported and left out.
    invalid: RefCell<Vec<Vec<String>>>,
    /// The files that were read, or should have been.
    files: RefCell<Vec<InputFile>>,
}

/// The location of a key in the configuration.
#[derive(Clone)]
pub(super) struct Location<'r> {
    report: &'r Report<'r>,
    path: Vec<String>,
}

impl<'s> Report<'s> {
    pub(super) fn new(source: &'s Source<'s>, environment: &'s Environment) -> Self {
        Self {
            source,
            environment,
            problems: RefCell::default(),
            invalid: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// The location of the whole configuration.
    pub(super) const fn root(&self) -> Location<'_> {
        Location {
            report: self,
            path: Vec::new(),
        }
    }

    /// The location of `path`.
    pub(super) const fn location(&self, path: Vec<String>) -> Location<'_> {
        Location { report: self, path }
    }

    /// Takes the files that were read, or should have been.
    pub(super) fn take_files(&self) -> Vec<InputFile> {
        self.files.take()
    }

    /// The problems in the order of the file, and whether one is an error.
    pub(super) fn into_problems(self) -> (Vec<Problem>, bool) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| match &problem.location {
            ProblemLocation::Nowhere => (0, 0),
            ProblemLocation::Variable(_) => (1, 0),
            ProblemLocation::File { span, .. } => (2, span.start),
        });
        let has_errors = problems
            .iter()
            .any(|problem| problem.severity == Severity::Error);
        (problems, has_errors)
    }

    fn add(
        &self,
        severity: Severity,
        path: &[String],
        part: Part,
        message: String,
        hint: Option<String>,
    ) {
        let location = self.resolve(path, part);
        self.problems.borrow_mut().push(Problem {
            severity,
            location,
            key: path.join("."),
            message,
            hint,
        });
    }

    fn resolve(&self, path: &[String], part: Part) -> ProblemLocation {
        if let Some(variable) = self
            .environment
            .setter(path)
            .filter(|variable| path.starts_with(&variable.path))
        {
            return ProblemLocation::Variable(variable.name.clone());
        }
        if let Some(span) = self.source.span(path, part) {
            return self.source.location(span);
        }
        if let Some(variable) = self.environment.setter(path).filter(|_| !path.is_empty()) {
            return ProblemLocation::Variable(variable.name.clone());
        }
        let nearest = (1..path.len())
            .rev()
            .find_map(|length| self.source.span(path.get(..length)?, Part::Key));
        nearest.map_or(ProblemLocation::Nowhere, |span| self.source.location(span))
    }
}

impl<'r> Location<'r> {
    /// The key `key` in this table.
    pub(super) fn key(&self, key: &str) -> Self {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        Self {
            report: self.report,
            path,
        }
    }

    /// The element `index` of this list.
    pub(super) fn index(&self, index: usize) -> Self {
        self.key(&index.to_string())
    }

    /// The key `key` in the same table.
    pub(super) fn sibling(&self, key: &str) -> Self {
        let mut table = self.clone();
        table.path.pop();
        table.key(key)
    }

    /// Reports an error of the value.
    pub(super) fn error(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report.add(
            Severity::Error,
            &self.path,
            Part::Value,
            message.into(),
            hint_of(hint),
        );
    }

    /// Reports an error of the key itself.
    pub(super) fn key_error(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report.add(
            Severity::Error,
            &self.path,
            Part::Key,
            message.into(),
            hint_of(hint),
        );
    }

    /// Reports a warning about the value.
    pub(super) fn warning(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report.add(
            Severity::Warning,
            &self.path,
            Part::Value,
            message.into(),
            hint_of(hint),
        );
    }

    /// Reports advice about the value, which only `doorward check` shows.
    pub(super) fn advice(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report.add(
            Severity::Advice,
            &self.path,
            Part::Value,
            message.into(),
            hint_of(hint),
        );
    }

    /// The key, as it is shown.
    pub(super) fn key_path(&self) -> String {
        self.path.join(".")
    }

    /// Notes a file that was read, or should have been.
    pub(super) fn note_file(&self, file: InputFile) {
        self.report.files.borrow_mut().push(file);
    }

    /// Marks the value as invalid and reported, so that it is not reported as missing too.
    pub(super) fn mark_invalid(&self) {
        self.report.invalid.borrow_mut().push(self.path.clone());
    }

    /// Whether a value in this table was marked as invalid.
    pub(super) fn has_invalid(&self) -> bool {
        self.report
            .invalid
            .borrow()
            .iter()
            .any(|path| path.starts_with(&self.path))
    }

    /// Returns `value`, or reports that `key` is missing in this table.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>, hint: &str) -> Option<T> {
        if value.is_none() {
            self.missing(key, hint);
        }
        value
    }

    /// Reports that `key` is missing in this table, unless its value was reported as invalid.
    pub(super) fn missing(&self, key: &str, hint: &str) {
        let location = self.key(key);
        let is_reported = self
            .report
            .invalid
            .borrow()
            .iter()
            .any(|path| location.path.starts_with(path));
        if !is_reported {
            location.error(format!("`{key}` is missing"), hint);
        }
    }

    /// Whether an environment variable set the value.
    pub(super) fn is_from_environment(&self) -> bool {
        self.report.environment.text_at(&self.path).is_some()
    }
}

fn hint_of(hint: impl Into<String>) -> Option<String> {
    Some(hint.into()).filter(|hint| !hint.is_empty())
}

/// Quotes a value in backticks, on one line, truncated, without credentials.
pub(super) fn quoted(value: impl Display) -> String {
    let value = value.to_string();
    if has_credentials(&value) {
        return "`[redacted]`".to_owned();
    }
    let printable = value.chars().take(MAX_QUOTED).map(|c| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    });
    let mut text: String = printable.collect();
    if value.chars().nth(MAX_QUOTED).is_some() {
        text.push('…');
    }
    format!("`{text}`")
}

/// The most similar of `known`, if one is similar enough.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let scored = |known: &'k str| {
        (
            strsim::jaro_winkler(&word.to_lowercase(), &known.to_lowercase()),
            known,
        )
    };
    let best = known
        .into_iter()
        .map(scored)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(similarity, _)| *similarity > 0.8)
        .map(|(_, known)| known)
}

/// The hint for a keyword that is not in `known`.
pub(super) fn did_you_mean<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> String {
    if let Some(known) = nearest(word, known.clone()) {
        return format!("did you mean `{known}`?");
    }
    let all: Vec<String> = known
        .into_iter()
        .map(|known| format!("`{known}`"))
        .collect();
    format!("known are {}", all.join(", "))
}
