//! Password grant (RFC 6749 section 4.3): an attempt that the throttle has counted is sent to the
//! provider, and its tokens are verified like those of any login.

use std::sync::Arc;

use super::failure::{NativeFailure, of_grant_error, of_token_error};
use super::throttle::{KnownSubjects, PasswordAttempt, PasswordThrottle};
use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::error::Unavailable;
use crate::auth::refresh::tokens;
use crate::oidc::password::PasswordError;
use crate::session::grant::Grant;
use crate::types::oauth::Password;

/// Redeems passwords. Clones share the throttle.
#[derive(Clone)]
pub(in crate::auth) struct PasswordGrants {
    context: Arc<Context>,
    /// Limits the attempts.
    pub(in crate::auth) throttle: PasswordThrottle,
}

/// The credentials that the provider checks.
pub(in crate::auth) struct PasswordCredentials {
    pub(in crate::auth) username: String,
    pub(in crate::auth) password: Password,
    pub(in crate::auth) scope: String,
}

/// A successful password grant.
pub(in crate::auth) struct PasswordGrant {
    pub(in crate::auth) grant: Grant,
    pub(in crate::auth) scope: String,
}

impl PasswordGrants {
    pub(in crate::auth) fn new(context: Arc<Context>, subjects: Arc<KnownSubjects>) -> Self {
        Self {
            throttle: PasswordThrottle::new(Arc::clone(&context), subjects),
            context,
        }
    }

    /// Redeems the password of an attempt that was counted, and corrects the count. The caller runs
    /// it to its end even if the client disconnects: an attempt that the provider counts is counted
    /// here too.
    ///
    /// # Errors
    /// See [`NativeFailure`].
    pub(in crate::auth) async fn redeem(
        &self,
        app: &AppAuth,
        attempt: &PasswordAttempt,
        credentials: PasswordCredentials,
    ) -> Result<PasswordGrant, NativeFailure> {
        let granted = self.call(app, &credentials).await;
        drop(credentials);
        match &granted {
            Ok(PasswordGrant { grant, .. }) => attempt.succeed(app, &grant.jwt.subject).await,
            Err(NativeFailure::Refused(_)) => {}
            Err(_) => attempt.refund(app).await,
        }
        granted
    }

    /// Calls the provider and verifies its tokens.
    async fn call(
        &self,
        app: &AppAuth,
        credentials: &PasswordCredentials,
    ) -> Result<PasswordGrant, NativeFailure> {
        let PasswordCredentials {
            username,
            password,
            scope,
        } = credentials;
        let sid = self.context.new_session_id().await;
        let sid =
            sid.map_err(|error| NativeFailure::Unavailable(Unavailable::of_store(error.code())))?;
        let provider = &app.provider;
        let response = provider.password_grant(&app.client, username, password, scope);
        let response = response.await.map_err(|error| match error {
            PasswordError::Rejected(refusal) => NativeFailure::Refused(refusal),
            PasswordError::Failed(error) => {
                tracing::debug!(app = %app.app.name, code = error.code(), %error, url = app.provider.token_url(), "password_grant_failed");
                of_token_error(&error)
            }
        })?;
        let scope = response.scope.clone().unwrap_or_else(|| scope.clone());
        let grant = tokens::of_login(app, response, None, sid, self.context.now()).await;
        let grant = grant.map_err(|error| of_grant_error(app, &error))?;
        Ok(PasswordGrant { grant, scope })
    }
}
