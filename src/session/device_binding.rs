//! Device-bound sessions (W3C Device Bound Session Credentials): the state of a session's binding, the
//! short-lived proof cookie, the challenges, and the check of a request. PURE.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::device_networks::ProvenNetworks;
use super::network_hint::{HintChange, HintedClient, NetworkHint};
use super::seal::Purpose;
use crate::types::oauth::{KeyFingerprint, SessionId};
use crate::types::time::Timestamp;
use crate::types::trailing::absent_is_default;

/// Chromium renews a bound cookie beside the request once it lives for at most this long.
const BROWSER_RENEWAL: Duration = Duration::from_secs(120);

/// The exponent of every accepted RSA key, 65537.
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// The accepted lengths of an RSA modulus in bytes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 2048 / 8..=4096 / 8;

/// How the sessions of an app are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingPolicy {
    /// Whether only bound sessions are accepted.
    pub is_required: bool,
    /// How long a proof is accepted.
    pub validity: Duration,
    /// How often a browser in use proves possession again.
    pub refresh_interval: Duration,
    /// How long a challenge stays the same.
    pub challenge_window: Duration,
    /// How long after its login a session may be used before it is bound.
    pub pending_window: Duration,
    /// Whether a proof counts only in the networks in which it was made.
    pub network_hint: bool,
    /// How long a proof is accepted on strict paths.
    pub strict_validity: Duration,
    /// How long a stream continues without a proof.
    pub stream_proof_timeout: Duration,
}

impl BindingPolicy {
    /// `Max-Age` of the proof cookie: the browser renews it after each refresh interval.
    pub fn cookie_max_age(&self) -> Duration {
        BROWSER_RENEWAL + self.refresh_interval
    }

    /// Whether a session that began at `started_at` may still be bound.
    pub fn is_pending(&self, started_at: Timestamp, now: Timestamp) -> bool {
        now.since(started_at) < self.pending_window
    }
}

/// The binding of a session to a device. Stored as an index: append only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceBinding {
    /// Not bound.
    #[default]
    Unbound,
    /// The session has just begun, and the browser may register a key.
    Pending,
    /// Bound to this key.
    Bound(Box<DeviceKey>),
}

/// The binding of a session, with the fingerprint of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindingState {
    /// Not bound.
    #[default]
    Unbound,
    /// The browser may register a key.
    Pending,
    /// Bound to the key with this fingerprint.
    Bound(KeyFingerprint),
}

impl BindingState {
    /// Whether it is bound to a key.
    pub const fn is_bound(self) -> bool {
        matches!(self, Self::Bound(_))
    }
}

impl DeviceBinding {
    /// Whether it is bound to a key.
    pub const fn is_bound(&self) -> bool {
        matches!(self, Self::Bound(_))
    }

    /// The same with the fingerprint of the key, which is computed.
    pub fn state(&self) -> BindingState {
        match self {
            Self::Unbound => BindingState::Unbound,
            Self::Pending => BindingState::Pending,
            Self::Bound(key) => BindingState::Bound(key.fingerprint()),
        }
    }

    /// The binding after a refresh at `now` of a session that began at `started_at`. A browser that has
    /// registered no key in time is taken for one that cannot.
    #[must_use]
    pub fn after_refresh(
        &self,
        policy: Option<&BindingPolicy>,
        started_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        let may_register = policy.is_some_and(|policy| policy.is_pending(started_at, now));
        match self {
            Self::Pending if !may_register => Self::Unbound,
            Self::Unbound | Self::Pending | Self::Bound(_) => self.clone(),
        }
    }
}

/// The public key of a device. Stored as an index: append only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKey {
    /// A point on P-256, for ES256.
    P256 {
        /// The x coordinate.
        x: [u8; 32],
        /// The y coordinate.
        y: [u8; 32],
    },
    /// An RSA modulus of 2048 to 4096 bits with the exponent 65537, for RS256.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
    },
}

