//! Responses of the provider.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::oidc::error::{Endpoint, ProviderError};
use crate::oidc::json;

/// The longest error of a response that is shown, in characters.
const MAX_ERROR: usize = 300;

/// A complete response with any status.
pub(in crate::oidc) struct ProviderResponse {
    pub(in crate::oidc) endpoint: Endpoint,
    /// See [`displayed_url`](crate::oidc::error::displayed_url).
    pub(in crate::oidc) url: String,
    pub(in crate::oidc) status: u16,
    /// `Retry-After` (RFC 9110 section 10.2.3), not limited.
    pub(in crate::oidc) retry_after: Option<Duration>,
    /// `Location`, if it is text.
    pub(in crate::oidc) location: Option<String>,
    /// `ETag`, if it is text.
    pub(in crate::oidc) etag: Option<String>,
    /// `DPoP-Nonce`, if it is text.
    pub(in crate::oidc) dpop_nonce: Option<String>,
    /// `WWW-Authenticate`, if it is text.
    pub(in crate::oidc) challenge: Option<String>,
    /// May contain tokens, so it is zeroized.
    pub(in crate::oidc) body: Zeroizing<Vec<u8>>,
}

impl ProviderResponse {
    /// Whether the same request succeeds with the nonce of this response (RFC 9449 sections 8 and 9).
    pub(in crate::oidc) fn requires_dpop_nonce(&self) -> bool {
        const ERROR: &str = "use_dpop_nonce";
        let is_in_body = || {
            let body = json::object(&self.body);
            body.is_some_and(|body| body.get("error").is_some_and(|error| error == ERROR))
        };
        let challenge = self.challenge.as_deref();
        let is_challenge = || challenge.is_some_and(|challenge| challenge.contains(ERROR));
        let is_refusal = matches!(self.status, 400 | 401);
        is_refusal && self.dpop_nonce.is_some() && (is_challenge() || is_in_body())
    }

    /// The body of a 200 response.
    ///
    /// # Errors
    /// Any other status.
    pub(in crate::oidc) fn ok(self) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        if self.status == 200 {
            return Ok(self.body);
        }
        Err(self.unexpected_status())
    }

    /// The error of this response.
    pub(in crate::oidc) fn unexpected_status(self) -> ProviderError {
        let body = json::object(&self.body).unwrap_or_default();
        let texts = ["error", "error_description"].map(|name| body.get(name)?.as_str());
        let texts: Vec<&str> = texts.into_iter().flatten().collect();
        let error = json::printable(&texts.join(": "), MAX_ERROR);
        ProviderError::Status {
            endpoint: self.endpoint,
            url: self.url,
            status: self.status,
            error: Some(error).filter(|error| !error.is_empty()),
        }
    }
}
