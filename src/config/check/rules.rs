//! `[[apps.NAME.rules]]` and `[apps.NAME.headers]`: who may do what, and what the backend is told.

use http::Method;

use super::super::raw::{List, Named, RawAllow, RawCondition, RawRule};
use super::super::report::{Location, did_you_mean, quoted};
use super::super::values;
use super::client::is_scope;
use super::elements;
use crate::identity::claims::{ClaimCondition, SCOPE};
use crate::identity::identity::HeaderTemplate;
use crate::policy::rules::{Access, AccessRequirement, AuthMethods, PathPattern, Rule};
use crate::types::target::{PathAmbiguities, PathAmbiguity};

const HEADERS: [(&str, &str); 4] = [
    ("X-Forwarded-Email", "{email}"),
    ("X-Forwarded-Groups", "{groups}"),
    ("X-Forwarded-Preferred-Username", "{preferred_username}"),
    ("X-Forwarded-User", "{sub}"),
];

/// Headers with a meaning of their own: hop-by-hop (RFC 9110 section 7.6.1), framing, credentials, the client's address.
const RESERVED: [&str; 26] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "dpop",
    "dpop-nonce",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
];

const ALLOW_HINT: &str = "`allow = \"public\"`, `\"authenticated\"`, `\"deny\"`, `{ roles = [\"admin\"] }`, \
                          `{ scopes = [\"orders:read\"] }` or `{ claim = \"department\", any_of = [\"sales\"] }`";

