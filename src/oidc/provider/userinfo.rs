//! Requests to the UserInfo endpoint (OpenID Connect Core section 5.3).

use serde_json::{Map, Value};
use url::Url;

use super::Provider;
use super::dpop::ProvenRequest;
use crate::oidc::client::ClientSettings;
use crate::oidc::error::{Endpoint, ProviderError, displayed_url};
use crate::oidc::http::{ProviderResponse, TokenHeaders};
use crate::oidc::json;
use crate::types::oauth::{AccessToken, KeyFingerprint, Subject};

/// A request for the claims of a user.
#[derive(Clone, Copy, Debug)]
pub struct UserinfoRequest<'r> {
    /// The client that the token was issued to.
    pub client: &'r ClientSettings,
    /// The token.
    pub access_token: &'r AccessToken,
    /// The client's key that the token is bound to (RFC 9449).
    pub dpop_key: Option<&'r KeyFingerprint>,
    /// The user.
    pub subject: &'r Subject,
}

impl Provider {
    /// Fetches the claims of the token's user.
    ///
    /// # Errors
    /// The provider has no such endpoint, the response is not JSON, or it is about another user
    /// than expected.
    pub async fn userinfo(
        &self,
        request: UserinfoRequest<'_>,
    ) -> Result<Map<String, Value>, ProviderError> {
        self.observed(self.fetch_userinfo(request).await)
    }

    async fn fetch_userinfo(
        &self,
        request: UserinfoRequest<'_>,
    ) -> Result<Map<String, Value>, ProviderError> {
        let endpoint = Endpoint::UserInfo;
        let metadata = self.metadata().await?;
        let url = metadata.userinfo_endpoint.as_ref();
        let url = url.ok_or(ProviderError::NotOffered { endpoint })?;
        let identity = request.client.token_auth.identity();
        let alias = identity.and_then(|_| metadata.mtls_aliases.get("userinfo_endpoint"));
        let url = alias.unwrap_or(url);
        let mut response = self.get_userinfo(url, request).await?;
        if request.dpop_key.is_some() && response.requires_dpop_nonce() {
            response = self.get_userinfo(url, request).await?;
        }
        let claims = json::object(&response.ok()?).ok_or_else(|| ProviderError::NotJson {
            endpoint,
            url: displayed_url(url),
        })?;
        if claims.get("sub").and_then(Value::as_str) != Some(request.subject.as_str()) {
            return Err(ProviderError::OtherSubject {
                url: displayed_url(url),
            });
        }
        Ok(claims)
    }

    async fn get_userinfo(
        &self,
        url: &Url,
        request: UserinfoRequest<'_>,
    ) -> Result<ProviderResponse, ProviderError> {
        let UserinfoRequest {
            client,
            access_token,
            dpop_key,
            ..
        } = request;
        let keys = client.dpop_keys.as_ref().zip(dpop_key);
        let proof = keys.map(|(keys, dpop_key)| {
            self.dpop_proof(&ProvenRequest {
                key: keys.bound(Some(dpop_key)),
                method: "GET",
                url,
                access_token: Some(access_token),
            })
        });
        let proof = proof.transpose()?;
        let headers = TokenHeaders {
            access_token,
            dpop: proof.as_deref(),
            identity: client.token_auth.identity(),
        };
        let response = self
            .http
            .get_with_token(Endpoint::UserInfo, url, headers)
            .await?;
        self.record_dpop_nonce(url, &response);
        Ok(response)
    }
}
