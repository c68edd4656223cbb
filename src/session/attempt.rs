//! Login attempts: the attempt cookie, which stays in the browser, and `state`, which passes
//! through the provider. Together they protect against login CSRF.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::login_loop::TransportHints;
use super::seal::Purpose;
use crate::identity::login_link::LoginParameters;
use crate::types::oauth::Nonce;
use crate::types::secret::same_bytes;
use crate::types::time::Timestamp;
use crate::types::trailing::absent_is_default;

/// How long a user may take at the provider.
pub const ATTEMPT_LIFETIME: Duration = Duration::from_secs(600);

/// Maximum number of attempts per browser; the oldest is evicted first.
pub const MAX_ATTEMPTS: usize = 8;

/// How often an attempt with a lost cookie is restarted automatically.
pub const MAX_RESTARTS: u8 = 1;

/// The purpose of `__Secure-doorward_login_<id>`.
#[derive(Debug)]
pub struct AttemptCookie;

impl Purpose for AttemptCookie {
    type Payload = LoginAttempt;
    const NAME: &'static str = "login attempt";
}

/// The data that the callback needs (RFC 6749 section 10.12, RFC 7636, RFC 9700 section 4.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginAttempt {
    /// The attempt's ID, also in `state`.
    pub id: String,
    /// The expected `nonce` of the ID token.
    pub nonce: Nonce,
    /// The PKCE verifier, which is sent once.
    pub verifier: SealedVerifier,
    /// The browser that started the attempt.
    pub browser: BrowserHash,
}

/// A PKCE verifier in a sealed attempt.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedVerifier(pub String);

impl std::fmt::Debug for SealedVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The purpose of the page of a login attempt in the store.
#[derive(Debug)]
pub struct StoredReturnTo;

impl Purpose for StoredReturnTo {
    type Payload = String;
    const NAME: &'static str = "return target";
}

/// The purpose of `state`.
#[derive(Debug)]
pub struct StateParameter;

impl Purpose for StateParameter {
    type Payload = AttemptState;
    const NAME: &'static str = "state";
}

/// The content of `state`, so that a login whose cookie was lost can still return to its page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptState {
    /// The attempt's ID.
    pub id: String,
    /// How often this login was restarted automatically.
    pub restarts: u8,
    /// The requested page, or [`Self::STORED`].
    pub return_to: String,
    /// When the attempt started.
    pub began_at: Timestamp,
    /// The number of preceding logins without a session.
    pub logins: u8,
    /// The transport hints of the request that started it.
    pub signs: TransportHints,
    /// The parameters for the provider. The last field here, and this is the last in other payloads.
    #[serde(deserialize_with = "absent_is_default")]
    pub parameters: LoginParameters,
}

impl AttemptState {
    /// Maximum length in bytes of [`Self::return_to`]. `state` is part of a URL, and providers
    /// refuse long ones.
    pub const MAX_RETURN_TO: usize = 2048;

    /// In place of a longer page, which is in the store.
    pub const STORED: &'static str = "stored";

    /// Whether the user took too long.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now.since(self.began_at) > ATTEMPT_LIFETIME
    }
}

/// The hash of the browser cookie, which holds 128 random bits that identify the browser to
/// Doorward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BrowserHash([u8; 32]);

impl BrowserHash {
    /// The hash of the cookie's value.
    pub fn of(cookie: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, cookie.as_bytes());
        Self(hash.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// It as text, for keys of the store.
    pub fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether both belong to the same browser, in constant time.
    pub fn is(&self, other: &Self) -> bool {
        same_bytes(&self.0, &other.0)
    }
}

/// The value of a browser cookie with 128 random bits.
pub fn browser_cookie(entropy: [u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(entropy)
}

/// Whether a browser cookie of a request has the form of [`browser_cookie`].
pub fn is_browser_cookie(value: &str) -> bool {
    value.len() == 22
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::authentication::AuthenticationRequirement;

    #[test]
    fn state_of_an_earlier_version_has_no_parameters() {
        let state = AttemptState {
            id: "a".to_owned(),
            restarts: 1,
            return_to: "/".to_owned(),
            began_at: Timestamp::from_secs(7),
            logins: 2,
            signs: TransportHints::default(),
            parameters: LoginParameters::requiring(AuthenticationRequirement {
                acr_values: vec!["gold".to_owned()],
                max_age: Some(Duration::from_secs(300)),
            }),
        };
        let bytes = postcard::to_allocvec(&state).unwrap();
        assert_eq!(postcard::from_bytes::<AttemptState>(&bytes).unwrap(), state);
        let before = (
            &state.id,
            state.restarts,
            &state.return_to,
            state.began_at,
            state.logins,
            state.signs,
        );
        let bytes = postcard::to_allocvec(&before).unwrap();
        let expected = AttemptState {
            parameters: LoginParameters::default(),
            ..state
        };
        assert_eq!(
            postcard::from_bytes::<AttemptState>(&bytes).unwrap(),
            expected
        );
    }
}
