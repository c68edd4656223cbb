//! Access rules: match paths and methods and state the requirement. The first matching rule wins. A
//! request that matches none requires authentication.

use http::Method;

use super::condition::Condition;
use super::cors::CorsPolicy;
use super::path_pattern::{PathPattern, comparable, segments_of};
use super::pattern_index::{PatternIndex, PatternPosition};
use crate::identity::authentication::AuthenticationRequirement;
use crate::types::target::{PathAmbiguities, Target};

/// The callers who may access a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone, authenticated or not.
    Public,
    /// Every authenticated caller.
    Authenticated,
    /// An authenticated caller that fulfils the condition.
    If(Condition),
    /// No one.
    Denied,
}

/// The credentials that a route accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthMethods {
    /// Session cookies.
    pub session: bool,
    /// Access tokens.
    pub bearer: bool,
    /// A user name and a password.
    pub basic: bool,
}

impl AuthMethods {
    /// Session cookies only.
    pub const SESSION: Self = Self {
        session: true,
        ..Self::NONE
    };
    /// Session cookies and access tokens. If a request has both, the session wins.
    pub const BOTH: Self = Self {
        bearer: true,
        ..Self::SESSION
    };
    /// None.
    pub const NONE: Self = Self {
        session: false,
        bearer: false,
        basic: false,
    };

    fn and(self, other: Self) -> Self {
        Self {
            session: self.session && other.session,
            bearer: self.bearer && other.bearer,
            basic: self.basic && other.basic,
        }
    }
}

/// The requirements of a route on its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRequirement {
    /// The callers who may access it.
    pub access: Access,
    /// The credentials that it accepts.
    pub auth_methods: AuthMethods,
    /// Its requirements on the user's authentication. Public routes have no user.
    pub authentication: AuthenticationRequirement,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name in explanations and in the log.
    pub name: Option<String>,
    /// Matches any of these paths.
    pub paths: Vec<PathPattern>,
    /// Matches any of these methods, or every method if empty. `GET` includes `HEAD`.
    pub methods: Vec<Method>,
    /// Its requirements.
    pub allow: AccessRequirement,
    /// The web origins whose scripts may read Doorward's own responses, in place of the app's.
    pub cors: Option<CorsPolicy>,
}

/// The rule that applies to a request.
#[derive(Clone, Copy, Debug)]
pub enum AppliedRule<'r> {
    /// The first rule that matches.
    Matched {
        /// Its position, from 1.
        number: usize,
        /// The rule.
        rule: &'r Rule,
        /// Its pattern that matches.
        pattern: &'r PathPattern,
    },
    /// No rule matches.
    Default,
    /// The path is ambiguous: the combination of all rules.
    Combined,
}

/// The name of [`AppliedRule::Default`] in logs.
pub const DEFAULT_RULE: &str = "default";
/// The name of [`AppliedRule::Combined`] in logs.
pub const COMBINED_RULES: &str = "combined";

/// The compiled rules of one app.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    index: PatternIndex,
    case_insensitive: bool,
    /// The requirement of a request that no rule matches.
    default: AccessRequirement,
    strictest: AccessRequirement,
    /// Whether a rule has web origins of its own.
    has_cors: bool,
}

impl Rules {
    /// Compiles `rules`. With `case_insensitive`, paths match in any case, for apps that ignore
    /// case. A request that no rule matches requires authentication by one of `auth_methods`.
    pub fn new(rules: Vec<Rule>, case_insensitive: bool, auth_methods: AuthMethods) -> Self {
        let default = AccessRequirement::new(Access::Authenticated, auth_methods);
        let strictest = rules.iter().fold(default.clone(), |strictest, rule| {
            strictest.and(&rule.allow)
        });
        let mut index = PatternIndex::new(case_insensitive);
        for (number, rule) in rules.iter().enumerate() {
            index.push_rule(number, &rule.paths);
        }
        Self {
            has_cors: rules.iter().any(|rule| rule.cors.is_some()),
            rules,
            index,
            case_insensitive,
            default,
            strictest,
        }
    }

