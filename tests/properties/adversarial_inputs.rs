//! Adversarial inputs: texts from fragments that parsers interpret differently.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const PATH_FRAGMENTS: [&str; 76] = [
    "/",
    "/",
    "/",
    "/",
    "admin",
    "admin",
    "admin",
    "public",
    "..",
    "..",
    ".",
    "%2e",
    "%2E%2e",
    ".%2e",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "//",
    "///",
    ";",
    ";x",
    ";x=/",
    "%3b",
    "%3Badmin",
    "%25",
    "%252e%252e",
    "%252f",
    "%255c",
    "%2525",
    "%c0%ae",
    "%c0%af",
    "%c1%a1",
    "%e0%80%ae",
    "%ff",
    "%00",
    "%0a",
    "%09",
    "%20",
    "%23",
    "#",
    "%3f",
    "?",
    "%61",
    "%41",
    "dmin",
    "ADMIN",
    "%2561",
    "%u002e",
    "%",
    "%2",
    "+",
    "~",
    "caf%c3%a9",
    "%C4%B1",
    "..%20",
    "%20..",
    ".%c2%a0",
    "%e3%80%80..",
    "%ef%bc%8e%ef%bc%8e",
    "\u{ff0e}.",
    "%e2%80%a4%e2%80%a4",
    "\u{2025}",
    "%ef%bc%8f",
    "\u{ff0f}",
    "%e2%88%95",
    "\u{2215}",
    "\u{ff3c}",
    "admin.",
    "admin%20",
    "...",
    "::$DATA",
    ":$i30:$INDEX_ALLOCATION",
    "%ef%bd%81dmin",
    "|",
    "{",
];

const REDIRECT_FRAGMENTS: [&str; 52] = [
    "/",
    "/",
    "/",
    "//",
    "\\",
    "\\\\",
    "evil.example",
    "@evil.example",
    ":",
    ":80",
    "https:",
    "javascript:",
    "data:",
    "http://",
    "%09",
    "%0a",
    "%0D",
    "%2f",
    "%5c",
    "%5C",
    "%00",
    "%20",
    "\t",
    "\n",
    "\r",
    " ",
    "\0",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}",
    "\u{ff0f}",
    "\u{3002}",
    "..",
    ".",
    "%2e",
    "%2E",
    ".doorward",
    "%2edoorward",
    ".doorwar%64",
    "/login",
    "/logout",
    "?",
    "#",
    "a",
    "cart",
    "return_to=",
    "[",
    "]",
    "|",
    "^",
    ";",
    "%",
];

/// A path that a rule protects or that resolves to one, with some characters encoded and with
/// inserted fragments.
fn disguised() -> impl Strategy<Value = String> {
    let base = select(
        &[
            "/admin",
            "/admin/x",
            "/public/../admin",
            "/public/./admin/x",
            "/public/x",
        ][..],
    );
    let insertions = vec((any::<Index>(), select(PATH_FRAGMENTS.as_slice())), 0..3);
    (base, vec(0..24_u8, 24), insertions).prop_map(|(base, spellings, insertions)| {
        let spell = |(character, spelling): (char, u8)| match (spelling, u32::from(character)) {
            (0, code) => format!("%{code:02x}"),
            (1, code) => format!("%25{code:02X}"),
            (2, code) => format!("%{:02x}%{:02X}", 0xc0 | code >> 6, 0x80 | code & 0x3f),
            (3, 0x69) => "%C4%B1".to_owned(),
            (3 | 4, _) => character.to_uppercase().to_string(),
            _ => character.to_string(),
        };
        let mut spelt: Vec<String> = base.chars().zip(spellings).map(spell).collect();
        for (at, fragment) in insertions {
            spelt.insert(at.index(spelt.len() + 1), fragment.to_owned());
        }
        spelt.concat()
    })
}

/// Request paths, most of which start with `/`.
pub(crate) fn paths() -> impl Strategy<Value = String> {
    let fragments =
        vec(select(PATH_FRAGMENTS.as_slice()), 0..10).prop_map(|fragments| fragments.concat());
    prop_oneof![
        8 => disguised(),
        8 => fragments.clone().prop_map(|path| format!("/{path}")),
        1 => fragments,
        1 => "[ -~]{0,30}".prop_map(|path| format!("/{path}")),
        1 => any::<String>(),
    ]
}

/// Return targets of an attacker.
pub(crate) fn redirects() -> impl Strategy<Value = String> {
    let fragments =
        vec(select(REDIRECT_FRAGMENTS.as_slice()), 0..10).prop_map(|fragments| fragments.concat());
    prop_oneof![
        4 => fragments.clone().prop_map(|rest| format!("/{rest}")),
        4 => fragments,
        1 => "/[!-~]{0,30}",
        1 => "[\u{0}-\u{ff}]{0,20}",
        1 => any::<String>(),
    ]
}
