//! Renewal of a proof: the browser signs a challenge with the key of its session. It calls neither the
//! provider nor the store, since the browser holds the user's request back meanwhile.

use http::{HeaderMap, HeaderValue};

use super::{BoundTo, DeviceBinder, PROOF_ENDPOINT, RESPONSE, SESSION_ID, only};
use crate::auth::app::AppAuth;
use crate::auth::events::{Event, EventSession};
use crate::auth::refresh::revoke::SessionKey;
use crate::auth::session::open::{open_jwt, open_refresh};
use crate::oidc::device_proof::{DeviceProofError, UnverifiedProof, unquoted};
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::session::device_binding::{BindingPolicy, DeviceBinding, DeviceKey, session_identifier};
use crate::types::oauth::SessionId;

/// The longest session identifier.
const MAX_IDENTIFIER: usize = 64;

/// The result of a renewal.
#[derive(Debug)]
pub enum ProofOutcome {
    /// The browser has proven possession.
    Renewed(RenewedProof),
    /// It must sign this challenge first.
    ChallengeRequired(HeaderValue),
    /// The browser's session of this identifier is not the one of its cookies: it must forget it.
    SessionEnded(String),
    /// Another key signed, or no browser sends such a request.
    Refused(&'static str),
    /// The session cannot be read now.
    Unavailable,
}

/// A proof that was renewed.
#[derive(Debug)]
pub struct RenewedProof {
    /// The proof cookie.
    pub set_cookie: HeaderValue,
    /// The challenge of the next renewal.
    pub challenge: HeaderValue,
}

impl ProofOutcome {
    /// The stable code for logs, metrics and responses.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Renewed(_) => "device_proof_renewed",
            Self::ChallengeRequired(_) => "device_challenge",
            Self::SessionEnded(_) => "device_session_ended",
            Self::Refused(code) => code,
            Self::Unavailable => "device_session_unreadable",
        }
    }
}

/// The session of the cookies, valid or not: each request checks that.
struct CookieSession {
    sid: SessionId,
    device: DeviceBinding,
    about: EventSession,
}

impl DeviceBinder {
    /// Renews the proof of the session in the cookies.
    pub fn prove(
        &self,
        app_ref: AppRef<'_>,
        cookies: &RequestCookies<'_>,
        headers: &HeaderMap,
    ) -> ProofOutcome {
        let Some(app) = &self.context.app(app_ref) else {
            return ProofOutcome::Unavailable;
        };
        let session = cookie_session(app, cookies);
        let outcome = self.proven(app, session.as_ref(), cookies, headers);
        // Without a session anybody can send it, and it would fill the audit log.
        let has_session = session.is_some();
        let about = session.map(|session| session.about).unwrap_or_default();
        let event = match outcome {
            ProofOutcome::Refused(_) if has_session => Event::DeviceProofRefused,
            ProofOutcome::Refused(_) => Event::DeviceProof,
            ProofOutcome::Renewed(_)
            | ProofOutcome::ChallengeRequired(_)
            | ProofOutcome::SessionEnded(_)
            | ProofOutcome::Unavailable => Event::DeviceProof,
        };
        self.record(app, event, outcome.code(), &about);
        outcome
    }

    fn proven(
        &self,
        app: &AppAuth,
        session: Option<&CookieSession>,
        cookies: &RequestCookies<'_>,
        headers: &HeaderMap,
    ) -> ProofOutcome {
        let Some(policy) = &app.app.device_binding else {
            return ProofOutcome::Refused("device_binding_off");
        };
        let identifier = only(headers, &SESSION_ID).map(unquoted);
        let Some(identifier) = identifier.filter(|identifier| is_identifier(identifier)) else {
            return ProofOutcome::Refused("device_session_id_invalid");
        };
        let names = &app.app.cookies;
        let (sid, key) = match session {
            Some(CookieSession {
                sid,
                device: DeviceBinding::Bound(key),
                ..
            }) if session_identifier(sid) == identifier => (sid, key),
            // Other keys may open it.
            None if cookies.has(&names.jwt) || cookies.has(&names.refresh) => {
                return ProofOutcome::Unavailable;
            }
            Some(_) | None => return ProofOutcome::SessionEnded(identifier.to_owned()),
        };
        let bound = BoundTo {
            app,
            policy,
            sid,
            key,
        };
        self.renewed(&bound, headers)
    }

    fn renewed(&self, bound: &BoundTo<'_>, headers: &HeaderMap) -> ProofOutcome {
        let BoundTo {
            app, policy, sid, ..
        } = bound;
        let Some(challenge) = self.challenge(app, policy, sid) else {
            return ProofOutcome::Unavailable;
        };
        if !headers.contains_key(RESPONSE) {
            return ProofOutcome::ChallengeRequired(challenge);
        }
        match self.verify(app, policy, sid, bound.key, headers) {
            Ok(true) => match self.proof_cookie(bound) {
                Some(set_cookie) => ProofOutcome::Renewed(RenewedProof {
                    set_cookie,
                    challenge,
                }),
                None => ProofOutcome::Unavailable,
            },
            Ok(false) => ProofOutcome::ChallengeRequired(challenge),
            Err(error) => ProofOutcome::Refused(error.code()),
        }
    }

    /// Whether the proof is of a current challenge, if its key signed it.
    fn verify(
        &self,
        app: &AppAuth,
        policy: &BindingPolicy,
        sid: &SessionId,
        key: &DeviceKey,
        headers: &HeaderMap,
    ) -> Result<bool, DeviceProofError> {
        let proof = only(headers, &RESPONSE).ok_or(DeviceProofError::Malformed)?;
        let proof = UnverifiedProof::parse(proof)?;
        let challenge = app.seals.device_challenge.open(proof.challenge());
        let (window, now) = (policy.challenge_window, self.context.now());
        if !challenge.is_some_and(|challenge| challenge.is_valid(sid, window, now)) {
            return Ok(false);
        }
        proof.verify(key, &app.app.endpoint_url(PROOF_ENDPOINT))?;
        Ok(true)
    }
}

fn cookie_session(app: &AppAuth, cookies: &RequestCookies<'_>) -> Option<CookieSession> {
    if let Some(jwt) = open_jwt(app, cookies) {
        let about = EventSession::from(&jwt);
        return Some(CookieSession {
            sid: jwt.sid,
            device: jwt.device,
            about,
        });
    }
    let refresh = open_refresh(app, cookies)?;
    let about = EventSession::from(&SessionKey::from(&refresh));
    Some(CookieSession {
        sid: refresh.sid,
        device: refresh.device,
        about,
    })
}

fn is_identifier(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.len() <= MAX_IDENTIFIER && text.bytes().all(is_plain)
}
