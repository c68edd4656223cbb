//! `[apps.NAME.rules.allow]`: the conditions of access rules.

use ipnet::IpNet;

use super::super::keywords::ClaimMembers;
use super::super::raw::List;
use super::super::raw_rules::{RawAllow, RawCondition, RawValues};
use super::super::report::{Location, quoted};
use super::client::is_scope;
use super::elements;
use super::rule_lists::RuleListFiles;
use crate::identity::claims::{ClaimValues, Members};
use crate::policy::condition::{Condition, NetworkList, TextList};
use crate::policy::rule_lists::{ListKind, Networks, parse_network};
use crate::policy::rules::Access;

pub(super) const ALLOW_HINT: &str = "`allow = \"public\"`, `\"authenticated\"`, `\"deny\"`, `{ roles = [\"admin\"] }`, \
                          `{ scopes = [\"orders:read\"] }` or `{ claim = \"department\", any_of = [\"sales\"] }`";

/// How deep conditions may be nested.
const MAX_DEPTH: usize = 8;

/// The access that `allow` gives.
pub(super) fn access(
    raw: RawAllow,
    at: &Location<'_>,
    files: &RuleListFiles<'_>,
) -> Option<Access> {
    match raw {
        RawAllow::Public => Some(Access::Public),
        RawAllow::Authenticated => Some(Access::Authenticated),
        RawAllow::Denied => Some(Access::Denied),
        RawAllow::If(raw) => {
            let reader = Reader { files, depth: 0 };
            reader.condition(*raw, at).map(Access::If)
        }
    }
}

/// Reads a condition at one level.
#[derive(Clone, Copy)]
struct Reader<'f> {
    files: &'f RuleListFiles<'f>,
    depth: usize,
}

impl Reader<'_> {
    fn condition(self, raw: RawCondition, at: &Location<'_>) -> Option<Condition> {
        let invalid = || {
            if !at.has_invalid() {
                at.error("invalid condition", ALLOW_HINT);
            }
            None
        };
        let RawCondition {
            roles,
            scopes,
            claim,
            any_of,
            members,
            email_domains,
            emails,
            from,
            all,
            any,
            not,
        } = raw;
        let forms = [
            roles.is_some(),
            scopes.is_some(),
            claim.is_some() || any_of.is_some(),
            email_domains.is_some(),
            emails.is_some(),
            from.is_some(),
            all.is_some(),
            any.is_some(),
            not.is_some(),
        ];
        if forms.iter().filter(|form| **form).count() != 1 {
            return invalid();
        }
        if members.is_some() && claim.is_none() && roles.is_none() {
            at.key("members").error(
                "only a claim has members",
                "use it with `claim` and `any_of`, or with `roles`",
            );
        }
        if let Some(roles) = roles {
            let values = values_of("roles".to_owned(), members);
            let list = self.texts(ListKind::Values, roles, &at.key("roles"))?;
            return Some(Condition::Claim(values, list));
        }
        if let Some(scopes) = scopes {
            return Some(self::scopes(scopes, &at.key("scopes")));
        }
        if let Some(domains) = email_domains {
            let list = self.texts(ListKind::EmailDomains, domains, &at.key("email_domains"))?;
            return Some(Condition::EmailDomain(list));
        }
        if let Some(emails) = emails {
            let list = self.texts(ListKind::Emails, emails, &at.key("emails"))?;
            return Some(Condition::Email(list));
        }
        if let Some(networks) = from {
            return self
                .networks(networks, &at.key("from"))
                .map(Condition::From);
        }
        if let Some(all) = all {
            return self.list(all, &at.key("all")).map(Condition::All);
        }
        if let Some(any) = any {
            return self.list(any, &at.key("any")).map(Condition::Any);
        }
        if let Some(not) = not {
            let condition = self.nested(not, &at.key("not"))?;
            return Some(Condition::Not(Box::new(condition)));
        }
        let Some(claim) = claim else {
            at.missing("claim", "the name of the claim");
            return None;
        };
        let Some(any_of) = any_of else {
            at.missing("any_of", "the accepted values of the claim");
            return None;
        };
        check_claim(&claim, &at.key("claim"));
        let list = self.texts(ListKind::Values, any_of, &at.key("any_of"))?;
        Some(Condition::Claim(values_of(claim, members), list))
    }

    fn list(self, raw: List<RawAllow>, at: &Location<'_>) -> Option<Vec<Condition>> {
        if raw.is_empty() {
            at.error(
                "no condition is listed",
                "list conditions, such as `[{ roles = [\"admin\"] }, { from = [\"10.0.0.0/8\"] }]`",
            );
            return None;
        }
        let count = raw.len();
        let conditions: Vec<_> = elements(Some(raw), at)
            .filter_map(|(at, raw)| self.nested(raw, &at))
            .collect();
        (conditions.len() == count).then_some(conditions)
    }

    fn nested(self, raw: RawAllow, at: &Location<'_>) -> Option<Condition> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            at.error(
                format!("conditions are nested more than {MAX_DEPTH} levels deep"),
                "use several rules",
            );
            return None;
        }
        match raw {
            RawAllow::Authenticated => Some(Condition::Authenticated),
            RawAllow::If(raw) => Self { depth, ..self }.condition(*raw, at),
            RawAllow::Public | RawAllow::Denied => {
                at.error(
                    "`\"public\"` and `\"deny\"` are no conditions on a caller",
                    "every condition needs an authenticated caller; use a rule of its own",
                );
                None
            }
        }
    }

    /// The texts of a list, in the form in which they are compared.
    fn texts(self, kind: ListKind, raw: RawValues, at: &Location<'_>) -> Option<TextList> {
        let listed = match raw {
            RawValues::File(file) => return self.files.add(kind, file, at).map(TextList::File),
            RawValues::Listed(listed) => listed,
        };
        refuse_empty(&listed, at);
        let mut texts = Vec::new();
        for (at, text) in elements(Some(listed), at) {
            if text.trim().is_empty() {
                at.error(
                    "empty value: it would match an empty claim",
                    "list only values that the provider assigns to users",
                );
                continue;
            }
            match kind.comparable(&text) {
                Some(comparable) => {
                    if kind == ListKind::Values && text.contains('*') {
                        at.warning(
                            format!(
                                "{} is compared as it is: `*` has no meaning here",
                                quoted(&text)
                            ),
                            "list each value; for every user, use `allow = \"authenticated\"`",
                        );
                    }
                    texts.push(comparable);
                }
                None => {
                    let hint = if kind == ListKind::EmailDomains {
                        "a domain such as `example.com`; list each subdomain; for every user, use `allow = \"authenticated\"`"
                    } else {
                        "an address such as `alice@example.com`"
                    };
                    at.error(
                        format!("{} is not {}", quoted(&text), kind.expected()),
                        hint,
                    );
                }
            }
        }
        Some(TextList::Listed(texts))
    }

    fn networks(self, raw: RawValues, at: &Location<'_>) -> Option<NetworkList> {
        let listed = match raw {
            RawValues::File(file) => {
                let id = self.files.add(ListKind::Networks, file, at);
                return id.map(NetworkList::File);
            }
            RawValues::Listed(listed) => listed,
        };
        refuse_empty(&listed, at);
        Some(NetworkList::Listed(networks(listed, at)))
    }
}

