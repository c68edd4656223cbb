//! Certificates of clients: where a file of authorities is named, nobody gets past the handshake who cannot show a
//! certificate of one of them. Who they are is not told to the apps: that is what sessions are for.

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

use super::tls::TlsError;

/// The authorities whose certificates open the door; others when the file changes, for new connections.
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
    /// Reads the file.
    pub(super) fn read(file: PathBuf) -> Result<Self, TlsError> {
        let verifier = ArcSwap::from_pointee(read(&file)?);
        Ok(Self { file, verifier })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What the file says now.
    pub(super) fn reread(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        read(&self.file)
    }

    /// From now on these count.
    pub(super) fn replace(&self, verifier: Arc<dyn ClientCertVerifier>) {
        self.verifier.store(Arc::new(verifier));
    }
}

fn read(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |reason: String| TlsError::File {
        path: file.to_owned(),
        what: "authorities of clients' certificates",
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
    /// None, which lets the client offer what it has: the list could change while it is read.
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

/// Why a handshake failed, as a word for the metric.
pub(super) fn why(error: &io::Error) -> &'static str {
    match error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<Error>())
    {
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => "client_certificate",
        Some(_) | None => "tls_handshake",
    }
}
