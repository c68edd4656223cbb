//! FusionAuth dialect: an OpenID provider with its own API. Everything that differs from the
//! standards is in this folder, behind [`super::dialect::Dialect`]. PURE except for `calls` and
//! `tenants`.
//!
//! - `iss` is configured per tenant, and is often a bare host name.
//! - Refresh tokens have persistent ids: `refresh_token_id`, and `sid` of access tokens.
//! - `error_reason` is more specific than `error`.
//! - `/api/jwt/refresh` also refreshes and revokes tokens. There is no RFC 7009 endpoint.
//! - Webhooks end sessions. It has no back-channel logout.

mod calls;
pub(super) mod error_reason;
pub mod event;
pub mod sender;
mod shared_secret;
pub(super) mod tenants;
pub(super) mod token_response;

use serde_json::{Map, Value};
use url::Url;

pub(in crate::oidc) use calls::jwt_refresh_url;

use super::discovery::Metadata;
use super::logout::{LogoutHint, LogoutRequest, end_session_url};
use crate::types::oauth::ClientId;
use crate::types::secret::Secret;
use sender::SenderProofs;

/// The settings of a FusionAuth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FusionAuth {
    /// The tenant's id, required with several tenants.
    pub tenant_id: Option<String>,
    /// The endpoint for refreshes.
    pub refresh_by: RefreshBy,
    /// An API key with permission for `DELETE /api/jwt/refresh`.
    pub api_key: Option<Secret<String>>,
    /// Whether a user must be registered for the application.
    pub require_registration: bool,
    /// Authentication of webhooks; without it webhooks are rejected.
    pub webhooks: Option<SenderProofs>,
}

/// The endpoint for refreshes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefreshBy {
    /// `/oauth2/token`: authenticates the client, and returns an ID token.
    #[default]
    Token,
    /// `/api/jwt/refresh`: authenticates by the refresh token only, and returns an access token
    /// only.
    JwtRefresh,
}

impl Default for FusionAuth {
    fn default() -> Self {
        Self {
            tenant_id: None,
            refresh_by: RefreshBy::default(),
            api_key: None,
            require_registration: true,
            webhooks: None,
        }
    }
}

impl FusionAuth {
    /// Whether the user is registered: only then the access token has `applicationId`, which is the
    /// client's id.
    pub(super) fn is_registered(&self, client_id: &ClientId, claims: &Map<String, Value>) -> bool {
        claims.get("applicationId").and_then(Value::as_str) == Some(client_id.as_str())
    }

    /// The URL of `/oauth2/logout`. FusionAuth ignores `id_token_hint` if there is a `client_id`,
    /// so it is not sent.
    pub(super) fn logout_url(
        &self,
        metadata: &Metadata,
        hint: LogoutHint<'_>,
        return_to: Option<&Url>,
    ) -> Url {
        let logout_endpoint = metadata
            .end_session_endpoint
            .clone()
            .unwrap_or_else(|| page(metadata, "/oauth2/logout"));
        let mut url = end_session_url(
            &logout_endpoint,
            LogoutRequest {
                hint,
                return_to,
                state: None,
            },
        );
        if let Some(tenant) = &self.tenant_id {
            url.query_pairs_mut().append_pair("tenantId", tenant);
        }
        url
    }
}

/// The URL of an API endpoint, relative to the token endpoint, which receives the same secrets.
pub(super) fn endpoint(metadata: &Metadata, path: &str) -> Url {
    beside(&metadata.token_endpoint, "/oauth2/token", path)
}

/// The URL of a page, relative to the authorization endpoint, which browsers reach.
fn page(metadata: &Metadata, path: &str) -> Url {
    let authorization = &metadata.authorization_endpoint;
    beside(authorization, "/oauth2/authorize", path)
}

/// The URL of `path` at the address at which `known` has the path `known_path`.
fn beside(known: &Url, known_path: &str, path: &str) -> Url {
    let base = known.path().strip_suffix(known_path).unwrap_or_default();
    let mut url = known.clone();
    url.set_path(&format!("{base}{path}"));
    url.set_query(None);
    url
}

#[cfg(test)]
mod tests;
