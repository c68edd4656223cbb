//! Client certificate for mutual TLS with a backend (RFC 8446 section 4.3.2).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::telemetry::certificates::CertificateReporter;
use crate::types::x509::Validity;

/// A certificate chain and its private key, both from PEM files.
pub struct ClientCertificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    certificate: Arc<CertifiedKey>,
}

/// Why a client certificate cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ClientCertificateError {
    /// A file cannot be read or does not contain what is expected.
    #[error("`{}` cannot be used: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// The certificate and the key do not belong together.
    #[error("the certificate and the key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

impl ClientCertificate {
    /// Loads the files.
    ///
    /// # Errors
    /// See [`ClientCertificateError`].
    pub fn read(
        cert_file: PathBuf,
        key_file: PathBuf,
    ) -> Result<Arc<Self>, ClientCertificateError> {
        let certificate = Arc::new(load(&cert_file, &key_file)?);
        Ok(Arc::new(Self {
            cert_file,
            key_file,
            certificate,
        }))
    }

    /// The validity of the certificate. `None` if it cannot be read.
    pub fn validity(&self) -> Option<Validity> {
        Validity::of(self.certificate.cert.first()?)
    }

    /// Reports a certificate that expires.
    pub fn report_to(&self, reporter: &CertificateReporter) {
        if let Some(validity) = self.validity() {
            reporter.report(&self.cert_file, validity);
        }
    }
}

impl PartialEq for ClientCertificate {
    /// The key belongs to the certificate.
    fn eq(&self, other: &Self) -> bool {
        self.certificate.cert == other.certificate.cert
    }
}

impl Eq for ClientCertificate {}

impl ResolvesClientCert for ClientCertificate {
    /// Always the one certificate, whatever authorities the backend accepts. A backend that does
    /// not accept it ends the handshake.
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certificate))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate")
            .field(&self.cert_file)
            .field(&self.key_file)
            .finish()
    }
}

fn load(cert_file: &Path, key_file: &Path) -> Result<CertifiedKey, ClientCertificateError> {
    let unusable = |path: &Path, reason: String| ClientCertificateError::File {
        path: path.to_owned(),
        reason,
    };
    let chain = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(cert_file, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(cert_file, "no certificate found".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| unusable(key_file, error.to_string()))?;
    Ok(CertifiedKey::from_der(
        chain,
        key,
        &rustls::crypto::aws_lc_rs::default_provider(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_the_same_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let path = |extension: &str| folder.path().join(name).with_extension(extension);
            ClientCertificate::read(path("pem"), path("key"))
        };
        let issue = |name: &str| {
            let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            let write = |extension: &str, text: String| {
                std::fs::write(folder.path().join(name).with_extension(extension), text).unwrap();
            };
            write("pem", issued.cert.pem());
            write("key", issued.signing_key.serialize_pem());
        };
        assert!(read("one").unwrap_err().to_string().contains("one.pem"));
        issue("one");
        let first = read("one").unwrap();
        assert!(*first == *read("one").unwrap());
        issue("one");
        assert!(*first != *read("one").unwrap());

        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        std::fs::write(folder.path().join("one.key"), other).unwrap();
        assert!(matches!(read("one"), Err(ClientCertificateError::Pair(_))));
    }
}
