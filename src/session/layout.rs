//! Layouts of the sealed payloads of a session. Their fields are encoded in order and without names,
//! so they never change. Fields that a later version adds go to the structs named `…Appended`:
//! earlier versions ignore their bytes, and payloads of earlier versions lack them. PURE.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::client_continuity::KnownClient;
use super::device_binding::DeviceBinding;
use super::grant::{Grant, LoginClaims, RefreshGrant};
use super::jwt::{PackedJwt, SessionJwt};
use super::native::NativeGrant;
use crate::identity::authentication::UserAuthentication;
use crate::types::oauth::{
    Generation, IdToken, JwkThumbprint, KeyFingerprint, ProviderSid, RefreshToken, SessionId,
    Subject,
};
use crate::types::time::Timestamp;
use crate::types::trailing::absent_is_default;

#[derive(Serialize, Deserialize)]
struct RefreshFields {
    token: RefreshToken,
    sid: SessionId,
    generation: Generation,
    subject: Subject,
    started_at: Timestamp,
    sealed_at: Timestamp,
    active_at: Timestamp,
}

/// Append only.
#[derive(Default, Serialize, Deserialize)]
struct RefreshAppended {
    #[serde(deserialize_with = "absent_is_default")]
    provider_sid: Option<ProviderSid>,
    /// Its fields are fixed: with another one, the fields after it could not be read.
    #[serde(deserialize_with = "absent_is_default")]
    login: LoginClaims,
    #[serde(deserialize_with = "absent_is_default")]
    device: DeviceBinding,
    #[serde(deserialize_with = "absent_is_default")]
    dpop_key: Option<KeyFingerprint>,
    #[serde(deserialize_with = "absent_is_default")]
    client: Option<Box<KnownClient>>,
}

#[derive(Serialize, Deserialize)]
struct JwtFields {
    jwt: PackedJwt,
    kept_claims: String,
    key: Option<KeyFingerprint>,
    valid_until: Timestamp,
    subject: Subject,
    provider_sid: Option<ProviderSid>,
    sid: SessionId,
    generation: Generation,
    started_at: Timestamp,
    sealed_at: Timestamp,
    active_at: Timestamp,
    bound_to: Option<JwkThumbprint>,
}

/// Append only.
#[derive(Default, Serialize, Deserialize)]
struct JwtAppended {
    #[serde(deserialize_with = "absent_is_default")]
    identity_due: Option<Timestamp>,
    #[serde(deserialize_with = "absent_is_default")]
    identity_failing_since: Option<Timestamp>,
    #[serde(deserialize_with = "absent_is_default")]
    auth_time: Option<Timestamp>,
    #[serde(deserialize_with = "absent_is_default")]
    acr: Option<String>,
    #[serde(deserialize_with = "absent_is_default")]
    device: DeviceBinding,
    #[serde(deserialize_with = "absent_is_default")]
    client: Option<Box<KnownClient>>,
}

/// The layout of the refresh cookie.
#[derive(Serialize, Deserialize)]
struct RefreshLayout {
    fields: RefreshFields,
    #[serde(with = "appended")]
    appended: RefreshAppended,
}

/// The layout of the JWT cookie and of native access tokens.
#[derive(Serialize, Deserialize)]
struct JwtLayout {
    fields: JwtFields,
    #[serde(with = "appended")]
    appended: JwtAppended,
}

/// The layout of a grant in the store.
#[derive(Serialize, Deserialize)]
struct GrantLayout {
    jwt: JwtFields,
    refresh: Option<RefreshFields>,
    hint: Option<IdToken>,
    #[serde(with = "appended")]
    jwt_appended: JwtAppended,
    #[serde(with = "appended")]
    refresh_appended: RefreshAppended,
}

/// The layout of native refresh tokens.
#[derive(Serialize, Deserialize)]
struct NativeLayout {
    refresh: RefreshFields,
    jwt: JwtFields,
    scope: String,
    #[serde(with = "appended")]
    jwt_appended: JwtAppended,
    #[serde(with = "appended")]
    refresh_appended: RefreshAppended,
}