    /// The ambiguities of `target` that matter. A path with one other reading is not ambiguous if
    /// both have the same requirement.
    pub fn ambiguities(&self, method: &Method, target: &Target) -> PathAmbiguities {
        let ambiguities = target.ambiguities();
        match target.other_reading() {
            Some(other)
                if self.required_by(self.matching(method, target.path()))
                    == self.required_by(self.matching(method, other)) =>
            {
                ambiguities.without_other_reading()
            }
            Some(_) | None => ambiguities,
        }
    }

    /// The requirement for `method` and `target`.
    pub fn requirement(&self, method: &Method, target: &Target) -> &AccessRequirement {
        self.required_by(self.applied(method, target))
    }

    /// The rule for `method` and `target`. A target with ambiguities gets the combination of all
    /// requirements, because the backend may read it as any path.
    pub fn applied(&self, method: &Method, target: &Target) -> AppliedRule<'_> {
        if self.ambiguities(method, target) == PathAmbiguities::NONE {
            self.matching(method, target.path())
        } else {
            AppliedRule::Combined
        }
    }

    /// The web origins of the rule for `method` and `target`. `None`: those of the app. The scripts of
    /// no other origin may read what is said about an ambiguous path.
    pub fn cors(&self, method: &Method, target: &Target) -> Option<&CorsPolicy> {
        if !self.has_cors {
            return None;
        }
        match self.applied(method, target) {
            AppliedRule::Matched { rule, .. } => rule.cors.as_ref(),
            AppliedRule::Default => None,
            AppliedRule::Combined => Some(CorsPolicy::NONE),
        }
    }

    /// Whether a rule accepts a user name and a password.
    pub fn accept_basic(&self) -> bool {
        self.rules.iter().any(|rule| rule.allow.auth_methods.basic)
    }

    /// The requirements of one of these rules.
    pub fn required_by<'r>(&'r self, rule: AppliedRule<'r>) -> &'r AccessRequirement {
        match rule {
            AppliedRule::Matched { rule, .. } => &rule.allow,
            AppliedRule::Default => &self.default,
            AppliedRule::Combined => &self.strictest,
        }
    }

    fn matching(&self, method: &Method, path: &str) -> AppliedRule<'_> {
        let path = comparable(path, self.case_insensitive);
        let segments: Vec<&str> = segments_of(&path).collect();
        let matching = self.index.first(&segments, |position| {
            let found = self.at(position);
            found.is_some_and(|(rule, pattern)| {
                rule.names(method) && pattern.matches_segments(&segments, self.case_insensitive)
            })
        });
        let applied = matching.and_then(|position| {
            let (rule, pattern) = self.at(position)?;
            Some(AppliedRule::Matched {
                number: position.rule + 1,
                rule,
                pattern,
            })
        });
        applied.unwrap_or(AppliedRule::Default)
    }

    fn at(&self, position: PatternPosition) -> Option<(&Rule, &PathPattern)> {
        let rule = self.rules.get(position.rule)?;
        Some((rule, rule.paths.get(position.pattern)?))
    }

    /// Whether a rule requires exactly this of the user's authentication.
    pub fn require_authentication(&self, authentication: &AuthenticationRequirement) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|rule| rule.allow.authentication == *authentication)
            || self.strictest.authentication == *authentication
    }

    /// Every claim that a rule uses, except scopes, which belong to a token and not to a user.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        let conditions = self
            .rules
            .iter()
            .filter_map(|rule| rule.allow.access.condition());
        conditions.flat_map(Condition::claims)
    }
}

impl Rule {
    /// Whether it matches requests of this method.
    pub fn names(&self, method: &Method) -> bool {
        let head_as_get = *method == Method::HEAD && self.methods.contains(&Method::GET);
        self.methods.is_empty() || self.methods.contains(method) || head_as_get
    }
}

