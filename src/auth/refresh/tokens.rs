//! From a token response to a session grant. Nothing enters a session unverified.

use serde_json::{Map, Value};

use crate::auth::app::{AppAuth, Userinfo};
use crate::auth::random::{self, RandomError};
use crate::identity::claims;
use crate::oidc::claims::ClaimError;
use crate::oidc::dialect::{Dialect, SidClaims};
use crate::oidc::id_token::IdTokenExpectation;
use crate::oidc::token::TokenResponse;
use crate::oidc::{SessionTokenSource, TokenRejected, VerifiedToken};
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::{PackedJwt, SessionJwt};
use crate::types::oauth::{AccessToken, Generation, Nonce, RefreshToken, SessionId, Subject};
use crate::types::time::Timestamp;

/// Why a token response makes no session.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum GrantError {
    /// No ID token, although the scope had `openid`.
    #[error("the provider returned no ID token")]
    NoIdToken,
    /// The access token is configured as session JWT and is not a JWT.
    #[error("the provider's access token is not a JWT; set `session_jwt = \"id\"` for this app")]
    OpaqueAccessToken,
    /// A token was rejected.
    #[error("{0} (in the {1})")]
    Rejected(TokenRejected, &'static str),
    /// The tokens have different subjects.
    #[error("the provider's tokens have another subject than before")]
    SubjectChanged,
    /// The JWT was expired on receipt.
    #[error("the provider's JWT was expired on receipt; compare the clocks")]
    ExpiredOnArrival,
    /// The user is not registered for this app at the provider.
    #[error("the user is not registered for this app at the provider")]
    NotRegistered,
    /// No new JWT, and the old one is missing.
    #[error("the provider returned no new JWT, and the old one is missing")]
    NothingToKeep,
    /// See [`RandomError`].
    #[error(transparent)]
    RandomError(#[from] RandomError),
}

impl GrantError {
    /// The stable code for logs, metrics and pages.
    pub(in crate::auth) fn code(&self) -> &'static str {
        match self {
            Self::NoIdToken => "no_id_token",
            Self::OpaqueAccessToken => "access_token_not_a_jwt",
            Self::Rejected(rejected, _) => rejected.code(),
            Self::SubjectChanged => "subject_changed",
            Self::ExpiredOnArrival => "token_expired_on_receipt",
            Self::NotRegistered => "not_registered",
            Self::NothingToKeep => "no_new_jwt",
            Self::RandomError(_) => "internal_error",
        }
    }

    /// Whether a retry cannot help, so that the session is over.
    pub(in crate::auth) const fn is_final(&self) -> bool {
        match self {
            Self::SubjectChanged | Self::NotRegistered | Self::NothingToKeep => true,
            Self::NoIdToken
            | Self::OpaqueAccessToken
            | Self::Rejected(..)
            | Self::ExpiredOnArrival
            | Self::RandomError(_) => false,
        }
    }

    /// Whether a clock is wrong, here or at the provider.
    pub(in crate::auth) const fn is_about_time(&self) -> bool {
        use ClaimError::{Expired, IssuedInFuture, NotYetValid};
        matches!(
            self,
            Self::ExpiredOnArrival
                | Self::Rejected(
                    TokenRejected::Claim(Expired | NotYetValid | IssuedInFuture),
                    _
                )
        )
    }

    /// Whether the provider was unavailable, so that the tokens may be valid.
    pub(in crate::auth) fn is_outage(&self) -> bool {
        matches!(self, Self::Rejected(rejected, _) if rejected.is_outage())
    }
}

