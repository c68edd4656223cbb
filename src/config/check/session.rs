//! `[session]`: sealing keys, timeouts and cache.

use std::time::Duration;

use super::super::files::Folder;
use super::super::keys::SealingKey;
use super::super::raw::{List, RawSession};
use super::super::report::{Location, quoted};
use super::super::values::HumanDuration;
use super::{elements, nonzero};
use crate::session::validity::Limits;
use crate::types::public_url::BasePath;

pub(super) const COOKIE_NAME: &str = "doorward";
const MAX_COOKIE_NAME: usize = 32;

const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
const ABSOLUTE_TIMEOUT: Duration = Duration::from_secs(12 * 60 * 60);
const CACHE_SIZE: u32 = 10_000;

/// The keys, and the limits, which are needed to check the apps even if there is no valid key.
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

/// The timeouts of a session, with `defaults` for those that are not set.
pub(super) fn limits(
    idle: Option<HumanDuration>,
    absolute: Option<HumanDuration>,
    at: &Location<'_>,
    defaults: Limits,
) -> Limits {
    let limits = Limits {
        idle: idle.map_or(defaults.idle, |duration| {
            nonzero(duration, &at.key("idle_timeout"))
        }),
        absolute: absolute.map_or(defaults.absolute, |duration| {
            nonzero(duration, &at.key("absolute_timeout"))
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
                "the idle timeout of {} s is longer than the absolute timeout of {} s",
                limits.idle.as_secs(),
                limits.absolute.as_secs()
            ),
            "set `idle_timeout` to at most `absolute_timeout`",
        );
    }
    limits
}

fn keys(files: Option<List<String>>, at: &Location<'_>, folder: &Folder) -> Vec<SealingKey> {
    const HINT: &str =
        "run `doorward keygen --out doorward.key`, and set `key_files = [\"doorward.key\"]`";
    match &files {
        None => at.missing("key_files", HINT),
        Some(files) if files.is_empty() => at.key("key_files").error("no key file is listed", HINT),
        Some(_) => {}
    }
    let mut keys: Vec<SealingKey> = Vec::new();
    for (at, name) in elements(files, &at.key("key_files")) {
        let Some(text) = folder.key_text(&at, &name) else {
            continue;
        };
        match SealingKey::parse(&text) {
            Ok(key) if keys.contains(&key) => {
                at.error(
                    format!("{} holds the same key as a previous file", quoted(&name)),
                    "list each key once",
                );
            }
            Ok(key) => keys.push(key),
            Err(error) => at.error(format!("{}: {error}", quoted(&name)), HINT),
        }
    }
    keys
}

/// The size of each worker's session cache.
pub(super) fn cache_size(raw: Option<u32>, at: &Location<'_>) -> usize {
    nonzero_limit(raw, CACHE_SIZE, &at.key("session_cache_size"))
}

/// A limit that must not be zero.
pub(super) fn nonzero_limit(raw: Option<u32>, default: u32, at: &Location<'_>) -> usize {
    if raw == Some(0) {
        at.error(
            "the limit must not be zero",
            format!("the default is {default}"),
        );
    }
    usize::try_from(raw.unwrap_or(default)).unwrap_or(usize::MAX)
}

/// The default of `cookie_name`. Apps below paths of one host differ.
pub(super) fn default_cookie_name(app: &str, base: &BasePath) -> String {
    if base.is_root() {
        COOKIE_NAME.to_owned()
    } else {
        format!("{COOKIE_NAME}-{app}")
    }
}

/// The prefix of the names of an app's cookies.
pub(super) fn cookie_name(
    raw: Option<String>,
    default: impl FnOnce() -> String,
    at: &Location<'_>,
) -> String {
    let Some(name) = raw else {
        return default();
    };
    // No `_`: it separates this name from the suffix, so names with it could collide.
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > MAX_COOKIE_NAME || !name.bytes().all(is_valid) {
        let hint = "at most 32 lower-case letters, digits and `-`";
        at.error(format!("invalid cookie name {}", quoted(&name)), hint);
    }
    name
}
