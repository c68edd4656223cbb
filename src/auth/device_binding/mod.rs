//! Device-bound sessions: offers the registration of a key, binds sessions, and renews the proof that
//! a browser possesses the key of its session. Nothing is stored, so that any replica serves each step.

mod proof;
mod registration;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::sync::Cache;

use crate::auth::app::AppAuth;
use crate::auth::context::{Context, MAX_CACHED_SESSIONS};
use crate::auth::events::{Event, EventSession};
use crate::auth::random;
use crate::auth::refresh::single_flight::TokenRefresher;
use crate::auth::session::recorded_changes::RecordedChanges;
use crate::auth::session::seen_proofs::SeenProofs;
use crate::auth::session::writer::SessionWriter;
use crate::oidc::device_proof::ALGORITHMS;
use crate::policy::decide::Caller;
use crate::policy::route::AppRef;
use crate::session::device_binding::{
    BindingPolicy, BindingState, DeviceChallenge, DeviceKey, DeviceProof, session_identifier,
};
use crate::session::device_networks::ProvenNetworks;
use crate::session::network_hint::NetworkHint;
use crate::types::oauth::SessionId;
use crate::types::time::Timestamp;

pub use proof::{ChallengeReason, ProofOutcome, RenewedProof};
pub use registration::{RegisteredDevice, RegistrationError};

/// The endpoint of registrations, below the prefix of the app.
pub const REGISTRATION_ENDPOINT: &str = "device-binding/register";
/// The endpoint of proofs.
pub const PROOF_ENDPOINT: &str = "device-binding/refresh";

/// The path of both, below the prefix.
const NETWORK_PATH: &str = "device-binding";

/// A proof of possession, in a request.
const RESPONSE: HeaderName = HeaderName::from_static("secure-session-response");
/// The session that a request renews.
const SESSION_ID: HeaderName = HeaderName::from_static("sec-secure-session-id");

/// How long a session is not offered again, since a page causes many requests at once.
const OFFER_INTERVAL: Duration = Duration::from_secs(5);

/// Recent sessions that were offered a registration, in any configuration.
pub(in crate::auth) struct OfferedRegistrations(Cache<SessionId, Timestamp>);

impl Default for OfferedRegistrations {
    fn default() -> Self {
        Self(Cache::new(MAX_CACHED_SESSIONS))
    }
}

/// Binds sessions to devices.
pub struct DeviceBinder {
    context: Arc<Context>,
    refresher: Arc<TokenRefresher>,
    writer: Arc<SessionWriter>,
    offered: Arc<OfferedRegistrations>,
    seen_proofs: Arc<SeenProofs>,
    network_changes: Arc<RecordedChanges<NetworkHint>>,
}

impl DeviceBinder {
    pub(in crate::auth) const fn new(
        context: Arc<Context>,
        refresher: Arc<TokenRefresher>,
        writer: Arc<SessionWriter>,
        offered: Arc<OfferedRegistrations>,
        seen_proofs: Arc<SeenProofs>,
        network_changes: Arc<RecordedChanges<NetworkHint>>,
    ) -> Self {
        Self {
            context,
            refresher,
            writer,
            offered,
            seen_proofs,
            network_changes,
        }
    }

    /// The `Secure-Session-Registration` header that offers the caller a registration, if its session
    /// waits for one. The request must come from a page of the app: a browser sends the registration
    /// as if that page did, and `SameSite` cookies are left out after a navigation from the provider.
    pub fn offer(&self, app_ref: AppRef<'_>, caller: &Caller) -> Option<HeaderValue> {
        let policy = app_ref.app.device_binding.as_ref()?;
        let Caller::Authenticated(live) = caller else {
            return None;
        };
        let session = live.session();
        let now = self.context.now();
        if session.device != BindingState::Pending || !policy.is_pending(session.started_at, now) {
            return None;
        }
        let last = self.offered.0.get(&session.sid);
        if last.is_some_and(|last| now.since(last) < OFFER_INTERVAL) {
            return None;
        }
        let app = &self.context.app(app_ref)?;
        let challenge = DeviceChallenge {
            sid: session.sid.clone(),
            begins_at: now,
            networks: ProvenNetworks::default(),
        };
        let nonce = random::bytes().ok()?;
        let challenge = app.seals.device_registration.seal(&challenge, nonce)?;
        self.offered.0.insert(session.sid.clone(), now);
        let about = EventSession::from(&**session);
        self.record(app, Event::DeviceRegistration, "offered", &about);
        let algorithms = ALGORITHMS.map(|algorithm| algorithm.name()).join(" ");
        let path = app.app.endpoint_path(REGISTRATION_ENDPOINT);
        let offer = format!("({algorithms});path=\"{path}\";challenge=\"{challenge}\"");
        HeaderValue::try_from(offer).ok()
    }

    /// The cookie that proves possession of `key` from now on.
    fn proof_cookie(&self, bound: &BoundTo<'_>, networks: &ProvenNetworks) -> Option<HeaderValue> {
        let BoundTo {
            app, policy, sid, ..
        } = bound;
        let now = self.context.now();
        let proof = DeviceProof {
            sid: (*sid).clone(),
            key: bound.key.fingerprint(),
            proven_at: now,
            networks: policy.network_hint.then(|| networks.hints()),
            in_any_network: !networks.are_enforced(now),
        };
        let value = app.seals.device_proof.seal(&proof, random::bytes().ok()?)?;
        let names = &app.app.cookies;
        names.set(
            &names.device,
            &value,
            &names.path,
            Some(policy.cookie_max_age()),
        )
    }

    /// The value of `Secure-Session-Challenge` with a new challenge.
    fn challenge(&self, bound: &BoundTo<'_>, networks: ProvenNetworks) -> Option<HeaderValue> {
        let BoundTo { app, sid, .. } = bound;
        let challenge = DeviceChallenge {
            sid: (*sid).clone(),
            begins_at: self.context.now(),
            networks,
        };
        let seal = &app.seals.device_challenge;
        let sealed = seal.seal(&challenge, random::bytes().ok()?)?;
        challenge_header(&sealed, sid)
    }

    fn record(&self, app: &AppAuth, event: Event, outcome: &'static str, about: &EventSession) {
        let observer = &self.context.observer;
        observer.record_event(app, event, outcome, about);
    }
}

/// A session and its key.
struct BoundTo<'b> {
    app: &'b AppAuth,
    policy: &'b BindingPolicy,
    sid: &'b SessionId,
    key: &'b DeviceKey,
}

/// The value of `Secure-Session-Challenge` with a sealed challenge.
fn challenge_header(sealed: &str, sid: &SessionId) -> Option<HeaderValue> {
    let id = session_identifier(sid);
    HeaderValue::try_from(format!("\"{sealed}\";id=\"{id}\"")).ok()
}

/// The only header of this name, if it is text.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}
