//! `Location` and the other sections as access rules. Apache uses the last section that matches,
//! Doorward the first rule: the order is reversed.

use super::super::rules::{Allow, Rule};
use super::super::settings::is_true;
use super::super::{Import, path_regex};
use super::apache::Node;
use super::require::{RemoteUser, allow, is_requirement};
use crate::policy::path_pattern::PathPattern;

/// A virtual host, or the main server.
#[derive(Debug, Default)]
pub(super) struct Sections {
    /// In the order of the file.
    pub(super) nodes: Vec<Node>,
}

/// How users authenticate in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuthType {
    Session,
    Bearer,
    Both,
    Other,
}

impl AuthType {
    fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "openid-connect" => Self::Session,
            "oauth20" => Self::Bearer,
            "auth-openidc" => Self::Both,
            _ => Self::Other,
        }
    }
}

/// Whether any of these nodes uses the module.
pub(super) fn uses_module(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| {
        let is_auth = node.is("AuthType") && AuthType::parse(node.argument()) != AuthType::Other;
        let is_directive = node
            .name
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("OIDC"));
        is_auth || is_directive || uses_module(node.content())
    })
}

impl Sections {
    /// Whether access tokens are accepted.
    pub(super) fn accept_tokens(&self) -> bool {
        let types = self.nodes.iter().flat_map(Node::content);
        let mut types = types.filter(|node| node.is("AuthType"));
        types.any(|node| {
            matches!(
                AuthType::parse(node.argument()),
                AuthType::Bearer | AuthType::Both
            )
        })
    }

    /// Maps the sections to rules of the app.
    pub(super) fn map(&self, import: &mut Import, app: &str, user: &RemoteUser) {
        let mut covers_all = false;
        let mut is_narrowed = false;
        for node in self.nodes.iter().rev() {
            if node.is("Location") || node.is("LocationMatch") {
                covers_all |= location(import, app, user, node);
            } else {
                let who = requirements(import, user, node);
                covers_all |= who.is_some();
                is_narrowed |= matches!(who, Some(Allow::If(_)));
                let message = "Doorward does not know files and conditions of Apache. What no rule names needs a login";
                import.not_mapped(node, message);
            }
        }
        let everything = vec!["/**".to_owned()];
        if is_narrowed {
            let message = "nobody is admitted to the other paths until you say who is: a section with a condition is not mapped";
            import.rule_to_decide(app, Rule::new(everything, Allow::Denied), None, message);
        } else if !covers_all {
            let message = "Apache asks for no login outside of the sections; Doorward does. \
                           `allow = \"public\"` opens all other paths";
            import.rule_to_decide(
                app,
                Rule::new(everything, Allow::Authenticated),
                None,
                message,
            );
        }
    }
}

/// The callers that the section admits, if it has requirements. Its other directives are reported.
fn requirements(import: &mut Import, user: &RemoteUser, node: &Node) -> Option<Allow> {
    let (requirements, others): (Vec<&Node>, Vec<&Node>) =
        node.content().iter().partition(|node| is_requirement(node));
    for other in others {
        let is_known = ["AuthType", "AuthName", "Limit"]
            .iter()
            .any(|name| other.is(name))
            || (other.is("AuthMerging") && !is_true(other.argument()));
        if !is_known {
            import.not_mapped(
                other,
                "not mapped within a section; the section's requirements are",
            );
        }
    }
    if requirements.is_empty() {
        return None;
    }
    Some(allow(&requirements, user, import))
}

/// Maps a section by path; returns whether it is about all paths.
fn location(import: &mut Import, app: &str, user: &RemoteUser, node: &Node) -> bool {
    let patterns = patterns(node);
    let auth_type = node.content().iter().rfind(|node| node.is("AuthType"));
    let auth_type = auth_type.map_or(AuthType::Session, |node| AuthType::parse(node.argument()));
    let mut parts = Vec::new();
    for limit in node.content().iter().filter(|node| node.is("Limit")) {
        let methods = limit.arguments.iter();
        let methods: Vec<String> = methods.map(|method| method.to_ascii_uppercase()).collect();
        let who = requirements(import, user, limit);
        parts.extend(who.map(|who| Part::new(limit, methods, who)));
    }
    let who = requirements(import, user, node);
    // Something that may narrow the section has no equivalent.
    let is_unknown =
        |node: &Node| node.children.is_some() && !is_requirement(node) && !node.is("Limit");
    let who = if node.content().iter().any(is_unknown) {
        Some(Allow::Denied)
    } else {
        who
    };
    parts.extend(who.map(|who| Part::new(node, Vec::new(), who)));
    let mut covers_all = false;
    for part in parts {
        let is_open = part.who == Allow::Public;
        let mut rule = Rule::new(vec!["/**".to_owned()], Allow::Denied);
        let paths = match &patterns {
            Ok(paths) => paths.clone(),
            Err(reason) => {
                import.not_mapped(node, reason.as_str());
                // Paths that are open there stay closed.
                if !is_open {
                    covers_all = true;
                    let message =
                        "nobody is admitted until you say which paths this section is about";
                    import.rule_to_decide(app, rule, Some(&node.at), message);
                }
                continue;
            }
        };
        covers_all |= part.methods.is_empty() && paths.iter().any(|path| path == "/**");
        rule.paths = paths;
        rule.methods = part.methods;
        if auth_type == AuthType::Other && !is_open && part.who != Allow::Denied {
            let message =
                "this section has another kind of login; nobody is admitted until you say who is";
            import.rule_to_decide(app, rule, Some(&node.at), message);
        } else if part.who == Allow::Denied && !part.is_denied_there {
            let message = "nobody is admitted until you say who is: a requirement is not mapped";
            import.rule_to_decide(app, rule, Some(&node.at), message);
        } else {
            if auth_type == AuthType::Bearer && !is_open {
                rule.auth_methods = vec!["bearer".to_owned()];
            }
            rule.allow = part.who;
            import.rule(app, rule);
        }
    }
    covers_all
}

/// The requirements of a section, or of some methods in it.
struct Part {
    methods: Vec<String>,
    who: Allow,
    /// Whether the section itself denies all access.
    is_denied_there: bool,
}

impl Part {
    fn new(node: &Node, methods: Vec<String>, who: Allow) -> Self {
        let denies = |word: &String| word.eq_ignore_ascii_case("denied");
        let mut requirements = node.content().iter().filter(|node| node.is("Require"));
        Self {
            methods,
            who,
            is_denied_there: requirements.any(|node| node.arguments.iter().any(denies)),
        }
    }
}

/// The paths of a section.
fn patterns(node: &Node) -> Result<Vec<String>, String> {
    let untranslatable =
        |error: &dyn std::fmt::Display| format!("the paths have no equivalent: {error}");
    let expression = match node.arguments.as_slice() {
        [tilde, expression] if tilde == "~" => Some(expression),
        [expression] if node.is("LocationMatch") => Some(expression),
        _ => None,
    };
    if let Some(expression) = expression {
        return path_regex::patterns(expression).map_err(|error| untranslatable(&error));
    }
    let path = node.argument();
    if path.contains(['*', '?', '[']) {
        return Err(untranslatable(&"patterns of Apache are other patterns"));
    }
    let pattern = format!("{}/**", path.trim_end_matches('/'));
    match PathPattern::parse(&pattern) {
        Ok(_) => Ok(vec![pattern]),
        Err(error) => Err(untranslatable(&error)),
    }
}
