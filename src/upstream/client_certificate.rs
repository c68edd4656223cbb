//! What Doorward shows a backend that asks for a certificate (RFC 8446 section 4.3.2), and its renewal: new files are
//! taken within seconds, for new connections, and while they are bad the old ones stay.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::telemetry::metrics::Metrics;
use crate::types::files::FileFingerprint;

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A certificate with its chain and its private key, as the files of an app say it, both PEM.
pub struct ClientCertificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    /// The files when they were first read.
    first: [FileFingerprint; 2],
    shown: ArcSwap<CertifiedKey>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ClientCertificateError {
    /// A file cannot be read or holds nothing of the kind.
    #[error("`{}` cannot be used: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not make a working pair.
    #[error("the certificate and the key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

impl ClientCertificate {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`ClientCertificateError`].
    pub fn read(
        cert_file: PathBuf,
        key_file: PathBuf,
    ) -> Result<Arc<Self>, ClientCertificateError> {
        let first = stamps(&cert_file, &key_file);
        let shown = ArcSwap::from_pointee(read(&cert_file, &key_file)?);
        Ok(Arc::new(Self {
            cert_file,
            key_file,
            first,
            shown,
        }))
    }

    /// Looks at the files for ever.
    pub async fn keep_fresh(self: Arc<Self>, metrics: Arc<Metrics>) {
        let mut known = self.first.clone();
        loop {
            sleep(CHECK_INTERVAL).await;
            let (this, before) = (Arc::clone(&self), known.clone());
            let Ok((stamps, outcome)) = spawn_blocking(move || this.look(&before)).await else {
                return;
            };
            known = stamps;
            match outcome {
                None => {}
                Some(Ok(())) => {
                    metrics
                        .certificate_reloads
                        .with_label_values(&["loaded"])
                        .inc();
                    tracing::info!(file = %self.cert_file.display(), "certificates_loaded");
                }
                Some(Err(error)) => {
                    metrics
                        .certificate_reloads
                        .with_label_values(&["refused"])
                        .inc();
                    tracing::error!(%error, "certificates_refused");
                }
            }
        }
    }

    /// Reads the files anew if they are others than `known`. The stamps are taken first: what changes in between is
    /// seen at the next look.
    fn look(
        &self,
        known: &[FileFingerprint; 2],
    ) -> (
        [FileFingerprint; 2],
        Option<Result<(), ClientCertificateError>>,
    ) {
        let stamps = stamps(&self.cert_file, &self.key_file);
        if stamps == *known {
            return (stamps, None);
        }
        let read =
            read(&self.cert_file, &self.key_file).map(|shown| self.shown.store(Arc::new(shown)));
        (stamps, Some(read))
    }
}

impl ResolvesClientCert for ClientCertificate {
    /// Whichever authorities the backend names: it is the only one there is, and who is not content with it says so.
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
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

fn stamps(cert_file: &Path, key_file: &Path) -> [FileFingerprint; 2] {
    [
        FileFingerprint::of(cert_file),
        FileFingerprint::of(key_file),
    ]
}

fn read(cert_file: &Path, key_file: &Path) -> Result<CertifiedKey, ClientCertificateError> {
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
    fn new_files_are_taken_and_bad_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        let issue = |name: &str| {
            let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            std::fs::write(&cert, issued.cert.pem()).unwrap();
            std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
            issued.cert.der().clone()
        };
        let shown = |certificate: &ClientCertificate| {
            certificate.resolve(&[], &[]).unwrap().cert[0].clone()
        };

        assert!(
            ClientCertificate::read(cert.clone(), key.clone())
                .unwrap_err()
                .to_string()
                .contains("cert.pem")
        );
        let first = issue("one.test");
        let certificate = ClientCertificate::read(cert.clone(), key.clone()).unwrap();
        assert_eq!(shown(&certificate), first);
        assert!(certificate.look(&certificate.first).1.is_none());

        std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let (known, outcome) = certificate.look(&certificate.first);
        assert!(matches!(
            outcome,
            Some(Err(ClientCertificateError::Pair(_)))
        ));
        assert_eq!(shown(&certificate), first);

        let second = issue("two.test");
        assert!(certificate.look(&known).1.unwrap().is_ok());
        assert_eq!(shown(&certificate), second);
    }
}