/// The rules of an app, in order, by default for who is known `auth_methods` these. A path that an earlier rule takes wholly is
/// refused: it would do nothing.
pub(super) fn check(
    raw: Option<List<RawRule>>,
    auth_methods: AuthMethods,
    at: &Location<'_>,
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for (at, raw) in elements(raw, at) {
        let methods = methods(raw.methods, &at.key("methods"));
        if raw.paths.is_none() {
            at.refuse_missing("paths", "such as `paths = [\"/admin/**\"]`");
        } else if raw.paths.as_ref().is_some_and(Vec::is_empty) {
            at.key("paths").error(
                "a rule without paths does nothing",
                "such as `paths = [\"/admin/**\"]`",
            );
        }
        let mut paths = Vec::new();
        for (at, text) in elements(raw.paths, &at.key("paths")) {
            match PathPattern::parse(&text) {
                Ok(pattern) => {
                    if let Some(earlier) = rules
                        .iter()
                        .find_map(|rule| taken(rule, &pattern, &methods))
                    {
                        at.error(
                            format!(
                                "{} is never reached: an earlier rule takes {}",
                                quoted(&text),
                                quoted(earlier)
                            ),
                            "the first rule that matches wins; put the narrower one first",
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
            at.refuse_missing("allow", ALLOW_HINT);
        }
        let auth_methods = raw.auth_methods.map_or(auth_methods, |listed| {
            self::auth_methods(listed, auth_methods, &at.key("via"))
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

/// The paths whose requests are no activity.
pub(super) fn background_paths(raw: Option<List<String>>, at: &Location<'_>) -> Vec<PathPattern> {
    let parse = |(at, text): (Location<'_>, String)| match PathPattern::parse(&text) {
        Ok(pattern) if pattern.matches_everything() => {
            let hint = "name the paths only that pages ask for by themselves";
            at.error("with this nothing would be an activity, and every session would end while it is used", hint);
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

/// The pattern of `rule` that takes every request that `pattern` and `methods` would.
fn taken<'r>(rule: &'r Rule, pattern: &PathPattern, methods: &[Method]) -> Option<&'r str> {
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

/// Whether `outer` matches all that `inner` matches, as far as that can be seen at a glance.
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
            "a rule for no method does nothing",
            "leave `methods` out for all methods",
        );
    }
    let mut methods = Vec::new();
    for (at, name) in elements(raw, at) {
        if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let hint = format!("methods are in upper case: `{}`", name.to_ascii_uppercase());
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

/// `most` is what the app takes at all.
fn auth_methods(
    list: List<values::AuthMethods>,
    most: AuthMethods,
    at: &Location<'_>,
) -> AuthMethods {
    if list.is_empty() {
        at.error(
            "nobody could be known by nothing",
            "`[\"browser\"]`, `[\"bearer\"]`, or leave the key out for both",
        );
    }
    let mut auth_methods = AuthMethods {
        session: false,
        bearer: false,
    };
    for (at, way) in elements(Some(list), at) {
        match way {
            values::AuthMethods::Session => auth_methods.session = true,
            values::AuthMethods::Bearer if !most.bearer => {
                at.error(
                    "this app takes no access tokens",
                    "add the table `[apps.….bearer]`; it may be empty",
                );
            }
            values::AuthMethods::Bearer => auth_methods.bearer = true,
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
            at.refuse_missing("any_of", "the values that the claim may have");
            return None;
        }
        (None, None, None, Some(_)) => {
            at.refuse_missing("claim", "the claim that must have one of these values");
            return None;
        }
        (None, None, None, None) if at.has_gaps() => return None,
        (None, None, None, None) | (Some(_), ..) | (None, Some(_), ..) => {
            at.error("this is no condition", ALLOW_HINT);
            return None;
        }
    };
    if claim.is_empty() {
        at.key("claim")
            .error("a claim needs a name", "such as `department`");
    }
    if values.is_empty() {
        at.key(key).error(
            "nobody has one of no values",
            "to let nobody in, write `allow = \"deny\"`",
        );
    }
    let any_of = elements(Some(values), &at.key(key))
        .map(|(_, value)| value)
        .collect();
    Some(Access::Claims(vec![ClaimCondition { claim, any_of }]))
}

/// What a token has to be granted: all of these.
fn scopes(list: List<String>, at: &Location<'_>) -> Access {
    if list.is_empty() {
        at.error(
            "every token has all of no scopes",
            "for whoever is known, write `allow = \"authenticated\"`",
        );
    }
    let mut conditions = Vec::new();
    for (at, scope) in elements(Some(list), at) {
        if !is_scope(&scope) {
            at.error(
                format!("{} is not one scope", quoted(&scope)),
                "each scope is an element of the list",
            );
        }
        conditions.push(ClaimCondition {
            claim: SCOPE.to_owned(),
            any_of: vec![scope],
        });
    }
    Access::Claims(conditions)
}

/// A name in the form in which names are compared: many servers do not tell `-` from `_` and other signs in it.
pub(super) fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
        .replace(|sign: char| !sign.is_ascii_alphanumeric(), "-")
}

/// Whether a folded name has a meaning of its own.
pub(super) fn is_reserved(folded: &str) -> bool {
    RESERVED.contains(&folded)
        || folded.starts_with("secure-session-")
        || folded.starts_with("sec-")
}

/// The identity headers of an app.
pub(super) fn headers(raw: Option<Named<String>>, at: &Location<'_>) -> Vec<HeaderTemplate> {
    let Some(raw) = raw else {
        return HEADERS
            .iter()
            .filter_map(|(name, template)| HeaderTemplate::parse(name, template).ok())
            .collect();
    };
    let mut templates: Vec<HeaderTemplate> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (name, template) in raw {
        let at = at.key(&name);
        let folded = folded(&name);
        if is_reserved(&folded) {
            let hint = "choose a name of your own, such as `X-Forwarded-User`";
            at.refuse_key(
                format!("the header {} has a meaning of its own", quoted(&name)),
                hint,
            );
        } else if names.contains(&folded) {
            at.refuse_key(
                format!("the header {} is there twice", quoted(&name)),
                "case and `_` for `-` do not count",
            );
        } else if let Some(template) = template {
            match HeaderTemplate::parse(&name, &template) {
                Ok(parsed) => templates.push(parsed),
                Err(error) => at.error(
                    format!("{}: {error}", quoted(&template)),
                    "such as `\"{email}\"`",
                ),
            }
        }
        names.push(folded);
    }
    templates
}

/// The odd spellings of paths that an app needs.
pub(super) fn allowed(raw: Option<List<String>>, at: &Location<'_>) -> PathAmbiguities {
    let mut ambiguities = PathAmbiguities::NONE;
    for (at, name) in elements(raw, at) {
        match PathAmbiguity::NAMED
            .iter()
            .find(|(known, _)| *known == name)
        {
            Some((_, oddity)) => ambiguities = ambiguities.with(*oddity),
            None => {
                let known = did_you_mean(&name, PathAmbiguity::NAMED.map(|(known, _)| known));
                at.error(format!("{} cannot be tolerated", quoted(&name)), known);
            }
        }
    }
    ambiguities
}
