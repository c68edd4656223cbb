//! `[assertion]` and `[apps.NAME.assertion]`: keys and content of signed assertions.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::super::files::Folder;
use super::super::raw::{RawAssertion, RawAssertionKeys};
use super::super::report::{Location, quoted};
use super::super::settings::AppConfig;
use super::{elements, nonzero};
use crate::auth::assertion::AssertionKey;
use crate::policy::assertion::{AssertionPolicy, OWN_CLAIMS};

const LIFETIME: Duration = Duration::from_secs(60);
const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(600);
const MAX_AUDIENCE: usize = 256;

/// The keys of `[assertion]`: the first signs.
pub(super) fn keys(
    raw: RawAssertionKeys,
    at: &Location<'_>,
    folder: &Folder,
) -> Vec<Arc<AssertionKey>> {
    const HINT: &str = "run `doorward keygen --assertion es256 --out assertion.key`";
    let mut keys: Vec<Arc<AssertionKey>> = Vec::new();
    for (at, name) in elements(raw.key_files, &at.key("key_files")) {
        let Some(text) = folder.private_text(&at, &name) else {
            continue;
        };
        match AssertionKey::parse(&text) {
            Ok(key)
                if keys
                    .iter()
                    .any(|known| known.public_jwk() == key.public_jwk()) =>
            {
                at.error(
                    format!("{} holds the same key as a previous file", quoted(&name)),
                    "list each key once",
                );
            }
            Ok(key) => keys.push(Arc::new(key)),
            Err(error) => at.error(format!("{}: {error}", quoted(&name)), HINT),
        }
    }
    keys
}

/// `[apps.NAME.assertion]`. The audience is the name of the app by default.
pub(super) fn check(raw: RawAssertion, app: &str, at: &Location<'_>) -> AssertionPolicy {
    let RawAssertion {
        audience,
        claims,
        lifetime,
        bind_request,
    } = raw;
    let audience = audience.unwrap_or_else(|| app.to_owned());
    if audience.is_empty() || audience.len() > MAX_AUDIENCE {
        at.key("audience").error(
            format!("{} is not an audience", quoted(&audience)),
            "the name by which the app knows itself, of at most 256 bytes",
        );
    }
    let claims_at = at.key("claims");
    let claims = elements(claims, &claims_at).map(|(at, name)| {
        if OWN_CLAIMS.contains(&name.as_str()) {
            at.error(
                format!("Doorward sets the claim {} itself", quoted(&name)),
                "list other claims of the user only, such as `email`",
            );
        }
        name
    });
    let lifetime = lifetime.map_or(LIFETIME, |lifetime| {
        let at = at.key("lifetime");
        let lifetime = nonzero(lifetime, &at);
        if !LIFETIMES.contains(&lifetime) {
            at.error(
                format!("{} s is no short time", lifetime.as_secs()),
                "from `\"10s\"` to `\"10m\"`: a stolen assertion can be used for this long",
            );
        }
        lifetime
    });
    AssertionPolicy {
        audience,
        claims: claims.collect(),
        lifetime,
        binds_request: bind_request.unwrap_or(false),
    }
}

/// Reports apps without a key for their assertions, and keys without an app.
pub(super) fn check_keys(keys: &[Arc<AssertionKey>], apps: &[AppConfig], root: &Location<'_>) {
    let with_assertions = apps.iter().filter(|app| app.policy.assertion.is_some());
    let mut count = 0;
    for app in with_assertions {
        count += 1;
        if keys.is_empty() {
            let at = root.key("apps").key(app.policy.name.as_str());
            at.key("assertion").error(
                "there is no key to sign assertions with",
                "run `doorward keygen --assertion es256 --out assertion.key`, and set `key_files = [\"assertion.key\"]` in `[assertion]`",
            );
        }
    }
    if count == 0 && !keys.is_empty() {
        root.key("assertion").advice(
            "no app gets assertions",
            "add `[apps.NAME.assertion]` to an app, or remove the table",
        );
    }
}
