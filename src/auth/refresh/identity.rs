//! The identity of a session: one function builds it, at the login and at every refresh.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::auth::app::{AppAuth, Userinfo as UserinfoSetting};
use crate::identity::kept_claims::{NewTokens, Userinfo, kept_claims, missing};
use crate::oidc::{ProviderError, VerifiedToken};
use crate::session::jwt::SessionJwt;
use crate::types::oauth::{AccessToken, Subject};
use crate::types::time::Timestamp;

/// How long a refresh waits for the UserInfo endpoint: requests wait for the refresh.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// How soon a UserInfo endpoint that failed is asked again. Doubled with each failure.
const INITIAL_BACKOFF: Duration = Duration::from_secs(5);
const MAX_BACKOFF: Duration = Duration::from_secs(600);

/// The verified tokens of one response, and the session before it.
pub(in crate::auth) struct IdentitySources<'s> {
    /// The session's new JWT; `None` if the previous one continues.
    pub(in crate::auth) jwt: Option<&'s VerifiedToken>,
    pub(in crate::auth) id_token: Option<&'s VerifiedToken>,
    pub(in crate::auth) access_token: &'s AccessToken,
    pub(in crate::auth) subject: &'s Subject,
    /// `None` at a login.
    pub(in crate::auth) previous: Option<&'s SessionJwt>,
}

/// The part of an identity that is not in the session's JWT.
pub(in crate::auth) struct BuiltIdentity {
    /// The claims that are kept alongside the JWT, as JSON.
    pub(in crate::auth) kept_claims: String,
    /// When the UserInfo endpoint is to be asked again, because it failed.
    pub(in crate::auth) due: Option<Timestamp>,
}

/// Builds the identity of a session: what the new tokens say, and for claims in use that they lack,
/// what the UserInfo endpoint says. Claims that it could not be asked for stay until it can.
pub(in crate::auth) async fn build(
    app: &AppAuth,
    sources: IdentitySources<'_>,
    now: Timestamp,
) -> BuiltIdentity {
    let names = app.app.claims_in_use();
    let tokens = NewTokens {
        jwt: sources.jwt.map(VerifiedToken::claims),
        id_token: sources.id_token.map(VerifiedToken::claims),
    };
    let missing = missing(&names, tokens);
    let userinfo = match missing.as_slice() {
        [] => Userinfo::NotAsked,
        missing => ask(app, &sources, missing).await,
    };
    let previous = sources.previous.and_then(SessionJwt::identity);
    let kept: Map<String, Value> = kept_claims(&names, tokens, &userinfo, previous.as_ref());
    let has_failed = matches!(userinfo, Userinfo::Failed);
    BuiltIdentity {
        kept_claims: Value::Object(kept).to_string(),
        due: has_failed.then(|| now.plus(backoff(sources.previous))),
    }
}

async fn ask(app: &AppAuth, sources: &IdentitySources<'_>, missing: &[&str]) -> Userinfo {
    let metadata = app.provider.known_metadata();
    let is_offered = metadata.is_some_and(|metadata| metadata.userinfo_endpoint.is_some());
    if app.settings.userinfo == UserinfoSetting::Never || !is_offered {
        return Userinfo::NotAsked;
    }
    let call = app.provider.userinfo(sources.access_token, sources.subject);
    let answer = match sources.previous {
        None => Ok(call.await),
        Some(_) => timeout(REFRESH_TIMEOUT, call).await,
    };
    let (code, error, is_passing) = match answer {
        Ok(Ok(claims)) => return Userinfo::Claims(claims),
        Ok(Err(error)) => (error.code(), error.to_string(), is_passing(&error)),
        Err(_) => (
            "provider_no_response",
            format!("no response within {} s", REFRESH_TIMEOUT.as_secs()),
            true,
        ),
    };
    tracing::warn!(app = %app.app.name, code, error, ?missing, "userinfo_failed");
    if is_passing {
        Userinfo::Failed
    } else {
        Userinfo::Refused
    }
}

/// Whether the same call may succeed later. A page in place of JSON is a gateway's.
const fn is_passing(error: &ProviderError) -> bool {
    match error {
        ProviderError::Unreachable { .. }
        | ProviderError::CircuitOpen
        | ProviderError::OutcomeUnknown { .. }
        | ProviderError::TooLarge { .. }
        | ProviderError::NotJson { .. } => true,
        ProviderError::Status { status, .. } => {
            *status >= 500 || matches!(*status, 408 | 425 | 429)
        }
        ProviderError::Setup(_)
        | ProviderError::Insecure { .. }
        | ProviderError::Metadata(_)
        | ProviderError::Keys(_)
        | ProviderError::NotOffered { .. }
        | ProviderError::OtherSubject
        | ProviderError::NoVerdict(_) => false,
    }
}

fn backoff(previous: Option<&SessionJwt>) -> Duration {
    let before = previous.and_then(|jwt| Some(jwt.identity_due?.since(jwt.sealed_at)));
    before.map_or(INITIAL_BACKOFF, |before| {
        (before * 2).clamp(INITIAL_BACKOFF, MAX_BACKOFF)
    })
}
