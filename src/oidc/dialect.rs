//! Provider dialects: how a provider differs from the standards. PURE; requests to
//! provider-specific endpoints are in the dialect's folder.

use serde_json::{Map, Value};
use url::Url;

use super::client::ClientSettings;
use super::discovery::Metadata;
use super::fusionauth::{self, FusionAuth, error_reason, token_response};
use super::logout::{LogoutHint, LogoutRequest, end_session_url};
use super::token::{self, Grant, TokenError, TokenResponse};
use crate::types::oauth::{ClientId, IdToken, ProviderSid};

/// A provider's dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// OpenID Connect and OAuth 2 as standardized.
    #[default]
    Standard,
    /// FusionAuth's.
    FusionAuth(Box<FusionAuth>),
}

/// The identifiers in a token response for the provider's session.
#[derive(Clone, Copy, Debug, Default)]
pub struct SidClaims<'s> {
    /// The identifier so far; only on refresh.
    pub previous: Option<&'s ProviderSid>,
    /// `sid` of the ID token.
    pub id_token: Option<&'s ProviderSid>,
    /// `sid` of the session's JWT.
    pub jwt: Option<&'s ProviderSid>,
    /// `refresh_token_id` of the token response.
    pub refresh_token_id: Option<&'s ProviderSid>,
}

impl Dialect {
    /// The settings of a FusionAuth.
    pub fn fusionauth(&self) -> Option<&FusionAuth> {
        match self {
            Self::Standard => None,
            Self::FusionAuth(settings) => Some(settings),
        }
    }

    /// Extra parameters of every request to the authorization and token endpoints.
    pub fn parameters(&self) -> Vec<(&str, &str)> {
        let tenant = self
            .fusionauth()
            .and_then(|settings| settings.tenant_id.as_deref());
        tenant
            .map(|tenant| ("tenantId", tenant))
            .into_iter()
            .collect()
    }

    /// The URL of the discovery document: `configured`, with the tenant if one is set.
    pub(super) fn discovery_url(&self, configured: &Url) -> Url {
        let mut url = configured.clone();
        // The path may already contain the tenant.
        for (name, value) in self
            .parameters()
            .into_iter()
            .filter(|(_, value)| !configured.path().contains(value))
        {
            url.query_pairs_mut().append_pair(name, value);
        }
        url
    }

    /// Parses a response of the token endpoint.
    pub(super) fn parse_response(
        &self,
        grant: Grant,
        status: u16,
        body: &[u8],
    ) -> Result<TokenResponse, TokenError> {
        match self {
            Self::Standard => token::parse_response(grant, status, body),
            Self::FusionAuth(_) => token_response::parse(grant, status, body),
        }
    }

