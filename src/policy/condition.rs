//! Conditions of access rules: on the claims of the caller, and on the address of the client.

mod explanation;

use std::net::IpAddr;

use super::rule_lists::{ListId, ListKind, Networks, RuleLists};
use crate::identity::claims::{ClaimValues, Claims, SCOPE, VerifiableClaim, base_of};

pub use explanation::{CheckedCondition, Verdict};

/// A condition on an authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The caller is a user, and not an OAuth client that acts on its own behalf.
    Authenticated,
    /// All of these.
    All(Vec<Condition>),
    /// At least one of these.
    Any(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
    /// One of the claim's values is in the list. For `scope`, one of its scopes.
    Claim(ClaimValues, TextList),
    /// The scope was granted.
    Scope(String),
    /// The verified email address has one of these domains.
    EmailDomain(TextList),
    /// The verified email address is one of these.
    Email(TextList),
    /// The client's address is in one of these networks.
    From(NetworkList),
}

/// Texts in the configuration or in a file, in the form in which they are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextList {
    /// These.
    Listed(Vec<String>),
    /// Those of a file.
    File(ListId),
}

/// Networks in the configuration or in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkList {
    /// These.
    Listed(Networks),
    /// Those of a file.
    File(ListId),
}

/// The facts that conditions are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Subjects<'s> {
    /// The claims of the caller.
    pub claims: &'s Claims,
    /// Whether the caller is a user, and not an OAuth client.
    pub is_user: bool,
    /// The address of the client, if it is known.
    pub client: Option<IpAddr>,
    /// The lists in files.
    pub lists: &'s RuleLists,
}

/// The result of a condition.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    holds: bool,
    /// Whether it holds because of what the caller is or was granted, and not only because of what
    /// it lacks, or of its address.
    grants: bool,
}

impl Outcome {
    const fn granted(holds: bool) -> Self {
        Self {
            holds,
            grants: holds,
        }
    }

    const fn neutral(holds: bool) -> Self {
        Self {
            holds,
            grants: false,
        }
    }
}

impl Condition {
    /// The claim has one of these values.
    pub fn claim(claim: impl Into<String>, any_of: impl IntoIterator<Item = String>) -> Self {
        Self::Claim(
            ClaimValues::of(claim),
            TextList::Listed(any_of.into_iter().collect()),
        )
    }

    /// Whether the caller fulfils it. An OAuth client that acts on its own behalf must be granted
    /// something: what it lacks and where it comes from is not enough.
    pub fn holds(&self, subjects: &Subjects<'_>) -> bool {
        let outcome = self.outcome(subjects);
        outcome.holds && (subjects.is_user || outcome.grants)
    }

    fn outcome(&self, subjects: &Subjects<'_>) -> Outcome {
        let Subjects {
            claims,
            is_user,
            client,
            lists,
        } = *subjects;
        match self {
            Self::Authenticated => Outcome::granted(is_user),
            Self::All(conditions) => {
                let mut grants = false;
                let holds = conditions.iter().all(|condition| {
                    let outcome = condition.outcome(subjects);
                    grants |= outcome.grants;
                    outcome.holds
                });
                Outcome { holds, grants }
            }
            Self::Any(conditions) => {
                let mut holds = false;
                let grants = conditions.iter().any(|condition| {
                    let outcome = condition.outcome(subjects);
                    holds |= outcome.holds;
                    outcome.holds && outcome.grants
                });
                Outcome { holds, grants }
            }
            Self::Not(condition) => Outcome::neutral(!condition.outcome(subjects).holds),
            Self::Claim(values, list) => {
                let is_scope = values.claim == SCOPE && list.contains_scope(claims);
                let holds = is_scope
                    || values.any(claims, &|text| list.contains(ListKind::Values, text, lists));
                Outcome::granted(holds)
            }
            Self::Scope(scope) => Outcome::granted(claims.has_scope(scope)),
            Self::EmailDomain(list) => {
                Outcome::granted(claims.verified_email().is_some_and(|email| {
                    list.contains(ListKind::EmailDomains, email.domain, lists)
                }))
            }
            Self::Email(list) => Outcome::granted(
                claims
                    .verified_email()
                    .is_some_and(|email| list.contains(ListKind::Emails, email.address, lists)),
            ),
            Self::From(list) => {
                Outcome::neutral(client.is_some_and(|client| list.contains(client, lists)))
            }
        }
    }

    /// Whether no caller at all can fulfil it from this address.
    pub fn excludes(&self, client: Option<IpAddr>, lists: &RuleLists) -> bool {
        match self {
            Self::From(list) => !client.is_some_and(|client| list.contains(client, lists)),
            Self::All(conditions) => conditions
                .iter()
                .any(|condition| condition.excludes(client, lists)),
            Self::Any(conditions) => conditions
                .iter()
                .all(|condition| condition.excludes(client, lists)),
            Self::Not(condition) => match condition.as_ref() {
                Self::From(list) => client.is_some_and(|client| list.contains(client, lists)),
                Self::Authenticated
                | Self::All(_)
                | Self::Any(_)
                | Self::Not(_)
                | Self::Claim(..)
                | Self::Scope(_)
                | Self::EmailDomain(_)
                | Self::Email(_) => false,
            },
            Self::Authenticated
            | Self::Claim(..)
            | Self::Scope(_)
            | Self::EmailDomain(_)
            | Self::Email(_) => false,
        }
    }

