//! Explanations of conditions: each part with its result, and the values that it was checked
//! against. Made on demand, after a refusal or for `doorward explain`.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Condition, NetworkList, Subjects, TextList};
use crate::identity::claims::{Members, SCOPE, VerifiableClaim};

/// The most values of a list that are named.
const MAX_VALUES: usize = 8;
/// The most bytes of one value.
const MAX_VALUE: usize = 64;
/// The most bytes of the text about a failure.
const MAX_FAILURE: usize = 512;

/// Claims whose values identify a user: the access log does not tell them.
const PERSONAL_CLAIMS: [&str; 5] = ["sub", "email", "preferred_username", "name", "phone_number"];

/// A condition with its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedCondition {
    /// Its requirement.
    pub condition: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// The values that were found, which satisfy it or not. `None` for combinations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// The parts of a combination.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Self>,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// It depends on the caller, and the request is anonymous.
    Unknown,
}

impl Verdict {
    const fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }
}

impl CheckedCondition {
    /// Why it fails. `None` if it does not.
    pub fn failure(&self) -> Option<String> {
        if self.verdict != Verdict::Fails {
            return None;
        }
        Some(cut(self.describe_failure(), MAX_FAILURE))
    }

    fn describe_failure(&self) -> String {
        if let Some(actual) = &self.actual {
            return format!("{}, got {actual}", self.condition);
        }
        let failing = self
            .parts
            .iter()
            .filter(|part| part.verdict == Verdict::Fails);
        let failing: Vec<String> = failing.map(Self::describe_failure).collect();
        match self.condition.as_str() {
            ALL => failing.join("; and "),
            ANY => failing.join("; or "),
            _ => {
                let holding = self.parts.iter().map(Self::describe);
                format!("{NOT} ({})", holding.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// The condition as one line.
    fn describe(&self) -> String {
        let mut text = self.condition.clone();
        if !self.parts.is_empty() {
            let parts: Vec<String> = self.parts.iter().map(Self::describe).collect();
            let _ = write!(text, " ({})", parts.join("; "));
        }
        if let Some(actual) = &self.actual {
            let _ = write!(text, ", got {actual}");
        }
        text
    }
}

const ALL: &str = "all of";
const ANY: &str = "any of";
const NOT: &str = "not";

impl Condition {
    /// Checks the condition and each of its parts. `is_anonymous` is a request without a caller, of
    /// which only the address counts.
    pub fn explain(&self, subjects: &Subjects<'_>, is_anonymous: bool) -> CheckedCondition {
        let parts = |conditions: &[Self]| {
            let parts = conditions.iter();
            parts
                .map(|condition| condition.explain(subjects, is_anonymous))
                .collect()
        };
        let (condition, parts) = match self {
            Self::All(conditions) => (ALL.to_owned(), parts(conditions)),
            Self::Any(conditions) => (ANY.to_owned(), parts(conditions)),
            Self::Not(condition) => (
                NOT.to_owned(),
                parts(std::slice::from_ref(condition.as_ref())),
            ),
            Self::Authenticated
            | Self::Claim(..)
            | Self::Scope(_)
            | Self::EmailDomain(_)
            | Self::Email(_)
            | Self::From(_) => (self.requirement(), Vec::new()),
        };
        let verdict = if is_anonymous {
            self.anonymous_verdict(subjects)
        } else {
            Verdict::of(self.outcome(subjects).holds)
        };
        CheckedCondition {
            condition,
            verdict,
            actual: self.actual(subjects, is_anonymous),
            parts,
        }
    }

    fn anonymous_verdict(&self, subjects: &Subjects<'_>) -> Verdict {
        if self.excludes(subjects.client, subjects.lists) {
            Verdict::Fails
        } else if matches!(self, Self::From(_)) {
            Verdict::Holds
        } else {
            Verdict::Unknown
        }
    }

    /// The requirement of a condition without parts.
    fn requirement(&self) -> String {
        match self {
            Self::Authenticated => "a user".to_owned(),
            Self::Claim(values, list) => {
                let what = match values.members {
                    Members::Values => "",
                    Members::Keys => "keys of ",
                    Members::Commas => "comma-separated ",
                };
                format!("{what}{} any of {}", values.claim, list.describe())
            }
            Self::Scope(scope) => format!("scope {scope:?}"),
            Self::EmailDomain(list) => format!("verified email at any of {}", list.describe()),
            Self::Email(list) => format!("verified email any of {}", list.describe()),
            Self::From(list) => format!("client address in {}", list.describe()),
            Self::All(_) | Self::Any(_) | Self::Not(_) => String::new(),
        }
    }

    /// The values that a condition without parts was checked against.
    fn actual(&self, subjects: &Subjects<'_>, is_anonymous: bool) -> Option<String> {
        let claims = subjects.claims;
        let text = match self {
            Self::All(_) | Self::Any(_) | Self::Not(_) => return None,
            Self::From(_) => match subjects.client {
                Some(client) => client.to_string(),
                None => "an unknown address".to_owned(),
            },
            Self::Authenticated
            | Self::Claim(..)
            | Self::Scope(_)
            | Self::EmailDomain(_)
            | Self::Email(_)
                if is_anonymous =>
            {
                "no caller".to_owned()
            }
            Self::Authenticated if subjects.is_user => "a user".to_owned(),
            Self::Authenticated => "an OAuth client".to_owned(),
            Self::Claim(values, _)
                if PERSONAL_CLAIMS.contains(&values.claim.as_str())
                    && claims.get(&values.claim).is_some() =>
            {
                "a value that is not shown".to_owned()
            }
            Self::Claim(values, _) => listed(values.texts(claims)),
            Self::Scope(_) => {
                let scopes = [SCOPE, "scp"].map(|claim| claims.texts(claim));
                let scopes = scopes.iter().flatten();
                let scopes = scopes.flat_map(|scopes| scopes.split(' '));
                listed(scopes.filter(|scope| !scope.is_empty()))
            }
            Self::EmailDomain(_) | Self::Email(_) => match claims.verified_email() {
                // Only the domain is shown, because it does not identify the user.
                Some(email) => format!("an address at {}", listed([email.domain])),
                None if claims.get(VerifiableClaim::EMAIL.claim).is_some() => {
                    "an address that is not verified".to_owned()
                }
                None => "no verified address".to_owned(),
            },
        };
        Some(text)
    }
}

impl TextList {
    fn describe(&self) -> String {
        match self {
            Self::Listed(texts) => listed(texts),
            Self::File(_) => "a list in a file".to_owned(),
        }
    }
}

impl NetworkList {
    fn describe(&self) -> String {
        match self {
            Self::Listed(networks) => {
                let networks = networks.iter().map(ToString::to_string);
                format!("[{}]", first(networks))
            }
            Self::File(_) => "a list in a file".to_owned(),
        }
    }
}

/// The values in quotes and brackets, or `nothing`.
fn listed<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> String {
    let quoted = values
        .into_iter()
        .map(|value| format!("{:?}", cut(value.as_ref().to_owned(), MAX_VALUE)));
    match first(quoted).as_str() {
        "" => "nothing".to_owned(),
        values => format!("[{values}]"),
    }
}

/// The first of the values, and how many are left out.
fn first(values: impl Iterator<Item = String>) -> String {
    let mut values: Vec<String> = values.collect();
    let more = values.len().saturating_sub(MAX_VALUES);
    if more > 0 {
        values.truncate(MAX_VALUES);
        values.push(format!("{more} more"));
    }
    values.join(", ")
}

fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::identity::claims::Claims;
    use crate::policy::rule_lists::{Networks, RuleLists};

    fn role(role: &str) -> Condition {
        Condition::claim("roles", [role.to_owned()])
    }

    fn from(network: &str) -> Condition {
        let networks = Networks::new(&[network.parse().unwrap()]);
        Condition::From(NetworkList::Listed(networks))
    }

    fn checked(condition: &Condition, claims: Value, is_anonymous: bool) -> CheckedCondition {
        let subjects = Subjects {
            claims: &Claims::new(claims.as_object().unwrap().clone(), Map::new()),
            is_user: true,
            client: Some("10.1.2.3".parse().unwrap()),
            lists: RuleLists::NONE,
        };
        let checked = condition.explain(&subjects, is_anonymous);
        if !is_anonymous {
            let holds = checked.verdict == Verdict::Holds;
            assert_eq!(holds, condition.holds(&subjects), "{condition:?}");
        }
        checked
    }

    fn failure(condition: &Condition, claims: Value) -> Option<String> {
        checked(condition, claims, false).failure()
    }

    #[test]
    fn failure_names_the_failing_parts_and_their_values() {
        let clerk = || json!({"roles": ["clerk"]});
        let not = |condition| Condition::Not(Box::new(condition));
        let office = Condition::All(vec![role("clerk"), from("11.0.0.0/8"), role("admin")]);
        for (condition, expected) in [
            (role("clerk"), None),
            (
                role("admin"),
                Some("roles any of [\"admin\"], got [\"clerk\"]"),
            ),
            (
                Condition::Scope("read".to_owned()),
                Some("scope \"read\", got nothing"),
            ),
            (
                office,
                Some(
                    "client address in [11.0.0.0/8], got 10.1.2.3; and \
                     roles any of [\"admin\"], got [\"clerk\"]",
                ),
            ),
            (
                Condition::Any(vec![role("a"), role("b")]),
                Some(
                    "roles any of [\"a\"], got [\"clerk\"]; or \
                     roles any of [\"b\"], got [\"clerk\"]",
                ),
            ),
            (
                not(role("clerk")),
                Some("not (roles any of [\"clerk\"], got [\"clerk\"])"),
            ),
            (not(role("admin")), None),
        ] {
            assert_eq!(failure(&condition, clerk()).as_deref(), expected);
        }
    }

    #[test]
    fn failure_shows_no_email_address_and_is_bounded_and_escaped() {
        let emails = Condition::Email(TextList::Listed(vec!["a@example.com".to_owned()]));
        let verified = json!({"email": "bob.secret@example.org", "email_verified": true});
        let text = failure(&emails, verified).unwrap();
        assert!(
            text.ends_with("got an address at [\"example.org\"]"),
            "{text}"
        );
        let unverified = json!({"email": "bob.secret@example.org"});
        let text = failure(&emails, unverified).unwrap();
        assert!(
            text.ends_with("got an address that is not verified"),
            "{text}"
        );

        let many: Vec<String> = (0..100).map(|number| format!("{number:0>200}")).collect();
        let text = failure(&role("admin"), json!({ "roles": many })).unwrap();
        assert!(text.len() < 600, "{text}");
        let few: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        let text = failure(&role("admin"), json!({ "roles": few })).unwrap();
        assert!(text.ends_with("\"7\", 2 more]"), "{text}");
        let text = failure(&role("admin"), json!({"roles": ["a\"\n\u{1b}[31m"]})).unwrap();
        assert!(text.ends_with(r#"got ["a\"\n\u{1b}[31m"]"#), "{text}");
    }

    #[test]
    fn of_an_anonymous_request_only_the_address_is_known() {
        let condition = Condition::All(vec![role("admin"), from("10.0.0.0/8")]);
        let both = checked(&condition, json!({}), true);
        let verdicts: Vec<_> = both.parts.iter().map(|part| part.verdict).collect();
        assert_eq!(verdicts, [Verdict::Unknown, Verdict::Holds]);
        assert_eq!((both.verdict, both.failure()), (Verdict::Unknown, None));
        let outside = Condition::All(vec![role("admin"), from("11.0.0.0/8")]);
        let expected = "client address in [11.0.0.0/8], got 10.1.2.3";
        let failure = checked(&outside, json!({}), true).failure();
        assert_eq!(failure.as_deref(), Some(expected));
    }
}
