//! `[session]`.

use std::time::Duration;

use super::super::files::Folder;
use super::super::keys::SealingKey;
use super::super::raw::{List, RawSession};
use super::super::report::{Location, quoted};
use super::super::values::HumanDuration;
use super::{elements, wait};
use crate::session::validity::Limits;

const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
const ABSOLUTE_TIMEOUT: Duration = Duration::from_secs(12 * 60 * 60);
const MAX_CACHED: u32 = 10_000;

/// The keys, never none, and the limits: apps are checked against those even if there is no key.
pub(super) fn check(
    raw: RawSession,
    at: &Location<'_>,
    folder: &Folder,
) -> (Option<Vec<SealingKey>>, Limits) {
    let defaults = Limits {
        idle: IDLE_TIMEOUT,
        absolute: ABSOLUTE_TIMEOUT,
    };
    let limits = limits(raw.idle_timeout, raw.absolute_timeout, at, defaults);
    let keys = keys(raw.key_files, at, folder);
    ((!keys.is_empty()).then_some(keys), limits)
}

/// The limits of a session; what is not given is taken from `defaults`.
pub(super) fn limits(
    idle: Option<HumanDuration>,
    absolute: Option<HumanDuration>,
    at: &Location<'_>,
    defaults: Limits,
) -> Limits {
    let limits = Limits {
        idle: idle.map_or(defaults.idle, |span| wait(span, &at.key("idle_timeout"))),
        absolute: absolute.map_or(defaults.absolute, |span| {
            wait(span, &at.key("absolute_timeout"))
        }),
    };
    if limits.idle > limits.absolute && (idle.is_some() || absolute.is_some()) {
        let key = if idle.is_some() {
            "idle_timeout"
        } else {
            "absolute_timeout"
        };
        at.key(key).error(
            format!(
                "the idle limit of {} s is longer than the absolute limit of {} s",
                limits.idle.as_secs(),
                limits.absolute.as_secs()
            ),
            "make `idle_timeout` at most `absolute_timeout`",
        );
    }
    limits
}

fn keys(files: Option<List<String>>, at: &Location<'_>, folder: &Folder) -> Vec<SealingKey> {
    const HINT: &str = "make one: `doorward keygen --out doorward.key`, and write `key_files = [\"doorward.key\"]`";
    match &files {
        None => at.refuse_missing("key_files", HINT),
        Some(files) if files.is_empty() => at.key("key_files").error("there is no key", HINT),
        Some(_) => {}
    }
    let mut keys: Vec<SealingKey> = Vec::new();
    for (at, name) in elements(files, &at.key("key_files")) {
        let Some(text) = folder.private_text(&at, &name) else {
            continue;
        };
        match SealingKey::parse(&text) {
            Ok(key) if keys.contains(&key) => {
                at.error(
                    format!("{} holds the same key as a file before it", quoted(&name)),
                    "name each key once",
                );
            }
            Ok(key) => keys.push(key),
            Err(error) => at.error(format!("{}: {error}", quoted(&name)), HINT),
        }
    }
    keys
}

/// How many sessions each worker keeps opened.
pub(super) fn session_cache_size(raw: Option<u32>, at: &Location<'_>) -> usize {
    most(raw, MAX_CACHED, &at.key("session_cache_size"))
}

/// A limit that must not be zero.
pub(super) fn most(given: Option<u32>, default: u32, at: &Location<'_>) -> usize {
    if given == Some(0) {
        at.error(
            "`0` would keep nothing, and without it nobody stays signed in",
            format!("the default is {default}"),
        );
    }
    usize::try_from(given.unwrap_or(default)).unwrap_or(usize::MAX)
}