/// Addresses and networks of clients.
pub(super) fn networks(listed: List<String>, at: &Location<'_>) -> Networks {
    let mut networks: Vec<IpNet> = Vec::new();
    for (at, text) in elements(Some(listed), at) {
        match parse_network(&text) {
            Some(network) => networks.push(network),
            None => at.error(
                format!("{} is not an address or a network", quoted(&text)),
                "such as `10.0.0.0/8`, `192.0.2.7` or `2001:db8::/32`",
            ),
        }
    }
    Networks::new(&networks)
}

fn refuse_empty(listed: &List<String>, at: &Location<'_>) {
    if listed.is_empty() {
        at.error(
            "no value is listed, so the condition is never met",
            "to deny all requests, use `allow = \"deny\"`",
        );
    }
}

fn values_of(claim: String, members: Option<ClaimMembers>) -> ClaimValues {
    let members = match members {
        None | Some(ClaimMembers::Values) => Members::Values,
        Some(ClaimMembers::Keys) => Members::Keys,
        Some(ClaimMembers::Commas) => Members::Commas,
    };
    ClaimValues { claim, members }
}

fn check_claim(claim: &str, at: &Location<'_>) {
    if claim.is_empty() {
        at.error("empty claim name", "for example `department`");
    }
    let has_bad_brackets = claim
        .replace("[].", "")
        .trim_end_matches("[]")
        .contains("[]")
        || claim.starts_with("[]");
    if has_bad_brackets {
        at.error(
            format!("{} is not the name of a claim", quoted(claim)),
            "`groups[].name` is the `name` of each object in the array `groups`",
        );
    }
}

/// The scopes that a token must have, all of them.
fn scopes(list: List<String>, at: &Location<'_>) -> Condition {
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
        conditions.push(Condition::Scope(scope));
    }
    Condition::All(conditions)
}