    /// Calls `visit` for this condition and all within it.
    pub fn visit<'c>(&'c self, visit: &mut dyn FnMut(&'c Self)) {
        visit(self);
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                for condition in conditions {
                    condition.visit(visit);
                }
            }
            Self::Not(condition) => condition.visit(visit),
            Self::Authenticated
            | Self::Claim(..)
            | Self::Scope(_)
            | Self::EmailDomain(_)
            | Self::Email(_)
            | Self::From(_) => {}
        }
    }

    /// Every claim that it uses, except scopes, which belong to a token and not to a user.
    pub fn claims(&self) -> Vec<&str> {
        let mut claims = Vec::new();
        self.visit(&mut |condition| match condition {
            Self::Claim(values, _) if values.claim != SCOPE => claims.push(base_of(&values.claim)),
            Self::EmailDomain(_) | Self::Email(_) => {
                claims.extend([VerifiableClaim::EMAIL.claim, VerifiableClaim::EMAIL.mark]);
            }
            Self::Claim(..)
            | Self::Authenticated
            | Self::All(_)
            | Self::Any(_)
            | Self::Not(_)
            | Self::Scope(_)
            | Self::From(_) => {}
        });
        claims
    }

    /// The scopes that it names, for challenges. Those of exceptions do not count.
    pub fn scopes(&self) -> Vec<&str> {
        match self {
            Self::Scope(scope) => vec![scope],
            Self::Claim(values, TextList::Listed(scopes)) if values.claim == SCOPE => {
                scopes.iter().map(String::as_str).collect()
            }
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().flat_map(Self::scopes).collect()
            }
            Self::Authenticated
            | Self::Not(_)
            | Self::Claim(..)
            | Self::EmailDomain(_)
            | Self::Email(_)
            | Self::From(_) => Vec::new(),
        }
    }
}

impl TextList {
    fn contains(&self, kind: ListKind, text: &str, lists: &RuleLists) -> bool {
        let contains = |text: &str| match self {
            Self::Listed(texts) => texts.iter().any(|listed| listed == text),
            Self::File(id) => lists.contain_text(*id, text),
        };
        if kind == ListKind::Values {
            contains(text)
        } else {
            kind.comparable(text).is_some_and(|text| contains(&text))
        }
    }

    fn contains_scope(&self, claims: &Claims) -> bool {
        match self {
            Self::Listed(scopes) => scopes.iter().any(|scope| claims.has_scope(scope)),
            Self::File(_) => false,
        }
    }
}

