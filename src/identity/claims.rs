//! Verified claims, and conditions on them.

mod source;

use std::borrow::Cow;
use std::cell::RefCell;

use serde_json::{Map, Value};

use crate::types::oauth::ClientId;

pub use source::ClaimSource;

/// Verified claims: those of the session's JWT, and those that are kept alongside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    claims: Map<String, Value>,
    unverified: UnverifiedClaims,
}

/// The scope claim (RFC 8693 section 4.2): scopes separated by spaces.
pub const SCOPE: &str = "scope";

/// The values of a claim that a condition compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimValues {
    /// The name of the claim. `a.b` also means `b` inside `a`, `a[].b` the `b` of each object in the
    /// array `a`, and `a\.b` a name with a dot.
    pub claim: String,
    /// The kind of its values.
    pub members: Members,
}

/// The kinds of values of claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Members {
    /// The claim itself, or the members of an array.
    #[default]
    Values,
    /// The keys of an object. A key whose value is `null` or `false` does not count.
    Keys,
    /// The parts of a text that are separated by commas.
    Commas,
}

/// A claim that the provider marks as verified or not (OpenID Connect Core section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiableClaim {
    /// The claim.
    pub claim: &'static str,
    /// The claim that tells whether it is verified.
    pub mark: &'static str,
}

impl VerifiableClaim {
    /// `email`
    pub const EMAIL: Self = Self {
        claim: "email",
        mark: "email_verified",
    };
    /// `phone_number`
    pub const PHONE_NUMBER: Self = Self {
        claim: "phone_number",
        mark: "phone_number_verified",
    };
}

/// Handling of a claim that the provider marks as not verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnverifiedClaims {
    /// It counts as absent: anybody may have entered it.
    #[default]
    Absent,
    /// Dangerous: it is used like any other.
    Accepted,
}

impl Claims {
    /// The claims of the token, plus those of `kept` that the token does not have, also inside
    /// objects.
    pub fn new(token: Map<String, Value>, kept: Map<String, Value>) -> Self {
        let mut claims = token;
        add_missing(&mut claims, kept);
        Self::of(claims)
    }

    /// The claims of a client on its own behalf. It has no `sub`, so no header or rule can take it for
    /// a user with that name.
    pub fn of_client(client_id: &ClientId, mut token: Map<String, Value>) -> Self {
        token.remove("sub");
        token.insert("client_id".to_owned(), client_id.as_str().into());
        Self::of(token)
    }

    /// The claims of a token that continues after a refresh, and in place of them those of `kept`,
    /// which are newer, also inside objects. `null` in `kept` removes a claim.
    pub fn renewed(token: Map<String, Value>, kept: Map<String, Value>) -> Self {
        let mut claims = token;
        replace(&mut claims, kept);
        Self::of(claims)
    }

    const fn of(claims: Map<String, Value>) -> Self {
        Self {
            claims,
            unverified: UnverifiedClaims::Absent,
        }
    }

    /// Removes claims that the provider marks as not verified, unless they are accepted. A claim
    /// without a mark stays.
    #[must_use]
    pub fn checked(mut self, unverified: UnverifiedClaims) -> Self {
        self.unverified = unverified;
        if unverified == UnverifiedClaims::Absent {
            for VerifiableClaim { claim, mark } in
                [VerifiableClaim::EMAIL, VerifiableClaim::PHONE_NUMBER]
            {
                if self.get(mark).is_some_and(|mark| !is_true(mark)) {
                    self.claims.remove(claim);
                }
            }
        }
        self
    }

    /// The claim with this name, or path through objects. `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        find(&self.claims, name)
    }

    /// The claim as text: a string, number or boolean as written, an array member by member.
    /// Objects have no text. `a[].b` is the `b` of each object in the array `a`.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        visit_values(&self.claims, name, &mut |value| {
            visit_texts(value, &mut |text| {
                texts.push(text.to_owned());
                false
            })
        });
        texts
    }

    /// The email address, if the provider says that it is verified, or if addresses that are not
    /// verified are accepted. An address that is not one `local-part@domain` counts as absent.
    pub fn verified_email(&self) -> Option<EmailAddress<'_>> {
        let VerifiableClaim { claim, mark } = VerifiableClaim::EMAIL;
        let is_verified = match self.unverified {
            UnverifiedClaims::Absent => self.get(mark).is_some_and(is_true),
            UnverifiedClaims::Accepted => true,
        };
        let address = self.get(claim)?.as_str().filter(|_| is_verified)?;
        EmailAddress::parse(address)
    }

    /// Whether `scope` was granted, by the claim `scope` or, with some providers, `scp`.
    pub fn has_scope(&self, scope: &str) -> bool {
        let granted = |claim| {
            self.texts(claim)
                .iter()
                .any(|scopes| scopes.split(' ').any(|granted| granted == scope))
        };
        granted(SCOPE) || granted("scp")
    }
}

