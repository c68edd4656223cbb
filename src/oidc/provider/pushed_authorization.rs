//! Pushed authorization requests (RFC 9126): the provider gets the parameters from Doorward, and the
//! browser only a reference to them.

use serde_json::Value;
use url::Url;

use super::Provider;
use super::client_requests::ClientRequest;
use crate::oidc::authorize::with_parameters;
use crate::oidc::client::ClientSettings;
use crate::oidc::error::{Endpoint, ProviderError};
use crate::oidc::http::ProviderResponse;
use crate::oidc::json;

/// The longest `request_uri`, in bytes.
const MAX_REQUEST_URI: usize = 2048;

impl Provider {
    /// Pushes an authorization request, and returns the URL for the browser.
    ///
    /// # Errors
    /// The provider has no such endpoint, or does not accept the request.
    pub async fn push_authorization(
        &self,
        client: &ClientSettings,
        request: &Url,
    ) -> Result<Url, ProviderError> {
        self.observed(self.send_authorization(client, request).await)
    }

    async fn send_authorization(
        &self,
        client: &ClientSettings,
        request: &Url,
    ) -> Result<Url, ProviderError> {
        let endpoint = Endpoint::PushedAuthorization;
        let metadata = self.metadata().await?;
        let url = metadata.par_endpoint.as_ref();
        let url = url.ok_or(ProviderError::NotOffered { endpoint })?;
        let pairs: Vec<(String, String)> = request.query_pairs().into_owned().collect();
        let parameters = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let methods = metadata.announced.client_auth_methods.as_deref();
        let is_named_by_header = client.token_auth.is_by_header(methods);
        // A request object is alone (section 3). Client authentication may bring the client's ID too,
        // and no parameter may come twice.
        let is_signed = client.request_object_key.is_some();
        let form: Vec<(&str, &str)> = parameters
            .filter(|(name, _)| match *name {
                "client_id" => is_named_by_header,
                "request" => true,
                _ => !is_signed,
            })
            .collect();
        let response = self.send_as_client(ClientRequest {
            endpoint,
            client,
            url,
            form: &form,
            dpop_key: None,
            timeout: self.settings.request_timeout,
        });
        let request_uri = request_uri(response.await?)?;
        let reference = [
            ("client_id", client.client_id.as_str()),
            ("request_uri", request_uri.as_str()),
        ];
        Ok(with_parameters(
            &metadata.authorization_endpoint,
            &reference,
        ))
    }
}

/// `request_uri` in the response (section 2.2). Some providers send it with 200.
fn request_uri(response: ProviderResponse) -> Result<String, ProviderError> {
    if !matches!(response.status, 200 | 201) {
        return Err(response.unexpected_status());
    }
    let body = json::object(&response.body);
    let uri = body.as_ref().and_then(|body| body.get("request_uri"));
    let uri = uri.and_then(Value::as_str).filter(|uri| {
        let is_text = uri.bytes().all(|byte| byte.is_ascii_graphic());
        is_text && (1..=MAX_REQUEST_URI).contains(&uri.len())
    });
    uri.map(str::to_owned)
        .ok_or(ProviderError::NoRequestUri { url: response.url })
}
