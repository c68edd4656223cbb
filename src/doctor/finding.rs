//! Findings: what an examination found, as text and as JSON. PURE.

use std::fmt;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::config::{Problem, Severity};

/// One finding. It contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// An error keeps users or requests out. A warning is a danger, or a part that does not work.
    /// Advice is what could not be checked.
    pub severity: Severity,
    /// A stable code.
    pub code: &'static str,
    /// Its subject.
    pub subject: Subject,
    /// The dotted key of the configuration, such as `providers.login.issuer`. May be empty.
    pub key: String,
    /// The observation.
    pub message: String,
    /// The advice. May be empty.
    pub hint: String,
}

/// The subject of a finding, by the names in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The configuration itself.
    Configuration,
    /// A provider.
    Provider(String),
    /// The store.
    Store,
    /// An app: its registration, host or upstream.
    App(String),
}

/// The findings about one subject.
#[derive(Debug)]
pub(super) struct Findings {
    subject: Subject,
    list: Vec<Finding>,
}

/// A message, and what to do.
pub(super) struct Explained {
    pub(super) message: String,
    pub(super) hint: String,
}

/// The place of a finding in a report.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FindingOrder<'f> {
    subject: &'f Subject,
    severity: Severity,
    code: &'static str,
    key: &'f str,
}

impl Finding {
    pub(super) fn order(&self) -> FindingOrder<'_> {
        FindingOrder {
            subject: &self.subject,
            severity: self.severity,
            code: self.code,
            key: &self.key,
        }
    }
}

impl Explained {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl Findings {
    pub(super) const fn about(subject: Subject) -> Self {
        Self {
            subject,
            list: Vec::new(),
        }
    }

    pub(super) fn into_list(self) -> Vec<Finding> {
        self.list
    }

    /// Adds other findings, with `prefix` before their messages.
    pub(super) fn extend(&mut self, others: Self, prefix: Option<&str>) {
        let others = others.list.into_iter().map(|finding| Finding {
            message: match prefix {
                Some(prefix) => format!("{prefix}: {}", finding.message),
                None => finding.message,
            },
            ..finding
        });
        self.list.extend(others);
    }

    /// `key` is relative to the table of the subject.
    pub(super) fn error(&mut self, code: &'static str, key: &str, explained: Explained) {
        self.add(Severity::Error, code, key, explained);
    }

    pub(super) fn warning(&mut self, code: &'static str, key: &str, explained: Explained) {
        self.add(Severity::Warning, code, key, explained);
    }

    pub(super) fn advice(&mut self, code: &'static str, key: &str, explained: Explained) {
        self.add(Severity::Advice, code, key, explained);
    }

    fn add(&mut self, severity: Severity, code: &'static str, key: &str, explained: Explained) {
        self.list.push(Finding {
            severity,
            code,
            key: self.subject.key(key),
            subject: self.subject.clone(),
            message: explained.message,
            hint: explained.hint,
        });
    }
}

impl Subject {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Provider(_) => "provider",
            Self::Store => "store",
            Self::App(_) => "app",
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Provider(name) | Self::App(name) => Some(name),
            Self::Configuration | Self::Store => None,
        }
    }

    fn key(&self, key: &str) -> String {
        let table = match self {
            Self::Configuration => return key.to_owned(),
            Self::Provider(name) => format!("providers.{name}"),
            Self::Store => "store".to_owned(),
            Self::App(name) => format!("apps.{name}"),
        };
        if key.is_empty() {
            table
        } else {
            format!("{table}.{key}")
        }
    }
}

impl From<&Problem> for Finding {
    fn from(problem: &Problem) -> Self {
        Self {
            severity: problem.severity,
            code: "configuration",
            subject: Subject::Configuration,
            key: problem.key.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone().unwrap_or_default(),
        }
    }
}

/// The name of a severity, as in the text form of problems.
pub const fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Advice => "advice",
    }
}

/// Like the problems of a configuration: the title, and the hint below.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = severity_name(self.severity);
        writeln!(
            f,
            "{severity}[{}]: {}: {}",
            self.code, self.key, self.message
        )?;
        if !self.hint.is_empty() {
            writeln!(f, "  = hint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("severity", severity_name(self.severity))?;
        map.serialize_entry("code", self.code)?;
        map.serialize_entry("subject", self.subject.kind())?;
        if let Some(name) = self.subject.name() {
            map.serialize_entry("name", name)?;
        }
        map.serialize_entry("key", &self.key)?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("hint", &self.hint)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        let mut findings = Findings::about(Subject::App("store".to_owned()));
        findings.error(
            "client_secret_rejected",
            "client_secret_file",
            Explained::new("rejected", "compare it"),
        );
        findings.into_list().remove(0)
    }

    #[test]
    fn text_has_code_key_and_hint() {
        let expected = "error[client_secret_rejected]: apps.store.client_secret_file: rejected\n  \
                        = hint: compare it\n";
        assert_eq!(finding().to_string(), expected);
    }

    #[test]
    fn json_names_the_subject() {
        let expected = serde_json::json!({
            "severity": "error",
            "code": "client_secret_rejected",
            "subject": "app",
            "name": "store",
            "key": "apps.store.client_secret_file",
            "message": "rejected",
            "hint": "compare it",
        });
        assert_eq!(serde_json::to_value(finding()).unwrap(), expected);
    }

    #[test]
    fn keys_are_in_the_table_of_the_subject() {
        for (subject, key, expected) in [
            (Subject::Configuration, "", ""),
            (
                Subject::Provider("login".to_owned()),
                "issuer",
                "providers.login.issuer",
            ),
            (Subject::Store, "", "store"),
            (Subject::Store, "redis.username", "store.redis.username"),
        ] {
            assert_eq!(subject.key(key), expected);
        }
    }
}
