//! Verified claims, and conditions on them.

use serde_json::{Map, Value};

use crate::types::oauth::ClientId;

/// Verified claims: those of the session's JWT, and those that are kept alongside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Map<String, Value>);

/// The scope claim (RFC 8693 section 4.2): scopes separated by spaces.
pub const SCOPE: &str = "scope";

/// A condition on one claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimCondition {
    /// The name of the claim. `a.b` also means `b` inside `a`.
    pub claim: String,
    /// The claim must be one of these, or an array that contains one of these. For `scope`, one of
    /// its scopes.
    pub any_of: Vec<String>,
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

/// What happens to a claim that the provider marks as not verified.
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
        Self(claims)
    }

    /// The claims of a client on its own behalf. It has no `sub`, so no header or rule can take it for
    /// a user with that name.
    pub fn of_client(client_id: &ClientId, mut token: Map<String, Value>) -> Self {
        token.remove("sub");
        token.insert("client_id".to_owned(), client_id.as_str().into());
        Self(token)
    }

    /// The claims of a token that continues after a refresh, and in place of them those of `kept`,
    /// which are newer, also inside objects. `null` in `kept` removes a claim.
    pub fn renewed(token: Map<String, Value>, kept: Map<String, Value>) -> Self {
        let mut claims = token;
        replace(&mut claims, kept);
        Self(claims)
    }

    /// Removes claims that the provider marks as not verified, unless they are accepted. A claim
    /// without a mark stays.
    #[must_use]
    pub fn checked(mut self, unverified: UnverifiedClaims) -> Self {
        if unverified == UnverifiedClaims::Absent {
            for VerifiableClaim { claim, mark } in
                [VerifiableClaim::EMAIL, VerifiableClaim::PHONE_NUMBER]
            {
                if self.get(mark).is_some_and(|mark| !is_true(mark)) {
                    self.0.remove(claim);
                }
            }
        }
        self
    }

    /// The claim with this name, or path through objects. `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        find(&self.0, name)
    }

    /// The claim as text: a string, number or boolean as written, an array member by member.
    /// Objects have no text.
    pub fn texts(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::Array(members)) => members.iter().filter_map(text_of).collect(),
            Some(value) => text_of(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Whether `scope` was granted, by the claim `scope` or, with some providers, `scp`.
    fn has_scope(&self, scope: &str) -> bool {
        let granted = |claim| {
            self.texts(claim)
                .iter()
                .any(|scopes| scopes.split(' ').any(|granted| granted == scope))
        };
        granted(SCOPE) || granted("scp")
    }
}

/// The value of `name` in `claims`, or of a path through objects. `null` counts as absent.
pub fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value).filter(|value| !value.is_null());
    }
    let (outer, inner) = name.split_once('.')?;
    match claims.get(outer)? {
        Value::Object(object) => find(object, inner),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
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

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl ClaimCondition {
    /// Whether the claims satisfy it. An absent claim satisfies nothing. Values are compared
    /// exactly.
    pub fn holds(&self, claims: &Claims) -> bool {
        if self.claim == SCOPE && self.any_of.iter().any(|scope| claims.has_scope(scope)) {
            return true;
        }
        claims
            .texts(&self.claim)
            .iter()
            .any(|text| self.any_of.contains(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Claims {
        Claims::new(value.as_object().unwrap().clone(), Map::new())
    }

    #[test]
    fn condition_matches_text_or_array_only() {
        let condition = ClaimCondition {
            claim: "roles".into(),
            any_of: vec!["admin".into()],
        };
        for good in [
            json!({"roles": "admin"}),
            json!({"roles": ["user", "admin"]}),
        ] {
            assert!(condition.holds(&claims(good)));
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
            assert!(!condition.holds(&claims(bad.clone())), "{bad}");
        }
    }

    #[test]
    fn scope_is_one_item_of_the_scope_claim_only() {
        let condition = |claim: &str| ClaimCondition {
            claim: claim.into(),
            any_of: vec!["orders:read".into()],
        };
        for good in [
            json!({"scope": "orders:read"}),
            json!({"scope": "openid orders:read email"}),
            json!({"scope": ["openid", "orders:read"]}),
            json!({"scp": ["orders:read"]}),
            json!({"scp": "openid orders:read"}),
        ] {
            assert!(condition(SCOPE).holds(&claims(good.clone())), "{good}");
        }
        for bad in [
            json!({}),
            json!({"scope": "orders:read2 orders"}),
            json!({"scope": "Orders:Read"}),
        ] {
            assert!(!condition(SCOPE).holds(&claims(bad.clone())), "{bad}");
        }
        assert!(!condition("role").holds(&claims(json!({"role": "user orders:read"}))));
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
