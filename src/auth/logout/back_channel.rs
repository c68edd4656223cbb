//! The provider ends sessions (OpenID Connect Back-Channel Logout): verified first, then known to every request.

use std::sync::Arc;

use bytes::Bytes;

use crate::auth::app::AppAuth;
use crate::auth::{Auth, Event, TIMEOUT, Unavailable};
use crate::oidc::TokenRejected;
use crate::oidc::logout_token::LogoutToken;
use crate::oidc::provider::LOGOUT_TOKEN_MAX_AGE;
use crate::policy::route::AppRef;
use crate::store::Revocation;

/// Why a logout token ended nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackchannelLogoutError {
    /// It is not one, or not for this app.
    Rejected(&'static str),
    /// It came before.
    Replayed,
    /// It cannot be told now.
    Unavailable(Unavailable),
}

impl BackchannelLogoutError {
    /// The stable word for logs, metrics and answers.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Rejected(code) => code,
            Self::Replayed => "logout_token_replayed",
            Self::Unavailable(outage) => outage.code,
        }
    }
}

impl Auth {
    /// Ends the sessions that a logout token names.
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
            // Without room the token may be replayed, which ends what has ended.
            Err(_) => tracing::warn!(app = %app.app.name, "logout_token_replay_store_failed"),
        }
        self.end_named(app, &token);
        Ok(())
    }

    /// A session that is named ends whenever it began; a person's sessions, if they began by the provider's `iat`,
    /// give or take what clocks may differ.
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
                Revocation::Person(subject.clone(), began_until)
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
