//! `doorward explain --request-id`: says from a log what was decided about a request, and why.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::{Exit, Output, fail};
use crate::policy::rules::{COMBINED_RULES, DEFAULT_RULE};

/// An entry of the access log.
#[derive(Debug, Deserialize)]
struct Entry {
    time: String,
    request_id: String,
    decision: String,
    status: u16,
    method: String,
    host: String,
    path: String,
    app: Option<String>,
    user: Option<String>,
    session: Option<String>,
    client_ip: Option<String>,
    rule: Option<String>,
    missing: Option<String>,
}

/// Explains the request with this ID, from the lines of `file` about it.
pub(super) fn explain_request(
    request_id: &str,
    file: &Path,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let lines = File::open(file).map(|file| BufReader::new(file).lines());
    let lines = match lines {
        Ok(lines) => lines,
        Err(error) => {
            return fail(
                output,
                &format_args!("cannot read {}: {error}", file.display()),
            );
        }
    };
    let mut found = false;
    for line in lines {
        let line = line?;
        if !line.contains(request_id) {
            continue;
        }
        match serde_json::from_str::<Entry>(&line) {
            Ok(entry) if entry.request_id == request_id => {
                output.out.write_all(entry.explain().as_bytes())?;
                found = true;
            }
            Ok(_) => {}
            // An event, of a log that has both.
            Err(_) => writeln!(output.out, "event     {}", line.escape_debug())?,
        }
    }
    if found {
        return Ok(Exit::Success);
    }
    fail(
        output,
        &format_args!("{} has no entry of request `{request_id}`", file.display()),
    )
}

impl Entry {
    fn explain(&self) -> String {
        let rule = self.rule.as_deref().map(|rule| match rule {
            DEFAULT_RULE => "no rule matches, so a login is required".to_owned(),
            COMBINED_RULES => "all rules together, because the path is ambiguous".to_owned(),
            name if name.bytes().all(|byte| byte.is_ascii_digit()) => format!("rule {name}"),
            name => format!("rule `{name}`"),
        });
        let request = format!("{} {}{}", self.method, self.host, self.path);
        let decision = format!("{}, status {}", self.decision, self.status);
        let lines = [
            ("time", Some(self.time.clone())),
            ("request", Some(request)),
            ("app", self.app.clone()),
            ("client", self.client_ip.clone()),
            ("user", self.user.clone()),
            ("session", self.session.clone()),
            ("decision", Some(decision)),
            ("because", rule),
            ("missing", self.missing.clone()),
        ];
        let lines = lines
            .into_iter()
            .filter_map(|(label, value)| Some(format!("{label:<10}{}\n", printable(&value?))));
        lines.collect()
    }
}

/// The text without control characters, which could be the client's.
fn printable(text: &str) -> String {
    let escaped = text.chars().map(|letter| {
        if letter.is_control() {
            letter.escape_debug().to_string()
        } else {
            letter.to_string()
        }
    });
    escaped.collect()
}
