//! Introspection of opaque tokens (RFC 7662): one request per token at a time, cached for the
//! configured time. One cache per app, because the result depends on the endpoint and the client.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::timeout;

use crate::auth::app::{AppAuth, IntrospectionSettings};
use crate::auth::context::Context;
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::events::{Event, EventSession};
use crate::oidc::introspection::Introspected;
use crate::oidc::presented_token::PresentedToken;
use crate::runtime::{BackgroundRuntime, TaskError};
use crate::session::token::Token;
use crate::types::oauth::AccessToken;
use crate::types::time::Timestamp;

/// The code for a token whose user is not registered for the app.
pub(super) const NOT_REGISTERED: &str = "not_registered";

/// The SHA-256 of a token.
pub(super) type TokenHash = [u8; 32];

/// The maximum cache time of a negative result.
const MAX_NEGATIVE_LIFETIME: Duration = Duration::from_secs(10);

/// The result of an introspection.
#[derive(Clone)]
pub(super) enum Verdict {
    /// The token is active.
    Active(Arc<Token>),
    /// The token is rejected, with this stable code.
    Rejected(&'static str),
}

/// The introspection of one app, with its cache.
pub(super) struct Introspection {
    context: Arc<Context>,
    tasks: BackgroundRuntime,
    lifetime: Duration,
    cache: Cache<TokenHash, CachedVerdict>,
}

#[derive(Clone)]
struct CachedVerdict {
    until: Timestamp,
    verdict: Verdict,
}

impl Introspection {
    pub(super) fn new(
        context: Arc<Context>,
        tasks: BackgroundRuntime,
        settings: IntrospectionSettings,
    ) -> Self {
        Self {
            context,
            tasks,
            lifetime: settings.lifetime,
            cache: Cache::new(settings.max_tokens),
        }
    }

    /// How many results are cached.
    pub(super) fn cached(&self) -> usize {
        self.cache.len()
    }

    /// The cached result.
    pub(super) fn known(&self, hash: &TokenHash) -> Option<Verdict> {
        let now = self.context.now();
        let cached = self.cache.get(hash).filter(|cached| now < cached.until);
        cached.map(|cached| cached.verdict)
    }

    /// Introspects a token, or joins the introspection in flight. `make` builds the cached token
    /// from the response and its expiry.
    pub(super) async fn introspect(
        &self,
        app: &Arc<AppAuth>,
        token: &str,
        hash: TokenHash,
        make: impl FnOnce(PresentedToken, Timestamp) -> Token,
    ) -> Result<Verdict, Unavailable> {
        let now = self.context.now();
        self.cache.remove_if(&hash, |cached| now >= cached.until);
        let introspection = self.cache.get_or_insert_async(&hash, async {
            let verdict = match self.call(app, token).await? {
                Introspected::Active(token) if !app.admits(&app.provider, &token) => {
                    Verdict::Rejected(NOT_REGISTERED)
                }
                Introspected::Active(token) => {
                    Verdict::Active(Arc::new(make(*token, now.plus(self.lifetime))))
                }
                Introspected::Inactive => Verdict::Rejected("token_inactive"),
                Introspected::Rejected(error) => Verdict::Rejected(error.code()),
            };
            let lifetime = match &verdict {
                Verdict::Active(_) => self.lifetime,
                Verdict::Rejected(_) => self.lifetime.min(MAX_NEGATIVE_LIFETIME),
            };
            Ok(CachedVerdict {
                until: now.plus(lifetime),
                verdict,
            })
        });
        match timeout(CALL_TIMEOUT, introspection).await {
            Ok(cached) => cached.map(|cached| cached.verdict),
            Err(_) => Err(TaskError::TooSlow.into()),
        }
    }

    async fn call(&self, app: &Arc<AppAuth>, token: &str) -> Result<Introspected, Unavailable> {
        let (task_app, token) = (Arc::clone(app), AccessToken::new(token));
        let task = async move {
            let AppAuth {
                provider,
                client,
                bearer,
                ..
            } = &*task_app;
            let audiences = bearer.as_ref().map(|bearer| bearer.audiences.as_slice());
            let audiences = audiences.unwrap_or_default();
            provider.introspect(client, audiences, &token).await
        };
        let response = match self.tasks.run(CALL_TIMEOUT, task).await {
            Ok(response) => response.map_err(|error| {
                tracing::debug!(app = %app.app.name, code = error.code(), %error, "introspection_failed");
                Unavailable::of_provider(error.code())
            }),
            Err(error) => Err(error.into()),
        };
        let outcome = match &response {
            Ok(Introspected::Active(_)) => "active",
            Ok(Introspected::Inactive) => "inactive",
            Ok(Introspected::Rejected(error)) => error.code(),
            Err(outage) => outage.code,
        };
        let observer = &self.context.observer;
        observer.record_event(app, Event::Introspection, outcome, &EventSession::default());
        response
    }
}
