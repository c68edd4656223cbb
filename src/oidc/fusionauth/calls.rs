//! Requests to FusionAuth's API: refresh and revocation through `/api/jwt/refresh`, `/api/logout`,
//! and its version.

use std::time::Duration;

use serde_json::json;
use url::Url;

use super::{FusionAuth, endpoint, token_response};
use crate::oidc::discovery::Metadata;
use crate::oidc::error::{Endpoint, ProviderError};
use crate::oidc::http::{Http, Payload, Request};
use crate::oidc::json;
use crate::oidc::token::{Revoked, TokenError, TokenResponse};
use crate::types::oauth::RefreshToken;

const TENANT_HEADER: &str = "X-FusionAuth-TenantId";
/// The longest version that is shown, in characters.
const MAX_VERSION: usize = 40;

/// The URL of refreshes.
pub(in crate::oidc) fn jwt_refresh_url(metadata: &Metadata) -> Url {
    endpoint(metadata, "/api/jwt/refresh")
}

impl FusionAuth {
    /// Refreshes through `POST /api/jwt/refresh`. One request without retry: a token sent twice may
    /// end the session.
    pub(in crate::oidc) async fn refresh(
        &self,
        http: &Http,
        metadata: &Metadata,
        token: &RefreshToken,
        timeout: Duration,
    ) -> Result<TokenResponse, TokenError> {
        let body = json!({ "refreshToken": token.expose() }).to_string();
        let response = http
            .call(Request {
                endpoint: Endpoint::JwtRefresh,
                method: "POST",
                url: &jwt_refresh_url(metadata),
                headers: &self.tenant_header(),
                payload: Payload::Json(body),
                timeout,
            })
            .await?;
        token_response::parse_jwt_refresh(response.status, &response.body)
            .map_err(|error| error.with_retry_after(response.retry_after))
    }

    /// Revokes a refresh token. With an API key through `DELETE /api/jwt/refresh`, whose response
    /// says whether it succeeded. Without one, or if the key is not permitted, through `POST
    /// /api/logout`, which needs only the token and always responds with 200. The user's JWT would
    /// authenticate the former too, but it has expired when a session ends because of a failed
    /// refresh, and it would be another credential in transit.
    pub(in crate::oidc) async fn revoke(
        &self,
        http: &Http,
        metadata: &Metadata,
        token: &RefreshToken,
        timeout: Duration,
    ) -> Result<Revoked, ProviderError> {
        let revocation = Endpoint::Revocation;
        if let Some(key) = &self.api_key {
            let mut headers = self.tenant_header();
            // The bare key: FusionAuth expects no authentication scheme.
            headers.push(("Authorization", key.expose()));
            let form = [("token", token.expose())];
            let request = Request {
                endpoint: revocation,
                method: "DELETE",
                url: &jwt_refresh_url(metadata),
                headers: &headers,
                // In the form, because URLs end up in logs.
                payload: Payload::Form(&form),
                timeout,
            };
            let response = http.call(request).await?;
            match response.status {
                200..=299 | 404 => return Ok(Revoked::Done),
                status => tracing::warn!(url = response.url, status, "fusionauth_api_key_rejected"),
            }
        }
        let payload =
            Payload::Json(json!({ "global": false, "refreshToken": token.expose() }).to_string());
        let url = endpoint(metadata, "/api/logout");
        let response = http
            .call(Request {
                endpoint: revocation,
                method: "POST",
                url: &url,
                headers: &self.tenant_header(),
                payload,
                timeout,
            })
            .await?;
        match response.status {
            200..=299 => Ok(Revoked::Done),
            _ => Err(response.unexpected_status()),
        }
    }

    /// FusionAuth's version, from `GET /api/system/version`. `None` without an API key, or if the
    /// key is not permitted.
    pub(in crate::oidc) async fn version(
        &self,
        http: &Http,
        metadata: &Metadata,
        timeout: Duration,
    ) -> Result<Option<String>, ProviderError> {
        let Some(key) = &self.api_key else {
            return Ok(None);
        };
        let response = http
            .call(Request {
                endpoint: Endpoint::Version,
                method: "GET",
                url: &endpoint(metadata, "/api/system/version"),
                headers: &[("Authorization", key.expose())],
                payload: Payload::Form(&[]),
                timeout,
            })
            .await?;
        let body = match response.status {
            401 | 403 | 404 => return Ok(None),
            _ => response.ok()?,
        };
        let version = json::object(&body);
        let version = version
            .as_ref()
            .and_then(|body| body.get("version")?.as_str());
        Ok(version.map(|version| json::printable(version, MAX_VERSION)))
    }

    fn tenant_header(&self) -> Vec<(&'static str, &str)> {
        self.tenant_id
            .iter()
            .map(|tenant| (TENANT_HEADER, tenant.as_str()))
            .collect()
    }
}
