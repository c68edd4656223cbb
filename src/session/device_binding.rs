//! Device-bound sessions (W3C Device Bound Session Credentials): the state of a session's binding, the
//! short-lived proof cookie, the challenges, and the check of a request. PURE.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::seal::{Purpose, SealNonce};
use crate::types::oauth::{KeyFingerprint, SessionId};
use crate::types::time::Timestamp;

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

impl DeviceBinding {
    /// Whether it is bound to a key.
    pub const fn is_bound(&self) -> bool {
        matches!(self, Self::Bound(_))
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
    /// When the window of the challenge began.
    pub begins_at: Timestamp,
}

impl DeviceChallenge {
    /// The challenge of a session at `now`. It is the same in a whole window at all replicas, so that a
    /// browser need not sign again.
    pub fn in_window(sid: &SessionId, window: Duration, now: Timestamp) -> Self {
        let window = window.as_secs().max(1);
        let begins_at = Timestamp::from_secs(now.secs() / window * window);
        Self {
            sid: sid.clone(),
            begins_at,
        }
    }

    /// The nonce of its seal. The cipher permits one that is derived from the content.
    pub fn nonce(&self) -> SealNonce {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"doorward device challenge ");
        hash.update(&self.begins_at.secs().to_be_bytes());
        hash.update(self.sid.as_str().as_bytes());
        let hash = hash.finish();
        hash.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Whether it is a challenge of this session that may still be answered: in its window and the next.
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
    Opened(DeviceProof),
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
    pub device: &'s DeviceBinding,
}

/// Checks whether a request may use its session at `now`.
pub fn check(
    session: BoundSession<'_>,
    proof: &PresentedProof,
    policy: &BindingPolicy,
    now: Timestamp,
) -> BindingStatus {
    let key = match session.device {
        DeviceBinding::Pending if policy.is_pending(session.started_at, now) => {
            return BindingStatus::Permitted;
        }
        DeviceBinding::Pending | DeviceBinding::Unbound if policy.is_required => {
            return BindingStatus::Unproven(Unproven::NotBound);
        }
        DeviceBinding::Pending => return BindingStatus::NeedsRefresh,
        DeviceBinding::Unbound => return BindingStatus::Permitted,
        DeviceBinding::Bound(key) => key,
    };
    match proof {
        PresentedProof::Absent => BindingStatus::Unproven(Unproven::Missing),
        PresentedProof::Opened(proof)
            if proof.sid == *session.sid && proof.key == key.fingerprint() =>
        {
            if now.since(proof.proven_at) < policy.validity {
                BindingStatus::Permitted
            } else {
                BindingStatus::Unproven(Unproven::Stale)
            }
        }
        PresentedProof::Opened(_) | PresentedProof::Unreadable => {
            BindingStatus::Unproven(Unproven::Invalid)
        }
    }
}

#[cfg(test)]
mod tests;
