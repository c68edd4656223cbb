//! The credentials of presumed callers, which are taken as valid.

use std::sync::Arc;

use crate::auth::bearer::token_identity::TokenIdentity;
use crate::identity::authentication::UserAuthentication;
use crate::identity::credentials::Scheme;
use crate::identity::identity::Identity;
use crate::policy::app::{App, BearerPolicy};
use crate::session::token::{LiveToken, Token, TokenLimits, validate};
use crate::session::validity::{LiveSession, Session, ValidityContext};
use crate::types::oauth::{
    Generation, JwkThumbprint, KeyFingerprint, ProviderSid, SessionId, Subject,
};
use crate::types::time::Timestamp;

/// A session that has just begun. Without `auth_time` the user has just authenticated.
pub(super) fn session_of(identity: Identity, app: &App, now: Timestamp) -> LiveSession {
    let found = UserAuthentication::of_claims(&identity.claims);
    let session = Session {
        identity: Arc::new(identity),
        key: None,
        valid_until: now,
        provider_sid: None,
        sid: SessionId::new(""),
        generation: Generation::FIRST,
        started_at: now,
        sealed_at: now,
        active_at: now,
        bound_to: None,
        identity_due: None,
        authentication: UserAuthentication {
            time: found.time.or(Some(now)),
            ..found
        },
        device: Default::default(),
        client: None,
        passed_jwt: None,
    };
    LiveSession::just_verified(Arc::new(session), now, app.limits)
}

/// A token that has just been issued, with proof of possession where the app requires it.
pub(super) fn token_of(
    identity: TokenIdentity,
    app: &App,
    policy: &BearerPolicy,
    now: Timestamp,
) -> Option<LiveToken> {
    let later = now.plus(app.limits.absolute);
    let TokenIdentity { identity, is_user } = identity;
    let token = Token {
        identity: Arc::new(identity),
        is_user,
        key: None,
        valid_until: later,
        ends_at: later,
        issuer: None,
        issued_at: now,
        provider_sid: None,
        name: SessionId::new(""),
        bound_to: policy.dpop_required.then(|| JwkThumbprint::new("")),
    };
    let scheme = if policy.dpop_required {
        Scheme::DPoP
    } else {
        Scheme::Bearer
    };
    let limits = TokenLimits {
        sessions: app.limits,
        dpop_required: policy.dpop_required,
    };
    validate(&Arc::new(token), scheme, now, &limits, &NothingRevoked).ok()
}

/// No session is revoked, and all keys are known.
struct NothingRevoked;

impl ValidityContext for NothingRevoked {
    fn is_revoked(
        &self,
        _sid: &SessionId,
        _subject: &Subject,
        _provider_sid: Option<&ProviderSid>,
        _started_at: Timestamp,
    ) -> bool {
        false
    }

    fn is_known_key(&self, _key: &KeyFingerprint) -> bool {
        true
    }
}
