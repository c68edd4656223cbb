//! Callers with each kind of credential.

use std::sync::Arc;
use std::time::Duration;

use doorward::identity::authentication::UserAuthentication;
use doorward::identity::claims::Claims;
use doorward::identity::credentials::Scheme;
use doorward::identity::identity::Identity;
use doorward::policy::decide::Caller;
use doorward::policy::login_providers::ProviderIndex;
use doorward::policy::native::{Native, Throttle, Tokens};
use doorward::policy::throttle::{BackoffLimit, RateLimit};
use doorward::session::token::{Token, TokenLimits, validate};
use doorward::session::validity::{Limits, LiveSession, NoSessionReason, Session, ValidityContext};
use doorward::types::oauth::{
    ClientId, Generation, KeyFingerprint, ProviderSid, SessionId, Subject,
};
use doorward::types::time::Timestamp;
use serde_json::{Map, json};

pub(crate) const LIMITS: Limits = Limits {
    idle: Duration::from_secs(1800),
    absolute: Duration::from_secs(43200),
};
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The credential of a caller.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CredentialKind {
    Cookies,
    NativeToken,
    UserToken,
    ClientToken,
    Password,
}

/// A credential of a user who authenticated so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PresentedCredential {
    pub(crate) kind: CredentialKind,
    /// Seconds since the authentication.
    pub(crate) age: u64,
    pub(crate) acr: Option<&'static str>,
}

struct Context;

impl ValidityContext for Context {
    fn is_revoked(
        &self,
        _: &SessionId,
        _: &Subject,
        _: Option<&ProviderSid>,
        _: Timestamp,
    ) -> bool {
        false
    }
    fn is_known_key(&self, _: &KeyFingerprint) -> bool {
        true
    }
}

pub(crate) fn caller(
    credential: Option<PresentedCredential>,
    roles: &[&str],
    why: NoSessionReason,
) -> Caller {
    let Some(PresentedCredential { kind, age, acr }) = credential else {
        return Caller::Anonymous(why);
    };
    let auth_time = START.secs() - age;
    let claims = json!({"roles": roles, "auth_time": auth_time, "acr": acr});
    let claims = Claims::new(claims.as_object().cloned().unwrap_or_default(), Map::new());
    let identity = Arc::new(Identity::new(Subject::new("alice"), claims, &[]));
    let (key, until) = (
        Some(KeyFingerprint::new([0; 16])),
        START.plus(Duration::from_secs(300)),
    );
    let token = |is_user| {
        let token = Token {
            issuer: None,
            identity: Arc::clone(&identity),
            is_user,
            key,
            valid_until: until,
            ends_at: until,
            issued_at: START,
            provider_sid: None,
            name: SessionId::new("t"),
            bound_to: None,
        };
        let limits = TokenLimits {
            sessions: LIMITS,
            dpop_required: false,
        };
        Caller::Bearer(
            validate(&Arc::new(token), Scheme::Bearer, START, &limits, &Context).unwrap(),
        )
    };
    match kind {
        CredentialKind::UserToken => token(true),
        CredentialKind::ClientToken => token(false),
        CredentialKind::Cookies | CredentialKind::NativeToken | CredentialKind::Password => {
            let session = Session {
                identity,
                key,
                valid_until: until,
                provider_sid: None,
                sid: SessionId::new("s"),
                generation: Generation::FIRST,
                started_at: START,
                sealed_at: START,
                active_at: START,
                bound_to: None,
                identity_due: None,
                authentication: UserAuthentication {
                    time: Some(Timestamp::from_secs(auth_time)),
                    acr: acr.map(str::to_owned),
                },
                device: Default::default(),
                client: None,
                passed_jwt: None,
            };
            let live = LiveSession::just_verified(Arc::new(session), START, LIMITS);
            match kind {
                CredentialKind::NativeToken => Caller::NativeSession(live),
                CredentialKind::Password => Caller::Basic(live),
                CredentialKind::Cookies
                | CredentialKind::UserToken
                | CredentialKind::ClientToken => Caller::Authenticated(live),
            }
        }
    }
}

/// Native clients, with pages of one other origin.
pub(crate) fn native(origin: &str) -> Native {
    let failures = BackoffLimit {
        free: 5,
        max_backoff: Duration::from_secs(900),
    };
    Native {
        provider: ProviderIndex::default(),
        client_id: ClientId::new("store"),
        tokens: Tokens::Sealed,
        inline_refresh: true,
        cors_origins: vec![origin.to_owned()],
        throttle: Throttle {
            account: failures,
            address: failures,
            all: RateLimit { per_minute: 600 },
        },
    }
}
