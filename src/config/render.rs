//! Problems as a person reads them: the line of the file with a mark below it, and the hint.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::problem::{Diagnosis, Problem, ProblemLocation, Severity};

pub(super) fn render(diagnosis: &Diagnosis, styled: bool) -> String {
    let renderer = if styled {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut text = String::new();
    for problem in &diagnosis.problems {
        text.push_str(&renderer.render(&[group(diagnosis, problem)]));
        text.push_str("\n\n");
    }
    text
}

fn group<'a>(diagnosis: &'a Diagnosis, problem: &'a Problem) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Advice => Level::WARNING.with_name("advice"),
    };
    let file = diagnosis.file.to_string_lossy();
    let subject = match &problem.place {
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
    if let ProblemLocation::File { span, .. } = &problem.place {
        let mark = AnnotationKind::Primary.span(span.clone());
        group = group.element(Snippet::source(&diagnosis.text).path(file).annotation(mark));
    }
    if let Some(hint) = &problem.hint {
        group = group.element(Level::HELP.with_name("hint").message(hint.clone()));
    }
    group
}
