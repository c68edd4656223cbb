//! One test for each error: it is the only problem, and its location, message and hint are right.

use doorward::config::{Problem, ProblemLocation, Severity};

use super::support::{edited, problems, shown};

/// Replaces `from` in the valid file by `to`, and returns the only problem beside advice. Checks that it is an
/// error whose span is `marked`.
fn only_problem(from: &str, to: &str, marked: &str) -> Problem {
    let text = edited(from, to);
    let mut found = problems(&text);
    found.retain(|problem| problem.severity != Severity::Advice);
    assert_eq!(found.len(), 1, "{}", shown(&found));
    let problem = found.into_iter().next().unwrap();
    assert_eq!(problem.severity, Severity::Error, "{problem:?}");
    let ProblemLocation::File { line, span, .. } = &problem.location else {
        panic!("not in the file: {problem:?}")
    };
    assert_eq!(text.get(span.clone()).unwrap(), marked, "{problem:?}");
    assert_eq!(
        *line,
        text.get(..span.start).unwrap().matches('\n').count() + 1
    );
    problem
}

/// Declares tests: the replaced text, its replacement, the marked text, and parts of the message
/// and of the hint.
macro_rules! errors {
    ($($name:ident: $from:expr => $to:expr, at $at:expr, $message:literal, hint $hint:literal;)+) => {
        $(
            #[test]
            fn $name() {
                let problem = super::only_problem($from, $to, $at);
                assert!(problem.message.contains($message), "{problem:?}");
                let hint = problem.hint.as_deref().unwrap_or_default();
                assert!(hint.contains($hint), "{problem:?}");
            }
        )+
    };
}

mod app;
mod assertion;
mod basic;
mod bearer;
mod client;
mod client_limits;
mod credentials;
mod device_binding;
mod native;
mod pages;
mod provider;
mod routes;
mod rules;
mod security_profile;
mod server;
mod session;
mod store;
mod tracing;
mod unbound_sessions;
mod upstream;
mod values;
