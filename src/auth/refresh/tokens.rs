//! From a token response to a session grant. Nothing enters a session unverified.

use super::grant_error::GrantError;
use super::identity::{self, BuiltIdentity, IdentitySources};
use crate::auth::app::AppAuth;
use crate::auth::session_validity::is_known_key;
use crate::identity::authentication::{AuthenticationRequirement, UserAuthentication};
use crate::oidc::claims::ClaimError;
use crate::oidc::dialect::{Dialect, SidClaims};
use crate::oidc::id_token::{IdTokenExpectation, LoginToken, RequestedAuthentication};
use crate::oidc::token::TokenResponse;
use crate::oidc::{SessionTokenSource, TokenRejected, VerifiedToken};
use crate::session::client_continuity::KnownClient;
use crate::session::device_binding::DeviceBinding;
use crate::session::grant::{Grant, LoginClaims, RefreshGrant};
use crate::session::jwt::{PackedJwt, SessionJwt};
use crate::types::oauth::{
    AccessToken, Generation, KeyFingerprint, Nonce, ProviderSid, RefreshToken, SessionId, Subject,
};
use crate::types::time::Timestamp;

/// The authorization request of a login.
#[derive(Clone, Copy, Debug)]
pub(in crate::auth) struct LoginRequest<'r> {
    pub(in crate::auth) nonce: &'r Nonce,
    pub(in crate::auth) requested_at: Timestamp,
    /// Its requirements on the user's authentication.
    pub(in crate::auth) required: &'r AuthenticationRequirement,
}

/// The grant of a new session `sid` (OpenID Connect Core section 3.1.3.7). A browser login has a
/// request, and requires an ID token. A password grant has none, and some providers return no ID
/// token for it.
pub(in crate::auth) async fn of_login(
    app: &AppAuth,
    response: TokenResponse,
    request: Option<LoginRequest<'_>>,
    sid: SessionId,
    now: Timestamp,
) -> Result<Grant, GrantError> {
    let verified_id = match &response.id_token {
        Some(id_token) => {
            let expected = IdTokenExpectation {
                nonce: request.map(|request| request.nonce),
                access_token: Some(&response.access_token),
                authentication: request.map(|request| RequestedAuthentication {
                    required: request.required,
                    requested_at: request.requested_at,
                }),
                ..Default::default()
            };
            let verified = app
                .provider
                .verify_id_token(&app.client, id_token, expected)
                .await;
            Some(verified.map_err(|rejected| GrantError::Rejected(rejected, "ID token"))?)
        }
        None if request.is_none() => None,
        None => return Err(GrantError::NoIdToken),
    };
    let jwt = match app.client.session_jwt {
        SessionTokenSource::Id => verified_id.clone().ok_or(GrantError::NoIdToken)?,
        SessionTokenSource::Access => access_jwt(app, &response.access_token).await?,
    };
    if verified_id
        .as_ref()
        .is_some_and(|id_token| id_token.subject() != jwt.subject())
    {
        return Err(GrantError::SubjectChanged);
    }
    if !dialect(app).admits(&app.client.client_id, jwt.claims()) {
        return Err(GrantError::NotRegistered);
    }
    let built = identity::build(
        app,
        IdentitySources {
            jwt: Some(&jwt),
            id_token: verified_id.as_ref(),
            access_token: &response.access_token,
            dpop_key: response.dpop_key.as_ref(),
            subject: jwt.subject(),
            previous: None,
        },
        now,
    )
    .await;
    let session = SessionState {
        sid,
        generation: Generation::FIRST,
        subject: jwt.subject().clone(),
        started_at: now,
        active_at: now,
        provider_sid: dialect(app).provider_sid(SidClaims {
            previous: None,
            id_token: verified_id.as_ref().and_then(VerifiedToken::sid),
            jwt: jwt.sid(),
            refresh_token_id: response.refresh_token_id.as_ref(),
        }),
        login: verified_id.as_ref().map(login_claims).unwrap_or_default(),
        authentication: verified_id
            .as_ref()
            .map(VerifiedToken::authentication)
            .unwrap_or_default(),
        // Both are set when the session is given to a browser.
        device: DeviceBinding::Unbound,
        dpop_key: response.dpop_key,
        client: None,
    };
    let jwt = session_jwt(&jwt, &response, built, &session, now)?;
    let refresh = response
        .refresh_token
        .map(|token| session.refresh_grant(token, now));
    Ok(Grant {
        jwt,
        refresh,
        hint: response.id_token,
    })
}

