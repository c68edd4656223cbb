//! Crypto provider selection: aws-lc-rs for all libraries, once per process.

/// Installs aws-lc-rs as the crypto provider of rustls, and of jsonwebtoken with which the demo signs
/// tokens. They panic at first use if they cannot choose one. Idempotent.
pub fn install_crypto() {
    // An error means that a provider is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    #[cfg(feature = "demo")]
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_crypto_is_idempotent() {
        install_crypto();
        install_crypto();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
