//! One login attempt: what its cookie keeps secret in the browser, and what `state` carries through the provider.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::login_loop::TransportHints;
use super::seal::Purpose;
use crate::types::oauth::Nonce;
use crate::types::secret::same_bytes;
use crate::types::time::Timestamp;

/// How long a person may take at the provider.
pub const ATTEMPT_LIFETIME: Duration = Duration::from_secs(600);

/// How many attempts of one browser are kept; the oldest goes first.
pub const MAX_ATTEMPTS: usize = 8;

/// How often a lost attempt begins anew by itself.
pub const MAX_RESTARTS: u8 = 1;

/// The purpose of `__Secure-doorward_login_<id>`.
#[derive(Debug)]
pub struct AttemptCookie;

impl Purpose for AttemptCookie {
    type Payload = LoginAttempt;
    const NAME: &'static str = "login attempt";
}

/// What one login attempt needs at the callback (RFC 6749 section 10.12, RFC 7636, RFC 9700 section 4.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginAttempt {
    /// Its name, also in `state`.
    pub id: String,
    /// What the ID token must say.
    pub nonce: Nonce,
    /// The PKCE verifier, as text; sealed, and sent once.
    pub verifier: SealedVerifier,
    /// The browser that began it.
    pub browser: BrowserHash,
}

/// A PKCE verifier within a sealed attempt.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedVerifier(pub String);

impl std::fmt::Debug for SealedVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The purpose of `state`.
#[derive(Debug)]
pub struct StateParameter;

impl Purpose for StateParameter {
    type Payload = AttemptState;
    const NAME: &'static str = "state";
}

/// What `state` says, so that a login whose cookie was lost still knows where it was going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptState {
    /// The attempt's name.
    pub id: String,
    /// How often this login began anew by itself.
    pub restarts: u8,
    /// The page that was asked for.
    pub return_to: String,
    /// When the attempt began.
    pub began_at: Timestamp,
    /// How many logins had finished in vain before.
    pub logins: u8,
    /// How the request came that began it.
    pub signs: TransportHints,
}

impl AttemptState {
    /// Whether the person took too long.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now.since(self.began_at) > ATTEMPT_LIFETIME
    }
}

/// The hash of the browser cookie: 128 random bits that name one browser to us, and to nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BrowserHash([u8; 32]);

impl BrowserHash {
    /// The hash of the cookie's value.
    pub fn of(cookie: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, cookie.as_bytes());
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// Whether both are of one browser, in constant time.
    pub fn is(&self, other: &Self) -> bool {
        same_bytes(&self.0, &other.0)
    }
}

/// A browser cookie's value of 128 bits.
pub fn browser_cookie(entropy: [u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(entropy)
}

/// Whether a browser cookie that a request brought can be one of ours.
pub fn is_browser_cookie(value: &str) -> bool {
    value.len() == 22
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
