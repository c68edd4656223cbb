//! Proofs of possession in requests to the provider (RFC 9449).

use url::Url;

use super::Provider;
use super::signing::random_jti;
use crate::oidc::client_key::ClientKey;
use crate::oidc::dpop_client::ProofClaims;
use crate::oidc::error::ProviderError;
use crate::oidc::http::ProviderResponse;
use crate::oidc::token::{Grant, TokenError, TokenResponse, TokenType};
use crate::types::oauth::AccessToken;

/// A request that gets a proof.
pub(super) struct ProvenRequest<'r> {
    pub(super) key: &'r ClientKey,
    pub(super) method: &'static str,
    /// Where it is sent.
    pub(super) url: &'r Url,
    pub(super) access_token: Option<&'r AccessToken>,
}

impl Provider {
    /// A proof for one request, with the last nonce of its origin.
    pub(super) fn dpop_proof(&self, request: &ProvenRequest<'_>) -> Result<String, ProviderError> {
        let metadata = self.known_metadata();
        let announced = metadata.as_ref().map(|known| &known.announced);
        let algorithms = announced.and_then(|announced| announced.dpop_algorithms.as_deref());
        let nonce = self.dpop_nonces.get(request.url);
        let claims = ProofClaims {
            method: request.method,
            url: &self.settings.endpoints.published(request.url),
            now: self.provider_time(),
            jti: &random_jti()?,
            nonce: nonce.as_deref(),
            access_token: request.access_token,
        };
        Ok(claims.sign(request.key, self.rsa_padding(algorithms))?)
    }

    /// Remembers the nonce of a response for later requests to its origin.
    pub(super) fn record_dpop_nonce(&self, url: &Url, response: &ProviderResponse) {
        if let Some(nonce) = &response.dpop_nonce {
            self.dpop_nonces.set(url, nonce);
        }
    }
}

/// The tokens of a response with the key that they are bound to (section 5). Tokens that are not bound to
/// the key of their request are refused. Those of a refresh have no key then: the refresh token that was sent
/// may be consumed, so that the new one must not be lost.
pub(super) fn bound_tokens(
    grant: Grant,
    key: Option<&ClientKey>,
    response: TokenResponse,
) -> Result<TokenResponse, TokenError> {
    let Some(key) = key else {
        return Ok(response);
    };
    match (response.token_type, grant) {
        (TokenType::DPoP, _) => Ok(TokenResponse {
            dpop_key: Some(key.fingerprint()),
            ..response
        }),
        (TokenType::Bearer, Grant::Refresh) => Ok(response),
        (TokenType::Bearer, Grant::Code | Grant::Password | Grant::Exchange) => {
            Err(TokenError::BadResponse(
                "`token_type` is not `DPoP`, so the tokens are not bound to the client's key",
            ))
        }
    }
}
