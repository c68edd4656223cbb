//! Client certificates (mutual TLS). With a CA file configured, the handshake fails without a
//! client certificate issued by one of its authorities. The certificate's identity is not forwarded
//! to apps; sessions carry the identity.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::tls_error::TlsError;

/// The certificate authorities that are trusted for client certificates. Reloaded for new
/// connections when the file changes.
pub(super) struct ClientAuthorities {
    file: PathBuf,
    verifier: ArcSwap<Arc<dyn ClientCertVerifier>>,
}

impl fmt::Debug for ClientAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientAuthorities")
            .field(&self.file)
            .finish()
    }
}

impl ClientAuthorities {
    /// Loads the file.
    pub(super) fn read(file: PathBuf) -> Result<Self, TlsError> {
        let verifier = ArcSwap::from_pointee(load_verifier(&file)?);
        Ok(Self { file, verifier })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Loads the file again, without using the result yet.
    pub(super) fn reload(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        load_verifier(&self.file)
    }

    /// Replaces the verifier.
    pub(super) fn replace(&self, verifier: Arc<dyn ClientCertVerifier>) {
        self.verifier.store(Arc::new(verifier));
    }
}

fn load_verifier(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
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
        .build()
        .map_err(|error| unusable(error.to_string()))
}

impl ClientCertVerifier for ClientAuthorities {
    /// Empty, which lets the client offer any certificate. The list cannot be borrowed, because it
    /// may be replaced.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verifier
            .load()
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .load()
            .verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .load()
            .verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.load().supported_verify_schemes()
    }
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
