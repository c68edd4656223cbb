//! Time, `jti` and RSA padding of the JWTs that a client signs.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Provider;
use crate::oidc::client_key::RsaPadding;
use crate::oidc::error::ProviderError;
use crate::types::time::Timestamp;

impl Provider {
    /// How RSA keys sign, if the provider announces these algorithms. The profile permits PS256 only.
    pub(super) fn rsa_padding(&self, announced: Option<&[String]>) -> RsaPadding {
        match self.settings.profile {
            Some(_) => RsaPadding::Pss,
            None => RsaPadding::announced(announced),
        }
    }

    /// The time by the provider's clock, as far as it is known.
    pub(super) fn provider_time(&self) -> Timestamp {
        let now = self.clock.now();
        let skew = self.http.clock_skew().unwrap_or(0);
        let span = Duration::from_secs(skew.unsigned_abs());
        if skew < 0 {
            now.minus(span)
        } else {
            now.plus(span)
        }
    }
}

/// A unique `jti`.
pub(super) fn random_jti() -> Result<String, ProviderError> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| ProviderError::ClientKey("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}