/// Appended fields as one byte string, so that each set of them can grow by itself.
mod appended {
    use super::{DeserializeOwned, Deserializer, Serialize, Serializer};
    use serde::ser::Error as _;

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        fields: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes = postcard::to_allocvec(fields).map_err(S::Error::custom)?;
        bytes.serialize(serializer)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: DeserializeOwned + Default,
        D: Deserializer<'de>,
    {
        let bytes = super::absent_is_default::<D, Vec<u8>>(deserializer)?;
        Ok(postcard::from_bytes(&bytes).unwrap_or_default())
    }
}

/// Encodes a payload by its layout.
macro_rules! encoded_as {
    ($payload:ty, $layout:ty) => {
        impl Serialize for $payload {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$layout>::from(self.clone()).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $payload {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$layout>::deserialize(deserializer).map(Self::from)
            }
        }
    };
}

encoded_as!(RefreshGrant, RefreshLayout);
encoded_as!(SessionJwt, JwtLayout);
encoded_as!(Grant, GrantLayout);
encoded_as!(NativeGrant, NativeLayout);

impl RefreshGrant {
    fn split(self) -> (RefreshFields, RefreshAppended) {
        let fields = RefreshFields {
            token: self.token,
            sid: self.sid,
            generation: self.generation,
            subject: self.subject,
            started_at: self.started_at,
            sealed_at: self.sealed_at,
            active_at: self.active_at,
        };
        let appended = RefreshAppended {
            provider_sid: self.provider_sid,
            login: self.login,
            device: self.device,
            dpop_key: self.dpop_key,
            client: self.client,
        };
        (fields, appended)
    }

    fn joined(fields: RefreshFields, appended: RefreshAppended) -> Self {
        Self {
            token: fields.token,
            sid: fields.sid,
            generation: fields.generation,
            subject: fields.subject,
            started_at: fields.started_at,
            sealed_at: fields.sealed_at,
            active_at: fields.active_at,
            provider_sid: appended.provider_sid,
            login: appended.login,
            device: appended.device,
            dpop_key: appended.dpop_key,
            client: appended.client,
        }
    }
}

impl SessionJwt {
    fn split(self) -> (JwtFields, JwtAppended) {
        let fields = JwtFields {
            jwt: self.jwt,
            kept_claims: self.kept_claims,
            key: self.key,
            valid_until: self.valid_until,
            subject: self.subject,
            provider_sid: self.provider_sid,
            sid: self.sid,
            generation: self.generation,
            started_at: self.started_at,
            sealed_at: self.sealed_at,
            active_at: self.active_at,
            bound_to: self.bound_to,
        };
        let appended = JwtAppended {
            identity_due: self.identity_due,
            identity_failing_since: self.identity_failing_since,
            auth_time: self.authentication.time,
            acr: self.authentication.acr,
            device: self.device,
            client: self.client,
        };
        (fields, appended)
    }

    fn joined(fields: JwtFields, appended: JwtAppended) -> Self {
        Self {
            jwt: fields.jwt,
            kept_claims: fields.kept_claims,
            key: fields.key,
            valid_until: fields.valid_until,
            subject: fields.subject,
            provider_sid: fields.provider_sid,
            sid: fields.sid,
            generation: fields.generation,
            started_at: fields.started_at,
            sealed_at: fields.sealed_at,
            active_at: fields.active_at,
            bound_to: fields.bound_to,
            identity_due: appended.identity_due,
            identity_failing_since: appended.identity_failing_since,
            authentication: UserAuthentication {
                time: appended.auth_time,
                acr: appended.acr,
            },
            device: appended.device,
            client: appended.client,
        }
    }
}

impl From<RefreshGrant> for RefreshLayout {
    fn from(grant: RefreshGrant) -> Self {
        let (fields, appended) = grant.split();
        Self { fields, appended }
    }
}

impl From<RefreshLayout> for RefreshGrant {
    fn from(layout: RefreshLayout) -> Self {
        Self::joined(layout.fields, layout.appended)
    }
}

impl From<SessionJwt> for JwtLayout {
    fn from(jwt: SessionJwt) -> Self {
        let (fields, appended) = jwt.split();
        Self { fields, appended }
    }
}

