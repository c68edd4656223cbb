//! FusionAuth's own endpoints, called: refreshing and revoking through `/api/jwt/refresh`, and `/api/logout`.

use std::time::Duration;

use serde_json::json;

use super::{FusionAuth, answer, at};
use crate::oidc::discovery::Metadata;
use crate::oidc::error::{Endpoint, ProviderError};
use crate::oidc::http::{Http, Payload, Request};
use crate::oidc::token::{Revoked, TokenError, TokenResponse};
use crate::types::oauth::RefreshToken;

const TENANT: &str = "X-FusionAuth-TenantId";

impl FusionAuth {
    /// `POST /api/jwt/refresh`. One call, no retry: a token sent twice may end the session.
    pub(in crate::oidc) async fn refresh(
        &self,
        http: &Http,
        metadata: &Metadata,
        token: &RefreshToken,
        timeout: Duration,
    ) -> Result<TokenResponse, TokenError> {
        let body = json!({ "refreshToken": token.expose() }).to_string();
        let answer = http
            .call(Request {
                endpoint: Endpoint::JwtRefresh,
                method: "POST",
                url: &at(metadata, "/api/jwt/refresh"),
                headers: &self.tenant(),
                payload: Payload::Json(body),
                timeout,
            })
            .await?;
        answer::parse_jwt_refresh(answer.status, &answer.body)
    }

    /// Revokes a refresh token. With an API key by `DELETE /api/jwt/refresh`, whose answer says whether it was done.
    /// Without one, or where the key may not, by `POST /api/logout`, which asks for nothing but the token itself and
    /// answers 200 to whatever it is sent. The owner's JWT would do for the former too, but is dead whenever a session
    /// ends because it could not be refreshed; and it would be a second credential on the way.
    pub(in crate::oidc) async fn revoke(
        &self,
        http: &Http,
        metadata: &Metadata,
        token: &RefreshToken,
        timeout: Duration,
    ) -> Result<Revoked, ProviderError> {
        let endpoint = Endpoint::Revocation;
        if let Some(key) = &self.api_key {
            let mut headers = self.tenant();
            // The bare key: FusionAuth takes no scheme word.
            headers.push(("Authorization", key.expose()));
            let form = [("token", token.expose())];
            let url = at(metadata, "/api/jwt/refresh");
            // In the form, since addresses end up in logs.
            let payload = Payload::Form(&form);
            let asked = Request {
                endpoint,
                method: "DELETE",
                url: &url,
                headers: &headers,
                payload,
                timeout,
            };
            let answer = http.call(asked).await?;
            match answer.status {
                200..=299 | 404 => return Ok(Revoked::Done),
                status => tracing::warn!(status, "fusionauth_api_key_rejected"),
            }
        }
        let payload =
            Payload::Json(json!({ "global": false, "refreshToken": token.expose() }).to_string());
        let url = at(metadata, "/api/logout");
        let answer = http
            .call(Request {
                endpoint,
                method: "POST",
                url: &url,
                headers: &self.tenant(),
                payload,
                timeout,
            })
            .await?;
        match answer.status {
            200..=299 => Ok(Revoked::Done),
            status => Err(ProviderError::Status { endpoint, status }),
        }
    }

    fn tenant(&self) -> Vec<(&'static str, &str)> {
        self.tenant_id
            .iter()
            .map(|tenant| (TENANT, tenant.as_str()))
            .collect()
    }
}
