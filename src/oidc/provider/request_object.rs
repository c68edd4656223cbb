//! Signed authorization requests (RFC 9101).

use url::Url;

use super::Provider;
use super::signing::random_jti;
use crate::oidc::authorize::with_parameters;
use crate::oidc::client::ClientSettings;
use crate::oidc::discovery::Metadata;
use crate::oidc::error::ProviderError;
use crate::oidc::request_object::RequestObject;

/// Parameters that are beside a request object too, for providers of OpenID Connect Core section 6.1.
const REPEATED: [&str; 3] = ["client_id", "response_type", "scope"];

impl Provider {
    /// An authorization request with its parameters in a request object, if the client has a key for it.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn sign_authorization(
        &self,
        client: &ClientSettings,
        metadata: &Metadata,
        request: Url,
    ) -> Result<Url, ProviderError> {
        let Some(key) = &client.request_object_key else {
            return Ok(request);
        };
        let parameters: Vec<(String, String)> = request.query_pairs().into_owned().collect();
        let object = RequestObject {
            client_id: &client.client_id,
            issuer: &self.settings.issuer,
            now: self.provider_time(),
            jti: &random_jti()?,
            parameters: &parameters,
        };
        let announced = metadata.announced.request_object_algorithms.as_deref();
        let signed = object.sign(key, self.rsa_padding(announced))?;
        let repeated = parameters
            .iter()
            .filter(|(name, _)| REPEATED.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let parameters: Vec<(&str, &str)> =
            repeated.chain([("request", signed.as_str())]).collect();
        Ok(with_parameters(
            &metadata.authorization_endpoint,
            &parameters,
        ))
    }
}
