//! What a provider says of opaque tokens (RFC 7662): asked once for each token, whoever waits, and remembered for as
//! long as the app lets it count. One memory for each app, and so for each endpoint that is asked and each client that
//! asks: what counts at one app says nothing at another.

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

/// For how long a refusal counts at most: who has a bad token asks with it again and again.
const REFUSED: Duration = Duration::from_secs(10);

/// What the provider of one app said.
pub struct Introspection {
    lifetime: Duration,
    said: Cache<TokenHash, Said>,
}

#[derive(Clone)]
struct Said {
    until: Timestamp,
    verdict: Verdict,
}

/// What it said of one token.
#[derive(Clone)]
pub(in crate::auth) enum Verdict {
    /// It is good.
    Active(Arc<Token>),
    /// It opens nothing: a stable word for why.
    Refused(&'static str),
}

impl Introspection {
    /// Remembers what is said of at most `max_tokens`, for `lifetime`.
    pub fn new(lifetime: Duration, max_tokens: usize) -> Self {
        Self {
            lifetime,
            said: Cache::new(max_tokens),
        }
    }

    /// How many tokens are remembered.
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
    /// Asks about a token, or waits for who does already. `make` turns what the provider said into what the app knows.
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