impl From<JwtLayout> for SessionJwt {
    fn from(layout: JwtLayout) -> Self {
        Self::joined(layout.fields, layout.appended)
    }
}

/// The refresh grant beside `jwt`, which always has the provider's session ID.
fn beside(jwt: &SessionJwt, fields: RefreshFields, appended: RefreshAppended) -> RefreshGrant {
    RefreshGrant {
        provider_sid: jwt.provider_sid.clone(),
        ..RefreshGrant::joined(fields, appended)
    }
}

impl From<Grant> for GrantLayout {
    fn from(grant: Grant) -> Self {
        let (jwt, jwt_appended) = grant.jwt.split();
        let (refresh, appended) = grant.refresh.map(RefreshGrant::split).unzip();
        Self {
            jwt,
            refresh,
            hint: grant.hint,
            jwt_appended,
            refresh_appended: RefreshAppended {
                provider_sid: None,
                ..appended.unwrap_or_default()
            },
        }
    }
}

impl From<GrantLayout> for Grant {
    fn from(layout: GrantLayout) -> Self {
        let jwt = SessionJwt::joined(layout.jwt, layout.jwt_appended);
        let refresh = layout
            .refresh
            .map(|fields| beside(&jwt, fields, layout.refresh_appended));
        Self {
            refresh,
            hint: layout.hint,
            jwt,
        }
    }
}

impl From<NativeGrant> for NativeLayout {
    fn from(native: NativeGrant) -> Self {
        let (refresh, appended) = native.refresh.split();
        let (jwt, jwt_appended) = native.jwt.split();
        Self {
            refresh,
            jwt,
            scope: native.scope,
            jwt_appended,
            refresh_appended: RefreshAppended {
                provider_sid: None,
                ..appended
            },
        }
    }
}

impl From<NativeLayout> for NativeGrant {
    fn from(layout: NativeLayout) -> Self {
        let jwt = SessionJwt::joined(layout.jwt, layout.jwt_appended);
        Self {
            refresh: beside(&jwt, layout.refresh, layout.refresh_appended),
            scope: layout.scope,
            jwt,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::session::client_continuity::PresentedClient;
    use crate::types::oauth::Nonce;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000 + secs)
    }

    fn client() -> Box<KnownClient> {
        Box::new(KnownClient::of(PresentedClient {
            address: Some([192, 0, 2, 7].into()),
            headers: &HeaderMap::new(),
        }))
    }

    fn grant() -> Grant {
        let jwt = SessionJwt {
            jwt: PackedJwt::pack("a.b.c"),
            kept_claims: "{}".to_owned(),
            key: Some(KeyFingerprint::new([3; 16])),
            valid_until: at(300),
            subject: Subject::new("alice"),
            provider_sid: Some(ProviderSid::new("p")),
            sid: SessionId::new("s"),
            generation: Generation::FIRST.next(),
            started_at: at(0),
            sealed_at: at(5),
            active_at: at(6),
            bound_to: Some(JwkThumbprint::new("key")),
            identity_due: Some(at(7)),
            identity_failing_since: Some(at(5)),
            authentication: UserAuthentication {
                time: Some(at(1)),
                acr: Some("gold".to_owned()),
            },
            device: DeviceBinding::Pending,
            client: Some(client()),
        };
        let refresh = RefreshGrant {
            token: RefreshToken::new("token"),
            sid: jwt.sid.clone(),
            generation: jwt.generation,
            subject: jwt.subject.clone(),
            started_at: jwt.started_at,
            sealed_at: jwt.sealed_at,
            active_at: jwt.active_at,
            provider_sid: jwt.provider_sid.clone(),
            login: LoginClaims {
                nonce: Some(Nonce::new("n")),
                auth_time: Some(at(1)),
                issued_at: Some(at(2)),
            },
            device: DeviceBinding::Pending,
            dpop_key: Some(KeyFingerprint::new([7; 16])),
            client: Some(client()),
        };
        Grant {
            jwt,
            refresh: Some(refresh),
            hint: Some(IdToken::new("id")),
        }
    }