/// The grant of a refreshed session. Without a new JWT the verified one of the login is kept, with
/// a new expiry.
pub(in crate::auth) async fn of_refresh(
    app: &AppAuth,
    response: TokenResponse,
    used: &RefreshGrant,
    old: Option<&SessionJwt>,
    now: Timestamp,
) -> Result<Grant, GrantError> {
    if app.client.dpop_keys.is_some() && response.dpop_key.is_none() {
        return Err(GrantError::NotBound);
    }
    let verified_id = refreshed_id_token(app, &response, used).await?;
    let jwt = match app.client.session_jwt {
        SessionTokenSource::Id => verified_id.clone(),
        SessionTokenSource::Access => Some(access_jwt(app, &response.access_token).await?),
    };
    if jwt
        .iter()
        .chain(&verified_id)
        .any(|token| *token.subject() != used.subject)
    {
        return Err(GrantError::SubjectChanged);
    }
    if jwt
        .as_ref()
        .is_some_and(|jwt| !dialect(app).admits(&app.client.client_id, jwt.claims()))
    {
        return Err(GrantError::NotRegistered);
    }
    if jwt.is_none() && old.is_none() {
        return Err(GrantError::NothingToKeep);
    }
    let built = identity::build(
        app,
        IdentitySources {
            jwt: jwt.as_ref(),
            id_token: verified_id.as_ref(),
            access_token: &response.access_token,
            dpop_key: response.dpop_key.as_ref(),
            subject: &used.subject,
            previous: old,
        },
        now,
    )
    .await;
    let known_sid = old.and_then(|old| old.provider_sid.as_ref());
    let session = SessionState {
        sid: used.sid.clone(),
        generation: used.generation.next(),
        subject: used.subject.clone(),
        started_at: used.started_at,
        active_at: used.active_at,
        provider_sid: dialect(app).provider_sid(SidClaims {
            previous: known_sid.or(used.provider_sid.as_ref()),
            id_token: verified_id.as_ref().and_then(VerifiedToken::sid),
            jwt: jwt.as_ref().and_then(VerifiedToken::sid),
            refresh_token_id: response.refresh_token_id.as_ref(),
        }),
        login: used.login.clone(),
        // A refresh does not authenticate the user.
        authentication: old.map_or_else(|| used.authentication(), |old| old.authentication.clone()),
        device: used
            .device
            .after_refresh(app.app.device_binding.as_ref(), used.started_at, now),
        dpop_key: response.dpop_key,
        client: used.client.clone(),
    };
    let jwt = match &jwt {
        Some(jwt) => SessionJwt {
            bound_to: old.and_then(|old| old.bound_to.clone()),
            ..session_jwt(jwt, &response, built, &session, now)?
        },
        None => {
            let old = old.ok_or(GrantError::NothingToKeep)?;
            continued_jwt(old, &response, built, &session, now)
        }
    };
    let token = response.refresh_token.unwrap_or_else(|| used.token.clone());
    Ok(Grant {
        jwt,
        refresh: Some(session.refresh_grant(token, now)),
        hint: response.id_token,
    })
}

/// Verifies the ID token of a refresh, if there is one (OpenID Connect Core section 12.2).
async fn refreshed_id_token(
    app: &AppAuth,
    response: &TokenResponse,
    used: &RefreshGrant,
) -> Result<Option<VerifiedToken>, GrantError> {
    let Some(token) = &response.id_token else {
        return Ok(None);
    };
    let expected = IdTokenExpectation {
        subject: Some(&used.subject),
        access_token: Some(&response.access_token),
        login: Some(LoginToken {
            nonce: used.login.nonce.as_ref(),
            auth_time: used.login.auth_time,
            issued_at: used.login.issued_at,
        }),
        ..Default::default()
    };
    let verified = app
        .provider
        .verify_id_token(&app.client, token, expected)
        .await;
    verified.map(Some).map_err(|rejected| match rejected {
        TokenRejected::Claim(ClaimError::SubjectMismatch) => GrantError::SubjectChanged,
        TokenRejected::KeysUnavailable(_)
        | TokenRejected::Signature(_)
        | TokenRejected::Claim(_) => GrantError::Rejected(rejected, "ID token"),
    })
}

fn login_claims(id_token: &VerifiedToken) -> LoginClaims {
    LoginClaims {
        nonce: id_token.nonce().map(Nonce::new),
        auth_time: id_token.auth_time(),
        issued_at: id_token.issued_at(),
    }
}

/// The refresh token of a response, and the client's key that it may be bound to.
#[derive(Clone, Debug)]
pub(in crate::auth) struct ReceivedRefreshToken {
    pub(in crate::auth) token: RefreshToken,
    pub(in crate::auth) dpop_key: Option<KeyFingerprint>,
}

impl ReceivedRefreshToken {
    /// That of `response`, if it has one. Without a key of its own it is used with that of the token it
    /// replaces.
    pub(in crate::auth) fn of(response: &TokenResponse, used: &RefreshGrant) -> Option<Self> {
        let token = response.refresh_token.clone()?;
        let dpop_key = response.dpop_key.as_ref().or(used.dpop_key.as_ref());
        Some(Self {
            token,
            dpop_key: dpop_key.cloned(),
        })
    }
}