impl AppliedRule<'_> {
    /// The name of the rule, or else its number.
    pub fn label(&self) -> String {
        match self {
            Self::Matched { number, rule, .. } => match &rule.name {
                Some(name) => name.clone(),
                None => number.to_string(),
            },
            Self::Default => DEFAULT_RULE.to_owned(),
            Self::Combined => COMBINED_RULES.to_owned(),
        }
    }
}

impl AccessRequirement {
    /// Access for those, by these credentials.
    pub fn new(access: Access, auth_methods: AuthMethods) -> Self {
        Self {
            access,
            auth_methods,
            authentication: AuthenticationRequirement::default(),
        }
    }

    /// The same with what it requires of the user's authentication.
    #[must_use]
    pub fn requiring(self, authentication: AuthenticationRequirement) -> Self {
        Self {
            authentication,
            ..self
        }
    }

    /// The combination of both. If no credential or no authentication is left, access is denied.
    fn and(self, other: &Self) -> Self {
        let auth_methods = self.auth_methods.and(other.auth_methods);
        let authentication = self.authentication.and(&other.authentication);
        let access = if auth_methods == AuthMethods::NONE || authentication.is_none() {
            Access::Denied
        } else {
            self.access.and(&other.access)
        };
        Self::new(access, auth_methods).requiring(authentication.unwrap_or_default())
    }
}

impl Access {
    /// The condition, if there is one.
    pub const fn condition(&self) -> Option<&Condition> {
        match self {
            Self::If(condition) => Some(condition),
            Self::Public | Self::Authenticated | Self::Denied => None,
        }
    }

    /// The scopes that a token needs.
    pub fn scopes(&self) -> Vec<&str> {
        self.condition().map(Condition::scopes).unwrap_or_default()
    }

