//! `[apps.NAME.token_exchange]`: tokens for the app in exchange for those of users.

use super::super::keywords::AccessTokenField;
use super::super::raw_credentials::RawTokenExchange;
use super::super::report::{Location, quoted};
use super::credentials::{CheckedCredentials, CredentialContext, token_field};
use super::server::{bounded, size};
use super::{client_key, elements};
use crate::oidc::SessionTokenSource;
use crate::policy::app::PassedToken;
use crate::policy::token_exchange::TokenExchangePolicy;

const MAX_ENTRIES: u32 = 10_000;

/// Adds the field of the token to the credentials of the app.
pub(super) fn check(
    raw: RawTokenExchange,
    credentials: &mut CheckedCredentials,
    context: CredentialContext<'_>,
    at: &Location<'_>,
) -> Option<TokenExchangePolicy> {
    if !credentials.is_empty() {
        at.error(
            "the app gets other credentials already",
            "remove `dangerously_pass_…` and `upstream_…`, or this table",
        );
    }
    client_key::check_unbound(context.clients, at);
    let audience = at.required(
        "audience",
        raw.audience,
        "the audience of the token for the app",
    );
    let scopes_at = at.key("scopes");
    let scopes = elements(raw.scopes, &scopes_at).map(|(at, scope)| {
        // RFC 6749 section 3.3.
        let is_token = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if scope.is_empty() || !scope.bytes().all(is_token) {
            let hint = "one scope in each text, such as `\"orders:read\"`";
            at.error(format!("{} is not a scope", quoted(&scope)), hint);
        }
        scope
    });
    let scope = scopes.collect::<Vec<_>>().join(" ");
    let mut sources = context.clients.iter().map(|client| client.session_jwt);
    let source = sources.next().unwrap_or(SessionTokenSource::Id);
    if sources.any(|other| other != source) {
        at.error(
            "the sessions of the app have different tokens",
            "set the same `session_jwt` for every registration of the app",
        );
    }
    let passed = match source {
        SessionTokenSource::Access => PassedToken::Access,
        SessionTokenSource::Id => PassedToken::Id,
    };
    let field = raw.header.unwrap_or(AccessTokenField::Authorization);
    let field = token_field(field.header(), context, &at.key("header"));
    credentials.upstream.token = Some(field);
    credentials.passed = Some(passed);
    credentials.is_exchanged = true;
    let max_entries = bounded(
        raw.max_entries,
        &at.key("max_entries"),
        "tokens",
        MAX_ENTRIES,
        100..=1_000_000,
    );
    Some(TokenExchangePolicy {
        audience: audience?,
        scope: (!scope.is_empty()).then_some(scope),
        max_entries: size(max_entries),
    })
}
