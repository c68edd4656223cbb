//! Registration of a key: binds a session that has just begun.

use std::sync::Arc;

use http::HeaderValue;

use super::{BoundTo, DeviceBinder, REGISTRATION_ENDPOINT, RESPONSE, only};
use crate::auth::app::AppAuth;
use crate::auth::error::Unavailable;
use crate::auth::events::{Event, EventSession};
use crate::auth::refresh::outcome::Refreshed;
use crate::auth::request_head::RequestHead;
use crate::auth::session::authentication::SessionUpdate;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::auth::session::device_gate::with_binding;
use crate::auth::session::open::{open_jwt, open_refresh};
use crate::auth::session::writer::UpdateTarget;
use crate::auth::session_validity::key_of_jwt;
use crate::oidc::device_proof::{DeviceProofError, UnverifiedProof};
use crate::policy::route::AppRef;
use crate::session::client_continuity::ClientAssessment;
use crate::session::cookie::RequestCookies;
use crate::session::device_binding::{BindingPolicy, DeviceBinding, DeviceKey, session_identifier};
use crate::session::device_networks::{ProvenNetworks, RequestedNetworks};
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::validity::NoSessionReason;
use crate::types::time::Timestamp;

/// How often the registration joins a refresh of the session that was in flight before it.
const MAX_REFRESHES: usize = 3;

/// A session that was bound.
#[derive(Debug)]
pub struct RegisteredDevice {
    /// The browser's identifier of the session.
    pub session_identifier: String,
    /// The cookies of the bound session.
    pub set_cookies: SetCookieHeaders,
    /// The challenge of the first renewal.
    pub challenge: HeaderValue,
}

/// Why a session was not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationError {
    /// There is no proof, or several.
    NoProof,
    /// The proof is invalid.
    Refused(DeviceProofError),
    /// The challenge is not one of this app, or too old.
    ChallengeInvalid,
    /// The request has no session, or another one than the challenge.
    SessionMismatch,
    /// The session is bound, or it was not bound in time.
    NotPending,
    /// The request has no refresh token of the session.
    NoRefreshToken,
    /// The session is over.
    SessionOver(NoSessionReason),
    /// Its refresh token cannot be exchanged now.
    Unavailable(Unavailable),
    /// The cookies could not be written.
    NotWritten,
}

impl RegistrationError {
    /// The stable code for logs, metrics and responses.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoProof => "device_proof_absent",
            Self::Refused(error) => error.code(),
            Self::ChallengeInvalid => "device_challenge_invalid",
            Self::SessionMismatch => "device_session_mismatch",
            Self::NotPending => "device_registration_late",
            Self::NoRefreshToken => "device_no_refresh_token",
            Self::SessionOver(why) => why.code(),
            Self::Unavailable(outage) => outage.code,
            Self::NotWritten => "device_session_not_written",
        }
    }
}

/// A session that waits for a registration, by its cookies.
struct PendingSession {
    jwt: SessionJwt,
    refresh: Option<RefreshGrant>,
}

