//! `[[apps.NAME.rules]]` and the path settings of an app: access rules.

use std::collections::HashSet;

use http::Method;

use super::super::keywords::AuthMethod;
use super::super::raw::List;
use super::super::raw_rules::RawRule;
use super::super::report::{Location, did_you_mean, quoted};
use super::authentication;
use super::conditions::{ALLOW_HINT, access};
use super::elements;
use super::rule_lists::RuleListFiles;
use super::web_origins;
use crate::policy::path_pattern::PathPattern;
use crate::policy::pattern_index::PatternIndex;
use crate::policy::rules::{AccessRequirement, AuthMethods, COMBINED_RULES, DEFAULT_RULE, Rule};
use crate::types::target::{PathAmbiguities, PathAmbiguity};

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
];

/// The longest name of a rule, in bytes.
const MAX_NAME: usize = 64;

/// Methods that are refused before any rule.
const REFUSED_METHODS: [&str; 2] = ["TRACE", "TRACK"];

/// The app that rules are checked for.
pub(super) struct RuleContext<'c> {
    /// The credentials that the app accepts, and the default of each rule.
    pub(super) auth_methods: AuthMethods,
    /// The path prefix of Doorward's endpoints.
    pub(super) prefix: &'c str,
    /// Whether paths match in any case.
    pub(super) case_insensitive: bool,
    /// The files of lists.
    pub(super) files: &'c RuleListFiles<'c>,
}

/// The rules before the one that is checked.
struct EarlierRules {
    rules: Vec<Rule>,
    index: PatternIndex,
}

/// The rules of an app, in order. A pattern that an earlier rule plainly covers is an error, because
/// it would never match. Other patterns that never match are warnings.
pub(super) fn check(
    raw: Option<List<RawRule>>,
    context: &RuleContext<'_>,
    at: &Location<'_>,
) -> Vec<Rule> {
    let mut earlier = EarlierRules {
        rules: Vec::new(),
        index: PatternIndex::new(context.case_insensitive),
    };
    let mut names = HashSet::new();
    for (at, raw) in elements(raw, at) {
        if let Some(name) = &raw.name {
            check_name(name, !names.insert(name.clone()), &at.key("name"));
        }
        let methods = methods(raw.methods, &at.key("methods"));
        if !methods.is_empty() && methods.iter().all(is_refused) {
            at.key("methods").warning(
                "the rule never matches, because these methods are refused before any rule",
                "remove the rule",
            );
        }
        if raw.paths.is_none() {
            at.missing("paths", "for example `paths = [\"/admin/**\"]`");
        } else if raw.paths.as_ref().is_some_and(Vec::is_empty) {
            at.key("paths").error(
                "no path is listed, so the rule matches nothing",
                "for example `paths = [\"/admin/**\"]`",
            );
        }
        let mut paths = Vec::new();
        for (at, text) in elements(raw.paths, &at.key("paths")) {
            match PathPattern::parse(&text) {
                Ok(pattern) => {
                    report_unreachable(&pattern, &methods, &earlier, context, &at);
                    paths.push(pattern);
                }
                Err(error) => at.error(
                    format!("{} is not a path pattern: {error}", quoted(&text)),
                    error.hint(),
                ),
            }
        }
        if raw.allow.is_none() {
            at.missing("allow", ALLOW_HINT);
        }
        let auth_methods = raw.auth_methods.map_or(context.auth_methods, |listed| {
            auth_methods(listed, context.auth_methods, &at.key("auth_methods"))
        });
        let access = raw
            .allow
            .and_then(|allow| access(allow, &at.key("allow"), context.files));
        let authentication = raw.require.map(|require| {
            authentication::check_rule(require, access.as_ref(), &at.key("require"))
        });
        let cors = web_origins::cors(raw.cors_origins, raw.cors_credentials, &at);
        if let Some(access) = access {
            let allow = AccessRequirement::new(access, auth_methods)
                .requiring(authentication.unwrap_or_default());
            earlier.push(Rule {
                name: raw.name,
                paths,
                methods,
                allow,
                cors,
            });
        }
    }
    earlier.rules
}

impl EarlierRules {
    fn push(&mut self, rule: Rule) {
        self.index.push_rule(self.rules.len(), &rule.paths);
        self.rules.push(rule);
    }

    /// The patterns that may cover `pattern`, with their rules, in order.
    fn covering(&self, pattern: &PathPattern) -> Vec<(&Rule, &PathPattern)> {
        let positions = self.index.covering(pattern).into_iter();
        let found = positions.filter_map(|position| {
            let rule = self.rules.get(position.rule)?;
            Some((rule, rule.paths.get(position.pattern)?))
        });
        found.collect()
    }
}

/// A name stands for its rule in the log, beside the numbers of other rules.
fn check_name(name: &str, is_used: bool, at: &Location<'_>) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/ ".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_plain) {
        at.error(
            format!("{} is not a name", quoted(name)),
            format!("1 to {MAX_NAME} ASCII letters, digits, blanks and `-_.:/`"),
        );
    } else if name.bytes().all(|byte| byte.is_ascii_digit())
        || [DEFAULT_RULE, COMBINED_RULES].contains(&name)
    {
        at.error(
            format!("{} stands for other rules in the log", quoted(name)),
            "choose another name",
        );
    } else if is_used {
        at.error(
            format!("another rule of the app is named {}", quoted(name)),
            "choose another name",
        );
    }
}