/// The old JWT, if it is known, with the new refresh token, as the next generation. It needs a
/// refresh at once.
pub(in crate::auth) fn stale_grant(
    used: &RefreshGrant,
    old: Option<SessionJwt>,
    received: ReceivedRefreshToken,
) -> Grant {
    let generation = used.generation.next();
    let old = old.unwrap_or_else(|| used.unknown_jwt());
    Grant {
        jwt: SessionJwt {
            generation,
            device: used.device.clone(),
            client: used.client.clone(),
            ..old
        },
        refresh: Some(RefreshGrant {
            token: received.token,
            dpop_key: received.dpop_key,
            generation,
            ..used.clone()
        }),
        hint: None,
    }
}

/// Whether the stored tokens are those of `generation` and may be used at `now`.
pub(in crate::auth) fn is_usable(
    app: &AppAuth,
    grant: &Grant,
    generation: Generation,
    now: Timestamp,
) -> bool {
    grant.jwt.generation == generation && is_valid(app, grant, now)
}

/// Whether the JWT of stored tokens has not expired, and `app` trusts its signing key.
pub(in crate::auth) fn is_valid(app: &AppAuth, grant: &Grant, now: Timestamp) -> bool {
    let is_key_known = grant.jwt.key.is_none_or(|key| is_known_key(app, &key));
    now < grant.jwt.valid_until && is_key_known
}

fn dialect(app: &AppAuth) -> &Dialect {
    &app.provider.settings().dialect
}

struct SessionState {
    sid: SessionId,
    generation: Generation,
    subject: Subject,
    started_at: Timestamp,
    active_at: Timestamp,
    provider_sid: Option<ProviderSid>,
    login: LoginClaims,
    authentication: UserAuthentication,
    device: DeviceBinding,
    dpop_key: Option<KeyFingerprint>,
    client: Option<Box<KnownClient>>,
}

impl SessionState {
    fn refresh_grant(&self, token: RefreshToken, now: Timestamp) -> RefreshGrant {
        RefreshGrant {
            token,
            sid: self.sid.clone(),
            generation: self.generation,
            subject: self.subject.clone(),
            started_at: self.started_at,
            sealed_at: now,
            active_at: self.active_at,
            provider_sid: self.provider_sid.clone(),
            login: self.login.clone(),
            device: self.device.clone(),
            dpop_key: self.dpop_key,
            client: self.client.clone(),
        }
    }
}

async fn access_jwt(app: &AppAuth, token: &AccessToken) -> Result<VerifiedToken, GrantError> {
    if token.expose().split('.').count() != 3 {
        return Err(GrantError::OpaqueAccessToken);
    }
    let verified = app.provider.verify_access_token(&app.client, token).await;
    verified.map_err(|rejected| GrantError::Rejected(rejected, "access token"))
}

fn session_jwt(
    jwt: &VerifiedToken,
    response: &TokenResponse,
    identity: BuiltIdentity,
    session: &SessionState,
    now: Timestamp,
) -> Result<SessionJwt, GrantError> {
    let by_response = response.expires_in.map(|life| now.plus(life));
    let valid_until = by_response.map_or(jwt.expires_at(), |end| end.min(jwt.expires_at()));
    if valid_until <= now {
        return Err(GrantError::ExpiredOnArrival);
    }
    Ok(SessionJwt {
        jwt: PackedJwt::pack(jwt.raw()),
        kept_claims: identity.kept_claims,
        key: Some(jwt.key()),
        valid_until,
        subject: jwt.subject().clone(),
        provider_sid: session.provider_sid.clone(),
        sid: session.sid.clone(),
        generation: session.generation,
        started_at: session.started_at,
        sealed_at: now,
        active_at: session.active_at,
        bound_to: None,
        identity_due: identity.due,
        identity_failing_since: identity.failing_since,
        authentication: session.authentication.clone(),
        device: session.device.clone(),
        client: session.client.clone(),
    })
}

/// The JWT of the session so far, for as long as the provider has just confirmed the session.
/// Whether it still has the key of the login does not matter.
fn continued_jwt(
    old: &SessionJwt,
    response: &TokenResponse,
    identity: BuiltIdentity,
    session: &SessionState,
    now: Timestamp,
) -> SessionJwt {
    let life = response.expires_in;
    let life = life.unwrap_or(old.valid_until.since(old.sealed_at));
    SessionJwt {
        kept_claims: identity.kept_claims,
        key: None,
        valid_until: now.plus(life),
        provider_sid: session.provider_sid.clone(),
        generation: session.generation,
        sealed_at: now,
        active_at: session.active_at,
        identity_due: identity.due,
        identity_failing_since: identity.failing_since,
        device: session.device.clone(),
        client: session.client.clone(),
        ..old.clone()
    }
}
