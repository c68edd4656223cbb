//! `[apps.NAME.basic]`: Basic authentication.

use std::time::Duration;

use super::super::raw::RawBasic;
use super::super::report::{Location, quoted};
use super::native::PasswordLogins;
use super::nonzero;
use super::server::{bounded, size};
use crate::policy::basic::Basic;
use crate::policy::rules::Rules;

const CACHE_LIFETIME: Duration = Duration::from_secs(5 * 60);
const MAX_CACHE_LIFETIME: Duration = Duration::from_secs(15 * 60);
const CACHE_SIZE: u32 = 5_000;
const MAX_CACHE_SIZE: u32 = 1_000_000;

/// `None` unless a rule accepts passwords.
pub(super) fn check(
    raw: Option<RawBasic>,
    rules: &Rules,
    passwords: &PasswordLogins<'_>,
    at: &Location<'_>,
) -> Option<Basic> {
    let is_used = rules.accept_basic();
    if raw.is_some() && !is_used {
        at.advice(
            "no rule of this app accepts passwords",
            "add `auth_methods = [\"basic\"]` to a rule, or remove the table",
        );
    }
    let RawBasic {
        realm,
        cache_lifetime,
        cache_size,
    } = raw.unwrap_or_default();
    let realm = realm.inspect(|realm| check_realm(realm, &at.key("realm")));
    let cache_lifetime = cache_lifetime.map_or(CACHE_LIFETIME, |lifetime| {
        let at = at.key("cache_lifetime");
        let lifetime = nonzero(lifetime, &at);
        if lifetime > MAX_CACHE_LIFETIME {
            at.error(
                format!("{} s is too long", lifetime.as_secs()),
                "at most `\"15m\"`: a changed password is still accepted for this long",
            );
        }
        lifetime
    });
    let cache_size = bounded(
        cache_size,
        &at.key("cache_size"),
        "passwords",
        CACHE_SIZE,
        1..=MAX_CACHE_SIZE,
    );
    is_used.then(|| Basic {
        provider: passwords.provider,
        realm,
        cache_lifetime,
        cache_size: size(cache_size),
        throttle: passwords.throttle,
    })
}

/// A quoted string without escapes (RFC 9110 section 5.6.4).
fn check_realm(realm: &str, at: &Location<'_>) {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if realm.is_empty() || realm.len() > 100 || !realm.bytes().all(is_plain) {
        at.error(
            format!("{} is not a realm", quoted(realm)),
            "at most 100 ASCII characters without quotes and backslashes, such as `\"Calendar\"`",
        );
    }
}