impl DeviceKey {
    /// The key of a public JWK (RFC 7517). `None`: it is malformed, or of no accepted kind or size.
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let bytes = |name| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        match (text("kty")?, text("crv")) {
            ("EC", Some("P-256")) => Some(Self::P256 {
                x: bytes("x")?.try_into().ok()?,
                y: bytes("y")?.try_into().ok()?,
            }),
            ("RSA", None) => {
                let n = bytes("n")?;
                let is_accepted = RSA_BYTES.contains(&n.len())
                    && n.first().is_some_and(|first| *first >= 0x80)
                    && bytes("e")? == RSA_EXPONENT;
                is_accepted.then_some(Self::Rsa { n })
            }
            _ => None,
        }
    }

    /// The key as a JWK with its required members.
    pub fn to_jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::P256 { x, y } => {
                json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) })
            }
            Self::Rsa { n } => json!({ "kty": "RSA", "n": text(n), "e": text(&RSA_EXPONENT) }),
        }
    }

    /// Identifies the key.
    pub fn fingerprint(&self) -> KeyFingerprint {
        let mut hash = digest::Context::new(&digest::SHA256);
        match self {
            Self::P256 { x, y } => {
                hash.update(x);
                hash.update(y);
            }
            Self::Rsa { n } => hash.update(n),
        }
        let hash = hash.finish();
        KeyFingerprint::new(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceKey({:?})", self.fingerprint())
    }
}

/// The purpose of `__Host-doorward_device`.
#[derive(Debug)]
pub struct DeviceCookie;

impl Purpose for DeviceCookie {
    type Payload = DeviceProof;
    const NAME: &'static str = "device proof";
}

/// A browser has proven that it possesses the key of its session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceProof {
    /// Doorward's session ID.
    pub sid: SessionId,
    /// The key.
    pub key: KeyFingerprint,
    /// When it was proven.
    pub proven_at: Timestamp,
    /// The networks in which it counts, with the programs. `None`: in any, by any program.
    // Absent in proofs of earlier versions.
    #[serde(deserialize_with = "absent_is_default")]
    pub networks: Option<Vec<NetworkHint>>,
    /// Whether it counts in any network by these programs.
    #[serde(deserialize_with = "absent_is_default")]
    pub in_any_network: bool,
}

/// The purpose of `__Secure-doorward_device_network`.
#[derive(Debug)]
pub struct DeviceNetworkCookie;

impl Purpose for DeviceNetworkCookie {
    type Payload = RefusedNetwork;
    const NAME: &'static str = "device network";
}

/// The network of a request with a proof of other networks, for the renewal that follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedNetwork {
    /// Doorward's session ID.
    pub sid: SessionId,
    /// The network.
    pub hint: NetworkHint,
    /// When the request came.
    pub refused_at: Timestamp,
}

impl RefusedNetwork {
    /// How long the renewal may take.
    pub const LIFETIME: Duration = Duration::from_secs(30);

    /// The network, if the renewal of this session follows.
    pub fn before(self, sid: &SessionId, now: Timestamp) -> Option<NetworkHint> {
        let is_valid = self.sid == *sid && now.since(self.refused_at) < Self::LIFETIME;
        is_valid.then_some(self.hint)
    }
}

/// The purpose of the challenge of a registration.
#[derive(Debug)]
pub struct DeviceRegistration;

impl Purpose for DeviceRegistration {
    type Payload = DeviceChallenge;
    const NAME: &'static str = "device registration";
}

/// The purpose of the challenge of a proof.
#[derive(Debug)]
pub struct DeviceProofChallenge;

impl Purpose for DeviceProofChallenge {
    type Payload = DeviceChallenge;
    const NAME: &'static str = "device challenge";
}

/// The challenge that a device signs, sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceChallenge {
    /// Doorward's session ID.
    pub sid: SessionId,
    /// When it was made.
    pub begins_at: Timestamp,
    /// The networks of the device, once it has signed the challenge.
    // Absent in challenges of earlier versions.
    #[serde(deserialize_with = "absent_is_default")]
    pub networks: ProvenNetworks,
}

impl DeviceChallenge {
    /// Whether the browser keeps it, so that it need not sign again.
    pub fn is_current(&self, window: Duration, now: Timestamp) -> bool {
        now.since(self.begins_at) < window
    }

    /// Whether it is a challenge of this session that may still be answered: for two windows.
    pub fn is_valid(&self, sid: &SessionId, window: Duration, now: Timestamp) -> bool {
        self.sid == *sid && now.since(self.begins_at) < window * 2
    }
}

/// The browser's identifier of its device-bound session. It is no secret.
pub fn session_identifier(sid: &SessionId) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"doorward device-bound session ");
    hash.update(sid.as_str().as_bytes());
    URL_SAFE_NO_PAD.encode(hash.finish())
}