impl NetworkList {
    fn contains(&self, client: IpAddr, lists: &RuleLists) -> bool {
        match self {
            Self::Listed(networks) => networks.contain(client),
            Self::File(id) => lists.contain_address(*id, client),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Map, Value, json};

    use super::*;
    use crate::policy::rule_lists::ListContent;

    fn role(role: &str) -> Condition {
        Condition::claim("roles", [role.to_owned()])
    }

    fn from(network: &str) -> Condition {
        let networks = Networks::new(&[network.parse().unwrap()]);
        Condition::From(NetworkList::Listed(networks))
    }

    fn not(condition: Condition) -> Condition {
        Condition::Not(Box::new(condition))
    }

    struct Case {
        claims: Value,
        is_user: bool,
        client: Option<&'static str>,
    }

    impl Case {
        fn user(claims: Value) -> Self {
            Self {
                claims,
                is_user: true,
                client: Some("10.1.2.3"),
            }
        }

        fn client(claims: Value) -> Self {
            Self {
                is_user: false,
                ..Self::user(claims)
            }
        }

        fn holds(&self, condition: &Condition) -> bool {
            let list = |kind, text| Arc::new(ListContent::parse(kind, text).unwrap());
            let lists = RuleLists::new(vec![
                list(ListKind::Values, "admin\nowner"),
                list(ListKind::Emails, "Bob@example.com"),
                list(ListKind::EmailDomains, "example.org"),
                list(ListKind::Networks, "10.0.0.0/8"),
            ]);
            condition.holds(&Subjects {
                claims: &Claims::new(self.claims.as_object().unwrap().clone(), Map::new()),
                is_user: self.is_user,
                client: self.client.map(|client| client.parse().unwrap()),
                lists: &lists,
            })
        }
    }

    #[test]
    fn combinations_follow_boolean_algebra() {
        let admin = Case::user(json!({"roles": ["admin"]}));
        for (condition, expected) in [
            (
                Condition::All(vec![role("admin"), from("10.0.0.0/8")]),
                true,
            ),
            (
                Condition::All(vec![role("admin"), from("11.0.0.0/8")]),
                false,
            ),
            (
                Condition::All(vec![role("owner"), from("10.0.0.0/8")]),
                false,
            ),
            (
                Condition::Any(vec![role("owner"), from("10.0.0.0/8")]),
                true,
            ),
            (Condition::Any(vec![role("owner"), role("admin")]), true),
            (
                Condition::Any(vec![role("owner"), from("11.0.0.0/8")]),
                false,
            ),
            (not(role("owner")), true),
            (not(role("admin")), false),
            (not(not(role("admin"))), true),
            (Condition::Authenticated, true),
            (
                Condition::All(vec![
                    Condition::Any(vec![role("owner"), role("admin")]),
                    not(Condition::All(vec![role("admin"), from("11.0.0.0/8")])),
                ]),
                true,
            ),
        ] {
            assert_eq!(admin.holds(&condition), expected, "{condition:?}");
        }
    }

    #[test]
    fn client_without_user_needs_a_grant() {
        let reports = Case::client(json!({"scope": "read", "roles": []}));
        let read = || Condition::Scope("read".to_owned());
        for (condition, expected) in [
            (read(), true),
            (not(role("banned")), false),
            (not(not(read())), false),
            (from("10.0.0.0/8"), false),
            (Condition::Authenticated, false),
            (
                Condition::Any(vec![not(role("banned")), from("10.0.0.0/8")]),
                false,
            ),
            (Condition::Any(vec![from("10.0.0.0/8"), read()]), true),
            (
                Condition::All(vec![not(role("banned")), from("10.0.0.0/8"), read()]),
                true,
            ),
            (Condition::All(vec![from("11.0.0.0/8"), read()]), false),
        ] {
            assert_eq!(reports.holds(&condition), expected, "{condition:?}");
        }
    }

    #[test]
    fn unknown_address_is_in_no_network() {
        let case = Case {
            client: None,
            ..Case::user(json!({}))
        };
        assert!(!case.holds(&from("0.0.0.0/0")));
        assert!(from("0.0.0.0/0").excludes(None, RuleLists::NONE));
        let outside = Condition::All(vec![role("admin"), from("11.0.0.0/8")]);
        let client = Some("10.1.2.3".parse().unwrap());
        assert!(outside.excludes(client, RuleLists::NONE));
        assert!(not(from("10.0.0.0/8")).excludes(client, RuleLists::NONE));
        let either = Condition::Any(vec![role("admin"), from("11.0.0.0/8")]);
        assert!(!either.excludes(client, RuleLists::NONE));
    }

    #[test]
    fn email_conditions_ignore_case_and_need_a_verified_address() {
        let of = |email: &str, verified: bool| {
            Case::user(json!({"email": email, "email_verified": verified}))
        };
        let domain = Condition::EmailDomain(TextList::Listed(vec!["example.com".to_owned()]));
        let address = Condition::Email(TextList::Listed(vec!["bob@example.com".to_owned()]));
        for email in ["bob@example.com", "BOB@Example.COM"] {
            assert!(of(email, true).holds(&domain), "{email}");
            assert!(of(email, true).holds(&address), "{email}");
            assert!(!of(email, false).holds(&domain), "{email}");
            assert!(!of(email, false).holds(&address), "{email}");
        }
        for email in [
            "bob@sub.example.com",
            "bob@example.com.evil.test",
            "bob@evilexample.com",
        ] {
            assert!(!of(email, true).holds(&domain), "{email}");
        }
        assert!(!of("eve@example.com", true).holds(&address));
        assert!(!Case::user(json!({"email": "bob@example.com"})).holds(&domain));
    }

    #[test]
    fn lists_in_files_are_looked_up() {
        let file = |index| TextList::File(ListId::new(index));
        let case = Case::user(json!({
            "roles": ["owner"], "email": "bob@EXAMPLE.com", "email_verified": true
        }));
        assert!(case.holds(&Condition::Claim(ClaimValues::of("roles"), file(0))));
        assert!(case.holds(&Condition::Email(file(1))));
        assert!(!case.holds(&Condition::EmailDomain(file(2))));
        assert!(case.holds(&Condition::From(NetworkList::File(ListId::new(3)))));
        assert!(!case.holds(&Condition::Claim(ClaimValues::of("roles"), file(9))));
    }

    #[test]
    fn claims_and_scopes_in_use_are_listed() {
        let condition = Condition::All(vec![
            Condition::claim("groups[].name", ["a".to_owned()]),
            Condition::claim("scope", ["read".to_owned()]),
            Condition::Any(vec![
                Condition::Scope("write".to_owned()),
                Condition::Email(TextList::File(ListId::new(0))),
            ]),
            not(Condition::Scope("guest".to_owned())),
        ]);
        assert_eq!(condition.claims(), ["groups", "email", "email_verified"]);
        assert_eq!(condition.scopes(), ["read", "write"]);
    }
}