    /// The combination of both.
    fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Denied, _) | (_, Self::Denied) => Self::Denied,
            (Self::If(Condition::All(mut ours)), Self::If(theirs)) => {
                ours.push(theirs.clone());
                Self::If(Condition::All(ours))
            }
            (Self::If(ours), Self::If(theirs)) => {
                Self::If(Condition::All(vec![ours, theirs.clone()]))
            }
            (Self::If(ours), Self::Public | Self::Authenticated) => Self::If(ours),
            (Self::Public | Self::Authenticated, Self::If(theirs)) => Self::If(theirs.clone()),
            (Self::Public, Self::Public) => Self::Public,
            (Self::Authenticated, Self::Public | Self::Authenticated)
            | (Self::Public, Self::Authenticated) => Self::Authenticated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(case_insensitive: bool) -> Rules {
        let rule = |path: &str, methods: Vec<Method>, allow| Rule {
            name: None,
            paths: vec![PathPattern::parse(path).unwrap()],
            methods,
            allow: AccessRequirement::new(allow, AuthMethods::SESSION),
            cors: None,
        };
        let admin = Condition::claim("roles", ["admin".to_owned()]);
        Rules::new(
            vec![
                rule("/assets/**", vec![], Access::Public),
                rule("/admin/**", vec![], Access::If(admin)),
                rule("/posts", vec![Method::GET], Access::Public),
            ],
            case_insensitive,
            AuthMethods::SESSION,
        )
    }

    #[test]
    fn first_match_wins_and_default_requires_authentication() {
        let rules = rules(false);
        let access = |method: Method, path: &str| {
            rules
                .requirement(&method, &Target::parse(path, None).unwrap())
                .access
                .clone()
        };
        assert_eq!(access(Method::GET, "/assets/a.css"), Access::Public);
        assert_eq!(access(Method::GET, "/posts"), Access::Public);
        assert_eq!(access(Method::HEAD, "/posts"), Access::Public);
        assert_eq!(access(Method::POST, "/posts"), Access::Authenticated);
        assert_eq!(
            access(Method::from_bytes(b"get").unwrap(), "/posts"),
            Access::Authenticated
        );
        assert_eq!(access(Method::GET, "/anything"), Access::Authenticated);
        assert!(matches!(access(Method::GET, "/%61dmin"), Access::If(_)));
        assert_eq!(access(Method::GET, "/ADMIN"), Access::Authenticated);
    }

    #[test]
    fn origins_of_a_rule_replace_those_of_the_app() {
        let listed = CorsPolicy {
            origins: vec!["https://spa.example".to_owned()],
            credentials: false,
        };
        let mut api = rules(false);
        assert_eq!(
            api.cors(&Method::GET, &Target::parse("/posts", None).unwrap()),
            None
        );
        api.rules.last_mut().unwrap().cors = Some(listed.clone());
        let api = Rules::new(api.rules, false, AuthMethods::SESSION);
        let cors =
            |method: Method, path: &str| api.cors(&method, &Target::parse(path, None).unwrap());
        assert_eq!(cors(Method::GET, "/posts"), Some(&listed));
        assert_eq!(cors(Method::POST, "/posts"), None);
        assert_eq!(cors(Method::GET, "/assets/x"), None);
        assert_eq!(cors(Method::GET, "//posts"), Some(CorsPolicy::NONE));
    }

    #[test]
    fn other_reading_matters_if_its_requirement_differs() {
        let rules = rules(false);
        let ambiguities = |path: &str| {
            let target = Target::parse(path, None).unwrap();
            let ambiguities = rules.ambiguities(&Method::GET, &target);
            let requirement = rules.requirement(&Method::GET, &target);
            let is_strictest = *requirement == rules.strictest;
            assert!(ambiguities.is_empty() || is_strictest, "{path}");
            ambiguities
        };
        for path in [
            "/wiki/D.C.",
            "/a /b",
            "/caf\u{65}\u{301}",
            "/assets/x.",
            "/admin/..x.",
        ] {
            let path = path.replace(' ', "%20");
            assert!(ambiguities(&path).is_empty(), "{path}");
        }
        for path in [
            "/admin.",
            "/admin%20/x",
            "/admin::$DATA",
            "/\u{ff41}dmin/x",
            "/posts.",
        ] {
            assert!(!ambiguities(path).is_empty(), "{path}");
        }
        assert!(!ambiguities("/wiki//D.C.").is_empty());
    }

    #[test]
    fn ambiguous_target_gets_the_strictest_requirement() {
        let rules = rules(true);
        for path in ["//assets/a.css", "/assets/x;y", "/assets%2Fa"] {
            let target = Target::parse(path, None).unwrap();
            assert!(
                matches!(
                    rules.requirement(&Method::GET, &target).access,
                    Access::If(_)
                ),
                "{path}"
            );
        }
        let target = Target::parse("/ADMIN/x", None).unwrap();
        assert!(matches!(
            rules.requirement(&Method::GET, &target).access,
            Access::If(_)
        ));
    }

    #[test]
    fn ambiguous_target_needs_a_credential_that_all_rules_accept() {
        let rule = |path: &str, auth_methods| Rule {
            name: None,
            paths: vec![PathPattern::parse(path).unwrap()],
            methods: vec![],
            allow: AccessRequirement::new(Access::Public, auth_methods),
            cors: None,
        };
        let bearer = AuthMethods {
            bearer: true,
            ..AuthMethods::NONE
        };
        let ambiguous = Target::parse("//a", None).unwrap();
        let strictest = |rules: Vec<Rule>, auth_methods| {
            Rules::new(rules, false, auth_methods)
                .requirement(&Method::GET, &ambiguous)
                .clone()
        };
        let one = strictest(vec![rule("/api/**", bearer)], AuthMethods::BOTH);
        assert_eq!(one, AccessRequirement::new(Access::Authenticated, bearer));
        let none = strictest(
            vec![
                rule("/api/**", bearer),
                rule("/pages/**", AuthMethods::SESSION),
            ],
            AuthMethods::BOTH,
        );
        assert_eq!(none.access, Access::Denied);
    }
}
