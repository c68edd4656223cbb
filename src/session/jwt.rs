//! The first sealed cookie: the provider's JWT that we verified, and what we know about it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::seal::Purpose;
use crate::identity::claims::Claims;
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

/// A verified JWT and its session, as they are sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionJwt {
    /// The JWT itself.
    pub jwt: PackedJwt,
    /// Claims verified at login that the JWT does not have and the app uses, as JSON.
    pub kept_claims: String,
    /// The key that signed it; none once the provider vouched for the session without a new JWT.
    pub key: Option<KeyFingerprint>,
    /// When it must be refreshed: the earlier of its `exp` and what `expires_in` gave.
    pub valid_until: Timestamp,
    /// `sub`.
    pub subject: Subject,
    /// The provider's `sid`, where it gave one.
    pub provider_sid: Option<ProviderSid>,
    /// Our session.
    pub sid: SessionId,
    /// How often its tokens were rotated.
    pub generation: Generation,
    /// When the person logged in.
    pub started_at: Timestamp,
    /// When this was sealed.
    pub sealed_at: Timestamp,
    /// The last activity that was known when this was given to the browser.
    pub active_at: Timestamp,
    /// The key of the device that alone may use it; none where whoever has it may.
    pub bound_to: Option<JwkThumbprint>,
}

impl SessionJwt {
    /// What the JWT and the kept claims say. `None`: not JSON objects, which verification rules out.
    pub fn claims(&self) -> Option<Claims> {
        Some(Claims::new(self.jwt.claims()?, self.kept()?))
    }

    /// The claims that are kept beside the JWT.
    pub fn kept(&self) -> Option<Map<String, Value>> {
        serde_json::from_str(&self.kept_claims).ok()
    }
}

/// A compact JWS (RFC 7515 section 7.1) without its base64, wherever encoding it again gives the same bytes:
/// the cookie's own base64 is then the only one that is paid for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackedJwt {
    /// Header, payload and signature, decoded.
    Decoded([Vec<u8>; 3]),
    /// As it was: its base64 is not the canonical one.
    AsIs(String),
}

impl PackedJwt {
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

    /// What its payload says.
    pub fn claims(&self) -> Option<Map<String, Value>> {
        match self {
            Self::Decoded([_, payload, _]) => serde_json::from_slice(payload).ok(),
            Self::AsIs(jwt) => {
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?).ok()
            }
        }
    }

    /// How long its header is, in bytes.
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
    fn packing_loses_nothing() {
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
