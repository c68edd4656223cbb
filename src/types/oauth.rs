//! OAuth and OpenID Connect values as types (RFC 6749, RFC 7636, OpenID Connect Core), so that one
//! string cannot be passed in place of another, and no credential can be printed.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::secret::{Secret, same_bytes};

macro_rules! string_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps `value` without checks.
            pub fn new(value: impl Into<String>) -> Self {
                Self(value.into())
            }

            /// The value.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! secret_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(Secret<String>);

        impl $name {
            /// Wraps `value` without checks.
            pub fn new(value: impl Into<String>) -> Self {
                Self(Secret::new(value.into()))
            }

            /// The value; never log it.
            pub fn expose(&self) -> &str {
                self.0.expose()
            }
        }

        impl Serialize for $name {
            /// Writes the value in plain text: only payloads of seals may contain one.
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.expose())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::new)
            }
        }
    };
}

string_newtype! {
    /// The expected `iss` of every token, compared as a string (OpenID Connect Core section 2).
    Issuer
}
string_newtype! {
    /// `client_id` (RFC 6749 section 2.2).
    ClientId
}
string_newtype! {
    /// `sub`: the user, unique and never reassigned within the issuer (OpenID Connect Core section
    /// 2).
    Subject
}
string_newtype! {
    /// `sid`: the provider's session ID (OpenID Connect Back-Channel Logout section 2.1).
    ProviderSid
}
string_newtype! {
    /// `jkt`: the SHA-256 thumbprint of a public key, in base64url (RFC 7638, RFC 9449 section
    /// 6.1).
    JwkThumbprint
}
string_newtype! {
    /// An app's name in the configuration file.
    AppName
}
string_newtype! {
    /// A provider's name in the configuration file.
    ProviderName
}
string_newtype! {
    /// Doorward's session ID: 128 random bits, new at every login, against session fixation.
    SessionId
}
string_newtype! {
    /// `nonce`: binds an ID token to the login attempt that requested it (OpenID Connect Core
    /// section 3.1.2.1).
    Nonce
}

secret_newtype! {
    /// `client_secret` (RFC 6749 section 2.3.1).
    ClientSecret
}
secret_newtype! {
    /// `password` (RFC 6749 section 4.3.2).
    Password
}
secret_newtype! {
    /// `code` (RFC 6749 section 4.1.2).
    AuthorizationCode
}
secret_newtype! {
    /// `state` as it is sent through the browser (RFC 6749 section 10.12).
    State
}
secret_newtype! {
    /// `access_token` (RFC 6749 section 1.4).
    AccessToken
}
secret_newtype! {
    /// `refresh_token` (RFC 6749 section 1.5).
    RefreshToken
}
secret_newtype! {
    /// `id_token` (OpenID Connect Core section 2).
    IdToken
}

/// `code_verifier` (RFC 7636 section 4.1). Not `Clone`, because it is sent once.
#[derive(Debug)]
pub struct PkceVerifier(Secret<String>);

impl PkceVerifier {
    /// A verifier of 256 bits from `entropy`, 43 characters long.
    pub fn from_entropy(entropy: [u8; 32]) -> Self {
        Self(Secret::new(URL_SAFE_NO_PAD.encode(entropy)))
    }

    /// A verifier from a sealed login attempt.
    pub fn from_sealed(verifier: String) -> Self {
        Self(Secret::new(verifier))
    }

    /// The verifier; never log it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// `code_challenge` by the method `S256` (RFC 7636 section 4.2).
    pub fn challenge_s256(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.expose().as_bytes()))
    }
}

impl Nonce {
    /// Whether `other` is equal, in constant time.
    pub fn matches(&self, other: &str) -> bool {
        same_bytes(self.0.as_bytes(), other.as_bytes())
    }
}

/// Identifies a provider's key by its content, independently of its `kid`: the first half of a
/// SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyFingerprint([u8; 16]);

impl KeyFingerprint {
    /// The fingerprint from the first half of a hash.
    pub const fn new(half: [u8; 16]) -> Self {
        Self(half)
    }
}

/// The number of token rotations of a session: 0 at login, incremented by every refresh.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation(u32);

impl SessionId {
    /// The name of the session in logs: the beginning of its hash, in hexadecimal. The ID has too many
    /// random bits to be guessed, and is not in the log.
    pub fn log_name(&self) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"doorward session in the log ");
        hash.update(self.as_str().as_bytes());
        let hash = hash.finish();
        let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
        format!("{:016x}", u64::from_be_bytes(first))
    }
}

impl Generation {
    /// The generation at login.
    pub const FIRST: Self = Self(0);

    /// The next generation.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number, for logs and store entries.
    pub const fn number(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenge_s256_matches_rfc_7636_appendix_b() {
        let verifier =
            PkceVerifier::from_sealed("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into());
        assert_eq!(
            verifier.challenge_s256(),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn secret_newtypes_are_redacted_in_debug() {
        assert!(!format!("{:?}", RefreshToken::new("s3cret")).contains("s3cret"));
    }
}