/// An email address of one mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmailAddress<'a> {
    /// The whole address.
    pub address: &'a str,
    /// The part behind `@`.
    pub domain: &'a str,
}

impl<'a> EmailAddress<'a> {
    /// Parses an address. Lists, display names and quoted local parts are refused, because programs
    /// read them differently.
    pub fn parse(address: &'a str) -> Option<Self> {
        let (local, domain) = address.split_once('@')?;
        let is_plain = |text: &str| {
            let is_separator = |c: char| {
                c.is_whitespace()
                    || c.is_control()
                    || matches!(c, '@' | ',' | ';' | '<' | '>' | '"')
            };
            !text.is_empty() && !text.contains(is_separator)
        };
        (is_plain(local) && is_plain(domain)).then_some(Self { address, domain })
    }
}

/// The part of a claim's name that names one value: `groups` in `groups[].name`.
pub fn base_of(name: &str) -> &str {
    name.split_once("[]").map_or(name, |(base, _)| base)
}

/// The value of `name` in `claims`, or of a path through objects. `null` counts as absent. Of
/// `a[].b` it is the value of `a`.
pub fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let name = base_of(name);
    if let Some(value) = claims.get(name) {
        return Some(value).filter(|value| !value.is_null());
    }
    let (first, inner) = first_step(name);
    let value = claims.get(first.as_ref())?;
    match (value, inner) {
        (Value::Null, _) => None,
        (value, None) => Some(value),
        (Value::Object(object), Some(inner)) => find(object, inner),
        (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_), Some(_)) => None,
    }
}

/// The first name of a path, without escapes, and the rest behind its dot.
fn first_step(path: &str) -> (Cow<'_, str>, Option<&str>) {
    let mut escaped = false;
    let end = path.char_indices().find(|(_, c)| {
        let is_end = *c == '.' && !escaped;
        escaped = *c == '\\' && !escaped;
        is_end
    });
    let (first, rest) = match end {
        Some((at, _)) => (path.get(..at).unwrap_or(path), path.get(at + 1..)),
        None => (path, None),
    };
    if first.contains('\\') {
        let plain = first.replace("\\.", ".").replace("\\\\", "\\");
        (Cow::Owned(plain), rest)
    } else {
        (Cow::Borrowed(first), rest)
    }
}

/// Calls `visit` for each value that `name` means, until it returns true. Returns whether it did.
fn visit_values(
    claims: &Map<String, Value>,
    name: &str,
    visit: &mut dyn FnMut(&Value) -> bool,
) -> bool {
    let Some(value) = find(claims, name) else {
        return false;
    };
    let Some((_, inner)) = name.split_once("[]") else {
        return visit(value);
    };
    let inner = inner.strip_prefix('.').unwrap_or(inner);
    // Some providers write an array with one member as the member.
    let members = value
        .as_array()
        .map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    members.iter().any(|member| match (member, inner) {
        (member, "") => visit(member),
        (Value::Object(object), inner) => visit_values(object, inner, visit),
        (
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
            _,
        ) => false,
    })
}

/// Calls `visit` for the text of `value`, or of each member of an array, until it returns true.
fn visit_texts(value: &Value, visit: &mut dyn FnMut(&str) -> bool) -> bool {
    let members = match value {
        Value::Array(members) => members.as_slice(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            std::slice::from_ref(value)
        }
    };
    members
        .iter()
        .any(|member| text_of(member).is_some_and(|text| visit(&text)))
}

/// Some providers send booleans as text.
fn is_true(mark: &Value) -> bool {
    *mark == Value::Bool(true) || mark.as_str() == Some("true")
}

fn add_missing(claims: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match (claims.get_mut(&name), value) {
            (Some(Value::Object(there)), Value::Object(more)) => add_missing(there, more),
            (None | Some(Value::Null), value) => drop(claims.insert(name, value)),
            (Some(_), _) => {}
        }
    }
}

fn replace(claims: &mut Map<String, Value>, newer: Map<String, Value>) {
    for (name, value) in newer {
        match (claims.get_mut(&name), value) {
            (Some(Value::Object(there)), Value::Object(newer)) => replace(there, newer),
            (_, value) => drop(claims.insert(name, value)),
        }
    }
}

fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl ClaimValues {
    /// The values of `claim` or the members of its array.
    pub fn of(claim: impl Into<String>) -> Self {
        Self {
            claim: claim.into(),
            members: Members::Values,
        }
    }

    /// The values.
    pub fn texts(&self, claims: &Claims) -> Vec<String> {
        let texts = RefCell::new(Vec::new());
        self.any(claims, &|text| {
            texts.borrow_mut().push(text.to_owned());
            false
        });
        texts.into_inner()
    }

    /// Whether `accepts` one of the values. An absent claim has none.
    pub fn any(&self, claims: &Claims, accepts: &dyn Fn(&str) -> bool) -> bool {
        visit_values(
            &claims.claims,
            &self.claim,
            &mut |value| match self.members {
                Members::Values => visit_texts(value, &mut |text| accepts(text)),
                Members::Commas => visit_texts(value, &mut |text| {
                    text.split(',').map(str::trim).any(accepts)
                }),
                Members::Keys => match value {
                    Value::Object(object) => object.iter().any(|(key, value)| {
                        !matches!(value, Value::Null | Value::Bool(false)) && accepts(key)
                    }),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_) => false,
                },
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Claims {
        Claims::new(value.as_object().unwrap().clone(), Map::new())
    }

    fn has(values: &ClaimValues, value: Value, expected: &str) -> bool {
        values.any(&claims(value), &|text| text == expected)
    }

    #[test]
    fn values_are_text_or_members_of_an_array_only() {
        let roles = ClaimValues::of("roles");
        for good in [
            json!({"roles": "admin"}),
            json!({"roles": ["user", "admin"]}),
        ] {
            assert!(has(&roles, good, "admin"));
        }
        let bad = [
            json!({}),
            json!({"roles": null}),
            json!({"roles": "administrator"}),
            json!({"roles": "Admin"}),
            json!({"roles": "user,admin"}),
            json!({"roles": [["admin"]]}),
            json!({"roles": {"admin": true}}),
            json!({"Roles": "admin"}),
        ];
        for bad in bad {
            assert!(!has(&roles, bad.clone(), "admin"), "{bad}");
        }
    }

    #[test]
    fn declared_members_are_keys_or_parts_between_commas() {
        let keys = ClaimValues {
            claim: "urn:zitadel:iam:org:project:roles".into(),
            members: Members::Keys,
        };
        let of = |roles: Value| json!({ "urn:zitadel:iam:org:project:roles": roles });
        assert!(has(&keys, of(json!({"admin": {"1": "a"}})), "admin"));
        for bad in [
            json!({"admin": false}),
            json!({"admin": null}),
            json!({"user": "admin"}),
            json!("admin"),
            json!(["admin"]),
        ] {
            assert!(!has(&keys, of(bad.clone()), "admin"), "{bad}");
        }
        let commas = ClaimValues {
            claim: "groups".into(),
            members: Members::Commas,
        };
        for good in [
            json!("user, admin"),
            json!("admin"),
            json!(["a,admin", "b"]),
        ] {
            assert!(has(&commas, json!({"groups": good}), "admin"));
        }
        assert!(!has(
            &commas,
            json!({"groups": "user,administrator"}),
            "admin"
        ));
        assert!(!has(&commas, json!({"groups": {"admin": 1}}), "admin"));
    }

    #[test]
    fn path_visits_objects_of_an_array_and_escaped_names() {
        let token = || {
            claims(json!({
                "groups": [{"id": 1, "name": "staff"}, {"name": ["a", "b"]}, "name", null],
                "org": {"teams": [{"role": {"name": "lead"}}], "one": {"name": "single"}},
                "resource_access": {"my.client": {"roles": ["admin"]}, "b\\c": {"d": 1}},
            }))
        };
        for (name, expected) in [
            ("groups[].name", vec!["staff", "a", "b"]),
            ("groups[]", vec!["name"]),
            ("org.teams[].role.name", vec!["lead"]),
            ("org.one[].name", vec!["single"]),
            ("resource_access.my\\.client.roles", vec!["admin"]),
            ("resource_access.my\\.client.roles[]", vec!["admin"]),
            ("resource_access.b\\\\c.d", vec!["1"]),
            ("resource_access.my.client.roles", vec![]),
            ("groups.name", vec![]),
            ("missing[].name", vec![]),
        ] {
            assert_eq!(token().texts(name), expected, "{name}");
        }
    }

    #[test]
    fn email_is_verified_by_its_mark_only() {
        let email = |claims: &Claims| claims.verified_email().map(|email| email.domain.to_owned());
        let marked = |mark: Value| claims(json!({"email": "a@x.com", "email_verified": mark}));
        for mark in [json!(true), json!("true")] {
            let checked = marked(mark).checked(UnverifiedClaims::Absent);
            assert_eq!(email(&checked).as_deref(), Some("x.com"));
        }
        for mark in [json!(false), json!("yes"), json!(1), Value::Null] {
            let checked = marked(mark.clone()).checked(UnverifiedClaims::Absent);
            assert_eq!(email(&checked), None, "{mark}");
            let accepted = marked(mark).checked(UnverifiedClaims::Accepted);
            assert_eq!(email(&accepted).as_deref(), Some("x.com"));
        }
        for address in [
            "",
            "a",
            "@x.com",
            "a@",
            "a@b@x.com",
            "a@x.com,b@y.com",
            "A <a@x.com>",
            "a b@x.com",
            "\"a@y.com\"@x.com",
        ] {
            let claims = claims(json!({"email": address, "email_verified": true}));
            assert_eq!(email(&claims), None, "{address}");
        }
    }

    #[test]
    fn scope_is_one_item_of_the_scope_claim_only() {
        for good in [
            json!({"scope": "orders:read"}),
            json!({"scope": "openid orders:read email"}),
            json!({"scope": ["openid", "orders:read"]}),
            json!({"scp": ["orders:read"]}),
            json!({"scp": "openid orders:read"}),
        ] {
            assert!(claims(good.clone()).has_scope("orders:read"), "{good}");
        }
        for bad in [
            json!({}),
            json!({"scope": "orders:read2 orders"}),
            json!({"scope": "Orders:Read"}),
        ] {
            assert!(!claims(bad.clone()).has_scope("orders:read"), "{bad}");
        }
        let role = ClaimValues::of("role");
        assert!(!has(
            &role,
            json!({"role": "user orders:read"}),
            "orders:read"
        ));
    }

    #[test]
    fn path_descends_into_objects() {
        let nested = claims(json!({"realm_access": {"roles": ["admin"]}, "a.b": "literal"}));
        assert_eq!(nested.texts("realm_access.roles"), ["admin"]);
        assert_eq!(nested.texts("a.b"), ["literal"]);
        assert!(nested.get("realm_access.roles.0").is_none());
    }

    #[test]
    fn token_claim_takes_precedence_over_stored_claim() {
        let token = json!({"sub": "alice"}).as_object().unwrap().clone();
        let kept = json!({"sub": "mallory", "email": "a@example.com"})
            .as_object()
            .unwrap()
            .clone();
        let claims = Claims::new(token, kept);
        assert_eq!(claims.texts("sub"), ["alice"]);
        assert_eq!(claims.texts("email"), ["a@example.com"]);
    }

    #[test]
    fn stored_object_is_merged_with_the_tokens() {
        let token = json!({"realm_access": {"verified": true, "roles": ["user"]}});
        let kept = json!({"realm_access": {"groups": ["staff"], "roles": ["admin"]}});
        let claims = Claims::new(
            token.as_object().unwrap().clone(),
            kept.as_object().unwrap().clone(),
        );
        assert_eq!(claims.texts("realm_access.groups"), ["staff"]);
        assert_eq!(claims.texts("realm_access.roles"), ["user"]);
    }

    #[test]
    fn claim_that_is_marked_as_not_verified_is_absent() {
        for claim in ["email", "phone_number"] {
            let mark = format!("{claim}_verified");
            for (value, is_absent) in [
                (json!(true), false),
                (json!("true"), false),
                (Value::Null, false),
                (json!(false), true),
                (json!("false"), true),
                (json!("True"), true),
                (json!(1), true),
                (json!([true]), true),
            ] {
                let claims = |unverified| {
                    claims(json!({ claim: "a", (mark.clone()): value })).checked(unverified)
                };
                let found = claims(UnverifiedClaims::Absent).get(claim).is_none();
                assert_eq!(found, is_absent, "{claim} {value}");
                let accepted = claims(UnverifiedClaims::Accepted);
                assert_eq!(accepted.texts(claim), ["a"], "{claim} {value}");
            }
            let unmarked = claims(json!({ claim: "a" })).checked(UnverifiedClaims::Absent);
            assert_eq!(unmarked.texts(claim), ["a"]);
        }
    }

    #[test]
    fn newer_kept_claim_replaces_that_of_a_continued_token() {
        let token = json!({"sub": "alice", "groups": ["admin"], "a.b": 1, "realm": {"roles": ["a"], "x": 1}});
        let kept =
            json!({"groups": null, "a.b": 2, "realm": {"roles": ["b"]}, "email": "a@example.com"});
        let claims = Claims::renewed(
            token.as_object().unwrap().clone(),
            kept.as_object().unwrap().clone(),
        );
        assert_eq!(claims.get("groups"), None);
        assert_eq!(claims.texts("a.b"), ["2"]);
        assert_eq!(claims.texts("realm.roles"), ["b"]);
        assert_eq!(claims.texts("realm.x"), ["1"]);
        assert_eq!(claims.texts("email"), ["a@example.com"]);
        assert_eq!(claims.texts("sub"), ["alice"]);
    }
}