    fn native(grant: &Grant) -> NativeGrant {
        NativeGrant::of(grant, "openid".to_owned()).unwrap()
    }

    fn encoded<T: Serialize>(payload: &T) -> Vec<u8> {
        postcard::to_allocvec(payload).unwrap()
    }

    fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> T {
        postcard::from_bytes(bytes).unwrap()
    }

    #[test]
    fn payload_is_the_same_after_decoding() {
        let grant = grant();
        let refresh = grant.refresh.clone().unwrap();
        assert_eq!(decoded::<RefreshGrant>(&encoded(&refresh)), refresh);
        assert_eq!(decoded::<SessionJwt>(&encoded(&grant.jwt)), grant.jwt);
        assert_eq!(decoded::<Grant>(&encoded(&grant)), grant);
        let native = native(&grant);
        assert_eq!(decoded::<NativeGrant>(&encoded(&native)), native);
    }

    #[test]
    fn payload_of_an_earlier_version_has_no_appended_fields() {
        let grant = grant();
        let (jwt, _) = grant.jwt.clone().split();
        let (refresh, _) = grant.refresh.clone().unwrap().split();
        let jwt_alone = SessionJwt {
            identity_due: None,
            identity_failing_since: None,
            authentication: UserAuthentication::default(),
            device: DeviceBinding::Unbound,
            client: None,
            ..grant.jwt.clone()
        };
        let refresh_beside = RefreshGrant {
            login: LoginClaims::default(),
            device: DeviceBinding::Unbound,
            dpop_key: None,
            client: None,
            ..grant.refresh.clone().unwrap()
        };
        let refresh_alone = RefreshGrant {
            provider_sid: None,
            ..refresh_beside.clone()
        };
        assert_eq!(decoded::<SessionJwt>(&encoded(&jwt)), jwt_alone);
        assert_eq!(decoded::<RefreshGrant>(&encoded(&refresh)), refresh_alone);
        let stored = (&jwt, Some(&refresh), &grant.hint);
        let expected = Grant {
            jwt: jwt_alone.clone(),
            refresh: Some(refresh_beside.clone()),
            hint: grant.hint.clone(),
        };
        assert_eq!(decoded::<Grant>(&encoded(&stored)), expected);
        let expected = NativeGrant {
            refresh: refresh_beside,
            jwt: jwt_alone,
            scope: "openid".to_owned(),
        };
        let handed_over = (&refresh, &jwt, "openid");
        assert_eq!(decoded::<NativeGrant>(&encoded(&handed_over)), expected);
    }

    #[test]
    fn earlier_version_ignores_appended_fields() {
        let grant = grant();
        let (jwt, _) = grant.jwt.clone().split();
        let (refresh, _) = grant.refresh.clone().unwrap().split();
        let as_before = encoded(&jwt);
        assert_eq!(
            encoded(&decoded::<JwtFields>(&encoded(&grant.jwt))),
            as_before
        );
        let read: (JwtFields, Option<RefreshFields>, Option<IdToken>) = decoded(&encoded(&grant));
        assert_eq!(encoded(&read.0), as_before);
        assert_eq!(encoded(&read.1), encoded(&Some(&refresh)));
        let read: (RefreshFields, JwtFields, String) = decoded(&encoded(&native(&grant)));
        assert_eq!(encoded(&read.0), encoded(&refresh));
        assert_eq!(encoded(&read.1), as_before);
    }

    #[test]
    fn appended_fields_may_grow() {
        let provider_sid = Some(ProviderSid::new("p"));
        let next_version = (
            provider_sid,
            LoginClaims::default(),
            DeviceBinding::Pending,
            None::<KeyFingerprint>,
            Some(client()),
            7_u8,
        );
        let read: RefreshAppended = decoded(&encoded(&next_version));
        assert_eq!(
            (read.provider_sid, read.device, read.client),
            (next_version.0.clone(), next_version.2, next_version.4)
        );
        let before = (next_version.0.clone(),);
        let read: RefreshAppended = decoded(&encoded(&before));
        assert_eq!(
            (read.provider_sid, read.login),
            (before.0, LoginClaims::default())
        );
    }
}
