//! Client certificate for mutual TLS with a backend (RFC 8446 section 4.3.2). Changed files are
//! reloaded within seconds, for new connections. If they cannot be loaded, the current certificate
//! stays in use.

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

use crate::telemetry::certificates::CertificateReporter;
use crate::types::files::FileFingerprint;
use crate::types::x509::Validity;

/// How often the files are checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A certificate chain and its private key, both from PEM files.
pub struct ClientCertificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    /// The files' fingerprints before the first load.
    initial: Fingerprints,
    current: ArcSwap<CertifiedKey>,
}

/// Fingerprints of both files.
#[derive(Clone, PartialEq, Eq)]
struct Fingerprints {
    cert: FileFingerprint,
    key: FileFingerprint,
}

/// The fingerprints of both files, and the result of a reload if they changed.
struct FileCheck {
    fingerprints: Fingerprints,
    reloaded: Option<Result<(), ClientCertificateError>>,
}

/// Why a client certificate cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ClientCertificateError {
    /// A file cannot be read or does not contain what is expected.
    #[error("`{}` cannot be used: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
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
        let initial = Fingerprints::of(&cert_file, &key_file);
        let current = ArcSwap::from_pointee(load(&cert_file, &key_file)?);
        Ok(Arc::new(Self {
            cert_file,
            key_file,
            initial,
            current,
        }))
    }

    /// Checks the files forever and reloads them when they change. Reports a certificate that
    /// expires.
    pub async fn keep_fresh(self: Arc<Self>, reporter: Arc<CertificateReporter>) {
        let reloads = &reporter.metrics.certificate_reloads;
        let mut known = self.initial.clone();
        loop {
            if reporter.is_due() {
                self.report_to(&reporter);
            }
            sleep(CHECK_INTERVAL).await;
            let this = Arc::clone(&self);
            let Ok(check) = spawn_blocking(move || this.check_files(&known)).await else {
                return;
            };
            known = check.fingerprints;
            match check.reloaded {
                None => {}
                Some(Ok(())) => {
                    reloads.with_label_values(&["loaded"]).inc();
                    self.report_to(&reporter);
                    tracing::info!(file = %self.cert_file.display(), "certificates_loaded");
                }
                Some(Err(error)) => {
                    reloads.with_label_values(&["refused"]).inc();
                    tracing::error!(%error, "certificates_refused");
                }
            }
        }
    }

    /// The validity of the certificate. `None` if it cannot be read.
    pub fn validity(&self) -> Option<Validity> {
        Validity::of(self.current.load().cert.first()?)
    }

    fn report_to(&self, reporter: &CertificateReporter) {
        if let Some(validity) = self.validity() {
            reporter.report(&self.cert_file, validity);
        }
    }

    /// Reloads the files if their fingerprints differ from `known`. Fingerprints are taken before
    /// the reload, so that the next check sees a change in between.
    fn check_files(&self, known: &Fingerprints) -> FileCheck {
        let fingerprints = Fingerprints::of(&self.cert_file, &self.key_file);
        let changed = fingerprints != *known;
        FileCheck {
            fingerprints,
            reloaded: changed.then(|| self.reload()),
        }
    }

    fn reload(&self) -> Result<(), ClientCertificateError> {
        let certificate = load(&self.cert_file, &self.key_file)?;
        self.current.store(Arc::new(certificate));
        Ok(())
    }
}

impl ResolvesClientCert for ClientCertificate {
    /// Always the one certificate, whatever authorities the backend accepts. A backend that does
    /// not accept it ends the handshake.
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
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

impl Fingerprints {
    fn of(cert_file: &Path, key_file: &Path) -> Self {
        Self {
            cert: FileFingerprint::of(cert_file),
            key: FileFingerprint::of(key_file),
        }
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
    fn check_files_loads_new_files_and_rejects_bad_ones() {
        let folder = tempfile::tempdir().unwrap();
        let cert = folder.path().join("cert.pem");
        let key = folder.path().join("key.pem");
        let issue = |name: &str| {
            let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            std::fs::write(&cert, issued.cert.pem()).unwrap();
            std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
            issued.cert.der().clone()
        };
        let current = |certificate: &ClientCertificate| {
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
        assert_eq!(current(&certificate), first);
        assert!(
            certificate
                .check_files(&certificate.initial)
                .reloaded
                .is_none()
        );

        std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let check = certificate.check_files(&certificate.initial);
        assert!(matches!(
            check.reloaded,
            Some(Err(ClientCertificateError::Pair(_)))
        ));
        assert_eq!(current(&certificate), first);

        let second = issue("two.test");
        let check = certificate.check_files(&check.fingerprints);
        assert!(check.reloaded.unwrap().is_ok());
        assert_eq!(current(&certificate), second);
    }
}
