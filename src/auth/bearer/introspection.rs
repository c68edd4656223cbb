//! Introspection of opaque tokens (RFC 7662): one request per token at a time, cached for the
//! configured time. One cache per app, because the result depends on the endpoint and the client.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::timeout;

use crate::auth::app::AppAuth;
use crate::auth::bearer::{NOT_REGISTERED, TokenHash, is_admitted};
use crate::auth::{Auth, Event, TIMEOUT, Unavailable};
use crate::oidc::introspection::Introspected;
use crate::oidc::presented_token::PresentedToken;
use crate::runtime::TaskError;
use crate::session::token::Token;
use crate::types::oauth::AccessToken;
use crate::types::time::Timestamp;

/// The maximum cache time of a negative result.
const REFUSED: Duration = Duration::from_secs(10);

/// The introspection cache of one app.
pub struct Introspection {
    lifetime: Duration,
    said: Cache<TokenHash, Said>,
}

#[derive(Clone)]
struct Said {
    until: Timestamp,
    verdict: Verdict,
}

/// The result of an introspection.
#[derive(Clone)]
pub(in crate::auth) enum Verdict {
    /// The token is active.
    Active(Arc<Token>),
    /// The token is rejected, with this stable code.
    Refused(&'static str),
}

impl Introspection {
    /// Creates a cache of at most `max_tokens` results for `lifetime`.
    pub fn new(lifetime: Duration, max_tokens: usize) -> Self {
        Self {
            lifetime,
            said: Cache::new(max_tokens),
        }
    }

    /// How many results are cached.
    pub fn remembered(&self) -> usize {
        self.said.len()
    }

    pub(in crate::auth) fn known(&self, hash: &TokenHash, now: Timestamp) -> Option<Verdict> {
        self.said
            .get(hash)
            .filter(|said| now < said.until)
            .map(|said| said.verdict)
    }
}

impl Auth {
    /// Introspects a token, or joins the introspection in flight. `make` builds the cached token.
    pub(in crate::auth) async fn introspect_token(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        introspection: &Introspection,
        (token, hash): (&str, TokenHash),
        make: impl FnOnce(&PresentedToken, Timestamp) -> Arc<Token>,
    ) -> Result<Verdict, Unavailable> {
        let now = self.now();
        introspection
            .said
            .remove_if(&hash, |said| now >= said.until);
        let asking = introspection.said.get_or_insert_async(&hash, async {
            let verdict = match self.introspection(app, token).await? {
                Introspected::Active(verified) if !is_admitted(app, &app.provider, &verified) => {
                    Verdict::Refused(NOT_REGISTERED)
                }
                Introspected::Active(verified) => {
                    Verdict::Active(make(&verified, now.plus(introspection.lifetime)))
                }
                Introspected::Inactive => Verdict::Refused("token_inactive"),
                Introspected::Refused(error) => Verdict::Refused(error.code()),
            };
            let lifetime = match &verdict {
                Verdict::Active(_) => introspection.lifetime,
                Verdict::Refused(_) => introspection.lifetime.min(REFUSED),
            };
            Ok(Said {
                until: now.plus(lifetime),
                verdict,
            })
        });
        match timeout(TIMEOUT, asking).await {
            Ok(said) => said.map(|said| said.verdict),
            Err(_) => Err(TaskError::TooSlow.into()),
        }
    }

    async fn introspection(
        self: &Arc<Self>,
        app: &Arc<AppAuth>,
        token: &str,
    ) -> Result<Introspected, Unavailable> {
        let (task_app, token) = (Arc::clone(app), AccessToken::new(token));
        let task = async move {
            let audiences = task_app
                .bearer
                .as_ref()
                .map_or(&[][..], |bearer| bearer.audiences.as_slice());
            task_app
                .provider
                .introspect(&task_app.client, audiences, &token)
                .await
        };
        let answer = self.bearer_tasks.run(TIMEOUT, task).await.map_err(Unavailable::from).and_then(|answer| {
            answer.map_err(|error| {
                tracing::warn!(app = %app.app.name, code = error.code(), %error, "introspection_failed");
                Unavailable::new(error.code())
            })
        });
        let outcome = match &answer {
            Ok(Introspected::Active(_)) => "active",
            Ok(Introspected::Inactive) => "inactive",
            Ok(Introspected::Refused(error)) => error.code(),
            Err(outage) => outage.code,
        };
        self.observer
            .record_event(app, Event::Introspection, outcome);
        answer
    }
}
