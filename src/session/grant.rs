//! The other sealed cookies of a session, and the whole of a session as the store keeps a refreshed one.

use serde::{Deserialize, Serialize};

use super::jwt::SessionJwt;
use super::seal::Purpose;
use crate::types::oauth::{Generation, IdToken, RefreshToken, SessionId, Subject};
use crate::types::time::Timestamp;

/// The purpose of `__Host-doorward_refresh`.
#[derive(Debug)]
pub struct RefreshCookie;

impl Purpose for RefreshCookie {
    type Payload = RefreshGrant;
    const NAME: &'static str = "refresh token";
}

/// The refresh token and its session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshGrant {
    /// The token.
    pub token: RefreshToken,
    /// Our session.
    pub sid: SessionId,
    /// How often its tokens were rotated.
    pub generation: Generation,
    /// `sub`.
    pub subject: Subject,
    /// When the person logged in.
    pub started_at: Timestamp,
    /// When this was sealed.
    pub sealed_at: Timestamp,
    /// The last activity that was known when this was given to the browser.
    pub active_at: Timestamp,
}

/// The purpose of `__Host-doorward_activity`.
#[derive(Debug)]
pub struct ActivityCookie;

impl Purpose for ActivityCookie {
    type Payload = LastActivity;
    const NAME: &'static str = "last activity";
}

/// When a session was last used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastActivity {
    /// Our session.
    pub sid: SessionId,
    /// How often its tokens had been rotated.
    pub generation: Generation,
    /// The last request that counted.
    pub last_activity: Timestamp,
}

/// The purpose of `__Secure-doorward_id_token_hint`.
#[derive(Debug)]
pub struct HintCookie;

impl Purpose for HintCookie {
    type Payload = IdToken;
    const NAME: &'static str = "id token hint";
}

/// The purpose of what the store keeps: never a plain token.
#[derive(Debug)]
pub struct StoredGrant;

impl Purpose for StoredGrant {
    type Payload = Grant;
    const NAME: &'static str = "stored grant";
}

/// What a login or refresh yields: everything that the cookies of a session hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The JWT's cookie.
    pub jwt: SessionJwt,
    /// The refresh token's cookie; none where the provider grants none.
    pub refresh: Option<RefreshGrant>,
    /// The ID token, for logout at the provider; none when there is no new one.
    pub hint: Option<IdToken>,
}