impl DeviceBinder {
    /// Binds the session of the request to the key of its proof. The refresh token is exchanged, so that
    /// a copy of the session that was made before has one that is replaced.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub async fn register(
        &self,
        app_ref: AppRef<'_>,
        cookies: &RequestCookies<'_>,
        head: RequestHead<'_>,
    ) -> Result<RegisteredDevice, RegistrationError> {
        let Some(app) = &self.context.app(app_ref) else {
            return Err(RegistrationError::SessionMismatch);
        };
        let Some(policy) = &app.app.device_binding else {
            return Err(RegistrationError::NotPending);
        };
        let now = self.context.now();
        let session = open_jwt(app, cookies);
        let about = session.as_ref().map(EventSession::from).unwrap_or_default();
        let proven = prove(app, policy, session, cookies, head, now);
        let registered = match proven {
            Ok((session, key)) => match self.bind(app, session, &key).await {
                Ok(grant) => {
                    let networks = networks_of_registration(app, policy, head, now);
                    let bound = BoundTo {
                        app,
                        policy,
                        sid: &grant.jwt.sid,
                        key: &key,
                    };
                    self.write(app_ref, &bound, networks, Arc::clone(&grant), cookies)
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let outcome = match &registered {
            Ok(_) => "bound",
            Err(error) => error.code(),
        };
        self.record(app, Event::DeviceRegistration, outcome, &about);
        registered
    }

    /// The bound session: with the successor of its refresh token, so that the store has no other.
    async fn bind(
        &self,
        app: &Arc<AppAuth>,
        session: PendingSession,
        key: &DeviceKey,
    ) -> Result<Arc<Grant>, RegistrationError> {
        let PendingSession { jwt, refresh } = session;
        let bound = DeviceBinding::Bound(Box::new(key.clone()));
        let mut grant = Grant {
            jwt,
            refresh,
            hint: None,
        };
        for _ in 0..MAX_REFRESHES {
            let Grant { jwt, refresh, .. } = with_binding(&grant, &bound);
            let refresh = refresh.ok_or(RegistrationError::NoRefreshToken)?;
            let refreshed = self.refresher.refresh(app, refresh, Some(jwt)).wait().await;
            match refreshed.attributed(&self.context) {
                Refreshed::Renewed(renewed) if renewed.jwt.device == bound => return Ok(renewed),
                // By a refresh that was in flight.
                Refreshed::Renewed(renewed) if renewed.jwt.device == DeviceBinding::Pending => {
                    grant = Grant::clone(&renewed);
                }
                Refreshed::Renewed(_) => return Err(RegistrationError::NotPending),
                Refreshed::SessionOver(why) => return Err(RegistrationError::SessionOver(why)),
                Refreshed::Unavailable(outage) | Refreshed::LoginRequired(outage) => {
                    return Err(RegistrationError::Unavailable(outage));
                }
            }
        }
        Err(RegistrationError::NotPending)
    }

    fn write(
        &self,
        app_ref: AppRef<'_>,
        bound: &BoundTo<'_>,
        networks: ProvenNetworks,
        grant: Arc<Grant>,
        cookies: &RequestCookies<'_>,
    ) -> Result<RegisteredDevice, RegistrationError> {
        let target = UpdateTarget {
            app_ref,
            request_cookies: cookies,
            authenticated_at: self.context.now(),
            counts_as_activity: false,
        };
        let update = SessionUpdate::SetSession(grant);
        let mut set_cookies = self.writer.set_cookie_headers(update, target);
        if set_cookies.is_empty() {
            return Err(RegistrationError::NotWritten);
        }
        let cookie = self.proof_cookie(bound, &networks);
        set_cookies.push(cookie.ok_or(RegistrationError::NotWritten)?);
        self.seen_proofs.record(bound.sid, self.context.now());
        let challenge = self.challenge(bound, networks);
        Ok(RegisteredDevice {
            session_identifier: session_identifier(bound.sid),
            set_cookies,
            challenge: challenge.ok_or(RegistrationError::NotWritten)?,
        })
    }
}

/// The network of the registration.
fn networks_of_registration(
    app: &AppAuth,
    policy: &BindingPolicy,
    head: RequestHead<'_>,
    now: Timestamp,
) -> ProvenNetworks {
    if !policy.network_hint {
        return ProvenNetworks::default();
    }
    let requested = RequestedNetworks {
        client: head.hinted_client(app),
        refused: None,
    };
    ProvenNetworks::default().proven_in(&requested, now)
}

/// The session of a registration and its key. Cheap checks come first, the signature last.
fn prove(
    app: &AppAuth,
    policy: &BindingPolicy,
    session: Option<SessionJwt>,
    cookies: &RequestCookies<'_>,
    head: RequestHead<'_>,
    now: Timestamp,
) -> Result<(PendingSession, DeviceKey), RegistrationError> {
    let proof = only(head.headers, &RESPONSE).ok_or(RegistrationError::NoProof)?;
    let proof = UnverifiedProof::parse(proof).map_err(RegistrationError::Refused)?;
    let challenge = app.seals.device_registration.open(proof.challenge());
    let challenge = challenge.filter(|challenge| policy.is_pending(challenge.begins_at, now));
    let challenge = challenge.ok_or(RegistrationError::ChallengeInvalid)?;
    let session = session.filter(|session| session.sid == challenge.sid);
    let jwt = session.ok_or(RegistrationError::SessionMismatch)?;
    if jwt.device != DeviceBinding::Pending || !policy.is_pending(jwt.started_at, now) {
        return Err(RegistrationError::NotPending);
    }
    if app.revocations.snapshot().contains(key_of_jwt(&jwt)) {
        return Err(RegistrationError::SessionOver(NoSessionReason::Revoked));
    }
    let client = head.info.presented_client(head.headers);
    let on_change = app.app.unbound_sessions.on_client_change;
    if let ClientAssessment::Refused(change) =
        on_change.assess(|| jwt.client.as_ref()?.detect(client))
    {
        let why = NoSessionReason::ClientChanged(change.kind);
        return Err(RegistrationError::SessionOver(why));
    }
    let audience = app.app.endpoint_url(REGISTRATION_ENDPOINT);
    let key = proof.verify_registration(&audience);
    let key = key.map_err(RegistrationError::Refused)?;
    let refresh = open_refresh(app, cookies);
    let refresh =
        refresh.filter(|refresh| refresh.sid == jwt.sid && refresh.generation == jwt.generation);
    Ok((PendingSession { jwt, refresh }, key))
}
