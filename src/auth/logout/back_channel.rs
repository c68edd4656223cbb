//! Back-channel logout (OpenID Connect Back-Channel Logout 1.0): verifies the logout token, then
//! revokes its sessions.

use std::sync::Arc;

use bytes::Bytes;

use crate::auth::app::AppAuth;
use crate::auth::{Auth, Event, TIMEOUT, Unavailable};
use crate::oidc::TokenRejected;
use crate::oidc::logout_token::LogoutToken;
use crate::oidc::provider::LOGOUT_TOKEN_MAX_AGE;
use crate::policy::route::AppRef;
use crate::store::Revocation;

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
}

impl Auth {
    /// Revokes the sessions that a logout token names.
    ///
    /// # Errors
    /// See [`BackchannelLogoutError`].
    pub async fn backchannel_logout(
        self: &Arc<Self>,
        app_ref: AppRef<'_>,
        token: String,
    ) -> Result<(), BackchannelLogoutError> {
        let app = self
            .app(app_ref.index)
            .ok_or(BackchannelLogoutError::Rejected("internal_error"))?;
        let (auth, task_app) = (Arc::clone(self), Arc::clone(app));
        let task = async move { auth.revoke_by(&task_app, &token).await };
        let revoked = self.anonymous_tasks.run(TIMEOUT, task).await;
        let revoked =
            revoked.unwrap_or_else(|error| Err(BackchannelLogoutError::Unavailable(error.into())));
        self.observer.record_event(
            app,
            Event::Revocation,
            revoked.map_or_else(BackchannelLogoutError::code, |()| "back_channel"),
        );
        revoked
    }

    async fn revoke_by(
        self: &Arc<Self>,
        app: &AppAuth,
        token: &str,
    ) -> Result<(), BackchannelLogoutError> {
        let token = app.provider.verify_logout_token(&app.client, token).await.map_err(|rejected| {
            tracing::warn!(app = %app.app.name, code = rejected.code(), error = %rejected, "logout_token_rejected");
            refused(&rejected)
        })?;
        let now = self.now();
        let leeway = app.provider.settings().leeway;
        let activity = format!("logout-token/{}/{}", app.app.name, token.id);
        // Longer than any token is accepted.
        let until = now.plus(LOGOUT_TOKEN_MAX_AGE * 2).plus(leeway * 4);
        match self
            .stores
            .sessions
            .put_if_absent(&activity, Bytes::new(), until, now)
            .await
        {
            Ok(None) => {}
            Ok(Some(_)) => return Err(BackchannelLogoutError::Replayed),
            // If the store is full, the token can be replayed, which revokes the same sessions
            // again.
            Err(_) => tracing::warn!(app = %app.app.name, "logout_token_replay_store_failed"),
        }
        self.end_named(app, &token);
        Ok(())
    }

    /// With a `sid` that session is revoked, whenever it started. With a `sub` only, the user's
    /// sessions are revoked that started until the token's `iat` plus leeway.
    fn end_named(self: &Arc<Self>, app: &AppAuth, token: &LogoutToken) {
        let now = self.now();
        let ends_at = now.plus(app.app.limits.absolute);
        let ended = match (&token.sid, &token.subject) {
            (Some(sid), _) => Revocation::ProviderSession(sid.clone()),
            (None, Some(subject)) => {
                let began_until = token
                    .issued_at
                    .plus(app.provider.settings().leeway)
                    .min(now);
                Revocation::User(subject.clone(), began_until)
            }
            (None, None) => return,
        };
        self.end(app, ended, ends_at);
    }
}

fn refused(rejected: &TokenRejected) -> BackchannelLogoutError {
    if rejected.is_outage() {
        BackchannelLogoutError::Unavailable(Unavailable::new(rejected.code()))
    } else {
        BackchannelLogoutError::Rejected(rejected.code())
    }
}
