//! The external validity inputs of sessions and access tokens: revocations and signing keys.

use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::session_id::start_of;
use crate::oidc::Provider;
use crate::session::jwt::SessionJwt;
use crate::session::token::Token;
use crate::session::validity::{Session, ValidityContext};
use crate::store::{RevokedSet, SessionKeyRef};
use crate::types::oauth::{Issuer, KeyFingerprint, ProviderSid, SessionId, Subject};
use crate::types::time::Timestamp;

/// The revocations of an app, and the signing keys of one provider.
pub(in crate::auth) struct SessionValidity<'a> {
    revoked: Arc<RevokedSet>,
    provider: Option<&'a Provider>,
    /// The issuer, if that is not the app's own provider.
    issuer: Option<&'a Issuer>,
    /// Whether IDs are those of sessions, which have their start by the time of the store.
    has_session_ids: bool,
    /// Whether a key is trusted before the first key set is fetched.
    trusts_unknown_keys: bool,
    is_access_token: bool,
}

impl<'a> SessionValidity<'a> {
    /// For sessions. Before the first key set is fetched their seal suffices. After that, a key that
    /// was removed from it is not trusted.
    pub(in crate::auth) fn of_sessions(app: &'a AppAuth) -> Self {
        Self {
            revoked: app.revocations.snapshot(),
            provider: Some(&app.provider),
            issuer: None,
            has_session_ids: true,
            trusts_unknown_keys: true,
            is_access_token: false,
        }
    }

    /// For an access token of `provider`. It has no seal: without a key set none is trusted.
    pub(in crate::auth) fn of_token(
        app: &AppAuth,
        token: &'a Token,
        provider: Option<&'a Arc<Provider>>,
    ) -> Self {
        Self {
            revoked: app.revocations.snapshot(),
            issuer: token.issuer.as_ref(),
            provider: provider.map(|provider| &**provider),
            has_session_ids: false,
            trusts_unknown_keys: false,
            is_access_token: true,
        }
    }
}

impl ValidityContext for SessionValidity<'_> {
    fn is_revoked(
        &self,
        sid: &SessionId,
        subject: &Subject,
        provider_sid: Option<&ProviderSid>,
        started_at: Timestamp,
    ) -> bool {
        // Most of the time, which saves the decoding of the ID.
        if self.revoked.is_empty() {
            return false;
        }
        self.revoked.contains(SessionKeyRef {
            issuer: self.issuer,
            sid,
            provider_sid,
            subject,
            started_at,
            is_access_token: self.is_access_token,
            order: self.has_session_ids.then(|| start_of(sid)).flatten(),
        })
    }

    fn is_known_key(&self, key: &KeyFingerprint) -> bool {
        match self.provider.and_then(Provider::keys) {
            Some(keys) => keys.contains(key),
            None => self.trusts_unknown_keys,
        }
    }
}

/// Whether `app` trusts the signing key of a session.
pub(in crate::auth) fn is_known_key(app: &AppAuth, key: &KeyFingerprint) -> bool {
    app.provider.keys().is_none_or(|keys| keys.contains(key))
}

/// The key of the session of `jwt` for revocation lookups.
pub(in crate::auth) fn key_of_jwt(jwt: &SessionJwt) -> SessionKeyRef<'_> {
    SessionKeyRef {
        issuer: None,
        sid: &jwt.sid,
        provider_sid: jwt.provider_sid.as_ref(),
        subject: &jwt.subject,
        started_at: jwt.started_at,
        is_access_token: false,
        order: start_of(&jwt.sid),
    }
}

/// The key of a session for revocation lookups.
pub(in crate::auth) fn key_of_session(session: &Session) -> SessionKeyRef<'_> {
    SessionKeyRef {
        issuer: None,
        sid: &session.sid,
        provider_sid: session.provider_sid.as_ref(),
        subject: &session.identity.subject,
        started_at: session.started_at,
        is_access_token: false,
        order: start_of(&session.sid),
    }
}

/// The key of an access token for revocation lookups.
pub(in crate::auth) fn key_of_token(token: &Token) -> SessionKeyRef<'_> {
    SessionKeyRef {
        issuer: token.issuer.as_ref(),
        sid: &token.name,
        provider_sid: token.provider_sid.as_ref(),
        subject: &token.identity.subject,
        started_at: token.issued_at,
        is_access_token: true,
        order: None,
    }
}
