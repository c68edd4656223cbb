//! FusionAuth, as its documentation describes it: an OpenID provider with an API of its own beside it. What differs
//! from the standards is in this folder, behind [`super::dialect::Dialect`]. PURE but for `calls`.
//!
//! - `iss` is what the tenant is configured with, often a bare host name.
//! - Refresh tokens have persistent ids: `refresh_token_id`, and `sid` of access tokens.
//! - Errors say more in `error_reason` than in `error`.
//! - Tokens are refreshed and revoked through `/api/jwt/refresh` too; there is no RFC 7009 endpoint.
//! - Sessions are ended by webhooks; there is no back-channel logout.

pub(super) mod answer;
mod calls;
pub mod event;
pub(super) mod reason;
pub mod sender;
mod shared_secret;

use serde_json::{Map, Value};
use url::Url;

use super::discovery::Metadata;
use super::logout::{LogoutHint, LogoutRequest, end_session_url};
use crate::types::oauth::ClientId;
use crate::types::secret::Secret;
use sender::SenderProofs;

/// What an operator says about a FusionAuth.
#[derive(Clone, Debug)]
pub struct FusionAuth {
    /// The tenant's id, where there are several.
    pub tenant_id: Option<String>,
    /// How sessions are refreshed.
    pub refresh_by: RefreshBy,
    /// An API key that may `DELETE /api/jwt/refresh`.
    pub api_key: Option<Secret<String>>,
    /// Whether a person has to be registered for an application to use it.
    pub require_registration: bool,
    /// How its webhooks prove where they come from; without it there are none.
    pub webhooks: Option<SenderProofs>,
}

/// Which endpoint refreshes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefreshBy {
    /// `/oauth2/token`: authenticates the client, and brings an ID token.
    #[default]
    Token,
    /// `/api/jwt/refresh`: authenticates nobody but the refresh token, and brings an access token only.
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
    /// `applicationId` is in the access token of a registered person only, and is the client's id.
    pub(super) fn is_registered(&self, client_id: &ClientId, claims: &Map<String, Value>) -> bool {
        claims.get("applicationId").and_then(Value::as_str) == Some(client_id.as_str())
    }

    /// `/oauth2/logout`. An `id_token_hint` would count only without `client_id`, so there is none.
    pub(super) fn logout_url(
        &self,
        metadata: &Metadata,
        hint: LogoutHint<'_>,
        return_to: Option<&Url>,
    ) -> Url {
        let endpoint = metadata
            .end_session_endpoint
            .clone()
            .unwrap_or_else(|| at(metadata, "/oauth2/logout"));
        let mut url = end_session_url(
            &endpoint,
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

/// An address of the API: beside the token endpoint, which gets the same secrets anyway.
pub(super) fn at(metadata: &Metadata, path: &str) -> Url {
    let mut url = metadata.token_endpoint.clone();
    let base = url.path().strip_suffix("/oauth2/token").unwrap_or_default();
    let path = format!("{base}{path}");
    url.set_path(&path);
    url.set_query(None);
    url
}

#[cfg(test)]
mod tests;
