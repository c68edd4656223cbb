//! `[apps.NAME.native]`: password login of native apps.

use std::time::Duration;

use super::super::raw::RawNative;
use super::super::report::Location;
use super::{client_key, nonzero, web_origins};
use crate::oidc::{ClientSettings, SessionTokenSource};
use crate::policy::login_providers::ProviderIndex;
use crate::policy::native::{Native, Throttle, Tokens};
use crate::policy::throttle::{BackoffLimit, RateLimit};
use crate::types::oauth::ClientId;

const FAILURES_PER_ACCOUNT: u32 = 5;
const FAILURES_PER_ADDRESS: u32 = 50;
const MAX_BACKOFF: Duration = Duration::from_secs(15 * 60);
const LOGINS_PER_MINUTE: u32 = 600;
/// The largest limit that the throttle buckets can represent.
const MAX_LIMIT: u32 = 60_000;

/// The limits of password logins. They hold with native clients and with Basic authentication.
pub(super) fn throttle(raw: &RawNative, at: &Location<'_>) -> Throttle {
    let max_backoff = raw.max_backoff.map_or(MAX_BACKOFF, |duration| {
        nonzero(duration, &at.key("max_backoff"))
    });
    let limit = |key: &str, raw: Option<u32>, default| {
        if raw.is_some_and(|limit| limit == 0 || limit > MAX_LIMIT) {
            at.key(key).error(
                format!("`{}` is out of range", raw.unwrap_or_default()),
                format!("from 1 to {MAX_LIMIT}"),
            );
        }
        raw.unwrap_or(default)
    };
    let failures = |key, raw, default| BackoffLimit {
        free: limit(key, raw, default),
        max_backoff,
    };
    Throttle {
        account: failures(
            "failures_per_account",
            raw.failures_per_account,
            FAILURES_PER_ACCOUNT,
        ),
        address: failures(
            "failures_per_address",
            raw.failures_per_address,
            FAILURES_PER_ADDRESS,
        ),
        all: RateLimit {
            per_minute: limit(
                "logins_per_minute",
                raw.logins_per_minute,
                LOGINS_PER_MINUTE,
            ),
        },
    }
}

/// The common settings of logins with a password.
pub(super) struct PasswordLogins<'c> {
    /// The provider that checks them.
    pub(super) provider: ProviderIndex,
    /// The registration there.
    pub(super) client: Option<&'c ClientSettings>,
    pub(super) throttle: Throttle,
}

/// `None` unless `password_grant` is on. `bearer` is whether the app accepts the provider's access
/// tokens.
pub(super) fn check(
    raw: RawNative,
    at: &Location<'_>,
    passwords: &PasswordLogins<'_>,
    bearer: bool,
) -> Option<Native> {
    let PasswordLogins {
        provider,
        client,
        throttle,
    } = *passwords;
    let cors_origins = web_origins::origins(raw.cors_origins, &at.key("cors_origins"));
    let inline_refresh = raw.inline_refresh.unwrap_or(false);
    let plain = raw.dangerously_plain_tokens.unwrap_or(false);
    if plain && client.is_some_and(|client| client.session_jwt == SessionTokenSource::Id) {
        at.key("dangerously_plain_tokens").error(
            "the provider's access token is not the JWT of this app's sessions",
            "set `session_jwt = \"access\"`, or keep tokens sealed",
        );
    }
    if plain && !bearer {
        at.key("dangerously_plain_tokens").error(
            "this app does not accept the provider's access tokens",
            "add the table `bearer` to this app, or keep tokens sealed",
        );
    }
    if plain && inline_refresh {
        at.key("inline_refresh").error(
            "the owner and the reuse of plain refresh tokens are unknown",
            "keep tokens sealed, or let apps refresh at the token endpoint",
        );
    }
    if plain {
        let clients = client.as_slice();
        client_key::check_unbound(clients, &at.key("dangerously_plain_tokens"));
    }
    let client_id = raw
        .client_id
        .map(ClientId::new)
        .or(client.map(|client| client.client_id.clone()));
    if raw.password_grant != Some(true) {
        return None;
    }
    at.key("password_grant").advice(
        "apps see the passwords of their users",
        "where possible, use the system browser instead (authorization code with PKCE, RFC 8252)",
    );
    let tokens = if plain { Tokens::Plain } else { Tokens::Sealed };
    Some(Native {
        provider,
        client_id: client_id?,
        tokens,
        inline_refresh,
        cors_origins,
        throttle,
    })
}
