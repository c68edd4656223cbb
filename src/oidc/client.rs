//! OAuth client settings: an app's registration at its provider.

use std::time::Duration;

use url::Url;

use super::client_auth::ClientAuth;
use crate::identity::authentication::AuthenticationRequirement;
use crate::identity::login_link::LoginParameters;
use crate::types::oauth::ClientId;

/// One app's registration at its provider.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// `client_id`.
    pub client_id: ClientId,
    /// Client authentication at the token endpoint.
    pub token_auth: ClientAuth,
    /// The requested scopes. Without `openid` there is no ID token.
    pub scopes: Vec<String>,
    /// `redirect_uri`: the app's callback URL, as registered.
    pub redirect_uri: Url,
    /// Extra parameters for the authorization endpoint; reserved ones are ignored
    /// ([`super::authorize::is_reserved`]).
    pub extra_authorization_params: Vec<(String, String)>,
    /// Accepted `aud` values of access tokens.
    pub audiences: Vec<String>,
    /// Which token is the session's JWT.
    pub session_jwt: SessionTokenSource,
}

impl ClientSettings {
    /// Default settings: scope `openid`, the client itself as the audience, and the access token as
    /// the session's JWT.
    pub fn new(client_id: ClientId, token_auth: ClientAuth, redirect_uri: Url) -> Self {
        Self {
            audiences: vec![client_id.as_str().to_owned()],
            client_id,
            token_auth,
            scopes: vec![String::from("openid")],
            redirect_uri,
            extra_authorization_params: Vec::new(),
            session_jwt: SessionTokenSource::Access,
        }
    }

    /// Requirements of every login on the user's authentication, by `extra_authorization_params`.
    pub fn required_authentication(&self) -> AuthenticationRequirement {
        let parameter = |name| {
            let mut parameters = self.extra_authorization_params.iter();
            let found = parameters.find(|(parameter, _)| parameter == name);
            found.map(|(_, value)| value.as_str())
        };
        let acr_values = parameter("acr_values").unwrap_or_default();
        AuthenticationRequirement {
            acr_values: acr_values
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect(),
            max_age: parameter("max_age")
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs),
        }
    }

    /// The parameters of a login, with what every login requires.
    #[must_use]
    pub fn login_parameters(&self, parameters: &LoginParameters) -> LoginParameters {
        let of_login = &parameters.authentication;
        let both = self.required_authentication().and(of_login);
        LoginParameters {
            // The configuration check rules out that no `acr` fulfils both.
            authentication: both.unwrap_or_else(|| of_login.clone()),
            ..parameters.clone()
        }
    }
}

/// Which token is a session's JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTokenSource {
    /// The access token, if the provider issues JWT access tokens.
    Access,
    /// The ID token.
    Id,
}
