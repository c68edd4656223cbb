//! Which claims are kept alongside a session's JWT: one rule for the login and for every refresh.
//! PURE.
//!
//! A claim comes from the newest token that has it, else from the UserInfo endpoint. A claim that
//! no source has is removed, even if the session had it before.

use serde_json::{Map, Value};

use super::claims::{Claims, VerifiableClaim, base_of, find};

/// Claims that only verified tokens may provide.
const PROTOCOL: [&str; 8] = ["iss", "sub", "aud", "azp", "exp", "nbf", "iat", "nonce"];

/// Claims about the authentication at the provider (OpenID Connect Core section 2). ID tokens of a
/// refresh need not repeat them, and they stay the same, because a refresh is no login. The UserInfo
/// endpoint does not know them.
const AUTHENTICATION: [&str; 4] = ["acr", "amr", "auth_time", "sid"];

/// The claims of the tokens of one response.
#[derive(Clone, Copy, Debug)]
pub struct NewTokens<'t> {
    /// The session's new JWT. `None`: the provider issued none, and the previous one continues.
    pub jwt: Option<&'t Map<String, Value>>,
    /// The new ID token.
    pub id_token: Option<&'t Map<String, Value>>,
}

/// The identity before a refresh.
#[derive(Clone, Debug)]
pub struct PreviousIdentity {
    /// The claims of the session's JWT.
    pub jwt: Map<String, Value>,
    /// The claims that are kept alongside it.
    pub kept: Map<String, Value>,
    /// All claims.
    pub claims: Claims,
}

/// The result of UserInfo for claims that no new token has.
#[derive(Clone, Debug)]
pub enum UserinfoResult {
    /// These claims. What it does not mention is gone.
    Claims(Map<String, Value>),
    /// It refused to answer: the claims are gone.
    Refused,
    /// It failed, and may answer later: the previous claims stay.
    Failed,
    /// It was not asked. Claims stay whose token the provider did not renew.
    NotRequested,
}

/// The claims in `names` that the tokens of one response lack.
pub fn missing<'n>(names: &'n [impl AsRef<str>], tokens: NewTokens<'_>) -> Vec<&'n str> {
    let has = |claims: Option<&Map<String, Value>>, name: &str| {
        claims.is_some_and(|claims| find(claims, name).is_some())
    };
    let names = names.iter().map(AsRef::as_ref);
    names
        .filter(|name| !is_protocol(name) && !AUTHENTICATION.contains(name))
        .filter(|name| !has(tokens.jwt, name) && !has(tokens.id_token, name))
        .collect()
}

/// The claims to keep alongside the session's JWT, of those in `names`. `null` hides a claim of a
/// JWT that continues.
pub fn kept_claims(
    names: &[impl AsRef<str>],
    tokens: NewTokens<'_>,
    userinfo: &UserinfoResult,
    previous: Option<&PreviousIdentity>,
) -> Map<String, Value> {
    let is_unknown = matches!(
        userinfo,
        UserinfoResult::Failed | UserinfoResult::NotRequested
    );
    if let (None, true, Some(previous)) = (tokens.jwt, is_unknown, previous) {
        return previous.kept.clone();
    }
    let source = Source {
        tokens,
        userinfo,
        previous,
    };
    let mut kept = Map::new();
    for name in names.iter().map(|name| base_of(name.as_ref())) {
        if is_protocol(name) {
            continue;
        }
        source.keep(&mut kept, name, Absent::Gone);
    }
    let uses = |claim| names.iter().any(|name| name.as_ref() == claim);
    for verified in [VerifiableClaim::EMAIL, VerifiableClaim::PHONE_NUMBER] {
        if uses(verified.claim) && !uses(verified.mark) {
            source.keep(&mut kept, verified.mark, Absent::Unknown);
        }
    }
    kept
}

fn is_protocol(name: &str) -> bool {
    PROTOCOL.contains(&name.split('.').next().unwrap_or(name))
}

/// The meaning of a claim that no source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    Gone,
    Unknown,
}

/// Where claims come from.
struct Source<'s> {
    tokens: NewTokens<'s>,
    userinfo: &'s UserinfoResult,
    previous: Option<&'s PreviousIdentity>,
}

