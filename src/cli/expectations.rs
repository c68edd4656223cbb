//! `doorward test`: compares the decisions about requests with expected ones, for the tests of a
//! configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::explain::rendered;
use super::{ConfigArgs, Exit, Output, count, fail, load};
use crate::server::explain::{
    ExplainError, Explainer, Explanation, PresumedCaller, PresumedRequest, PresumedRequestError,
};

/// The options of `doorward test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The file with requests and what is expected of them (TOML)
    #[arg(value_name = "TESTS")]
    tests: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tests {
    requests: Vec<TestRequest>,
}

/// A request with what is expected of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestRequest {
    /// The title in the output.
    name: Option<String>,
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    client_ip: Option<IpAddr>,
    /// The claims of a session.
    claims: Option<Map<String, Value>>,
    /// The claims of an access token.
    token_claims: Option<Map<String, Value>>,
    expect: Expectation,
}

/// The expectation. A field that is absent is not compared.
#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Expectation {
    app: Option<String>,
    rule: Option<String>,
    decision: Option<String>,
    status: Option<u16>,
    /// Header fields of the app's request.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Header fields that it does not have.
    #[serde(default)]
    no_headers: Vec<String>,
}

/// Why a test cannot be run.
#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error(transparent)]
    Request(#[from] PresumedRequestError),
    #[error(transparent)]
    Claims(#[from] ExplainError),
    #[error("`claims` and `token_claims` exclude each other")]
    TwoCallers,
    #[error("`expect` is empty, so the test cannot fail")]
    ExpectsNothing,
}

/// The differences to the expectation.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    what: String,
    expected: String,
    actual: String,
}

/// `doorward test`: tests a configuration. Calls no other machine.
///
/// # Errors
/// The output cannot be written.
pub fn test(
    arguments: &TestArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let config = match load(arguments.config.config.as_deref(), variables, output)? {
        Ok(loaded) => loaded.config,
        Err(exit) => return Ok(exit),
    };
    let file = arguments.tests.display();
    let text = match fs::read_to_string(&arguments.tests) {
        Ok(text) => text,
        Err(error) => return fail(output, &format_args!("cannot read {file}: {error}")),
    };
    let tests: Tests = match toml::from_str(&text) {
        Ok(tests) => tests,
        Err(error) => return fail(output, &format_args!("{file}: {error}")),
    };
    let explainer = match Explainer::new(&config) {
        Ok(explainer) => explainer,
        Err(error) => return fail(output, &error),
    };
    let total = tests.requests.len();
    let mut failed = 0;
    for (index, test) in tests.requests.into_iter().enumerate() {
        let title = test.title(index + 1);
        match test.run(&explainer) {
            Ok(None) => {}
            Ok(Some(failure)) => {
                failed += 1;
                write_failure(&title, &failure, output)?;
            }
            Err(error) => {
                failed += 1;
                writeln!(output.out, "failed: {title}\n  error: {error}")?;
            }
        }
    }
    writeln!(
        output.out,
        "{file}: {}, {failed} failed",
        count(total, "request")
    )?;
    Ok(if failed == 0 {
        Exit::Success
    } else {
        Exit::Runtime
    })
}

/// A request about which something else was decided.
struct Failure {
    differences: Vec<Difference>,
    explanation: Explanation,
}

fn write_failure(title: &str, failure: &Failure, output: &mut Output<'_>) -> io::Result<()> {
    writeln!(output.out, "failed: {title}")?;
    for difference in &failure.differences {
        let Difference {
            what,
            expected,
            actual,
        } = difference;
        writeln!(output.out, "  {what}: expected {expected}, got {actual}")?;
    }
    for line in rendered(&failure.explanation).lines() {
        writeln!(output.out, "    {line}")?;
    }
    Ok(())
}

impl TestRequest {
    fn title(&self, number: usize) -> String {
        let method = self.method.as_deref().unwrap_or("GET");
        match &self.name {
            Some(name) => format!("{name} ({method} {})", self.url),
            None => format!("request {number} ({method} {})", self.url),
        }
    }

    /// `None` if the decision is as expected.
    fn run(self, explainer: &Explainer) -> Result<Option<Failure>, TestError> {
        if self.expect == Expectation::default() {
            return Err(TestError::ExpectsNothing);
        }
        let mut request = PresumedRequest::new(self.method.as_deref().unwrap_or("GET"), &self.url)?;
        for (name, value) in &self.headers {
            request.add_header(name, value)?;
        }
        request.peer = self.client_ip;
        request.caller = match (self.claims, self.token_claims) {
            (Some(_), Some(_)) => return Err(TestError::TwoCallers),
            (Some(claims), None) => PresumedCaller::Session(claims),
            (None, Some(claims)) => PresumedCaller::Token(claims),
            (None, None) => PresumedCaller::Anonymous,
        };
        let explanation = explainer.explain(request)?;
        let differences = self.expect.differences(&explanation);
        Ok((!differences.is_empty()).then_some(Failure {
            differences,
            explanation,
        }))
    }
}

impl Expectation {
    fn differences(&self, explanation: &Explanation) -> Vec<Difference> {
        let rule = explanation.rule.as_ref().map(|rule| rule.name.clone());
        let status = explanation.status.map(|status| status.to_string());
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: Option<String>, actual: Option<String>| {
            if let Some(expected) = expected
                && actual.as_ref() != Some(&expected)
            {
                differences.push(Difference {
                    what: what.to_owned(),
                    expected,
                    actual: actual.unwrap_or_else(|| "none".to_owned()),
                });
            }
        };
        compare("app", self.app.clone(), explanation.app.clone());
        compare("rule", self.rule.clone(), rule);
        let decision = Some(explanation.decision.to_owned());
        compare("decision", self.decision.clone(), decision);
        let expected = self.status.map(|status| status.to_string());
        compare("status", expected, status);
        let sent = |name: &str| explanation.headers.get(&name.to_ascii_lowercase());
        for (name, expected) in &self.headers {
            let actual = sent(name).map(|values| values.join(", "));
            compare(&format!("header {name}"), Some(expected.clone()), actual);
        }
        for name in &self.no_headers {
            if let Some(values) = sent(name) {
                differences.push(Difference {
                    what: format!("header {name}"),
                    expected: "none".to_owned(),
                    actual: values.join(", "),
                });
            }
        }
        differences
    }
}
