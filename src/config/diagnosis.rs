//! All diagnostics of a configuration, rendered with the marked source line and the hint.

use std::fmt;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::problem::{Problem, ProblemLocation, Severity};

/// The problems of one configuration, with its text for rendering. Secrets are masked.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) problems: Vec<Problem>,
}

impl Diagnosis {
    /// The configuration file, or what a configuration without one is called.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The problems: first those of the environment, then those of the file in its order.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// The number of problems of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        let problems = self.problems.iter();
        problems
            .filter(|problem| problem.severity == severity)
            .count()
    }

    /// Leaves the advice out, for a start of the server.
    #[must_use]
    pub fn without_advice(mut self) -> Self {
        self.problems
            .retain(|problem| problem.severity != Severity::Advice);
        self
    }

    /// Renders all problems, with terminal colors if `styled`.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&renderer.render(&[group(self, problem)]));
            text.push_str("\n\n");
        }
        text
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnosis {}

fn group<'a>(diagnosis: &'a Diagnosis, problem: &'a Problem) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Advice => Level::NOTE.with_name("advice"),
    };
    let file = diagnosis.file.to_string_lossy();
    let subject = match &problem.location {
        ProblemLocation::File { .. } => problem.key.clone(),
        ProblemLocation::Variable(name) => format!("environment variable {name}"),
        ProblemLocation::Nowhere if problem.key.is_empty() => file.clone().into_owned(),
        ProblemLocation::Nowhere => format!("{file}: {}", problem.key),
    };
    let title = if subject.is_empty() {
        problem.message.clone()
    } else {
        format!("{subject}: {}", problem.message)
    };
    let mut group = Group::with_title(level.primary_title(title));
    if let ProblemLocation::File { span, .. } = &problem.location {
        let annotation = AnnotationKind::Primary.span(span.clone());
        group = group.element(
            Snippet::source(&diagnosis.text)
                .path(file)
                .annotation(annotation),
        );
    }
    if let Some(hint) = &problem.hint {
        group = group.element(Level::HELP.with_name("hint").message(hint.clone()));
    }
    group
}
