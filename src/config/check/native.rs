//! `[apps.NAME.native]`: what native apps may do.

use std::time::Duration;

use super::super::raw::RawNative;
use super::super::report::Location;
use super::{wait, web_origins};
use crate::oidc::{ClientSettings, SessionTokenSource};
use crate::policy::native::{Native, Throttle, Tokens};
use crate::policy::throttle::{BackoffLimit, RateLimit};
use crate::types::oauth::ClientId;

const ACCOUNT_FAILURES: u32 = 5;
const ADDRESS_FAILURES: u32 = 50;
const MAX_WAIT: Duration = Duration::from_secs(15 * 60);
const LOGINS_PER_MINUTE: u32 = 600;
/// More than this the buckets do not tell apart.
const MOST: u32 = 60_000;

/// What is configured, if it is turned on. `bearer`: whether the provider's own access tokens count here.
pub(super) fn check(
    raw: RawNative,
    at: &Location<'_>,
    client: Option<&ClientSettings>,
    bearer: bool,
) -> Option<Native> {
    let max_backoff = raw
        .max_backoff
        .map_or(MAX_WAIT, |span| wait(span, &at.key("max_backoff")));
    let number = |key: &str, given: Option<u32>, default| {
        if given.is_some_and(|given| given == 0 || given > MOST) {
            at.key(key).error(
                format!("`{}` is out of range", given.unwrap_or_default()),
                format!("1 to {MOST}"),
            );
        }
        given.unwrap_or(default)
    };
    let failures = |key, given, default| BackoffLimit {
        free: number(key, given, default),
        max_backoff,
    };
    let throttle = Throttle {
        account: failures(
            "failures_per_account",
            raw.failures_per_account,
            ACCOUNT_FAILURES,
        ),
        address: failures(
            "failures_per_address",
            raw.failures_per_address,
            ADDRESS_FAILURES,
        ),
        all: RateLimit {
            per_minute: number(
                "logins_per_minute",
                raw.logins_per_minute,
                LOGINS_PER_MINUTE,
            ),
        },
    };
    let cors_origins = web_origins(raw.cors_origins, &at.key("cors_origins"));
    let inline_refresh = raw.inline_refresh.unwrap_or(false);
    let plain = raw.dangerously_plain_tokens.unwrap_or(false);
    if plain && client.is_some_and(|client| client.session_jwt == SessionTokenSource::Id) {
        at.key("dangerously_plain_tokens").error(
            "apps would present the provider's access token, which is not the JWT of this app's sessions",
            "with `session_jwt = \"access\"` it is; or leave tokens sealed",
        );
    }
    if plain && !bearer {
        at.key("dangerously_plain_tokens").error(
            "nothing here takes the provider's access tokens",
            "with a table `bearer` in this app they count; or leave tokens sealed",
        );
    }
    if plain && inline_refresh {
        at.key("inline_refresh").error(
            "of the provider's own refresh tokens nobody here knows whose they are, or whether they were used before",
            "leave tokens sealed, or let apps refresh at the token endpoint",
        );
    }
    let client_id = raw
        .client_id
        .map(ClientId::new)
        .or(client.map(|client| client.client_id.clone()));
    if raw.password_grant != Some(true) {
        return None;
    }
    at.key("password_grant").advise(
        "apps see the password of whoever logs in",
        "where they can, let them open the system's browser instead (authorization code with PKCE, RFC 8252)",
    );
    let tokens = if plain { Tokens::Plain } else { Tokens::Sealed };
    Some(Native {
        client_id: client_id?,
        tokens,
        inline_refresh,
        cors_origins,
        throttle,
    })
}
