//! Verified claims, and conditions on them.

use serde_json::{Map, Value};

/// Verified claims: those of the session's JWT, then those that were stored at the login.
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

impl Claims {
    /// The claims of the token, plus those of `kept` that the token does not have, also inside
    /// objects.
    pub fn new(token: Map<String, Value>, kept: Map<String, Value>) -> Self {
        let mut claims = token;
        add_missing(&mut claims, kept);
        Self(claims)
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

/// Copies the value of `name` from `claims` to `kept`, without its siblings.
pub fn keep(kept: &mut Map<String, Value>, claims: &Map<String, Value>, name: &str) {
    if find(claims, name).is_none() {
        return;
    }
    if let Some(value) = claims.get(name) {
        kept.insert(name.to_owned(), value.clone());
    } else if let Some((outer, inner)) = name.split_once('.')
        && let Some(Value::Object(claims)) = claims.get(outer)
        && let Value::Object(kept) = kept
            .entry(outer)
            .or_insert_with(|| Value::Object(Map::new()))
    {
        keep(kept, claims, inner);
    }
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
    fn keep_copies_only_named_members() {
        let claims = json!({"apps": {"store": {"roles": ["a"], "x": 1}, "forum": {"roles": ["b"]}}, "a.b": 1, "n": null});
        let mut kept = Map::new();
        for name in [
            "apps.store.roles",
            "apps.none.roles",
            "a.b",
            "n",
            "n.x",
            "apps.store.roles.y",
        ] {
            keep(&mut kept, claims.as_object().unwrap(), name);
        }
        assert_eq!(
            Value::Object(kept),
            json!({"apps": {"store": {"roles": ["a"]}}, "a.b": 1})
        );
    }
}
