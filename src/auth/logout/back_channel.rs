//! Back-channel logout (OpenID Connect Back-Channel Logout 1.0): verifies the logout token, then
//! revokes its sessions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::auth::app::AppAuth;
use crate::auth::context::{AppHandle, Context};
use crate::auth::error::{CALL_TIMEOUT, Unavailable};
use crate::auth::events::{Event, EventSession};
use crate::auth::revocation::publication::{Publication, Reach};
use crate::auth::revocation::replication::RevocationReplicator;
use crate::oidc::jws::unverified_issuer;
use crate::oidc::logout_token::LogoutToken;
use crate::oidc::provider::{Audience, LOGOUT_TOKEN_MAX_AGE};
use crate::oidc::{Provider, TokenRejected};
use crate::policy::route::AppRef;
use crate::store::{ProviderRevocation, Revocation, UserSessions};

/// How long the response waits until the store has the revocation.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a logout token was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackchannelLogoutError {
    /// The token is invalid, or not for this app.
    Rejected(&'static str),
    /// The token was used before.
    Replayed,
    /// The token cannot be verified now.
    Unavailable(Unavailable),
}

impl BackchannelLogoutError {
    /// The stable code for logs, metrics and responses.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Rejected(code) => code,
            Self::Replayed => "logout_token_replayed",
            Self::Unavailable(outage) => outage.code,
        }
    }

    fn of_token(rejected: &TokenRejected) -> Self {
        if rejected.is_outage() {
            Self::Unavailable(Unavailable::of_provider(rejected.code()))
        } else {
            Self::Rejected(rejected.code())
        }
    }
}

/// Handles back-channel logouts. Clones share their state.
#[derive(Clone)]
pub struct BackchannelLogout {
    context: Arc<Context>,
    replicator: RevocationReplicator,
}

