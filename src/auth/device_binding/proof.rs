//! Renewal of a proof: the browser signs a challenge with the key of its session. It calls neither the
//! provider nor the store, since the browser holds the user's request back meanwhile.

use http::{HeaderMap, HeaderValue};

use super::{
    BoundTo, DeviceBinder, NETWORK_PATH, PROOF_ENDPOINT, RESPONSE, SESSION_ID, challenge_header,
    only,
};
use crate::auth::app::AppAuth;
use crate::auth::events::{Event, EventSession};
use crate::auth::random;
use crate::auth::refresh::revoke::SessionKey;
use crate::auth::request_head::RequestHead;
use crate::auth::session::open::{open_jwt, open_refresh};
use crate::oidc::device_proof::{DeviceProofError, UnverifiedProof, unquoted};
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::session::device_binding::{
    DeviceBinding, DeviceChallenge, RefusedNetwork, Unproven, session_identifier,
};
use crate::session::device_networks::{ProvenNetworks, RequestedNetworks};
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

/// The longest session identifier.
const MAX_IDENTIFIER: usize = 64;

/// The result of a renewal.
#[derive(Debug)]
pub enum ProofOutcome {
    /// The browser has proven possession.
    Renewed(RenewedProof),
    /// It must sign this challenge first.
    ChallengeRequired {
        /// The challenge.
        challenge: HeaderValue,
        /// Why.
        reason: ChallengeReason,
    },
    /// The browser's session of this identifier is not the one of its cookies: it must forget it.
    SessionEnded(String),
    /// Another key signed, or no browser sends such a request.
    Refused(&'static str),
    /// The session cannot be read now.
    Unavailable,
}

/// Why a browser must sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeReason {
    /// It has signed no challenge that is still valid.
    NoneSigned,
    /// It has signed none in its network, or by this program.
    NetworkChanged,
    /// The same, and the signatures for changes of network are used up. The next changes need none.
    BudgetUsed,
}

