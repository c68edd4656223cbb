//! `Require` and its containers as conditions. Where a part has no equivalent, fewer users are
//! admitted, never more.

use super::super::document::list;
use super::super::rules::Allow;
use super::super::{Import, Named, Position};
use super::apache::Node;

/// The claim that `Require user` compares.
#[derive(Clone, Debug, Default)]
pub(super) struct RemoteUser {
    /// The claim of `OIDCRemoteUserClaim`, if it is used as it is.
    pub(super) claim: Option<String>,
}

/// How the parts of a container are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combination {
    Any,
    All,
    None,
}

impl Named for Node {
    fn written(&self) -> &str {
        &self.name
    }

    fn position(&self) -> &Position {
        &self.at
    }
}

/// Whether a node has requirements.
pub(super) fn is_requirement(node: &Node) -> bool {
    node.is("Require") || combination(node).is_some()
}

fn combination(node: &Node) -> Option<Combination> {
    let combinations = [
        ("RequireAny", Combination::Any),
        ("RequireAll", Combination::All),
        ("RequireNone", Combination::None),
    ];
    let named = combinations.into_iter().find(|(name, _)| node.is(name));
    named.map(|(_, combination)| combination)
}

/// The callers that the requirements among these nodes admit, of which one suffices. Parts without an
/// equivalent are reported.
pub(super) fn allow(nodes: &[&Node], user: &RemoteUser, import: &mut Import) -> Allow {
    let choices = nodes.iter().filter_map(|node| one(node, user, import));
    Allow::any(choices.collect())
}

/// `None`: there is no equivalent.
fn one(node: &Node, user: &RemoteUser, import: &mut Import) -> Option<Allow> {
    let Some(combination) = combination(node) else {
        return requirement(node, user, import);
    };
    let mut parts = Vec::new();
    let mut is_partial = false;
    for child in node.content() {
        if !is_requirement(child) {
            import.not_mapped(child, "not known within a requirement");
            is_partial = true;
            continue;
        }
        match one(child, user, import) {
            Some(part) => parts.push(part),
            None => is_partial = true,
        }
    }
    match combination {
        Combination::Any if parts.is_empty() => None,
        Combination::Any => Some(Allow::any(parts)),
        Combination::All if is_partial || parts.is_empty() => None,
        Combination::All => Some(Allow::all(parts)),
        Combination::None if is_partial || parts.is_empty() => None,
        Combination::None => not(Allow::any(parts), node, import),
    }
}

/// The opposite of a condition. One on addresses is narrower than the requirement, because addresses
/// must be verified, so its opposite would be wider.
fn not(allow: Allow, node: &Node, import: &mut Import) -> Option<Allow> {
    if allow.is_about_addresses() {
        import.not_mapped(
            node,
            "the opposite of a condition on addresses is not mapped",
        );
        return None;
    }
    Some(allow.not())
}

fn requirement(node: &Node, user: &RemoteUser, import: &mut Import) -> Option<Allow> {
    let (kind, values) = node.arguments.split_first()?;
    let kind = kind.to_ascii_lowercase();
    let allow = match (kind.as_str(), values) {
        ("not", [kind, values @ ..]) => {
            let inner = Node {
                arguments: std::iter::once(kind).chain(values).cloned().collect(),
                ..node.clone()
            };
            if kind.eq_ignore_ascii_case("not") {
                return None;
            }
            let allow = requirement(&inner, user, import)?;
            return not(allow, node, import);
        }
        ("all", [word]) if word.eq_ignore_ascii_case("granted") => Some(Allow::Public),
        ("all", [word]) if word.eq_ignore_ascii_case("denied") => Some(Allow::Denied),
        ("valid-user", []) => Some(Allow::Authenticated),
        ("claim", values) => {
            let choices: Option<Vec<Allow>> = values.iter().map(|value| claim(value)).collect();
            choices
                .filter(|choices| !choices.is_empty())
                .map(Allow::any)
        }
        ("user", values) if !values.is_empty() => match user.claim.as_deref() {
            Some("email") => Some(Allow::condition("emails", list(values.to_vec()))),
            Some(claim) => Some(Allow::claim(claim, values.to_vec())),
            None => None,
        },
        ("ip", values) if !values.is_empty() => {
            import.changed(
                node,
                "the condition `from` also needs an authenticated user",
            );
            let networks: Option<Vec<String>> = values.iter().map(|text| network(text)).collect();
            networks.map(|networks| Allow::condition("from", list(networks)))
        }
        _ => None,
    };
    if allow.is_none() {
        import.not_mapped(node, "no condition says the same; it admits nobody");
    }
    allow
}

/// `name:value`, or `name~expression` for a domain of addresses.
fn claim(text: &str) -> Option<Allow> {
    let at = text.find([':', '~'])?;
    let (name, rest) = text.split_at_checked(at)?;
    if name.is_empty() {
        return None;
    }
    if let Some(value) = rest.strip_prefix(':') {
        return (!value.is_empty()).then(|| Allow::claim(name, [value]));
    }
    let expression = rest.strip_prefix('~')?;
    let domain = ["^.+@", "^.*@", "^[^@]+@", "@"]
        .iter()
        .find_map(|start| expression.strip_prefix(start))?
        .strip_suffix('$')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let labels: Vec<&str> = domain.split("\\.").collect();
    let is_domain = name == "email"
        && labels
            .iter()
            .all(|label| !label.is_empty() && label.chars().all(is_plain));
    is_domain.then(|| Allow::condition("email_domains", list([labels.join(".")])))
}

/// A network: an address, or one with a prefix length.
fn network(text: &str) -> Option<String> {
    let is_network =
        text.parse::<ipnet::IpNet>().is_ok() || text.parse::<std::net::IpAddr>().is_ok();
    is_network.then(|| text.to_owned())
}
