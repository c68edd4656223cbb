//! Collects problems while a configuration is read: every table that is checked carries its own place in the file.

use std::cell::RefCell;
use std::fmt::Display;

use super::environment::Environment;
use super::problem::{Problem, ProblemLocation, Severity};
use super::source::{Part, Source, has_credentials};

/// Longest value that a message quotes, in characters.
const QUOTED: usize = 80;

/// The problems found so far, and where values came from.
pub(super) struct Report<'s> {
    pub(super) source: &'s Source<'s>,
    pub(super) environment: &'s Environment,
    problems: RefCell<Vec<Problem>>,
    unreadable: RefCell<Vec<Vec<String>>>,
}

/// A place in the configuration: what is said here is said of this key.
#[derive(Clone)]
pub(super) struct Location<'r> {
    report: &'r Report<'r>,
    path: Vec<String>,
}

impl<'s> Report<'s> {
    pub(super) fn new(source: &'s Source<'s>, environment: &'s Environment) -> Self {
        let (problems, unreadable) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        Self {
            source,
            environment,
            problems,
            unreadable,
        }
    }

    /// The whole configuration.
    pub(super) const fn root(&self) -> Location<'_> {
        Location {
            report: self,
            path: Vec::new(),
        }
    }

    /// The place of `path`.
    pub(super) const fn at(&self, path: Vec<String>) -> Location<'_> {
        Location { report: self, path }
    }

    /// The problems in the order of the file, and whether the configuration is refused for them.
    pub(super) fn into_problems(self) -> (Vec<Problem>, bool) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| match &problem.place {
            ProblemLocation::Nowhere => (0, 0),
            ProblemLocation::Variable(_) => (1, 0),
            ProblemLocation::File { span, .. } => (2, span.start),
        });
        let refused = problems
            .iter()
            .any(|problem| problem.severity == Severity::Error);
        (problems, refused)
    }

    fn add(
        &self,
        severity: Severity,
        path: &[String],
        part: Part,
        message: String,
        hint: Option<String>,
    ) {
        let place = self.place(path, part);
        self.problems.borrow_mut().push(Problem {
            severity,
            place,
            key: path.join("."),
            message,
            hint,
        });
    }

    fn place(&self, path: &[String], part: Part) -> ProblemLocation {
        if let Some(variable) = self
            .environment
            .setter(path)
            .filter(|variable| path.starts_with(&variable.path))
        {
            return ProblemLocation::Variable(variable.name.clone());
        }
        if let Some(span) = self.source.span(path, part) {
            return self.source.place(span);
        }
        if let Some(variable) = self.environment.setter(path).filter(|_| !path.is_empty()) {
            return ProblemLocation::Variable(variable.name.clone());
        }
        let nearest = (1..path.len())
            .rev()
            .find_map(|length| self.source.span(path.get(..length)?, Part::Key));
        nearest.map_or(ProblemLocation::Nowhere, |span| self.source.place(span))
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

    /// The key `key` in the table that this key is in.
    pub(super) fn beside(&self, key: &str) -> Self {
        let mut beside = self.clone();
        beside.path.pop();
        beside.key(key)
    }

    /// Refuses the value here.
    pub(super) fn error(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report.add(
            Severity::Error,
            &self.path,
            Part::Value,
            message.into(),
            hint_of(hint),
        );
    }

    /// Refuses the key here, whatever its value.
    pub(super) fn refuse_key(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report.add(
            Severity::Error,
            &self.path,
            Part::Key,
            message.into(),
            hint_of(hint),
        );
    }

    /// Says something that an operator should know.
    pub(super) fn advise(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.report.add(
            Severity::Advice,
            &self.path,
            Part::Value,
            message.into(),
            hint_of(hint),
        );
    }

    /// Notes that what is here could not be read and has been reported, so that nothing is said to be missing.
    pub(super) fn note_unreadable(&self) {
        self.report.unreadable.borrow_mut().push(self.path.clone());
    }

    /// Whether something in this table could not be read and has been reported.
    pub(super) fn has_gaps(&self) -> bool {
        self.report
            .unreadable
            .borrow()
            .iter()
            .any(|path| path.starts_with(&self.path))
    }

    /// The value of `key` in this table; says that it is missing if it is.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>, hint: &str) -> Option<T> {
        if value.is_none() {
            self.refuse_missing(key, hint);
        }
        value
    }

    /// Says that this table lacks `key`, unless its value was reported already.
    pub(super) fn refuse_missing(&self, key: &str, hint: &str) {
        let wanted = self.key(key);
        let reported = self
            .report
            .unreadable
            .borrow()
            .iter()
            .any(|path| wanted.path.starts_with(path));
        if !reported {
            wanted.error(format!("`{key}` is missing"), hint);
        }
    }

    /// Whether the value here was set by the environment.
    pub(super) fn is_from_environment(&self) -> bool {
        self.report.environment.text_at(&self.path).is_some()
    }
}

fn hint_of(hint: impl Into<String>) -> Option<String> {
    Some(hint.into()).filter(|hint| !hint.is_empty())
}

/// A value as messages quote it: in backticks, on one line, not endless, without credentials.
pub(super) fn quoted(value: impl Display) -> String {
    let value = value.to_string();
    if has_credentials(&value) {
        return "`[redacted]`".to_owned();
    }
    let printable = value.chars().take(QUOTED).map(|c| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    });
    let mut text: String = printable.collect();
    if value.chars().nth(QUOTED).is_some() {
        text.push('…');
    }
    format!("`{text}`")
}

/// The one of `known` that `word` was probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let close = |known: &'k str| {
        (
            strsim::jaro_winkler(&word.to_lowercase(), &known.to_lowercase()),
            known,
        )
    };
    let best = known
        .into_iter()
        .map(close)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > 0.8)
        .map(|(_, known)| known)
}

/// The hint for a word that is none of `known`.
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
    format!("there is {}", all.join(", "))
}
