//! The identity of a session: one function builds it, at the login and at every refresh.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::auth::app::{AppAuth, Userinfo};
use crate::identity::kept_claims::{NewTokens, UserinfoResult, kept_claims, missing};
use crate::oidc::provider::UserinfoRequest;
use crate::oidc::{ProviderError, VerifiedToken};
use crate::session::jwt::SessionJwt;
use crate::types::oauth::{AccessToken, KeyFingerprint, Subject};
use crate::types::time::Timestamp;

/// How long a refresh waits for the UserInfo endpoint: requests wait for the refresh.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// How soon a UserInfo endpoint that failed is asked again. Doubled with each failure.
const INITIAL_BACKOFF: Duration = Duration::from_secs(5);
const MAX_BACKOFF: Duration = Duration::from_secs(600);

/// How long the previous claims are kept while UserInfo requests fail. After that they are removed,
/// so that an endpoint that always fails cannot preserve a role for ever.
const MAX_FAILURE: Duration = Duration::from_secs(3600);

/// The verified tokens of one response, and the session before it.
pub(in crate::auth) struct IdentitySources<'s> {
    /// The session's new JWT; `None` if the previous one continues.
    pub(in crate::auth) jwt: Option<&'s VerifiedToken>,
    pub(in crate::auth) id_token: Option<&'s VerifiedToken>,
    pub(in crate::auth) access_token: &'s AccessToken,
    /// The client's key that it is bound to.
    pub(in crate::auth) dpop_key: Option<&'s KeyFingerprint>,
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
    /// Since when UserInfo requests have failed.
    pub(in crate::auth) failing_since: Option<Timestamp>,
}

/// Builds the identity of a session from the claims of the new tokens. Claims in use that they lack
/// are fetched from the UserInfo endpoint. After a transient failure the previous ones are kept.
pub(in crate::auth) async fn build(
    app: &AppAuth,
    sources: IdentitySources<'_>,
    now: Timestamp,
) -> BuiltIdentity {
    let names = &*app.claims_in_use;
    let tokens = NewTokens {
        jwt: sources.jwt.map(VerifiedToken::claims),
        id_token: sources.id_token.map(VerifiedToken::claims),
    };
    let missing = missing(names, tokens);
    let userinfo = match missing.as_slice() {
        [] => UserinfoResult::NotRequested,
        missing => fetch_userinfo(app, &sources, missing).await,
    };
    let has_failed = matches!(userinfo, UserinfoResult::Failed);
    let failing_since = has_failed.then(|| {
        let before = sources.previous.and_then(|jwt| jwt.identity_failing_since);
        before.unwrap_or(now)
    });
    let userinfo = match failing_since {
        Some(since) if now.since(since) > MAX_FAILURE => UserinfoResult::Refused,
        Some(_) | None => userinfo,
    };
    let previous = sources.previous.and_then(SessionJwt::identity);
    let kept: Map<String, Value> = kept_claims(names, tokens, &userinfo, previous.as_ref());
    BuiltIdentity {
        kept_claims: Value::Object(kept).to_string(),
        due: has_failed.then(|| now.plus(backoff(sources.previous))),
        failing_since,
    }
}

async fn fetch_userinfo(
    app: &AppAuth,
    sources: &IdentitySources<'_>,
    missing: &[&str],
) -> UserinfoResult {
    let metadata = app.provider.known_metadata();
    let is_offered = metadata.is_some_and(|metadata| metadata.userinfo_endpoint.is_some());
    if app.settings.userinfo == Userinfo::Never || !is_offered {
        return UserinfoResult::NotRequested;
    }
    let call = app.provider.userinfo(UserinfoRequest {
        client: &app.client,
        access_token: sources.access_token,
        dpop_key: sources.dpop_key,
        subject: sources.subject,
    });
    let answer = match sources.previous {
        None => Ok(call.await),
        Some(_) => timeout(REFRESH_TIMEOUT, call).await,
    };
    let (code, error, is_transient) = match answer {
        Ok(Ok(claims)) => return UserinfoResult::Claims(claims),
        Ok(Err(error)) => (error.code(), error.to_string(), is_transient(&error)),
        Err(_) => (
            "provider_no_response",
            format!("no response within {} s", REFRESH_TIMEOUT.as_secs()),
            true,
        ),
    };
    tracing::debug!(app = %app.app.name, code, error, ?missing, "userinfo_failed");
    if is_transient {
        UserinfoResult::Failed
    } else {
        UserinfoResult::Refused
    }
}

/// Whether the same call may succeed later. A page in place of JSON is a gateway's.
const fn is_transient(error: &ProviderError) -> bool {
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
        | ProviderError::ClientAssertion(_)
        | ProviderError::ClientKey(_)
        | ProviderError::Insecure { .. }
        | ProviderError::Metadata { .. }
        | ProviderError::Keys { .. }
        | ProviderError::NotOffered { .. }
        | ProviderError::OtherSubject { .. }
        | ProviderError::NoRequestUri { .. }
        | ProviderError::NoVerdict { .. } => false,
    }
}

fn backoff(previous: Option<&SessionJwt>) -> Duration {
    let before = previous.and_then(|jwt| Some(jwt.identity_due?.since(jwt.sealed_at)));
    before.map_or(INITIAL_BACKOFF, |before| {
        (before * 2).clamp(INITIAL_BACKOFF, MAX_BACKOFF)
    })
}
