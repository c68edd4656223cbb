//! Revokes one session: its ID here and at all replicas, its rotation in the store, and its refresh
//! token at the provider (RFC 7009).

use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::events::EventSession;
use crate::auth::refresh::rotations::Rotations;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::oidc::ProviderError;
use crate::oidc::token::Revoked;
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::store::Revocation;
use crate::types::oauth::{ProviderSid, RefreshToken, SessionId, Subject};
use crate::types::time::Timestamp;

/// Identifies a session, valid or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) struct SessionKey {
    pub(in crate::auth) sid: SessionId,
    pub(in crate::auth) subject: Subject,
    pub(in crate::auth) started_at: Timestamp,
}

impl From<&SessionJwt> for SessionKey {
    fn from(jwt: &SessionJwt) -> Self {
        Self {
            sid: jwt.sid.clone(),
            subject: jwt.subject.clone(),
            started_at: jwt.started_at,
        }
    }
}

impl From<&RefreshGrant> for SessionKey {
    fn from(refresh: &RefreshGrant) -> Self {
        Self {
            sid: refresh.sid.clone(),
            subject: refresh.subject.clone(),
            started_at: refresh.started_at,
        }
    }
}

impl From<&SessionKey> for EventSession {
    fn from(key: &SessionKey) -> Self {
        Self {
            sid: Some(key.sid.clone()),
            subject: Some(key.subject.clone()),
            claims: None,
        }
    }
}

/// A session to revoke, as a client presented it.
#[derive(Clone, Debug)]
pub(in crate::auth) struct RevocableSession {
    pub(in crate::auth) key: SessionKey,
    /// The provider's session ID, if known.
    pub(in crate::auth) provider_sid: Option<ProviderSid>,
    /// The refresh token, if the client presented it.
    pub(in crate::auth) token: Option<RefreshToken>,
}

impl From<SessionKey> for RevocableSession {
    fn from(key: SessionKey) -> Self {
        Self {
            key,
            provider_sid: None,
            token: None,
        }
    }
}

impl From<SessionJwt> for RevocableSession {
    fn from(jwt: SessionJwt) -> Self {
        Self {
            key: SessionKey::from(&jwt),
            provider_sid: jwt.provider_sid,
            token: None,
        }
    }
}

impl From<RefreshGrant> for RevocableSession {
    fn from(refresh: RefreshGrant) -> Self {
        Self {
            key: SessionKey::from(&refresh),
            provider_sid: refresh.provider_sid,
            token: Some(refresh.token),
        }
    }
}

/// The result of revoking a refresh token at the provider. Of several the last in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::auth) enum TokenRevocation {
    /// The session had no refresh token.
    NothingToRevoke,
    /// The token is revoked.
    Revoked,
    /// The provider has no revocation endpoint.
    NotOffered,
    /// The provider returned an error.
    Failed,
    /// The provider is unreachable.
    Unreachable,
}

/// Revokes sessions. Clones share their state.
#[derive(Clone)]
pub(in crate::auth) struct SessionRevoker {
    context: Arc<Context>,
    replicator: RevocationReplicator,
}

impl SessionRevoker {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        replicator: RevocationReplicator,
    ) -> Self {
        Self {
            context,
            replicator,
        }
    }

    /// Revokes a session until its absolute timeout.
    pub(in crate::auth) fn revoke(&self, app: &AppAuth, session: &SessionKey) {
        let ends_at = session.started_at.plus(app.app.limits.absolute);
        let revocation = Revocation::Session(session.sid.clone(), session.subject.clone());
        // The caller does not wait for the other replicas.
        let now = self.context.now();
        self.replicator
            .revoke(app, revocation, ends_at, now)
            .detach();
    }

    /// Revokes a session and its rotation, so that an in-flight refresh at another replica cannot
    /// continue it. Returns its newest tokens if the store still has them.
    pub(in crate::auth) async fn revoke_with_rotation(
        &self,
        app: &AppAuth,
        session: &SessionKey,
    ) -> Option<Grant> {
        self.revoke(app, session);
        let SessionKey {
            sid, started_at, ..
        } = session;
        let rotations = Rotations::new(&self.context, app);
        let newest = rotations.end(sid, *started_at, self.context.now()).await;
        newest.unwrap_or_else(|error| {
            tracing::debug!(app = %app.app.name, session = %sid.log_name(), code = error.code(), %error, "revocation_write_failed");
            None
        })
    }

    /// Revokes a session, its rotation, and its newest refresh token at the provider.
    pub(in crate::auth) async fn revoke_with_tokens(
        &self,
        app: &AppAuth,
        session: RevocableSession,
    ) -> TokenRevocation {
        let newest = self.revoke_with_rotation(app, &session.key).await;
        let newest = newest.and_then(|grant| grant.refresh);
        match newest.map(|refresh| refresh.token).or(session.token) {
            Some(token) => self.revoke_token(app, &token).await,
            None => TokenRevocation::NothingToRevoke,
        }
    }

    /// Revokes a token at the provider, if the provider supports it. Failures are logged.
    pub(in crate::auth) async fn revoke_token(
        &self,
        app: &AppAuth,
        token: &RefreshToken,
    ) -> TokenRevocation {
        match app.provider.revoke(&app.client, token).await {
            Ok(Revoked::Done) => TokenRevocation::Revoked,
            Ok(Revoked::NotOffered) => TokenRevocation::NotOffered,
            Err(error) => {
                tracing::debug!(app = %app.app.name, code = error.code(), %error, "revocation_failed");
                match error {
                    ProviderError::Unreachable { .. } => TokenRevocation::Unreachable,
                    ProviderError::Setup(_)
                    | ProviderError::ClientAssertion(_)
                    | ProviderError::ClientKey(_)
                    | ProviderError::Insecure { .. }
                    | ProviderError::CircuitOpen
                    | ProviderError::OutcomeUnknown { .. }
                    | ProviderError::Status { .. }
                    | ProviderError::TooLarge { .. }
                    | ProviderError::NotJson { .. }
                    | ProviderError::Metadata { .. }
                    | ProviderError::Keys { .. }
                    | ProviderError::NotOffered { .. }
                    | ProviderError::OtherSubject { .. }
                    | ProviderError::NoRequestUri { .. }
                    | ProviderError::NoVerdict { .. } => TokenRevocation::Failed,
                }
            }
        }
    }

    /// Revokes the refresh token of `grant`, or else `fallback`.
    pub(in crate::auth) async fn revoke_token_of(
        &self,
        app: &AppAuth,
        grant: &Grant,
        fallback: &RefreshToken,
    ) {
        let refresh = grant.refresh.as_ref();
        let token = refresh.map_or(fallback, |refresh| &refresh.token);
        self.revoke_token(app, token).await;
    }
}
