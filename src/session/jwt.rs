//! The JWT cookie's payload: the provider's verified JWT and the data of its session.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client_continuity::KnownClient;
use super::device_binding::DeviceBinding;
use super::seal::Purpose;
use crate::identity::authentication::UserAuthentication;
use crate::identity::claims::Claims;
use crate::identity::kept_claims::PreviousIdentity;
use crate::types::oauth::{
    Generation, JwkThumbprint, KeyFingerprint, ProviderSid, SessionId, Subject,
};
use crate::types::time::Timestamp;

/// The purpose of `__Host-doorward_jwt`.
#[derive(Debug)]
pub struct JwtCookie;

impl Purpose for JwtCookie {
    type Payload = SessionJwt;
    const NAME: &'static str = "session jwt";
}

/// A verified JWT and its session. Encoded as `layout` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionJwt {
    /// The JWT itself.
    pub jwt: PackedJwt,
    /// Claims that the app uses and that are not from the JWT, as JSON.
    pub kept_claims: String,
    /// The key that signed it; `None` if the provider vouched for the session without a new JWT.
    /// Kept claims are then newer than those of the JWT.
    pub key: Option<KeyFingerprint>,
    /// When it must be refreshed: the earlier of `exp` and the end of `expires_in`.
    pub valid_until: Timestamp,
    /// `sub`.
    pub subject: Subject,
    /// The provider's session ID (`sid`), if there is one.
    pub provider_sid: Option<ProviderSid>,
    /// Doorward's session ID.
    pub sid: SessionId,
    /// The number of token rotations so far.
    pub generation: Generation,
    /// When the user logged in.
    pub started_at: Timestamp,
    /// When this was sealed.
    pub sealed_at: Timestamp,
    /// The last activity that was known when this was sent to the browser.
    pub active_at: Timestamp,
    /// The thumbprint of the key that the client must prove possession of; `None` for a bearer
    /// token.
    pub bound_to: Option<JwkThumbprint>,
    /// When the UserInfo request is repeated, after it failed. `None`: the identity is complete.
    pub identity_due: Option<Timestamp>,
    /// Since when UserInfo requests have failed.
    pub identity_failing_since: Option<Timestamp>,
    /// How and when the user authenticated, by the ID token of the login.
    pub authentication: UserAuthentication,
    /// The device that the session is bound to.
    pub device: DeviceBinding,
    /// The client that it began with. `None`: it is not compared with those of requests.
    pub client: Option<Box<KnownClient>>,
}

impl SessionJwt {
    /// The claims of the JWT and the kept claims. `None` if either is not a JSON object, which the
    /// verification rules out.
    pub fn claims(&self) -> Option<Claims> {
        Some(self.claims_of(self.jwt.claims()?, self.kept()?))
    }

    /// The claims by their source.
    pub fn identity(&self) -> Option<PreviousIdentity> {
        let (jwt, kept) = (self.jwt.claims()?, self.kept()?);
        let claims = self.claims_of(jwt.clone(), kept.clone());
        Some(PreviousIdentity { jwt, kept, claims })
    }

    fn claims_of(&self, jwt: Map<String, Value>, kept: Map<String, Value>) -> Claims {
        match self.key {
            Some(_) => Claims::new(jwt, kept),
            None => Claims::renewed(jwt, kept),
        }
    }

    /// The claims that are kept alongside the JWT.
    pub fn kept(&self) -> Option<Map<String, Value>> {
        serde_json::from_str(&self.kept_claims).ok()
    }
}

/// A compact JWS (RFC 7515 section 7.1), stored decoded if encoding it again gives the same text.
/// The cookie then has one layer of base64 instead of two.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackedJwt {
    /// Header, payload and signature, decoded.
    Decoded([Vec<u8>; 3]),
    /// The text as received: its base64 is not canonical.
    AsIs(String),
}

impl PackedJwt {
    /// In place of a JWT that is not known.
    pub const fn unknown() -> Self {
        Self::AsIs(String::new())
    }

    /// Whether this is in place of a JWT that is not known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::unknown()
    }

    /// Packs a compact JWS.
    pub fn pack(jwt: &str) -> Self {
        decode_exactly(jwt).map_or_else(|| Self::AsIs(jwt.to_owned()), Self::Decoded)
    }

    /// The compact form, byte for byte what was packed.
    pub fn unpack(&self) -> String {
        match self {
            Self::Decoded(parts) => encode(parts),
            Self::AsIs(jwt) => jwt.clone(),
        }
    }

    /// The claims in its payload.
    pub fn claims(&self) -> Option<Map<String, Value>> {
        match self {
            Self::Decoded([_, payload, _]) => serde_json::from_slice(payload).ok(),
            Self::AsIs(jwt) => {
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?).ok()
            }
        }
    }

    /// The length of its header, in bytes.
    pub fn header_len(&self) -> usize {
        match self {
            Self::Decoded([header, ..]) => header.len(),
            Self::AsIs(jwt) => jwt.split('.').next().unwrap_or_default().len(),
        }
    }
}

impl std::fmt::Debug for PackedJwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

fn decode_exactly(jwt: &str) -> Option<[Vec<u8>; 3]> {
    let mut parts = jwt.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let decoded = [parts.next()??, parts.next()??, parts.next()??];
    (parts.next().is_none() && encode(&decoded) == jwt).then_some(decoded)
}

fn encode(parts: &[Vec<u8>; 3]) -> String {
    parts
        .each_ref()
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpack_returns_packed_text() {
        let plain = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.AAEC";
        assert!(matches!(PackedJwt::pack(plain), PackedJwt::Decoded(_)));
        for jwt in [
            plain,
            "a.b",
            "",
            "....",
            "eyJ=.e30.AA",
            "e31.e30.AB",
            "not a jwt",
        ] {
            assert_eq!(PackedJwt::pack(jwt).unpack(), jwt);
        }
    }
}
