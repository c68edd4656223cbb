//! Token exchange (RFC 8693): a token for the audience of an app in exchange for the token of a user. One
//! request per token at a time, cached until shortly before the new token expires.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use quick_cache::sync::Cache;
use tokio::time::timeout;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::oidc::token::{TokenError, TokenResponse, TokenType};
use crate::oidc::{SubjectTokenKind, TokenExchangeRequest};
use crate::policy::route::AppRef;
use crate::policy::token_exchange::TokenExchangePolicy;
use crate::runtime::TaskError;
use crate::types::secret::Secret;
use crate::types::time::Timestamp;

/// How long a token without `expires_in` is used.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// How long before its end a token is exchanged again, at most. The app may use it meanwhile.
const MAX_MARGIN: Duration = Duration::from_secs(30);

/// How long the provider is not asked again after a failure.
const FAILURE_LIFETIME: Duration = Duration::from_secs(5);

/// The token of a user.
pub struct SubjectToken {
    /// The token.
    pub token: Secret<String>,
    /// Its kind.
    pub kind: SubjectTokenKind,
}

/// Exchanges tokens.
pub struct TokenExchanger {
    context: Arc<Context>,
    cache: Cache<ExchangeKey, Exchanged>,
}

/// An app at its provider, and the hash of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct ExchangeKey {
    position: usize,
    token: [u8; 32],
}

#[derive(Clone)]
struct Exchanged {
    until: Timestamp,
    result: Result<Secret<String>, Unavailable>,
}

impl TokenExchanger {
    pub(in crate::auth) fn new(context: Arc<Context>) -> Self {
        let policies = context.apps.iter().map(|app| &app.app.token_exchange);
        let entries = policies.flatten().map(|policy| policy.max_entries).sum();
        Self {
            context,
            cache: Cache::new(entries),
        }
    }

    /// The token for the app in exchange for that of the user.
    ///
    /// # Errors
    /// The provider did not give one.
    pub async fn exchanged(
        &self,
        app_ref: AppRef<'_>,
        policy: &TokenExchangePolicy,
        subject: SubjectToken,
    ) -> Result<Secret<String>, Unavailable> {
        let app = self.context.app(app_ref).ok_or(TaskError::Busy)?;
        let position = self.context.position(app_ref).ok_or(TaskError::Busy)?;
        let now = self.context.now();
        let key = ExchangeKey {
            position,
            token: hash(subject.token.expose()),
        };
        let known = self.cache.get(&key).filter(|known| now < known.until);
        if let Some(known) = known {
            return known.result;
        }
        self.cache.remove_if(&key, |known| now >= known.until);
        let exchange = self.cache.get_or_insert_async(&key, async {
            Ok::<_, Infallible>(self.exchange(&app, policy, subject).await)
        });
        match timeout(CALL_TIMEOUT, exchange).await {
            Ok(Ok(exchanged)) => exchanged.result,
            Ok(Err(never)) => match never {},
            Err(_) => Err(TaskError::TooSlow.into()),
        }
    }

    async fn exchange(
        &self,
        app: &Arc<AppAuth>,
        policy: &TokenExchangePolicy,
        subject: SubjectToken,
    ) -> Exchanged {
        let (task_app, policy) = (Arc::clone(app), policy.clone());
        let task = async move {
            let request = TokenExchangeRequest {
                token: subject.token.expose(),
                kind: subject.kind,
                audience: &policy.audience,
                scope: policy.scope.as_deref(),
            };
            let AppAuth {
                provider, client, ..
            } = &*task_app;
            provider.exchange_token(client, request).await
        };
        let response = match self.context.runtime.run(CALL_TIMEOUT, task).await {
            Ok(response) => response.and_then(usable).map_err(|error| {
                tracing::debug!(app = %app.app.name, code = error.code(), %error, "token_exchange_failed");
                Unavailable::of_provider(error.code())
            }),
            Err(error) => Err(error.into()),
        };
        let now = self.context.now();
        match response {
            Ok(response) => Exchanged {
                until: now.plus(reuse(response.expires_in)),
                result: Ok(Secret::new(response.access_token.expose().to_owned())),
            },
            Err(unavailable) => Exchanged {
                until: now.plus(FAILURE_LIFETIME),
                result: Err(unavailable),
            },
        }
    }
}

/// A token that is bound to a key is of no use to the app.
fn usable(response: TokenResponse) -> Result<TokenResponse, TokenError> {
    match response.token_type {
        TokenType::Bearer => Ok(response),
        TokenType::DPoP => Err(TokenError::BadResponse("the token is bound to a key")),
    }
}

/// How long a token is used.
fn reuse(expires_in: Option<Duration>) -> Duration {
    let lifetime = expires_in.unwrap_or(DEFAULT_LIFETIME);
    lifetime.saturating_sub(MAX_MARGIN.min(lifetime / 10))
}

fn hash(token: &str) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    hash.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_used_until_shortly_before_its_end() {
        for (expires_in, seconds) in [
            (None, 54),
            (Some(10), 9),
            (Some(300), 270),
            (Some(3600), 3570),
        ] {
            let expires_in = expires_in.map(Duration::from_secs);
            assert_eq!(
                reuse(expires_in),
                Duration::from_secs(seconds),
                "{expires_in:?}"
            );
        }
    }
}
