//! `[[apps.NAME.rules]]` and the path settings of an app: access rules.

use http::Method;

use super::super::keywords::AuthMethod;
use super::super::raw::{List, RawAllow, RawCondition, RawRule};
use super::super::report::{Location, did_you_mean, quoted};
use super::client::is_scope;
use super::elements;
use crate::identity::claims::{ClaimCondition, SCOPE};
use crate::policy::path_pattern::PathPattern;
use crate::policy::rules::{Access, AccessRequirement, AuthMethods, Rule};
use crate::types::target::{PathAmbiguities, PathAmbiguity};

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
];

const ALLOW_HINT: &str = "`allow = \"public\"`, `\"authenticated\"`, `\"deny\"`, `{ roles = [\"admin\"] }`, \
                          `{ scopes = [\"orders:read\"] }` or `{ claim = \"department\", any_of = [\"sales\"] }`";

/// The rules of an app, in order. `auth_methods` are the app's and the default of each rule. A
/// pattern that an earlier rule covers is an error, because it would never match.
pub(super) fn check(
    raw: Option<List<RawRule>>,
    auth_methods: AuthMethods,
    at: &Location<'_>,
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for (at, raw) in elements(raw, at) {
        let methods = methods(raw.methods, &at.key("methods"));
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
                    if let Some(earlier) = rules
                        .iter()
                        .find_map(|rule| covering_pattern(rule, &pattern, &methods))
                    {
                        at.error(
                            format!(
                                "{} never matches, because an earlier rule has {}",
                                quoted(&text),
                                quoted(earlier)
                            ),
                            "the first rule that matches applies: put the more specific one first",
                        );
                    }
                    paths.push(pattern);
                }
                Err(error) => at.error(
                    format!("{} is not a path pattern: {error}", quoted(&text)),
                    "",
                ),
            }
        }
        if raw.allow.is_none() {
            at.missing("allow", ALLOW_HINT);
        }
        let auth_methods = raw.auth_methods.map_or(auth_methods, |listed| {
            self::auth_methods(listed, auth_methods, &at.key("auth_methods"))
        });
        if let Some(access) = raw.allow.and_then(|allow| access(allow, &at.key("allow"))) {
            rules.push(Rule {
                paths,
                methods,
                allow: AccessRequirement {
                    access,
                    auth_methods,
                },
            });
        }
    }
    rules
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
                "",
            );
            None
        }
    };
    elements(raw, at).filter_map(parse).collect()
}

/// The pattern of `rule` that matches every request that `pattern` and `methods` match.
fn covering_pattern<'r>(
    rule: &'r Rule,
    pattern: &PathPattern,
    methods: &[Method],
) -> Option<&'r str> {
    let all_methods = rule.methods.is_empty();
    if !all_methods
        && (methods.is_empty() || !methods.iter().all(|method| rule.methods.contains(method)))
    {
        return None;
    }
    rule.paths
        .iter()
        .find(|earlier| contains(earlier, pattern))
        .map(PathPattern::as_str)
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
        if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let hint = format!("use upper case: `{}`", name.to_ascii_uppercase());
            at.error(format!("{} is not a method", quoted(&name)), hint);
            continue;
        }
        match Method::from_bytes(name.as_bytes()) {
            Ok(method) if method != Method::CONNECT => methods.push(method),
            Ok(_) | Err(_) => at.error(
                format!("{} is not a method", quoted(&name)),
                did_you_mean(&name, METHODS),
            ),
        }
    }
    methods
}

/// The methods that a rule accepts. `of_app` are those that the app accepts.
fn auth_methods(list: List<AuthMethod>, of_app: AuthMethods, at: &Location<'_>) -> AuthMethods {
    if list.is_empty() {
        at.error(
            "no method is listed, so no request would be authenticated",
            "use `[\"session\"]` or `[\"bearer\"]`, or remove the key for both",
        );
    }
    let mut auth_methods = AuthMethods {
        session: false,
        bearer: false,
    };
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
        }
    }
    auth_methods
}

fn access(raw: RawAllow, at: &Location<'_>) -> Option<Access> {
    let condition = match raw {
        RawAllow::Public => return Some(Access::Public),
        RawAllow::Authenticated => return Some(Access::Authenticated),
        RawAllow::Denied => return Some(Access::Denied),
        RawAllow::If(condition) => condition,
    };
    let RawCondition {
        roles,
        scopes,
        claim,
        any_of,
    } = condition;
    let (claim, values, key) = match (roles, scopes, claim, any_of) {
        (Some(roles), None, None, None) => ("roles".to_owned(), roles, "roles"),
        (None, Some(scopes), None, None) => return Some(self::scopes(scopes, &at.key("scopes"))),
        (None, None, Some(claim), Some(any_of)) => (claim, any_of, "any_of"),
        (None, None, Some(_), None) => {
            at.missing("any_of", "the accepted values of the claim");
            return None;
        }
        (None, None, None, Some(_)) => {
            at.missing("claim", "the name of the claim");
            return None;
        }
        (None, None, None, None) if at.has_invalid() => return None,
        (None, None, None, None) | (Some(_), ..) | (None, Some(_), ..) => {
            at.error("invalid condition", ALLOW_HINT);
            return None;
        }
    };
    if claim.is_empty() {
        at.key("claim")
            .error("empty claim name", "for example `department`");
    }
    if values.is_empty() {
        at.key(key).error(
            "no value is listed, so the condition is never met",
            "to deny all requests, use `allow = \"deny\"`",
        );
    }
    let mut any_of = Vec::new();
    for (at, value) in elements(Some(values), &at.key(key)) {
        if value.trim().is_empty() {
            at.error(
                "empty value: it would match an empty claim",
                "list only values that the provider assigns to users",
            );
        }
        any_of.push(value);
    }
    Some(Access::Claims(vec![ClaimCondition { claim, any_of }]))
}

/// The scopes that a token must have, all of them.
fn scopes(list: List<String>, at: &Location<'_>) -> Access {
    if list.is_empty() {
        at.error(
            "no scope is listed, so the condition is always met",
            "for all authenticated requests, use `allow = \"authenticated\"`",
        );
    }
    let mut conditions = Vec::new();
    for (at, scope) in elements(Some(list), at) {
        if !is_scope(&scope) {
            at.error(
                format!("{} is not a scope", quoted(&scope)),
                "each scope is an element of the array",
            );
        }
        conditions.push(ClaimCondition {
            claim: SCOPE.to_owned(),
            any_of: vec![scope],
        });
    }
    Access::Claims(conditions)
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