impl Source<'_> {
    /// Keeps `name`, unless the session's JWT has it.
    fn keep(&self, kept: &mut Map<String, Value>, name: &str, absent: Absent) {
        let in_jwt = match (self.tokens.jwt, self.previous) {
            (Some(jwt), _) if find(jwt, name).is_some() => return,
            (Some(_), _) | (None, None) => None,
            // The JWT continues, and newer claims replace those in it.
            (None, Some(previous)) => find(&previous.jwt, name),
        };
        let value = if AUTHENTICATION.contains(&name) {
            self.in_id_token(name).or_else(|| self.of_login(name))
        } else {
            self.value(name)
        };
        match (value, in_jwt) {
            (None, None) => {}
            (None, Some(_)) if absent == Absent::Unknown => {}
            (None, Some(_)) => drop(kept.insert(name.to_owned(), Value::Null)),
            (Some(value), in_jwt) if in_jwt == Some(value) => {}
            (Some(value), _) => drop(kept.insert(name.to_owned(), value.clone())),
        }
    }

    /// A claim about the authentication at the provider, from before the refresh.
    fn of_login(&self, name: &str) -> Option<&Value> {
        self.previous?.claims.get(name)
    }

    fn in_id_token(&self, name: &str) -> Option<&Value> {
        self.tokens.id_token.and_then(|token| find(token, name))
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.in_id_token(name)
            .or_else(|| match (self.userinfo, self.previous) {
                (UserinfoResult::Claims(claims), _) => find(claims, name),
                (UserinfoResult::Failed, Some(previous)) => previous.claims.get(name),
                // Kept claims come from an ID token, which this response has or has not.
                (UserinfoResult::NotRequested, Some(previous))
                    if self.tokens.id_token.is_none() =>
                {
                    find(&previous.kept, name)
                }
                (
                    UserinfoResult::Refused | UserinfoResult::Failed | UserinfoResult::NotRequested,
                    _,
                ) => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn previous(jwt: Value, kept: Value) -> PreviousIdentity {
        let (jwt, kept) = (object(jwt), object(kept));
        PreviousIdentity {
            claims: Claims::new(jwt.clone(), kept.clone()),
            jwt,
            kept,
        }
    }

    /// The claims that are kept, and all claims of the identity.
    fn refreshed(
        jwt: Option<Value>,
        id_token: Option<Value>,
        userinfo: &UserinfoResult,
        before: &PreviousIdentity,
    ) -> Claims {
        let (jwt, id_token) = (jwt.map(object), id_token.map(object));
        let tokens = NewTokens {
            jwt: jwt.as_ref(),
            id_token: id_token.as_ref(),
        };
        let kept = kept_claims(&["groups"], tokens, userinfo, Some(before));
        match jwt {
            Some(jwt) => Claims::new(jwt, kept),
            None => Claims::renewed(before.jwt.clone(), kept),
        }
    }

    fn says(claims: Value) -> UserinfoResult {
        UserinfoResult::Claims(object(claims))
    }

    #[test]
    fn claims_about_the_authentication_outlast_a_refresh() {
        let names = ["acr", "auth_time", "sid"];
        let at_login = json!({"acr": "mfa", "auth_time": 7, "sid": "p"});
        let before = previous(json!({"sub": "a"}), at_login.clone());
        let kept = |jwt: &Value, id_token: Option<&Value>| {
            let (jwt, id_token) = (object(jwt.clone()), id_token.cloned().map(object));
            let tokens = NewTokens {
                jwt: Some(&jwt),
                id_token: id_token.as_ref(),
            };
            assert_eq!(missing(&names, tokens), Vec::<&str>::new());
            let [unasked, asked] = [UserinfoResult::NotRequested, says(json!({"acr": "other"}))]
                .map(|userinfo| kept_claims(&names, tokens, &userinfo, Some(&before)));
            assert_eq!(unasked, asked, "the UserInfo endpoint does not know them");
            Value::Object(asked)
        };
        let jwt = json!({"sub": "a"});
        assert_eq!(kept(&jwt, None), at_login);
        assert_eq!(kept(&jwt, Some(&jwt)), at_login);
        let newer = json!({"acr": "pwd"});
        assert_eq!(
            kept(&jwt, Some(&newer)),
            json!({"acr": "pwd", "auth_time": 7, "sid": "p"})
        );
        let by_jwt = json!({"acr": "pwd", "sid": "q"});
        assert_eq!(kept(&by_jwt, None), json!({"auth_time": 7}));
    }

    #[test]
    fn only_names_that_no_token_has_are_missing() {
        let jwt = object(json!({"a": 1, "n": null, "realm": {"roles": []}}));
        let id_token = object(json!({"b": 1, "n": null}));
        let tokens = NewTokens {
            jwt: Some(&jwt),
            id_token: Some(&id_token),
        };
        let names = ["a", "b", "c", "n", "realm.groups", "realm.roles", "sub"];
        assert_eq!(missing(&names, tokens), ["c", "n", "realm.groups"]);
    }

    #[test]
    fn refreshed_claim_comes_from_the_newest_source_that_has_it() {
        let before = previous(json!({"sub": "a"}), json!({"groups": ["admin"]}));
        let with = |groups: &str| json!({"sub": "a", "groups": [groups]});
        let nothing = || json!({"sub": "a"});
        let null = || json!({"sub": "a", "groups": null});
        for (jwt, id_token, userinfo, expected) in [
            (
                Some(with("jwt")),
                Some(with("id")),
                says(with("info")),
                Some("jwt"),
            ),
            (
                Some(nothing()),
                Some(with("id")),
                says(with("info")),
                Some("id"),
            ),
            (Some(null()), Some(null()), says(with("info")), Some("info")),
            (Some(nothing()), Some(nothing()), says(nothing()), None),
            (Some(nothing()), Some(nothing()), says(null()), None),
            (
                Some(nothing()),
                Some(nothing()),
                UserinfoResult::Refused,
                None,
            ),
            (
                Some(nothing()),
                Some(nothing()),
                UserinfoResult::Failed,
                Some("admin"),
            ),
            (
                Some(nothing()),
                Some(null()),
                UserinfoResult::NotRequested,
                None,
            ),
            // No ID token came, so nothing newer is known of its claims.
            (
                Some(nothing()),
                None,
                UserinfoResult::NotRequested,
                Some("admin"),
            ),
            (Some(nothing()), None, UserinfoResult::Refused, None),
            (Some(nothing()), None, says(nothing()), None),
        ] {
            let claims = refreshed(jwt.clone(), id_token.clone(), &userinfo, &before);
            let case = format!("{jwt:?} {id_token:?} {userinfo:?}");
            assert_eq!(
                claims.texts("groups").first().map(String::as_str),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn claim_of_a_continued_jwt_is_what_userinfo_says_now() {
        let before = previous(json!({"sub": "a", "groups": ["admin"]}), json!({}));
        for (userinfo, expected) in [
            (says(json!({"groups": ["user"]})), Some("user")),
            (says(json!({"groups": null})), None),
            (says(json!({})), None),
            (UserinfoResult::Refused, None),
            (UserinfoResult::Failed, Some("admin")),
            (UserinfoResult::NotRequested, Some("admin")),
        ] {
            let claims = refreshed(None, None, &userinfo, &before);
            let found = claims.texts("groups");
            assert_eq!(found.first().map(String::as_str), expected, "{userinfo:?}");
            assert_eq!(claims.texts("sub"), ["a"]);
        }
        let unchanged = says(json!({"groups": ["admin"]}));
        let tokens = NewTokens {
            jwt: None,
            id_token: None,
        };
        let kept = kept_claims(&["groups"], tokens, &unchanged, Some(&before));
        assert!(kept.is_empty(), "{kept:?}");
    }

    #[test]
    fn path_is_kept_without_its_siblings() {
        let userinfo = says(json!({"apps": {"store": {"roles": ["a"], "x": 1}}, "a.b": 1}));
        let jwt = object(json!({"apps": {"store": {"y": 1}}}));
        let tokens = NewTokens {
            jwt: Some(&jwt),
            id_token: None,
        };
        let names = ["a.b", "apps.store.roles", "apps.none"];
        let kept = kept_claims(&names, tokens, &userinfo, None);
        let expected = object(json!({"apps.store.roles": ["a"], "a.b": 1}));
        assert_eq!(kept, expected);
        let claims = Claims::new(jwt, kept);
        assert_eq!(claims.texts("apps.store.roles"), ["a"]);
        assert_eq!(claims.texts("apps.store.y"), ["1"]);
    }

    #[test]
    fn mark_of_an_unverified_claim_is_kept_with_it() {
        let userinfo = says(json!({"email": "a@example.com", "email_verified": false}));
        let jwt = object(json!({"sub": "a"}));
        let tokens = NewTokens {
            jwt: Some(&jwt),
            id_token: None,
        };
        let kept = kept_claims(&["email"], tokens, &userinfo, None);
        assert_eq!(kept.get("email_verified"), Some(&json!(false)));
        let kept = kept_claims(&["groups"], tokens, &userinfo, None);
        assert!(kept.is_empty(), "{kept:?}");
        // A continued JWT says so, and UserInfo does not mention it.
        let before = previous(json!({"email": "a", "email_verified": false}), json!({}));
        let silent = says(json!({"email": "b"}));
        let tokens = NewTokens {
            jwt: None,
            id_token: None,
        };
        let kept = kept_claims(&["email"], tokens, &silent, Some(&before));
        let claims = Claims::renewed(before.jwt, kept);
        assert_eq!(claims.get("email_verified"), Some(&json!(false)));
    }

    #[test]
    fn protocol_claims_are_not_taken_from_userinfo() {
        let userinfo = says(json!({"sub": "b", "aud": "x", "exp": 1}));
        let jwt = Map::new();
        let tokens = NewTokens {
            jwt: Some(&jwt),
            id_token: None,
        };
        let kept = kept_claims(&["sub", "aud", "exp"], tokens, &userinfo, None);
        assert!(kept.is_empty(), "{kept:?}");
    }
}
