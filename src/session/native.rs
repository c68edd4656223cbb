//! Tokens of native apps: sealed access, refresh and device tokens. The first two have the content
//! of the session cookies, and are valid for this app only, not at the provider. Each kind has a
//! prefix, which tells it from a provider's token and lets secret scanners find leaked ones.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grant::{Grant, RefreshGrant};
use super::jwt::SessionJwt;
use super::seal::{Purpose, Seal, SealNonce};
use crate::types::time::Timestamp;

/// How long a device is recognized after its last login.
pub const DEVICE_LIFETIME: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// A kind of token: a prefix, followed by a seal.
pub trait Token: Purpose {
    /// The prefix of the text; the rest is base64url.
    const PREFIX: &'static str;
}

/// Whether `text` has the prefix of Doorward's access tokens. It may be invalid.
pub fn has_access_prefix(text: &str) -> bool {
    text.starts_with(NativeAccess::PREFIX)
}

/// The text of a token. `None` if the payload cannot be sealed, which no payload causes.
pub fn write<T: Token>(seal: &Seal<T>, payload: &T::Payload, nonce: SealNonce) -> Option<String> {
    Some(format!("{}{}", T::PREFIX, seal.seal(payload, nonce)?))
}

/// The payload of `text`, if it is a token of this kind and app.
pub fn read<T: Token>(seal: &Seal<T>, text: &str) -> Option<T::Payload> {
    seal.open(text.strip_prefix(T::PREFIX)?)
}

/// The purpose of an access token.
#[derive(Debug)]
pub struct NativeAccess;

impl Purpose for NativeAccess {
    type Payload = SessionJwt;
    const NAME: &'static str = "native access token";
}

impl Token for NativeAccess {
    const PREFIX: &'static str = "doorward_at_";
}

/// The purpose of a refresh token.
#[derive(Debug)]
pub struct NativeRefresh;

impl Purpose for NativeRefresh {
    type Payload = NativeGrant;
    const NAME: &'static str = "native refresh token";
}

impl Token for NativeRefresh {
    const PREFIX: &'static str = "doorward_rt_";
}

/// The payload of a native refresh token. It includes the JWT, because some providers issue no new
/// one at a refresh, and some claims are issued only at login. Encoded as `layout` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeGrant {
    /// The provider's refresh token and the session.
    pub refresh: RefreshGrant,
    /// The JWT of the same generation.
    pub jwt: SessionJwt,
    /// The granted scope (RFC 6749 section 3.3).
    pub scope: String,
}

impl NativeGrant {
    /// The payload for `grant`; `None` if the provider issued no refresh token.
    pub fn of(grant: &Grant, scope: String) -> Option<Self> {
        Some(Self {
            refresh: grant.refresh.clone()?,
            jwt: grant.jwt.clone(),
            scope,
        })
    }

    /// The latest time of an unnoticed use of the session: requests do not update the token, so the
    /// idle timeout starts when the access token expires.
    pub fn last_activity(&self) -> Timestamp {
        self.jwt.valid_until.max(self.refresh.sealed_at)
    }
}

/// The purpose of a device token.
#[derive(Debug)]
pub struct DeviceToken;

impl Purpose for DeviceToken {
    type Payload = Device;
    const NAME: &'static str = "native device token";
}

impl Token for DeviceToken {
    const PREFIX: &'static str = "doorward_dt_";
}

/// A device from which the user has logged in before. It grants no access: its failed logins are
/// throttled separately from those of unknown devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The device's ID: 128 random bits.
    pub id: String,
    /// The throttle key of the account that was logged in to.
    pub account: String,
    /// The last login.
    pub issued_at: Timestamp,
}

impl Device {
    /// Whether the account was logged in to from this device and the token has not expired.
    pub fn is_known_for(&self, account: &str, now: Timestamp) -> bool {
        self.account == account && now.since(self.issued_at) < DEVICE_LIFETIME
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::seal::{Binding, Key, KeyRing};
    use super::*;
    use crate::types::oauth::{ClientId, Issuer};
    use crate::types::secret::Secret;

    fn seal_for<T: Token>(origin: &str) -> Seal<T> {
        let ring = KeyRing::new(Key::new(&Secret::new([1; 32])).unwrap(), vec![]);
        Seal::new(
            Arc::new(ring),
            &Binding {
                origin: origin.to_owned(),
                issuer: Issuer::new("https://login.example.com"),
                client_id: ClientId::new("store"),
            },
        )
    }

    #[test]
    fn read_token_of_other_kind_or_app_fails() {
        let device = Device {
            id: "d".into(),
            account: "a".into(),
            issued_at: Timestamp::from_secs(1000),
        };
        let seal = seal_for::<DeviceToken>("https://store.example.com");
        let text = write(&seal, &device, [7; 12]).unwrap();
        assert!(text.starts_with("doorward_dt_") && !has_access_prefix(&text));
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)),
            "{text}"
        );
        assert_eq!(read(&seal, &text), Some(device));
        assert_eq!(
            read(&seal_for::<DeviceToken>("https://forum.example.com"), &text),
            None
        );
        let as_refresh = text.replace(DeviceToken::PREFIX, NativeRefresh::PREFIX);
        assert_eq!(
            read(
                &seal_for::<NativeRefresh>("https://store.example.com"),
                &as_refresh
            ),
            None
        );
        assert_eq!(
            read(&seal, text.trim_start_matches(DeviceToken::PREFIX)),
            None,
            "without its prefix"
        );
    }

    #[test]
    fn is_known_for_own_account_until_lifetime() {
        let device = Device {
            id: "d".into(),
            account: "alice".into(),
            issued_at: Timestamp::from_secs(1000),
        };
        let at = |secs| Timestamp::from_secs(1000 + secs);
        let lifetime = DEVICE_LIFETIME.as_secs();
        assert!(
            device.is_known_for("alice", at(lifetime - 1))
                && !device.is_known_for("alice", at(lifetime))
        );
        assert!(!device.is_known_for("bob", at(0)));
    }
}