    /// The code for an `error_reason`, if it is a known one.
    pub fn reason(&self, error_reason: Option<&str>) -> Option<&'static str> {
        match self {
            Self::Standard => None,
            Self::FusionAuth(_) => error_reason::lookup(error_reason?).map(|reason| reason.code),
        }
    }

    /// The identifier that the provider uses for this session when it ends it.
    pub fn provider_sid(&self, sids: SidClaims<'_>) -> Option<ProviderSid> {
        let SidClaims {
            previous,
            id_token,
            jwt,
            refresh_token_id,
        } = sids;
        let sid = match self {
            Self::Standard => previous.or(id_token).or(jwt),
            // Sessions end with their refresh token. The ID token may identify the single sign-on
            // session instead.
            Self::FusionAuth(_) => refresh_token_id.or(jwt).or(previous).or(id_token),
        };
        sid.cloned()
    }

    /// Whether the user of a token with these `claims` may use the app, as far as the dialect
    /// defines it.
    pub fn admits(&self, client_id: &ClientId, claims: &Map<String, Value>) -> bool {
        match self {
            Self::Standard => true,
            Self::FusionAuth(settings) => {
                !settings.require_registration || settings.is_registered(client_id, claims)
            }
        }
    }

    /// The introspection endpoint (RFC 7662).
    pub(super) fn introspection_endpoint(&self, metadata: &Metadata) -> Option<Url> {
        let announced = metadata.introspection_endpoint.clone();
        match self {
            Self::Standard => announced,
            // FusionAuth has the endpoint, but its metadata does not contain it.
            Self::FusionAuth(_) => {
                announced.or_else(|| Some(fusionauth::endpoint(metadata, "/oauth2/introspect")))
            }
        }
    }

    /// Whether a logout can end the provider's session.
    pub fn can_end_session(&self, metadata: &Metadata) -> bool {
        self.fusionauth().is_some() || metadata.end_session_endpoint.is_some()
    }

    /// The URL that ends the provider's session and redirects the browser to `return_to`.
    pub fn end_session_url(
        &self,
        metadata: &Metadata,
        client: &ClientSettings,
        id_token: Option<&IdToken>,
        return_to: Option<&Url>,
    ) -> Option<Url> {
        let by_client = LogoutHint::Client {
            client_id: &client.client_id,
            logout_hint: None,
        };
        match self {
            Self::Standard => {
                let hint = id_token.map_or(by_client, LogoutHint::IdToken);
                let endpoint = metadata.end_session_endpoint.as_ref()?;
                Some(end_session_url(
                    endpoint,
                    LogoutRequest {
                        hint,
                        return_to,
                        state: None,
                    },
                ))
            }
            Self::FusionAuth(settings) => Some(settings.logout_url(metadata, by_client, return_to)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oidc::ClientAuth;
    use crate::oidc::discovery::PlainHttp;
    use crate::oidc::testing::verified;
    use crate::types::oauth::Issuer;

    fn fusionauth(change: impl FnOnce(&mut FusionAuth)) -> Dialect {
        let mut own = FusionAuth {
            tenant_id: Some(String::from("30663132-6464-6665-3032-326466613934")),
            ..Default::default()
        };
        change(&mut own);
        Dialect::FusionAuth(Box::new(own))
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn client() -> ClientSettings {
        let id = ClientId::new("3c219e58-ed0e-4b18-ad48-f4f92793ae32");
        ClientSettings::new(
            id,
            ClientAuth::None,
            url("https://store.example.com/.doorward/callback"),
        )
    }

    fn metadata(end_session: &str) -> Metadata {
        let document = serde_json::json!({
            "issuer": "acme.com", "authorization_endpoint": "https://login.acme.com/oauth2/authorize",
            "token_endpoint": "https://login.acme.com/oauth2/token", "jwks_uri": "https://login.acme.com/keys",
            "end_session_endpoint": Some(end_session).filter(|url| !url.is_empty()),
        });
        Metadata::parse(
            document.to_string().as_bytes(),
            &Issuer::new("acme.com"),
            PlainHttp::Never,
        )
        .unwrap()
    }

    #[test]
    fn discovery_url_adds_the_tenant_unless_the_path_has_it() {
        let tenant = "30663132-6464-6665-3032-326466613934";
        let plain = url("https://login.acme.com/.well-known/openid-configuration");
        let by_path = url(&format!(
            "https://login.acme.com/{tenant}/.well-known/openid-configuration"
        ));
        let one = fusionauth(|_| {});
        let none = fusionauth(|own| own.tenant_id = None);
        assert_eq!(
            one.discovery_url(&plain).as_str(),
            format!("{plain}?tenantId={tenant}")
        );
        assert_eq!(one.discovery_url(&by_path), by_path);
        for other in [none, Dialect::Standard] {
            assert_eq!(other.discovery_url(&plain), plain);
            assert!(other.parameters().is_empty());
        }
        assert_eq!(one.parameters(), [("tenantId", tenant)]);
    }

    #[test]
    fn a_session_bears_the_name_under_which_it_will_be_ended() {
        let [previous, id, jwt, refresh] = ["before", "id", "jwt", "refresh"].map(ProviderSid::new);
        let all = SidClaims {
            previous: Some(&previous),
            id_token: Some(&id),
            jwt: Some(&jwt),
            refresh_token_id: Some(&refresh),
        };
        let at_login = SidClaims {
            previous: None,
            ..all
        };
        let without_id = SidClaims {
            refresh_token_id: None,
            ..all
        };
        let other = fusionauth(|_| {});
        for (sids, standard, own) in [
            (all, Some(&previous), Some(&refresh)),
            (at_login, Some(&id), Some(&refresh)),
            (without_id, Some(&previous), Some(&jwt)),
            (
                SidClaims {
                    previous: Some(&previous),
                    ..Default::default()
                },
                Some(&previous),
                Some(&previous),
            ),
            (
                SidClaims {
                    id_token: Some(&id),
                    ..Default::default()
                },
                Some(&id),
                Some(&id),
            ),
            (SidClaims::default(), None, None),
        ] {
            assert_eq!(
                Dialect::Standard.provider_sid(sids).as_ref(),
                standard,
                "{sids:?}"
            );
            assert_eq!(other.provider_sid(sids).as_ref(), own, "{sids:?}");
        }
    }

    #[test]
    fn admits_requires_registration_if_configured() {
        let client = client();
        let id = client.client_id.as_str().to_owned();
        let token = |application: Option<&str>| match application {
            Some(application) => {
                verified(&serde_json::json!({"applicationId": application, "sub": "a", "exp": 1}))
            }
            None => verified(&serde_json::json!({"sub": "a", "exp": 1})),
        };
        for (application, registered) in [
            (Some(id.as_str()), true),
            (Some("another"), false),
            (None, false),
        ] {
            let jwt = token(application);
            let id = &client.client_id;
            let claims = jwt.claims();
            assert_eq!(
                fusionauth(|_| {}).admits(id, claims),
                registered,
                "{application:?}"
            );
            assert!(fusionauth(|own| own.require_registration = false).admits(id, claims));
            assert!(Dialect::Standard.admits(id, claims));
        }
    }

    #[test]
    fn fusionauth_has_an_introspection_endpoint() {
        let silent = metadata("");
        let own = fusionauth(|_| {}).introspection_endpoint(&silent);
        assert_eq!(
            own.as_ref().map(Url::as_str),
            Some("https://login.acme.com/oauth2/introspect")
        );
        assert_eq!(Dialect::Standard.introspection_endpoint(&silent), None);
    }

    #[test]
    fn fusionauth_logout_url_has_client_and_tenant() {
        let client = client();
        let back = url("https://store.example.com/.doorward/signed-out");
        let token = IdToken::new("a.b.c");
        let to = |dialect: &Dialect, metadata: &Metadata| {
            dialect
                .end_session_url(metadata, &client, Some(&token), Some(&back))
                .map(String::from)
        };
        let expected = "https://login.acme.com/oauth2/logout?client_id=3c219e58-ed0e-4b18-ad48-f4f92793ae32\
            &post_logout_redirect_uri=https%3A%2F%2Fstore.example.com%2F.doorward%2Fsigned-out\
            &tenantId=30663132-6464-6665-3032-326466613934";
        let own = fusionauth(|_| {});
        let announced = metadata("https://login.acme.com/oauth2/logout");
        let silent = metadata("");
        assert_eq!(to(&own, &announced).as_deref(), Some(expected));
        assert_eq!(to(&own, &silent).as_deref(), Some(expected));
        assert!(
            to(&Dialect::Standard, &announced)
                .unwrap()
                .contains("id_token_hint=a.b.c")
        );
        assert_eq!(to(&Dialect::Standard, &silent), None);
        assert!(own.can_end_session(&silent) && !Dialect::Standard.can_end_session(&silent));
    }
}
