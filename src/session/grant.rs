//! Sealed payloads of a session: the refresh, activity and ID token hint cookies, and the grant,
//! which is also the store's entry for a refreshed session.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client_continuity::KnownClient;
use super::device_binding::DeviceBinding;
use super::jwt::{PackedJwt, SessionJwt};
use super::seal::Purpose;
use crate::identity::authentication::UserAuthentication;
use crate::types::oauth::{
    Generation, IdToken, KeyFingerprint, Nonce, ProviderSid, RefreshToken, SessionId, Subject,
};
use crate::types::time::Timestamp;

/// The purpose of `__Host-doorward_refresh`.
#[derive(Debug)]
pub struct RefreshCookie;

impl Purpose for RefreshCookie {
    type Payload = RefreshGrant;
    const NAME: &'static str = "refresh token";
}

/// The refresh token and its session. Encoded as `layout` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshGrant {
    /// The token.
    pub token: RefreshToken,
    /// Doorward's session ID.
    pub sid: SessionId,
    /// The number of token rotations so far.
    pub generation: Generation,
    /// `sub`.
    pub subject: Subject,
    /// When the user logged in.
    pub started_at: Timestamp,
    /// When this was sealed.
    pub sealed_at: Timestamp,
    /// The last activity that was known when this was sent to the browser.
    pub active_at: Timestamp,
    /// The provider's session ID (`sid`). `None`: the provider has none, or an earlier version
    /// sealed this.
    pub provider_sid: Option<ProviderSid>,
    /// The claims that a refreshed ID token is compared with.
    pub login: LoginClaims,
    /// The device that the session is bound to.
    pub device: DeviceBinding,
    /// The client's key that the provider's tokens are bound to (RFC 9449).
    pub dpop_key: Option<KeyFingerprint>,
    /// The client that it began with. `None`: it is not compared with those of requests.
    pub client: Option<Box<KnownClient>>,
}

impl RefreshGrant {
    /// In place of the session's JWT, where only its refresh token is known. It is never valid.
    pub fn unknown_jwt(&self) -> SessionJwt {
        SessionJwt {
            jwt: PackedJwt::unknown(),
            kept_claims: String::new(),
            key: None,
            valid_until: Timestamp::from_secs(0),
            subject: self.subject.clone(),
            provider_sid: self.provider_sid.clone(),
            sid: self.sid.clone(),
            generation: self.generation,
            started_at: self.started_at,
            sealed_at: self.sealed_at,
            active_at: self.active_at,
            bound_to: None,
            identity_due: None,
            identity_failing_since: None,
            authentication: self.authentication(),
            device: self.device.clone(),
            client: self.client.clone(),
        }
    }

    /// The facts about the user's authentication that are known without the session's JWT.
    pub fn authentication(&self) -> UserAuthentication {
        UserAuthentication {
            time: self.login.auth_time,
            acr: None,
        }
    }
}

/// Claims of the login's ID token that a refreshed one must not change (OpenID Connect Core section
/// 12.2). Absent ones are not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginClaims {
    /// `nonce`.
    pub nonce: Option<Nonce>,
    /// `auth_time`.
    pub auth_time: Option<Timestamp>,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
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
    /// Doorward's session ID.
    pub sid: SessionId,
    /// The number of token rotations so far.
    pub generation: Generation,
    /// The last request that counts as activity.
    pub last_activity: Timestamp,
}

/// The purpose of `__Secure-doorward_id_token_hint`.
#[derive(Debug)]
pub struct HintCookie;

impl Purpose for HintCookie {
    type Payload = LogoutHint;
    const NAME: &'static str = "id token hint";

    /// Earlier versions wrote the ID token alone.
    fn decode(plain: &[u8]) -> Option<LogoutHint> {
        let current = postcard::from_bytes(plain).ok();
        current.or_else(|| {
            let id_token = postcard::from_bytes(plain).ok()?;
            let sid = None;
            Some(LogoutHint { id_token, sid })
        })
    }
}

/// The ID token that a logout sends to the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutHint {
    /// The ID token.
    pub id_token: IdToken,
    /// Doorward's session ID; `None` in cookies of earlier versions.
    pub sid: Option<SessionId>,
}

impl LogoutHint {
    /// Whether it belongs to the session `sid` of `subject`. A cookie of an earlier version is
    /// recognized by the user.
    pub fn is_of(&self, sid: &SessionId, subject: &Subject) -> bool {
        match &self.sid {
            Some(own) => own == sid,
            None => {
                let claims = PackedJwt::pack(self.id_token.expose()).claims();
                let user = claims.as_ref().and_then(|claims| claims.get("sub"));
                user.and_then(Value::as_str) == Some(subject.as_str())
            }
        }
    }
}

/// The purpose of a grant in the store, which never holds a token in plain text.
#[derive(Debug)]
pub struct StoredGrant;

impl Purpose for StoredGrant {
    type Payload = Grant;
    const NAME: &'static str = "stored grant";
}

/// The result of a login or refresh: the content of all cookies of a session. Encoded as `layout`
/// says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The content of the JWT cookie.
    pub jwt: SessionJwt,
    /// The content of the refresh cookie; `None` if the provider issued no refresh token.
    pub refresh: Option<RefreshGrant>,
    /// The ID token, for logout at the provider; `None` if the provider issued no new one.
    pub hint: Option<IdToken>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The payload `{"sub":"alice"}`.
    const ID_TOKEN: &str = "e30.eyJzdWIiOiJhbGljZSJ9.AA";

    #[test]
    fn hint_belongs_to_one_session() {
        let hint = LogoutHint {
            id_token: IdToken::new(ID_TOKEN),
            sid: Some(SessionId::new("one")),
        };
        let bytes = postcard::to_allocvec(&hint).unwrap();
        assert_eq!(HintCookie::decode(&bytes).as_ref(), Some(&hint));
        let alice = Subject::new("alice");
        assert!(hint.is_of(&SessionId::new("one"), &alice));
        assert!(!hint.is_of(&SessionId::new("other"), &alice));
    }

    #[test]
    fn hint_of_earlier_version_belongs_to_its_user() {
        let bytes = postcard::to_allocvec(&IdToken::new(ID_TOKEN)).unwrap();
        let hint = HintCookie::decode(&bytes).unwrap();
        assert_eq!(hint.id_token.expose(), ID_TOKEN);
        let sid = SessionId::new("any");
        assert!(hint.is_of(&sid, &Subject::new("alice")));
        assert!(!hint.is_of(&sid, &Subject::new("bob")));
    }
}
