//! Client certificates (mutual TLS). With a CA file configured, the handshake fails without a
//! client certificate issued by one of its authorities. The certificate's identity is not forwarded
//! to apps; sessions carry the identity.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, RootCertStore};

use super::tls_error::TlsError;

/// The verifier for certificates of the authorities in `file`. It names no authority to the client,
/// which may therefore offer any certificate.
pub(super) fn client_verifier(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |reason: String| TlsError::File {
        path: file.to_owned(),
        what: "client certificate authorities",
        reason,
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .clear_root_hint_subjects()
        .build()
        .map_err(|error| unusable(error.to_string()))
}

/// The metric label for a failed handshake.
pub(super) fn handshake_error_reason(error: &io::Error) -> &'static str {
    match error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<Error>())
    {
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => "client_certificate",
        Some(_) | None => "tls_handshake",
    }
}
