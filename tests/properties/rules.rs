//! Access rules: the index finds the rule that a look at one rule after the other finds.

use doorward::policy::path_pattern::PathPattern;
use doorward::policy::rules::{Access, AccessRequirement, AppliedRule, AuthMethods, Rule, Rules};
use doorward::types::target::{PathAmbiguities, Target};
use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const PATTERN_SEGMENTS: [&str; 13] = [
    "admin", "admin", "public", "ADMIN", "a", "*", "**", "**", "a*", "*n", "a@b", "\u{e9}", "%2Ea",
];
const PATH_SEGMENTS: [&str; 16] = [
    "admin", "admin", "public", "Admin", "a", "ab", "%61dmin", "a%40b", "a@b", "%C3%A9", "%c3%89",
    ".a", "admin.", "admin%20", "", "a;x",
];
const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::DELETE];

fn rule() -> impl Strategy<Value = Rule> {
    let pattern = vec(select(PATTERN_SEGMENTS.as_slice()), 0..4)
        .prop_filter_map("no pattern", |segments| {
            PathPattern::parse(&format!("/{}", segments.join("/"))).ok()
        });
    let access = select(vec![Access::Public, Access::Authenticated, Access::Denied]);
    let methods = vec(select(METHODS.as_slice()), 0..2);
    (vec(pattern, 1..4), methods, access).prop_map(|(paths, methods, access)| Rule {
        name: None,
        paths,
        methods,
        allow: AccessRequirement::new(access, AuthMethods::SESSION),
        cors: None,
    })
}

fn path() -> impl Strategy<Value = String> {
    let segments = vec(select(PATH_SEGMENTS.as_slice()), 0..5);
    let plain = segments.prop_map(|segments| format!("/{}", segments.join("/")));
    prop_oneof![4 => plain, 1 => crate::adversarial_inputs::paths()]
}

/// A rule and its pattern, by number. `None`: the combination of all rules.
#[derive(Debug, PartialEq)]
struct Found<'r> {
    rule: usize,
    pattern: &'r str,
}

/// The rules one after the other.
struct Definition<'r> {
    rules: &'r [Rule],
    case_insensitive: bool,
    method: &'r Method,
}

impl<'r> Definition<'r> {
    fn matching(&self, path: &str) -> Option<Found<'r>> {
        self.rules.iter().enumerate().find_map(|(index, rule)| {
            let mut paths = rule.paths.iter();
            let pattern = paths.find(|pattern| pattern.matches(path, self.case_insensitive))?;
            rule.names(self.method).then_some(Found {
                rule: index + 1,
                pattern: pattern.as_str(),
            })
        })
    }

    fn access(&self, found: Option<&Found<'_>>) -> &'r Access {
        found.map_or(&Access::Authenticated, |found| {
            &self.rules[found.rule - 1].allow.access
        })
    }

    fn is_ambiguous(&self, target: &Target) -> bool {
        let same = target.other_reading().is_some_and(|other| {
            let readings = [target.path(), other].map(|path| self.matching(path));
            let [here, there] = readings.map(|found| self.access(found.as_ref()));
            here == there
        });
        let ambiguities = target.ambiguities();
        let ambiguities = if same {
            ambiguities.without_other_reading()
        } else {
            ambiguities
        };
        ambiguities != PathAmbiguities::NONE
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn index_applies_the_rule_that_a_linear_search_finds(
        rules in vec(rule(), 0..12),
        case_insensitive in any::<bool>(),
        method in select(METHODS.as_slice()),
        paths in vec(path(), 1..20),
    ) {
        let compiled = Rules::new(rules.clone(), case_insensitive, AuthMethods::SESSION);
        let definition = Definition { rules: &rules, case_insensitive, method: &method };
        let strictest = Target::parse("/a//b", None).unwrap();
        let strictest = compiled.requirement(&method, &strictest);
        for path in &paths {
            let Ok(target) = Target::parse(path, None) else { continue };
            let requirement = compiled.requirement(&method, &target);
            match compiled.applied(&method, &target) {
                AppliedRule::Combined => {
                    prop_assert!(definition.is_ambiguous(&target), "{}", path);
                    prop_assert_eq!(requirement, strictest);
                }
                AppliedRule::Matched { number, pattern, .. } => {
                    prop_assert!(!definition.is_ambiguous(&target), "{}", path);
                    let found = Found { rule: number, pattern: pattern.as_str() };
                    prop_assert_eq!(definition.access(Some(&found)), &requirement.access);
                    prop_assert_eq!(Some(found), definition.matching(target.path()), "{}", path);
                }
                AppliedRule::Default => {
                    prop_assert!(!definition.is_ambiguous(&target), "{}", path);
                    prop_assert_eq!(None, definition.matching(target.path()), "{}", path);
                    prop_assert_eq!(&requirement.access, &Access::Authenticated);
                }
            }
        }
    }
}