/// The paths whose requests do not count as activity.
pub(super) fn background_paths(raw: Option<List<String>>, at: &Location<'_>) -> Vec<PathPattern> {
    let parse = |(at, text): (Location<'_>, String)| match PathPattern::parse(&text) {
        Ok(pattern) if pattern.matches_everything() => {
            let hint = "list only paths that pages request in the background";
            at.error(
                "no request would count as activity, so sessions would end while they are used",
                hint,
            );
            None
        }
        Ok(pattern) => Some(pattern),
        Err(error) => {
            at.error(
                format!("{} is not a path pattern: {error}", quoted(&text)),
                error.hint(),
            );
            None
        }
    };
    elements(raw, at).filter_map(parse).collect()
}

/// Reports a pattern that no request reaches, because earlier rules or Doorward's endpoints take all
/// of its requests.
fn report_unreachable(
    pattern: &PathPattern,
    methods: &[Method],
    earlier: &EarlierRules,
    context: &RuleContext<'_>,
    at: &Location<'_>,
) {
    const HINT: &str = "the first rule that matches applies: put the more specific one first";
    let text = pattern.as_str();
    let never = |covering: &str| {
        let (text, covering) = (quoted(text), quoted(covering));
        format!("{text} never matches, because an earlier rule has {covering}")
    };
    let earlier = earlier.covering(pattern);
    let mut patterns = earlier.iter();
    let plainly =
        patterns.find(|(rule, outer)| names_all(rule, methods) && contains(outer, pattern));
    if let Some((_, covering)) = plainly {
        at.error(never(covering.as_str()), HINT);
        return;
    }
    let covering = |method: Option<&Method>| {
        let covering = earlier.iter().find(|(rule, outer)| {
            method.map_or(rule.methods.is_empty(), |method| rule.names(method))
                && outer.covers(pattern, context.case_insensitive)
        });
        covering.map(|(_, outer)| outer.as_str())
    };
    let covered = if methods.is_empty() {
        covering(None)
    } else {
        let each = methods.iter().map(|method| covering(Some(method)));
        let each: Option<Vec<&str>> = each.collect();
        each.and_then(|each| each.into_iter().next())
    };
    if let Some(covering) = covered {
        at.warning(never(covering), HINT);
    }
    let below = text.strip_prefix(context.prefix);
    if below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
        at.warning(
            format!(
                "{} never matches, because {} has doorward's own endpoints",
                quoted(text),
                quoted(context.prefix)
            ),
            "remove the pattern",
        );
    }
}

fn is_refused(method: &Method) -> bool {
    REFUSED_METHODS.contains(&method.as_str())
}

/// Whether `rule` has all methods of a rule with `methods`.
fn names_all(rule: &Rule, methods: &[Method]) -> bool {
    let lists_all = || methods.iter().all(|method| rule.methods.contains(method));
    rule.methods.is_empty() || (!methods.is_empty() && lists_all())
}

/// Whether `outer` matches all paths that `inner` matches. An approximation without false positives.
fn contains(outer: &PathPattern, inner: &PathPattern) -> bool {
    if outer.matches_everything() || outer == inner {
        return true;
    }
    let Some(folder) = outer
        .as_str()
        .strip_suffix("**")
        .filter(|folder| !folder.contains('*'))
    else {
        return false;
    };
    inner.as_str().starts_with(folder) || folder.strip_suffix('/') == Some(inner.as_str())
}

fn methods(raw: Option<List<String>>, at: &Location<'_>) -> Vec<Method> {
    if raw.as_ref().is_some_and(Vec::is_empty) {
        at.error(
            "no method is listed, so the rule matches nothing",
            "remove `methods` for all methods",
        );
    }
    let mut methods = Vec::new();
    for (at, name) in elements(raw, at) {
        methods.extend(method(&name, &at));
    }
    methods
}

/// A method of requests that reach the rules.
pub(super) fn method(name: &str, at: &Location<'_>) -> Option<Method> {
    if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let hint = format!("use upper case: `{}`", name.to_ascii_uppercase());
        at.error(format!("{} is not a method", quoted(name)), hint);
        return None;
    }
    match Method::from_bytes(name.as_bytes()) {
        Ok(method) if method != Method::CONNECT => Some(method),
        Ok(_) | Err(_) => {
            let hint = did_you_mean(name, METHODS);
            at.error(format!("{} is not a method", quoted(name)), hint);
            None
        }
    }
}

/// The methods that a rule accepts. `of_app` are those that the app accepts.
fn auth_methods(list: List<AuthMethod>, of_app: AuthMethods, at: &Location<'_>) -> AuthMethods {
    if list.is_empty() {
        at.error(
            "no method is listed, so no request would be authenticated",
            "for example `[\"session\"]`, or remove the key for all that the app accepts",
        );
    }
    let mut auth_methods = AuthMethods::NONE;
    for (at, method) in elements(Some(list), at) {
        match method {
            AuthMethod::Session => auth_methods.session = true,
            AuthMethod::Bearer if !of_app.bearer => {
                at.error(
                    "this app accepts no access tokens",
                    "add the table `[apps.….bearer]`, which may be empty",
                );
            }
            AuthMethod::Bearer => auth_methods.bearer = true,
            AuthMethod::Basic => auth_methods.basic = true,
        }
    }
    auth_methods
}

/// The ambiguous path spellings that an app needs.
pub(super) fn ambiguities(raw: Option<List<String>>, at: &Location<'_>) -> PathAmbiguities {
    let mut ambiguities = PathAmbiguities::NONE;
    for (at, name) in elements(raw, at) {
        match PathAmbiguity::NAMED
            .iter()
            .find(|(known, _)| *known == name)
        {
            Some((_, ambiguity)) => ambiguities = ambiguities.with(*ambiguity),
            None => {
                let known = did_you_mean(&name, PathAmbiguity::NAMED.map(|(known, _)| known));
                at.error(format!("unknown value {}", quoted(&name)), known);
            }
        }
    }
    ambiguities
}
