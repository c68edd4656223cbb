//! TLS toward the client: versions 1.2 and 1.3, no early data, HTTP/2 or HTTP/1.1 by ALPN, a certificate for each name,
//! and new ones when their files change, without a connection lost.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::client_certificates::ClientAuthorities;
use crate::telemetry::metrics::Metrics;
use crate::types::files::FileFingerprint;

/// What HTTP/2 is called in ALPN (RFC 9113 section 3.1).
pub(super) const HTTP_2: &[u8] = b"h2";

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

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

/// Where a certificate chain and its key are, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then its chain.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// The certificates that clients are shown, each for the names in it. Who asks for another name, or for none, is shown
/// the first: every certificate is under the same conditions, and a host that is not served here is a 421.
pub struct Certificates {
    files: Vec<CertificateFiles>,
    shown: ArcSwap<Vec<Arc<CertifiedKey>>>,
    /// Who has to show one, too.
    per_client_limit: Option<Arc<ClientAuthorities>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.files).finish()
    }
}

impl Certificates {
    /// Reads all of them.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn read(files: Vec<CertificateFiles>) -> Result<Arc<Self>, TlsError> {
        Self::read_with(files, None)
    }

    /// The same; clients need a certificate of an authority in `client_ca_file`, if there is one.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn read_with(
        files: Vec<CertificateFiles>,
        client_ca_file: Option<PathBuf>,
    ) -> Result<Arc<Self>, TlsError> {
        let shown = ArcSwap::from_pointee(read_all(&files)?);
        let per_client_limit = client_ca_file
            .map(ClientAuthorities::read)
            .transpose()?
            .map(Arc::new);
        Ok(Arc::new(Self {
            files,
            shown,
            per_client_limit,
        }))
    }

    /// Where they are.
    pub fn files(&self) -> &[CertificateFiles] {
        &self.files
    }

    /// What a listener needs to show them.
    ///
    /// # Errors
    /// The TLS library takes none of its own versions: a mistake in how it was built.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match &self.per_client_limit {
            Some(per_client_limit) => {
                builder.with_client_cert_verifier(Arc::<ClientAuthorities>::clone(per_client_limit))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::<Self>::clone(self));
        if self.per_client_limit.is_some() {
            // A resumed session is not asked for its certificate again, whatever became of its authority.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
        // What arrives before the handshake ends could be replayed (RFC 8446 section 8).
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    /// Looks at the files for ever. New ones are for new connections; while one of them is bad, the old ones stay.
    pub async fn keep_fresh(self: Arc<Self>, metrics: Arc<Metrics>) {
        self.keep_fresh_every(CHECK_INTERVAL, metrics).await;
    }

    pub(super) async fn keep_fresh_every(
        self: Arc<Self>,
        interval: Duration,
        metrics: Arc<Metrics>,
    ) {
        let mut known = None;
        loop {
            let (this, before) = (Arc::clone(&self), known.clone());
            let Ok((stamps, outcome)) = spawn_blocking(move || this.look(before)).await else {
                return;
            };
            known = Some(stamps);
            match outcome {
                None => {}
                Some(Ok(())) => {
                    metrics
                        .certificate_reloads
                        .with_label_values(&["loaded"])
                        .inc();
                    tracing::info!("certificates_loaded");
                }
                Some(Err(error)) => {
                    metrics
                        .certificate_reloads
                        .with_label_values(&["refused"])
                        .inc();
                    tracing::error!(%error, "certificates_refused: the old ones are shown on");
                }
            }
            sleep(interval).await;
        }
    }

    /// Reads the files anew if they are others than `known`. The stamps are taken first: what changes in between is
    /// seen at the next look.
    fn look(
        &self,
        known: Option<Vec<FileFingerprint>>,
    ) -> (Vec<FileFingerprint>, Option<Result<(), TlsError>>) {
        let pairs = self
            .files
            .iter()
            .flat_map(|files| [files.cert_file.as_path(), &files.key_file]);
        let authorities = self
            .per_client_limit
            .iter()
            .map(|per_client_limit| per_client_limit.file());
        let stamps: Vec<FileFingerprint> =
            pairs.chain(authorities).map(FileFingerprint::of).collect();
        if known.is_none_or(|known| known == stamps) {
            return (stamps, None);
        }
        (stamps, Some(self.reread()))
    }
}

impl Certificates {
    /// All of it, or nothing.
    fn reread(&self) -> Result<(), TlsError> {
        let shown = read_all(&self.files)?;
        if let Some(per_client_limit) = &self.per_client_limit {
            per_client_limit.replace(per_client_limit.reread()?);
        }
        self.shown.store(Arc::new(shown));
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.load();
        let wanted = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let identify_client =
            wanted.and_then(|name| shown.iter().find(|certificate| is_for(certificate, &name)));
        identify_client.or(shown.first()).cloned()
    }
}

fn is_for(certificate: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let leaf = certificate
        .end_entity_cert()
        .and_then(ParsedCertificate::try_from);
    leaf.is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
}

fn read_all(files: &[CertificateFiles]) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    files
        .iter()
        .map(|files| read_one(&files.cert_file, &files.key_file).map(Arc::new))
        .collect()
}

fn read_one(cert_file: &Path, key_file: &Path) -> Result<CertifiedKey, TlsError> {
    let unusable = |path: &Path, what: &'static str| {
        let path = path.to_owned();
        move |reason: String| TlsError::File { path, what, reason }
    };
    let chain = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(cert_file, "a certificate chain")(error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(cert_file, "a certificate chain")(
            "no certificate found".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| unusable(key_file, "a private key")(error.to_string()))?;
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
    fn an_unusable_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        let issued = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let server_tls = |cert: &Path, key: &Path| {
            let files = CertificateFiles {
                cert_file: cert.to_owned(),
                key_file: key.to_owned(),
            };
            Certificates::read(vec![files])?.server_config()
        };
        assert!(
            server_tls(&cert, &key)
                .unwrap_err()
                .to_string()
                .contains("cert.pem")
        );
        std::fs::write(&cert, "").unwrap();
        assert!(
            server_tls(&cert, &key)
                .unwrap_err()
                .to_string()
                .contains("no certificate found")
        );
        std::fs::write(&cert, issued.cert.pem()).unwrap();
        std::fs::write(&key, "no key").unwrap();
        assert!(
            server_tls(&cert, &key)
                .unwrap_err()
                .to_string()
                .contains("key.pem")
        );
        std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(server_tls(&cert, &key), Err(TlsError::Pair(_))));
        std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
        assert_eq!(server_tls(&cert, &key).unwrap().max_early_data_size, 0);
    }
}