/// The proof cookie of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresentedProof {
    /// The request has none.
    Absent,
    /// It cannot be opened.
    Unreadable,
    /// Its content.
    Opened(Arc<DeviceProof>),
}

/// Whether a request may use its session, as far as the binding is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingStatus {
    /// It may.
    Permitted,
    /// It was not bound in time. It may once its refresh token was exchanged: a copy of a session that
    /// was bound meanwhile has a replaced one.
    NeedsRefresh,
    /// It may not.
    Unproven(Unproven),
}

/// Why the request of a bound session does not prove that it comes from its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unproven {
    /// Its proof is too old.
    Stale,
    /// Its proof was made in other networks.
    OtherNetwork,
    /// Its proof was made by another program.
    OtherAgent,
    /// Its proof is of another session or key, or unreadable.
    Invalid,
    /// It has no proof.
    Missing,
    /// The session is not bound, and the app requires that.
    NotBound,
}

impl Unproven {
    /// The stable code in logs, metrics and pages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Stale => "device_proof_stale",
            Self::OtherNetwork => "device_network_changed",
            Self::OtherAgent => "device_agent_changed",
            Self::Invalid => "device_proof_invalid",
            Self::Missing => "device_proof_missing",
            Self::NotBound => "device_not_bound",
        }
    }
}

/// The session that a request presents.
#[derive(Clone, Copy, Debug)]
pub struct BoundSession<'s> {
    /// Doorward's session ID.
    pub sid: &'s SessionId,
    /// When the user logged in.
    pub started_at: Timestamp,
    /// Its binding.
    pub device: BindingState,
}

/// What a request shows of its device.
#[derive(Clone, Debug)]
pub struct PresentedDevice {
    /// Its proof.
    pub proof: PresentedProof,
    /// The client, if networks are compared.
    pub client: Option<Arc<HintedClient>>,
    /// Whether its path is strict.
    pub is_strict: bool,
}

impl PresentedDevice {
    /// The request of a session that needs no proof.
    pub const NONE: Self = Self {
        proof: PresentedProof::Absent,
        client: None,
        is_strict: false,
    };
}

/// Checks whether a request may use its session at `now`.
pub fn check(
    session: BoundSession<'_>,
    device: &PresentedDevice,
    policy: &BindingPolicy,
    now: Timestamp,
) -> BindingStatus {
    let key = match session.device {
        BindingState::Pending if policy.is_pending(session.started_at, now) => {
            return BindingStatus::Permitted;
        }
        BindingState::Pending | BindingState::Unbound if policy.is_required => {
            return BindingStatus::Unproven(Unproven::NotBound);
        }
        BindingState::Pending => return BindingStatus::NeedsRefresh,
        BindingState::Unbound => return BindingStatus::Permitted,
        BindingState::Bound(key) => key,
    };
    let proof = match &device.proof {
        PresentedProof::Absent => return BindingStatus::Unproven(Unproven::Missing),
        PresentedProof::Opened(proof) if proof.sid == *session.sid && proof.key == key => proof,
        PresentedProof::Opened(_) | PresentedProof::Unreadable => {
            return BindingStatus::Unproven(Unproven::Invalid);
        }
    };
    let validity = if device.is_strict {
        policy.strict_validity.min(policy.validity)
    } else {
        policy.validity
    };
    if now.since(proof.proven_at) >= validity {
        return BindingStatus::Unproven(Unproven::Stale);
    }
    match &device.client {
        Some(client) => proof.check_network(client),
        None => BindingStatus::Permitted,
    }
}

impl DeviceProof {
    fn check_network(&self, client: &HintedClient) -> BindingStatus {
        let Some(networks) = &self.networks else {
            return BindingStatus::Permitted;
        };
        let changes = || networks.iter().map(|network| client.change_since(network));
        let is_other_network = |change: HintChange| change.network && !self.in_any_network;
        if changes().any(|change| change.is_same_agent() && !is_other_network(change)) {
            BindingStatus::Permitted
        } else if changes().any(|change| !is_other_network(change)) {
            BindingStatus::Unproven(Unproven::OtherAgent)
        } else {
            BindingStatus::Unproven(Unproven::OtherNetwork)
        }
    }
}

#[cfg(test)]
mod tests;
