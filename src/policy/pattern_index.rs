//! Index of the path patterns of rules: which of them can match a path, however many there are.
//! PURE.

use std::collections::HashMap;

use super::path_pattern::PathPattern;

/// The patterns of rules, as a trie of the literal segments that they begin with.
#[derive(Clone, Debug, Default)]
pub struct PatternIndex {
    root: Node,
    case_insensitive: bool,
}

/// The place of a pattern, in the order in which rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatternPosition {
    /// The index of the rule.
    pub rule: usize,
    /// The index of the pattern in its rule.
    pub pattern: usize,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Self>,
    /// The patterns whose literal segments end here, in order.
    patterns: Vec<PatternPosition>,
}

impl PatternIndex {
    /// An empty index. With `case_insensitive`, paths match in any case.
    pub fn new(case_insensitive: bool) -> Self {
        Self {
            root: Node::default(),
            case_insensitive,
        }
    }

    /// Adds the patterns of a rule. Rules are added in order.
    pub fn push_rule(&mut self, rule: usize, patterns: &[PathPattern]) {
        for (index, pattern) in patterns.iter().enumerate() {
            let mut node = &mut self.root;
            for segment in pattern.literal_segments(self.case_insensitive) {
                node = node.children.entry(segment.into()).or_default();
            }
            node.patterns.push(PatternPosition {
                rule,
                pattern: index,
            });
        }
    }

    /// The first pattern that can match a path with these segments and that `matches` accepts.
    pub(super) fn first(
        &self,
        path: &[&str],
        matches: impl Fn(PatternPosition) -> bool,
    ) -> Option<PatternPosition> {
        let mut first: Option<PatternPosition> = None;
        for patterns in self.patterns_along(path.iter().copied()) {
            let earlier = patterns.iter().copied();
            let mut earlier =
                earlier.take_while(|position| first.is_none_or(|first| *position < first));
            first = earlier.find(|position| matches(*position)).or(first);
        }
        first
    }

    /// The patterns that can cover `pattern`, in order: see [`PathPattern::covers`].
    pub fn covering(&self, pattern: &PathPattern) -> Vec<PatternPosition> {
        let segments = pattern.literal_segments(self.case_insensitive);
        let mut positions: Vec<_> = self.patterns_along(segments).flatten().copied().collect();
        positions.sort_unstable();
        positions
    }

    /// The patterns of each node on the way along `segments`.
    fn patterns_along<'i>(
        &'i self,
        mut segments: impl Iterator<Item = &'i str>,
    ) -> impl Iterator<Item = &'i [PatternPosition]> {
        let nodes = std::iter::successors(Some(&self.root), move |node| {
            node.children.get(segments.next()?)
        });
        nodes.map(|node| node.patterns.as_slice())
    }
}
