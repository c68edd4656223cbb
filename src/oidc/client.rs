//! OAuth client settings: an app's registration at its provider.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::client_auth::ClientAuth;
use super::client_key::ClientKey;
use super::dpop_client::DpopKeys;
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
    /// How the provider returns authorization responses.
    pub response_mode: ResponseMode,
    /// When authorization requests are pushed.
    pub pushed_authorization: PushedAuthorization,
    /// The keys that the tokens are bound to (RFC 9449).
    pub dpop_keys: Option<DpopKeys>,
    /// The key that signs authorization requests (RFC 9101).
    pub request_object_key: Option<Arc<ClientKey>>,
    /// `resource`: the APIs for which tokens are requested (RFC 8707).
    pub resources: Vec<String>,
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
            response_mode: ResponseMode::Query,
            pushed_authorization: PushedAuthorization::WhenRequired,
            dpop_keys: None,
            request_object_key: None,
            resources: Vec::new(),
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

    /// The `resource` parameters of authorization and token requests.
    pub(super) fn resource_parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let resources = self.resources.iter();
        resources.map(|resource| ("resource", resource.as_str()))
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

/// `response_mode` (OAuth 2.0 Multiple Response Type Encoding Practices, OAuth 2.0 Form Post Response
/// Mode, JWT Secured Authorization Response Mode for OAuth 2.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    /// In the query of a redirect, the default of the code flow.
    Query,
    /// In a form that the browser posts.
    FormPost,
    /// As a JWT in the default way of the code flow: in the query.
    Jwt,
    /// As a JWT in the query of a redirect.
    QueryJwt,
    /// As a JWT in a form that the browser posts.
    FormPostJwt,
}

impl ResponseMode {
    /// The parameter's value. `None`: the default.
    pub(super) const fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Query => None,
            Self::FormPost => Some("form_post"),
            Self::Jwt => Some("jwt"),
            Self::QueryJwt => Some("query.jwt"),
            Self::FormPostJwt => Some("form_post.jwt"),
        }
    }

    /// Whether the browser posts the response.
    pub const fn is_posted(self) -> bool {
        matches!(self, Self::FormPost | Self::FormPostJwt)
    }

    /// Whether the provider signs the response (JARM).
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::Jwt | Self::QueryJwt | Self::FormPostJwt)
    }
}

/// When authorization requests are pushed to the provider (RFC 9126).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushedAuthorization {
    /// If the metadata require it.
    WhenRequired,
    /// Always.
    Always,
}

impl PushedAuthorization {
    /// Whether requests are pushed. `is_required` is the metadata's
    /// `require_pushed_authorization_requests`.
    pub const fn applies(self, is_required: bool) -> bool {
        match self {
            Self::Always => true,
            Self::WhenRequired => is_required,
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
