//! Path confusion: the rules match every path that a backend may read. Each of several hundred
//! simulated backends applies a sequence of steps that some real server takes to the forwarded
//! path, and the result is compared with the rules' decision.

use doorward::policy::condition::Condition;
use doorward::policy::path_pattern::PathPattern;
use doorward::policy::rules::{Access, AccessRequirement, AuthMethods, Rule, Rules};
use doorward::types::target::{PathAmbiguities, Target};
use http::Method;

/// The protected path. All others are public, so a path that is read differently would be public.
const PROTECTED: &[u8] = b"admin";

/// How a simulated backend reads a path.
#[derive(Clone, Copy, Debug)]
struct Reading {
    strips_parameters_first: bool,
    decodes: u8,
    takes_overlong_forms: bool,
    takes_lookalikes: bool,
    ignores_ends: bool,
    cuts_at_delimiters: bool,
    turns_backslashes: bool,
    strips_parameters_last: bool,
    collapses_slashes: bool,
    resolves_dots: bool,
}

/// Panics if `path` is allowed by a rule other than the one that the backend's path needs.
pub(crate) fn check(path: &str) {
    let Ok(target) = Target::parse(path, None) else {
        return;
    };
    let again = Target::parse(target.path(), None);
    assert_eq!(
        again.as_ref(),
        Ok(&target),
        "the canonical form must be a fixed point: {path:?}"
    );
    let rules = rules(false);
    let is_open = rules.requirement(&Method::GET, &target).access == Access::Public;
    let ambiguities = rules.ambiguities(&Method::GET, &target);
    assert!(
        !is_open || ambiguities == PathAmbiguities::NONE,
        "an ambiguity requires the strictest access: {path:?}"
    );
    check_in_any_case(&target);
    if !is_open {
        return;
    }
    for reading in readings() {
        let read = reading.read(target.path().as_bytes());
        let lossy = String::from_utf8_lossy(&read);
        assert!(
            !is_protected(&read),
            "{path:?}, sent as {:?}, is {lossy:?} to {reading:?}",
            target.path()
        );
    }
}

/// If the app ignores case, it may use any definition of case.
fn check_in_any_case(target: &Target) {
    let read = decoded(target.path().as_bytes());
    let read = String::from_utf8_lossy(&read);
    let is_open = rules(true).requirement(&Method::GET, target).access == Access::Public;
    for read in [read.to_lowercase(), read.to_uppercase()] {
        let read = read.to_ascii_lowercase();
        assert!(
            !is_open || !is_protected(read.as_bytes()),
            "{:?} is {read:?} in one case",
            target.path()
        );
    }
}

fn rules(case_insensitive: bool) -> Rules {
    let rule = |pattern: &str, allow| Rule {
        name: None,
        paths: PathPattern::parse(pattern).into_iter().collect(),
        methods: vec![],
        allow: AccessRequirement::new(allow, AuthMethods::SESSION),
        cors: None,
    };
    let admin = Condition::claim("roles", ["admin".to_owned()]);
    let rules = vec![
        rule("/admin/**", Access::If(admin)),
        rule("/**", Access::Public),
    ];
    assert!(rules.iter().all(|rule| !rule.paths.is_empty()));
    Rules::new(rules, case_insensitive, AuthMethods::SESSION)
}

fn readings() -> impl Iterator<Item = Reading> {
    (0..2048_u16).map(|bits| {
        let bit = |at: u16| bits >> at & 1 == 1;
        Reading {
            strips_parameters_first: bit(0),
            decodes: u8::from(bit(1)) + 2 * u8::from(bit(2)),
            takes_overlong_forms: bit(3),
            cuts_at_delimiters: bit(4),
            turns_backslashes: bit(5),
            strips_parameters_last: bit(6),
            collapses_slashes: bit(7),
            resolves_dots: bit(8),
            takes_lookalikes: bit(9),
            ignores_ends: bit(10),
        }
    })
}

impl Reading {
    fn read(self, path: &[u8]) -> Vec<u8> {
        let mut read = path.to_vec();
        if self.strips_parameters_first {
            read = without_parameters(&read);
        }
        for _ in 0..self.decodes {
            read = decoded(&read);
        }
        if self.takes_overlong_forms {
            read = with_overlong_forms(&read);
        }
        if self.takes_lookalikes {
            read = with_lookalikes(&read);
        }
        if self.cuts_at_delimiters {
            read = read
                .split(|byte| matches!(byte, b'?' | b'#' | 0))
                .next()
                .unwrap_or_default()
                .to_vec();
        }
        if self.turns_backslashes {
            read.iter_mut()
                .filter(|byte| **byte == b'\\')
                .for_each(|byte| *byte = b'/');
        }
        if self.strips_parameters_last {
            read = without_parameters(&read);
        }
        if self.ignores_ends {
            read = without_ends(&read);
        }
        if self.collapses_slashes {
            read.dedup_by(|a, b| *a == b'/' && *b == b'/');
        }
        if self.resolves_dots {
            read = resolved(&read);
        }
        read
    }
}

fn is_protected(read: &[u8]) -> bool {
    let mut segments = read.split(|byte| *byte == b'/');
    segments.next().is_some_and(<[u8]>::is_empty) && segments.next() == Some(PROTECTED)
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let bare = |segment: &[u8]| {
        segment
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .to_vec()
    };
    path.split(|byte| *byte == b'/')
        .map(bare)
        .collect::<Vec<_>>()
        .join(&b'/')
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%'
            && let [high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push(u8::try_from(high << 4 | low).unwrap_or_default());
            rest = after;
        } else {
            out.push(byte);
        }
    }
    out
}

/// Encodes ASCII as two bytes of UTF-8, which old decoders accept.
fn with_overlong_forms(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if matches!(byte, 0xc0 | 0xc1)
            && let [second @ 0x80..=0xbf, after @ ..] = rest
        {
            out.push((byte & 1) << 6 | (second & 0x3f));
            rest = after;
        } else {
            out.push(byte);
        }
    }
    out
}

/// Reads other dots and slashes as those of ASCII, as NFKC and best-fit mappings do, and ignores
/// blanks around dot segments.
fn with_lookalikes(path: &[u8]) -> Vec<u8> {
    let ascii = |letter| match letter {
        '\u{2024}' | '\u{fe52}' | '\u{ff0e}' => ".".to_owned(),
        '\u{2025}' | '\u{fe30}' => "..".to_owned(),
        '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{ff0f}' => "/".to_owned(),
        '\u{2216}' | '\u{fe68}' | '\u{ff3c}' => "\\".to_owned(),
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(letter as u32 - 0xfee0)
            .map(String::from)
            .unwrap_or_default(),
        other => String::from(other),
    };
    let text: String = String::from_utf8_lossy(path).chars().map(ascii).collect();
    let segments = text.split('/').map(|segment| match segment.trim() {
        dots @ ("." | "..") => dots,
        _ => segment,
    });
    segments.collect::<Vec<_>>().join("/").into_bytes()
}

/// Ignores streams, and dots and blanks at the ends of segments, as Windows does.
fn without_ends(path: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(path);
    let segments = text.split('/').map(|segment| {
        let file = match segment.split_once(':') {
            Some((file, stream)) if stream.contains('$') => file,
            _ => segment,
        };
        match file {
            "." | ".." => file,
            _ => file.trim_end_matches(['.', ' ', '\u{a0}']),
        }
    });
    segments.collect::<Vec<_>>().join("/").into_bytes()
}

fn resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        match segment {
            b"." => {}
            b".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    [b"/".as_slice(), &kept.join(&b'/')].concat()
}
