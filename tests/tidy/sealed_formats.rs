//! Purposes of seals never change: each is in the associated data, so that another name would make
//! the cookies, tokens and store entries of a running deployment unreadable.

use super::source::{code, repository};

/// The purposes of all versions. Add a new one; never rename or remove one.
const PURPOSES: [&str; 32] = [
    "announcement of an ending",
    "device challenge",
    "device network",
    "device proof",
    "device registration",
    "dpop nonce",
    "handover code",
    "id token hint",
    "kept form",
    "last activity",
    "last person",
    "listed sessions",
    "login attempt",
    "login host state",
    "login request",
    "maintenance command",
    "native access token",
    "native device token",
    "native refresh token",
    "posted authorization response",
    "refresh token",
    "reload command",
    "return target",
    "revocation order",
    "rotation state",
    "session jwt",
    "session query",
    "signed-in apps",
    "state",
    "stored grant",
    "throttle state",
    "upstream address",
];

const DECLARATION: &str = "const NAME: &'static str = ";

#[test]
fn purposes_of_seals_never_change() {
    let mut found: Vec<String> = repository()
        .iter()
        .filter(|file| file.path.starts_with("src/"))
        .flat_map(|file| declared(&file.text))
        .collect();
    found.sort();
    assert_eq!(found, PURPOSES);
}

/// The purposes that `text` declares outside its test modules.
fn declared(text: &str) -> Vec<String> {
    let bare = code(text);
    text.lines()
        .zip(bare.lines())
        .filter(|(_, bare)| bare.contains(DECLARATION))
        .filter_map(|(line, _)| line.split_once(DECLARATION))
        .map(|(_, value)| value.trim_matches(['"', ';']).to_owned())
        .collect()
}