/// The grant of a new session (OpenID Connect Core section 3.1.3.7). A browser login has a nonce
/// and requires an ID token. A password grant has none, and some providers return no ID token for
/// it.
pub(in crate::auth) async fn of_login(
    app: &AppAuth,
    response: TokenResponse,
    nonce: Option<&Nonce>,
    now: Timestamp,
) -> Result<Grant, GrantError> {
    let verified_id = match &response.id_token {
        Some(id_token) => {
            let expected = IdTokenExpectation {
                nonce,
                access_token: Some(&response.access_token),
                ..Default::default()
            };
            let verified = app
                .provider
                .verify_id_token(&app.client, id_token, expected)
                .await;
            Some(verified.map_err(|rejected| GrantError::Rejected(rejected, "ID token"))?)
        }
        None if nonce.is_none() => None,
        None => return Err(GrantError::NoIdToken),
    };
    let jwt = match app.client.session_jwt {
        SessionTokenSource::Id => verified_id.clone().ok_or(GrantError::NoIdToken)?,
        SessionTokenSource::Access => access_jwt(app, &response.access_token).await?,
    };
    let id_token = verified_id.as_ref().unwrap_or(&jwt);
    if jwt.subject() != id_token.subject() {
        return Err(GrantError::SubjectChanged);
    }
    if !dialect(app).admits(&app.client.client_id, jwt.claims()) {
        return Err(GrantError::NotRegistered);
    }
    let kept = kept_claims(app, &jwt, id_token, &response.access_token).await;
    let sid = SessionId::new(random::random_id()?);
    let session = SessionState {
        sid,
        generation: Generation::FIRST,
        subject: jwt.subject().clone(),
        started_at: now,
        active_at: now,
    };
    let mut new_jwt = session_jwt(&jwt, &response, kept, &session, now)?;
    let refresh_token_id = response.refresh_token_id.as_ref();
    let sids = SidClaims {
        previous: None,
        id_token: id_token.sid(),
        jwt: jwt.sid(),
        refresh_token_id,
    };
    new_jwt.provider_sid = dialect(app).provider_sid(sids);
    let refresh = response
        .refresh_token
        .map(|token| session.refresh_grant(token, now));
    Ok(Grant {
        jwt: new_jwt,
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
    let session = SessionState {
        sid: used.sid.clone(),
        generation: used.generation.next(),
        subject: used.subject.clone(),
        started_at: used.started_at,
        active_at: used.active_at,
    };
    let verified_id = match &response.id_token {
        Some(token) => {
            let expected = IdTokenExpectation {
                subject: Some(&used.subject),
                access_token: Some(&response.access_token),
                ..Default::default()
            };
            let verified = app
                .provider
                .verify_id_token(&app.client, token, expected)
                .await;
            Some(verified.map_err(|rejected| match rejected {
                TokenRejected::Claim(ClaimError::SubjectMismatch) => GrantError::SubjectChanged,
                TokenRejected::KeysUnavailable(_)
                | TokenRejected::Signature(_)
                | TokenRejected::Claim(_) => GrantError::Rejected(rejected, "ID token"),
            })?)
        }
        None => None,
    };
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
    let provider_sid = dialect(app).provider_sid(SidClaims {
        previous: old.and_then(|old| old.provider_sid.as_ref()),
        id_token: verified_id.as_ref().and_then(VerifiedToken::sid),
        jwt: jwt.as_ref().and_then(VerifiedToken::sid),
        refresh_token_id: response.refresh_token_id.as_ref(),
    });
    let new_jwt = match &jwt {
        Some(jwt) => {
            let mut kept = old.and_then(SessionJwt::kept).unwrap_or_default();
            if let Some(id) = &verified_id {
                keep_from_id_token(app, &mut kept, jwt, id);
            }
            let kept = Value::Object(kept).to_string();
            let bound_to = old.and_then(|old| old.bound_to.clone());
            SessionJwt {
                provider_sid,
                bound_to,
                ..session_jwt(jwt, &response, kept, &session, now)?
            }
        }
        None => {
            let old = old.ok_or(GrantError::NothingToKeep)?;
            let valid_until = now.plus(
                response
                    .expires_in
                    .unwrap_or(old.valid_until.since(old.sealed_at)),
            );
            // The provider has just confirmed the session. Whether it still has the key of the
            // login does not matter.
            let generation = session.generation;
            SessionJwt {
                key: None,
                valid_until,
                provider_sid,
                generation,
                sealed_at: now,
                active_at: used.active_at,
                ..old.clone()
            }
        }
    };
    let token = response.refresh_token.unwrap_or_else(|| used.token.clone());
    Ok(Grant {
        jwt: new_jwt,
        refresh: Some(session.refresh_grant(token, now)),
        hint: response.id_token,
    })
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
    kept_claims: String,
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
        kept_claims,
        key: Some(jwt.key()),
        valid_until,
        subject: jwt.subject().clone(),
        provider_sid: jwt.sid().cloned(),
        sid: session.sid.clone(),
        generation: session.generation,
        started_at: session.started_at,
        sealed_at: now,
        active_at: session.active_at,
        bound_to: None,
    })
}

/// The used claims that the JWT lacks: from the ID token, else from the userinfo endpoint. Protocol
/// claims come from verified tokens only.
async fn kept_claims(
    app: &AppAuth,
    jwt: &VerifiedToken,
    id_token: &VerifiedToken,
    access: &AccessToken,
) -> String {
    let mut kept = Map::new();
    keep_from_id_token(app, &mut kept, jwt, id_token);
    let is_missing = |name: &str| {
        claims::find(jwt.claims(), name).is_none() && claims::find(&kept, name).is_none()
    };
    let missing: Vec<&str> = app
        .app
        .claims_in_use()
        .into_iter()
        .filter(|name| is_missing(name))
        .collect();
    let offered = app
        .provider
        .known_metadata()
        .is_some_and(|metadata| metadata.userinfo_endpoint.is_some());
    if app.settings.userinfo == Userinfo::WhenNeeded && offered && !missing.is_empty() {
        match app.provider.userinfo(access, jwt.subject()).await {
            Ok(userinfo) => keep_named(&mut kept, &missing, &userinfo),
            Err(error) => {
                tracing::warn!(app = %app.app.name, code = error.code(), %error, ?missing, "userinfo_failed");
            }
        }
    }
    Value::Object(kept).to_string()
}

fn keep_from_id_token(
    app: &AppAuth,
    kept: &mut Map<String, Value>,
    jwt: &VerifiedToken,
    id_token: &VerifiedToken,
) {
    let missing: Vec<&str> = app
        .app
        .claims_in_use()
        .into_iter()
        .filter(|name| claims::find(jwt.claims(), name).is_none())
        .collect();
    keep_named(kept, &missing, id_token.claims());
}

/// Keeps only the named claims: cookies are small.
fn keep_named(kept: &mut Map<String, Value>, names: &[&str], claims: &Map<String, Value>) {
    const PROTOCOL: [&str; 8] = ["iss", "sub", "aud", "azp", "exp", "nbf", "iat", "nonce"];
    let is_protocol = |name: &str| PROTOCOL.contains(&name.split('.').next().unwrap_or(name));
    for name in names.iter().filter(|name| !is_protocol(name)) {
        claims::keep(kept, claims, name);
    }
}
