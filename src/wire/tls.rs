//! TLS toward the client: versions 1.2 and 1.3, no early data, HTTP/2 or HTTP/1.1 by ALPN.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What HTTP/2 is called in ALPN (RFC 9113 section 3.1).
pub(super) const HTTP_2: &[u8] = b"h2";

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds nothing of the kind.
    #[error("`{}` cannot be used as {what}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not make a working pair.
    #[error("the certificate and the key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Reads a certificate chain and its key (both PEM).
///
/// # Errors
/// See [`TlsError`].
pub fn server_tls(cert_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |path: &Path, what: &'static str| {
        let path = path.to_owned();
        move |reason: String| TlsError::File { path, what, reason }
    };
    let chain = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(cert_file, "a certificate chain")(error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(cert_file, "a certificate chain")("no certificate found".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| unusable(key_file, "a private key")(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
    // What arrives before the handshake ends could be replayed (RFC 8446 section 8).
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let issued = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        assert!(server_tls(&cert, &key).unwrap_err().to_string().contains("cert.pem"));
        std::fs::write(&cert, "").unwrap();
        assert!(server_tls(&cert, &key).unwrap_err().to_string().contains("no certificate found"));
        std::fs::write(&cert, issued.cert.pem()).unwrap();
        std::fs::write(&key, "no key").unwrap();
        assert!(server_tls(&cert, &key).unwrap_err().to_string().contains("key.pem"));
        std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(server_tls(&cert, &key), Err(TlsError::Pair(_))));
        std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
        assert_eq!(server_tls(&cert, &key).unwrap().max_early_data_size, 0);
    }
}