impl BackchannelLogout {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        replicator: RevocationReplicator,
    ) -> Self {
        Self {
            context,
            replicator,
        }
    }

    /// Revokes the sessions that a logout token names.
    ///
    /// # Errors
    /// See [`BackchannelLogoutError`].
    pub async fn log_out(
        &self,
        app_ref: AppRef<'_>,
        token: String,
    ) -> Result<(), BackchannelLogoutError> {
        let app = self.app_of(app_ref, &token);
        let app = &app.ok_or(BackchannelLogoutError::Rejected("internal_error"))?;
        let (logout, task_app) = (self.clone(), Arc::clone(app));
        let task = async move {
            if task_app.app.is_login_host() {
                logout.revoke_at_apps(&task_app, &token).await
            } else {
                logout.revoke_by(&task_app, &token).await
            }
        };
        let revoked = self
            .context
            .anonymous_tasks
            .run(CALL_TIMEOUT, task)
            .await
            .unwrap_or_else(|error| Err(BackchannelLogoutError::Unavailable(error.into())));
        let (outcome, about) = match &revoked {
            Ok(about) => ("back_channel", about),
            Err(error) => (error.code(), &EventSession::default()),
        };
        let observer = &self.context.observer;
        observer.record_event(app, Event::Revocation, outcome, about);
        revoked.map(drop)
    }

    /// The app at the provider that the token names, unverified. An app with one provider also
    /// gets the tokens of other issuers.
    fn app_of<'c>(&'c self, app_ref: AppRef<'c>, token: &str) -> Option<AppHandle<'c>> {
        let issuer = unverified_issuer(token);
        let mut apps = self.context.at_providers(app_ref);
        let named = apps.find(|app| app.provider.is_issuer(issuer.as_ref()));
        named.or_else(|| self.context.app(app_ref))
    }

    /// Revokes the sessions that a logout token names at all apps of a login host: their registration
    /// has one address for logout tokens.
    async fn revoke_at_apps(
        &self,
        host: &AppAuth,
        token: &str,
    ) -> Result<EventSession, BackchannelLogoutError> {
        let mut rejected = None;
        let mut outcome = Err(BackchannelLogoutError::Rejected("internal_error"));
        for app in self.context.apps_of_login_host(host) {
            // A registration that the token is not for.
            if rejected.as_ref() == Some(&app.client.client_id) {
                continue;
            }
            let verified = match verified(app, token).await {
                Ok(verified) => verified,
                Err(error) => {
                    rejected = Some(app.client.client_id.clone());
                    if outcome.is_err() {
                        outcome = Err(BackchannelLogoutError::of_token(&error));
                    }
                    continue;
                }
            };
            let revoked = self.revoke_verified(app, verified).await;
            if outcome.is_err() {
                outcome = revoked;
            }
        }
        if let Err(error) = &outcome {
            tracing::warn!(app = %host.app.name, code = error.code(), "logout_token_rejected");
        }
        outcome
    }

    async fn revoke_by(
        &self,
        app: &AppAuth,
        token: &str,
    ) -> Result<EventSession, BackchannelLogoutError> {
        let token = verified(app, token).await.map_err(|rejected| {
            tracing::warn!(app = %app.app.name, code = rejected.code(), error = %rejected, "logout_token_rejected");
            BackchannelLogoutError::of_token(&rejected)
        })?;
        self.revoke_verified(app, token).await
    }

    async fn revoke_verified(
        &self,
        app: &AppAuth,
        VerifiedLogout { provider, token }: VerifiedLogout<'_>,
    ) -> Result<EventSession, BackchannelLogoutError> {
        let about = EventSession::of_user(token.subject.as_ref());
        let now = self.context.now();
        let leeway = provider.settings().leeway;
        let key = replay_key(app, provider, &token);
        // Longer than any token is accepted.
        let ends_at = now.plus(LOGOUT_TOKEN_MAX_AGE * 2).plus(leeway * 4);
        let store = &self.context.stores.sessions;
        if let Ok(Some(_)) = store.get(&key, now).await {
            return Err(BackchannelLogoutError::Replayed);
        }
        let publication = self.revoke_named(app, provider, token);
        if publication.reach(PUBLISH_TIMEOUT).await == Reach::LocalOnly {
            return Err(BackchannelLogoutError::Unavailable(Unavailable::of_store(
                "revocation_not_published",
            )));
        }
        // Recorded last: a token that is not known to all replicas may come again.
        match store.put_if_absent(&key, Bytes::new(), ends_at, now).await {
            Ok(None) => Ok(about),
            Ok(Some(_)) => Err(BackchannelLogoutError::Replayed),
            // The token can be replayed, which revokes the same sessions again.
            Err(_) => {
                tracing::debug!(app = %app.app.name, "logout_token_replay_store_failed");
                Ok(about)
            }
        }
    }

    /// With a `sid` that session is revoked, whenever it started, and with a `sub` too those of the
    /// user's sessions that have no `sid`. With a `sub` only, all sessions of the user are revoked.
    /// The user's sessions end that started until the token's `iat` plus leeway.
    fn revoke_named(
        &self,
        app: &AppAuth,
        provider: &Arc<Provider>,
        token: LogoutToken,
    ) -> Publication {
        let now = self.context.now();
        let started_until = token.issued_at.plus(provider.settings().leeway).min(now);
        let revocation = Revocation::Provider(ProviderRevocation {
            issuer: app.other_issuer(provider).cloned(),
            sid: token.sid,
            user: token.subject.map(|subject| UserSessions {
                subject,
                started_until,
            }),
        });
        let ends_at = now.plus(app.app.limits.absolute);
        self.replicator.revoke(app, revocation, ends_at, now)
    }
}

/// A verified logout token, and its issuer.
struct VerifiedLogout<'a> {
    provider: &'a Arc<Provider>,
    token: LogoutToken,
}

async fn verified<'a>(app: &'a AppAuth, token: &str) -> Result<VerifiedLogout<'a>, TokenRejected> {
    let provider = app.provider_of(token);
    let audience = Audience {
        client_id: &app.client.client_id,
        audiences: app.audiences_at(provider),
        mark: None,
    };
    let token = provider.verify_logout_token(audience, token).await?;
    Ok(VerifiedLogout { provider, token })
}

/// The store key of a used logout token. `jti` is unique for each issuer.
fn replay_key(app: &AppAuth, provider: &Arc<Provider>, token: &LogoutToken) -> String {
    let (app_name, id) = (&app.app.name, &token.id);
    let is_only = app.app.providers.only().is_some() && app.other_issuer(provider).is_none();
    if is_only {
        format!("logout-token/{app_name}/{id}")
    } else {
        format!("logout-token/{app_name}/{}/{id}", provider.settings().name)
    }
}