impl ChallengeReason {
    /// The reason after a change of network, which the challenge counts.
    fn of_change(next: &ProvenNetworks, now: Timestamp) -> Self {
        if next.are_enforced(now) {
            Self::NetworkChanged
        } else {
            Self::BudgetUsed
        }
    }
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
            Self::ChallengeRequired { reason, .. } => match reason {
                ChallengeReason::NoneSigned => "device_challenge",
                ChallengeReason::NetworkChanged => "device_network_challenge",
                ChallengeReason::BudgetUsed => "device_network_budget_used",
            },
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
        head: RequestHead<'_>,
    ) -> ProofOutcome {
        let Some(app) = &self.context.app(app_ref) else {
            return ProofOutcome::Unavailable;
        };
        let session = cookie_session(app, cookies);
        let outcome = self.proven(app, session.as_ref(), cookies, head);
        // Without a session anybody can send it, and it would fill the audit log.
        let has_session = session.is_some();
        let about = session.map(|session| session.about).unwrap_or_default();
        let event = match outcome {
            ProofOutcome::Refused(_) if has_session => Event::DeviceProofRefused,
            ProofOutcome::Refused(_) => Event::DeviceProof,
            ProofOutcome::ChallengeRequired {
                reason: ChallengeReason::NetworkChanged | ChallengeReason::BudgetUsed,
                ..
            } => Event::DeviceNetworkChange,
            ProofOutcome::Renewed(_)
            | ProofOutcome::ChallengeRequired { .. }
            | ProofOutcome::SessionEnded(_)
            | ProofOutcome::Unavailable => Event::DeviceProof,
        };
        self.record(app, event, outcome.code(), &about);
        outcome
    }

    /// Expires the proof of a request, so that the browser renews it. The renewal learns of the network,
    /// and the audit log of its change.
    pub fn expire_proof(
        &self,
        app_ref: AppRef<'_>,
        unproven: Unproven,
        cookies: &RequestCookies<'_>,
        head: RequestHead<'_>,
    ) -> Vec<HeaderValue> {
        let names = &app_ref.app.cookies;
        let expired = names.expire(&names.device, &names.path);
        let network = match unproven {
            Unproven::OtherNetwork | Unproven::OtherAgent => {
                self.network_cookie(app_ref, unproven, cookies, head)
            }
            Unproven::Stale | Unproven::Invalid | Unproven::Missing | Unproven::NotBound => None,
        };
        expired.into_iter().chain(network).collect()
    }

    fn network_cookie(
        &self,
        app_ref: AppRef<'_>,
        unproven: Unproven,
        cookies: &RequestCookies<'_>,
        head: RequestHead<'_>,
    ) -> Option<HeaderValue> {
        let app = &self.context.app(app_ref)?;
        let session = cookie_session(app, cookies)?;
        let hint = head.hinted_client(app).hint();
        if self.network_changes.add(&session.sid, &hint) {
            let about = &session.about;
            self.record(app, Event::DeviceNetworkChange, unproven.code(), about);
        }
        let refused = RefusedNetwork {
            sid: session.sid,
            hint,
            refused_at: self.context.now(),
        };
        let value = app
            .seals
            .device_network
            .seal(&refused, random::bytes().ok()?)?;
        let names = &app.app.cookies;
        let path = app.app.endpoint_path(NETWORK_PATH);
        let max_age = Some(RefusedNetwork::LIFETIME);
        names.set(&names.device_network, &value, &path, max_age)
    }

    fn proven(
        &self,
        app: &AppAuth,
        session: Option<&CookieSession>,
        cookies: &RequestCookies<'_>,
        head: RequestHead<'_>,
    ) -> ProofOutcome {
        let Some(policy) = &app.app.device_binding else {
            return ProofOutcome::Refused("device_binding_off");
        };
        let identifier = only(head.headers, &SESSION_ID).map(unquoted);
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
        self.renewed(&bound, head, cookies)
    }

    fn renewed(
        &self,
        bound: &BoundTo<'_>,
        head: RequestHead<'_>,
        cookies: &RequestCookies<'_>,
    ) -> ProofOutcome {
        let BoundTo { policy, sid, .. } = bound;
        let now = self.context.now();
        let requested = policy
            .network_hint
            .then(|| requested_networks(bound, head, cookies, now));
        let signed = match self.signed_challenge(bound, head.headers) {
            Ok(signed) => signed,
            Err(error) => return ProofOutcome::Refused(error.code()),
        };
        let known = signed.as_ref().map(|signed| &signed.challenge.networks);
        let next = match (&requested, known) {
            (None, _) => ProvenNetworks::default(),
            (Some(requested), Some(known)) => known.proven_in(requested, now),
            (Some(requested), None) => ProvenNetworks::default().proven_in(requested, now),
        };
        let current = signed.filter(|signed| {
            let window = policy.challenge_window;
            signed.challenge.is_valid(sid, window, now)
        });
        let reason = match (&current, &requested) {
            (None, _) => Some(ChallengeReason::NoneSigned),
            (Some(_), None) => None,
            // By an earlier version, or without the comparison of networks.
            (Some(signed), Some(_)) if signed.challenge.networks.is_empty() => {
                Some(ChallengeReason::NoneSigned)
            }
            (Some(signed), Some(requested)) => {
                let is_permitted = signed.challenge.networks.permit(requested, now);
                (!is_permitted).then(|| ChallengeReason::of_change(&next, now))
            }
        };
        let outcome = match (current, reason) {
            (Some(signed), None) => self
                .renewed_by(bound, &signed, next)
                .map(ProofOutcome::Renewed),
            (_, reason) => self.challenge(bound, next).map(|challenge| {
                let reason = reason.unwrap_or(ChallengeReason::NoneSigned);
                ProofOutcome::ChallengeRequired { challenge, reason }
            }),
        };
        outcome.unwrap_or(ProofOutcome::Unavailable)
    }

    /// The proof that follows from a signed challenge. The browser has signed it, and gets the same one
    /// again until its window is over.
    fn renewed_by(
        &self,
        bound: &BoundTo<'_>,
        signed: &SignedChallenge,
        next: ProvenNetworks,
    ) -> Option<RenewedProof> {
        let SignedChallenge { challenge, sealed } = signed;
        let BoundTo { policy, sid, .. } = bound;
        let set_cookie = self.proof_cookie(bound, &challenge.networks)?;
        self.seen_proofs.record(sid, self.context.now());
        let is_current = challenge.is_current(policy.challenge_window, self.context.now());
        let challenge = if is_current {
            challenge_header(sealed, sid)?
        } else {
            self.challenge(bound, next)?
        };
        Some(RenewedProof {
            set_cookie,
            challenge,
        })
    }

    /// The challenge of this session that its key has signed, at any time. `None`: it has signed none.
    fn signed_challenge(
        &self,
        bound: &BoundTo<'_>,
        headers: &HeaderMap,
    ) -> Result<Option<SignedChallenge>, DeviceProofError> {
        if !headers.contains_key(RESPONSE) {
            return Ok(None);
        }
        let BoundTo { app, sid, key, .. } = bound;
        let proof = only(headers, &RESPONSE).ok_or(DeviceProofError::Malformed)?;
        let proof = UnverifiedProof::parse(proof)?;
        let sealed = proof.challenge().to_owned();
        let challenge = app.seals.device_challenge.open(&sealed);
        let Some(challenge) = challenge.filter(|challenge| challenge.sid == **sid) else {
            return Ok(None);
        };
        proof.verify(key, &app.app.endpoint_url(PROOF_ENDPOINT))?;
        Ok(Some(SignedChallenge { challenge, sealed }))
    }
}

/// A challenge that the key of a session has signed.
struct SignedChallenge {
    challenge: DeviceChallenge,
    sealed: String,
}

fn requested_networks(
    bound: &BoundTo<'_>,
    head: RequestHead<'_>,
    cookies: &RequestCookies<'_>,
    now: Timestamp,
) -> RequestedNetworks {
    let BoundTo { app, sid, .. } = bound;
    let refused = cookies.open(&app.app.cookies.device_network, |value| {
        app.seals.device_network.open(value)
    });
    RequestedNetworks {
        client: head.hinted_client(app),
        refused: refused.and_then(|refused| refused.before(sid, now)),
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
