//! Which cryptography the libraries use: aws-lc-rs for all of them, chosen once a process.

/// Makes aws-lc-rs the provider of rustls and of jsonwebtoken, which otherwise panic at their first use
/// when they cannot decide. Safe to call again: the first choice stays.
pub fn install_crypto() {
    // Each answers `Err` when a provider is installed already, which is what a second call means.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn may_be_called_twice() {
        install_crypto();
        install_crypto();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
