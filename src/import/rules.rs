//! Access rules of the imported configuration.

use toml::{Table, Value};

use super::document::{Element, inline, list};
use super::settings::Position;
use super::{Import, Notice, NoticeKind};
use crate::policy::path_pattern::PathPattern;

/// The callers that a rule allows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Allow {
    Public,
    Authenticated,
    Denied,
    If(Table),
}

/// An access rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) paths: Vec<String>,
    pub(super) methods: Vec<String>,
    pub(super) auth_methods: Vec<String>,
    pub(super) allow: Allow,
}

impl Rule {
    /// A rule for all methods.
    pub(super) fn new(paths: Vec<String>, allow: Allow) -> Self {
        Self {
            paths,
            methods: Vec::new(),
            auth_methods: Vec::new(),
            allow,
        }
    }
}

impl Allow {
    /// A condition with one key.
    pub(super) fn condition(key: &str, value: Value) -> Self {
        Self::If(Table::from_iter([(key.to_owned(), value)]))
    }

    /// The claim has one of these values.
    pub(super) fn claim<T: Into<String>>(claim: &str, values: impl IntoIterator<Item = T>) -> Self {
        if claim == "roles" {
            return Self::condition("roles", list(values));
        }
        Self::If(Table::from_iter([
            ("claim".to_owned(), claim.into()),
            ("any_of".to_owned(), list(values)),
        ]))
    }

    /// One of these; nobody for an empty list.
    pub(super) fn any(choices: Vec<Self>) -> Self {
        let choices = choices.into_iter();
        let mut choices: Vec<Self> = choices.flat_map(|choice| choice.members("any")).collect();
        if choices.contains(&Self::Public) {
            return Self::Public;
        }
        if choices.contains(&Self::Authenticated) {
            return Self::Authenticated;
        }
        choices.retain(|choice| *choice != Self::Denied);
        match choices.pop() {
            None => Self::Denied,
            Some(only) if choices.is_empty() => only,
            Some(last) => {
                choices.push(last);
                let choices = choices.into_iter().map(Self::value).collect();
                Self::condition("any", Value::Array(choices))
            }
        }
    }

    /// All of these; everybody for an empty list.
    pub(super) fn all(parts: Vec<Self>) -> Self {
        let parts = parts.into_iter();
        let mut parts: Vec<Self> = parts.flat_map(|part| part.members("all")).collect();
        if parts.contains(&Self::Denied) {
            return Self::Denied;
        }
        parts.retain(|part| *part != Self::Public);
        let is_authenticated = parts.contains(&Self::Authenticated);
        // Every condition needs an authenticated user.
        parts.retain(|part| *part != Self::Authenticated);
        match parts.pop() {
            None if is_authenticated => Self::Authenticated,
            None => Self::Public,
            Some(only) if parts.is_empty() => only,
            Some(last) => {
                parts.push(last);
                let parts = parts.into_iter().map(Self::value).collect();
                Self::condition("all", Value::Array(parts))
            }
        }
    }

    /// The conditions of a list under `key`; otherwise the condition itself.
    fn members(self, key: &str) -> Vec<Self> {
        let Self::If(condition) = &self else {
            return vec![self];
        };
        let Some(Value::Array(members)) = condition.get(key) else {
            return vec![self];
        };
        let tables = members.iter().filter_map(Value::as_table);
        tables.cloned().map(Self::If).collect()
    }

    /// Authenticated users who do not meet this.
    pub(super) fn not(self) -> Self {
        match self {
            Self::Public | Self::Authenticated => Self::Denied,
            Self::Denied => Self::Authenticated,
            Self::If(condition) => Self::condition("not", Value::Table(condition)),
        }
    }

    /// Whether a part of the condition is about e-mail addresses.
    pub(super) fn is_about_addresses(&self) -> bool {
        match self {
            Self::Public | Self::Authenticated | Self::Denied => false,
            Self::If(condition) => names_addresses(condition),
        }
    }

    pub(super) fn value(self) -> Value {
        match self {
            Self::Public => "public".into(),
            Self::Authenticated => "authenticated".into(),
            Self::Denied => "deny".into(),
            Self::If(condition) => Value::Table(condition),
        }
    }
}

fn names_addresses(condition: &Table) -> bool {
    condition.iter().any(|(key, value)| {
        let within = |value: &Value| value.as_table().is_some_and(names_addresses);
        let parts = value.as_array().map_or(&[][..], Vec::as_slice);
        matches!(key.as_str(), "emails" | "email_domains")
            || within(value)
            || parts.iter().any(within)
    })
}

/// A path pattern of an earlier rule.
#[derive(Debug)]
pub(super) struct EarlierRule {
    app: String,
    methods: Vec<String>,
    pattern: PathPattern,
}

/// A list in a file.
pub(super) fn file(path: &str) -> Value {
    inline([("file", path.into())])
}

impl Import {
    /// Adds a rule to the app.
    pub(super) fn rule(&mut self, app: &str, rule: Rule) {
        self.marked_rule(app, rule, Vec::new());
    }

    /// Adds a rule that the operator must decide about.
    pub(super) fn rule_to_decide(
        &mut self,
        app: &str,
        rule: Rule,
        at: Option<&Position>,
        message: &str,
    ) {
        self.notices.push(Notice {
            kind: NoticeKind::Decide,
            at: at.cloned(),
            name: format!("apps.{app}.rules"),
            message: message.to_owned(),
        });
        self.marked_rule(app, rule, vec![format!("DECIDE `allow`: {message}")]);
    }

    fn marked_rule(&mut self, app: &str, rule: Rule, comments: Vec<String>) {
        if self.is_covered(app, &rule) {
            return;
        }
        let mut entries = vec![("paths", list(rule.paths))];
        if !rule.methods.is_empty() {
            entries.push(("methods", list(rule.methods)));
        }
        if !rule.auth_methods.is_empty() {
            entries.push(("auth_methods", list(rule.auth_methods)));
        }
        entries.push(("allow", rule.allow.value()));
        let element = Element { comments, entries };
        self.document.push(&["apps", app, "rules"], element);
    }

    /// Whether earlier rules take all requests of this one. Otherwise it is remembered.
    fn is_covered(&mut self, app: &str, rule: &Rule) -> bool {
        let patterns = rule
            .paths
            .iter()
            .filter_map(|path| PathPattern::parse(path).ok());
        let patterns: Vec<PathPattern> = patterns.collect();
        let takes = |earlier: &EarlierRule, pattern| {
            let takes_methods = earlier.methods.is_empty()
                || (!rule.methods.is_empty()
                    && rule
                        .methods
                        .iter()
                        .all(|method| earlier.methods.contains(method)));
            earlier.app == app && takes_methods && earlier.pattern.covers(pattern, false)
        };
        let is_taken = |pattern| {
            self.earlier_rules
                .iter()
                .any(|earlier| takes(earlier, pattern))
        };
        if patterns.iter().all(is_taken) {
            return true;
        }
        let earlier = patterns.into_iter().map(|pattern| EarlierRule {
            app: app.to_owned(),
            methods: rule.methods.clone(),
            pattern,
        });
        self.earlier_rules.extend(earlier);
        false
    }
}
