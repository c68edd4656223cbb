//! `doorward explain`: what Doorward does with a request, and why.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::explain_log::explain_request;
use super::{ConfigArgs, Exit, Output, fail, load};
use crate::policy::condition::{CheckedCondition, Verdict};
use crate::server::explain::{
    ExplainedRule, Explainer, Explanation, PresumedCaller, PresumedRequest, PresumedRequestError,
};

/// The options of `doorward explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The method of the request
    #[arg(required_unless_present = "request_id")]
    method: Option<String>,
    /// The URL of the request
    #[arg(required_unless_present = "request_id")]
    url: Option<String>,
    /// The claims of a user who has a session: a JSON file, such as the payload of an ID token
    #[arg(long, value_name = "FILE", conflicts_with = "token_claims")]
    claims: Option<PathBuf>,
    /// The claims of an access token that the request has instead
    #[arg(long, value_name = "FILE")]
    token_claims: Option<PathBuf>,
    /// A header of the request, such as `Accept: text/html`
    #[arg(long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The address that the request comes from. The forwarding headers of a trusted proxy count
    #[arg(long, value_name = "ADDRESS")]
    client_ip: Option<IpAddr>,
    /// The format of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Explain the request with this ID instead, from an access log
    #[arg(long, value_name = "ID", requires = "log", conflicts_with_all = ["method", "url"])]
    request_id: Option<String>,
    /// The access log
    #[arg(long, value_name = "FILE", requires = "request_id")]
    log: Option<PathBuf>,
}

/// The format of an explanation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Lines of text.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// `doorward explain`: explains a request. Calls no other machine.
///
/// # Errors
/// The output cannot be written.
pub fn explain(
    arguments: &ExplainArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    if let (Some(request_id), Some(log)) = (&arguments.request_id, &arguments.log) {
        return explain_request(request_id, log, output);
    }
    // `clap` requires these without `--request-id`.
    let (Some(method), Some(url)) = (&arguments.method, &arguments.url) else {
        return Ok(Exit::Usage);
    };
    let config = match load(arguments.config.config.as_deref(), variables, output)? {
        Ok(loaded) => loaded.config,
        Err(exit) => return Ok(exit),
    };
    let request = PresumedRequest::new(method, url).map_err(DescriptionError::from);
    let request = match request.and_then(|request| described(request, arguments)) {
        Ok(request) => request,
        Err(error) => return fail(output, &error),
    };
    let explainer = match Explainer::new(&config) {
        Ok(explainer) => explainer,
        Err(error) => return fail(output, &error),
    };
    let explanation = match explainer.explain(request) {
        Ok(explanation) => explanation,
        Err(error) => return fail(output, &error),
    };
    match arguments.format {
        Format::Text => output.out.write_all(rendered(&explanation).as_bytes())?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *output.out, &explanation)?;
            writeln!(output.out)?;
        }
    }
    Ok(Exit::Success)
}

/// Why the options do not describe a request.
#[derive(Debug, thiserror::Error)]
enum DescriptionError {
    #[error(transparent)]
    Request(#[from] PresumedRequestError),
    #[error("cannot read {0}: {1}")]
    Unreadable(PathBuf, io::Error),
    #[error("{0} is not a JSON object with claims: {1}")]
    Claims(PathBuf, serde_json::Error),
}

fn described(
    mut request: PresumedRequest,
    arguments: &ExplainArgs,
) -> Result<PresumedRequest, DescriptionError> {
    for field in &arguments.headers {
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        request.add_header(name, value)?;
    }
    request.peer = arguments.client_ip;
    request.caller = match (&arguments.claims, &arguments.token_claims) {
        (Some(file), _) => PresumedCaller::Session(claims(file)?),
        (None, Some(file)) => PresumedCaller::Token(claims(file)?),
        (None, None) => PresumedCaller::Anonymous,
    };
    Ok(request)
}

fn claims(file: &Path) -> Result<Map<String, Value>, DescriptionError> {
    let text = fs::read_to_string(file)
        .map_err(|error| DescriptionError::Unreadable(file.to_owned(), error))?;
    serde_json::from_str(&text).map_err(|error| DescriptionError::Claims(file.to_owned(), error))
}

/// The explanation as lines of text.
pub(super) fn rendered(explanation: &Explanation) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{label:<10}{}", value.escape_debug());
    };
    line("app", explanation.app.as_deref().unwrap_or("none"));
    line("route", &explanation.route);
    if let Some(route) = &explanation.path_route {
        line("path", &format!("{} to {}", route.path, route.to));
    }
    let address = explanation.client_ip.map(|address| address.to_string());
    let address = address.as_deref().unwrap_or("unknown address");
    match explanation.client_kind {
        Some(kind) => line("client", &format!("{address}, {kind}")),
        None => line("client", address),
    }
    let caller = explanation.subject.as_deref().unwrap_or("none");
    match explanation.user.as_deref() {
        Some(user) if user != caller => line("caller", &format!("{caller}, in the log {user}")),
        Some(_) | None => line("caller", caller),
    }
    if let Some(rule) = &explanation.rule {
        line("rule", &described_rule(rule));
        if let Some(condition) = &rule.condition {
            push_condition(&mut text, condition, 1);
        }
    }
    let status = match explanation.status {
        Some(status) => format!(", status {status}"),
        None => String::new(),
    };
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<10}{value}");
    };
    line("decision", &format!("{}{status}", explanation.decision));
    if let Some(missing) = &explanation.missing {
        line("missing", missing);
    }
    if !explanation.headers.is_empty() {
        line(
            "headers",
            "that the app gets, besides Host and X-Request-Id",
        );
    }
    for (name, values) in &explanation.headers {
        for value in values {
            let _ = writeln!(text, "  {name}: {}", value.escape_debug());
        }
    }
    text
}

fn described_rule(rule: &ExplainedRule) -> String {
    let mut text = rule.name.clone();
    if let Some(pattern) = &rule.pattern {
        let methods = rule.methods.join(", ");
        let methods = if methods.is_empty() {
            "any method"
        } else {
            &methods
        };
        let _ = write!(text, ": {pattern}, {methods}");
    }
    let accepted = rule.auth_methods.join(" or ");
    let _ = write!(text, ", allows {} by {accepted}", rule.allow);
    text
}

fn push_condition(text: &mut String, condition: &CheckedCondition, depth: usize) {
    let verdict = match condition.verdict {
        Verdict::Holds => "holds",
        Verdict::Fails => "fails",
        Verdict::Unknown => "unknown",
    };
    let _ = write!(
        text,
        "{:indent$}{verdict}: {}",
        "",
        condition.condition,
        indent = depth * 2
    );
    if let Some(actual) = &condition.actual {
        let _ = write!(text, ", got {actual}");
    }
    text.push('\n');
    for part in &condition.parts {
        push_condition(text, part, depth + 1);
    }
}
