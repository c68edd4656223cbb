//! TLS for client connections: versions 1.2 and 1.3, no early data, ALPN for HTTP/2 and HTTP/1.1,
//! and certificate selection by SNI and key type.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureAlgorithm};

use super::certificate_monitor::{CertificateMonitor, CertificateValidity};
use super::client_certificates::client_verifier;
use super::tls_error::TlsError;
use crate::types::x509::Validity;

/// ALPN protocol ID of HTTP/2 over TLS (RFC 9113 section 3.1).
pub(super) const ALPN_H2: &[u8] = b"h2";

/// Paths of a certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by its chain.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// The server certificates, selected by SNI. Without a match the first is used: all have the same
/// client authentication, and an unknown host gets a 421. One name may have certificates for several
/// key types: clients that support ECDSA do not get RSA, which is slower.
pub struct Certificates {
    files: Vec<CertificateFiles>,
    certificates: Vec<Arc<CertifiedKey>>,
    /// Set if client certificates are required.
    client_verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.files).finish()
    }
}

impl Certificates {
    /// Loads all certificates.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn read(files: Vec<CertificateFiles>) -> Result<Arc<Self>, TlsError> {
        Self::read_with(files, None)
    }

    /// Loads all certificates. With `client_ca_file`, clients need a certificate issued by one of
    /// its authorities.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn read_with(
        files: Vec<CertificateFiles>,
        client_ca_file: Option<PathBuf>,
    ) -> Result<Arc<Self>, TlsError> {
        let certificates = load_all(&files)?;
        let client_verifier = client_ca_file
            .map(|file| client_verifier(&file))
            .transpose()?;
        Ok(Arc::new(Self {
            files,
            certificates,
            client_verifier,
        }))
    }

    /// The files of the certificates.
    pub fn files(&self) -> &[CertificateFiles] {
        &self.files
    }

    /// The TLS configuration of a listener with these certificates.
    ///
    /// # Errors
    /// The TLS library was built without a usable protocol version.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match &self.client_verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::<Self>::clone(self));
        if self.client_verifier.is_some() {
            // No session resumption: it would skip the certificate check after an authority was
            // removed.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols = vec![ALPN_H2.to_vec(), b"http/1.1".to_vec()];
        // Early data can be replayed (RFC 8446 section 8).
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    /// Reports certificates that expire, and names without a certificate.
    pub fn report_to(&self, monitor: &CertificateMonitor) {
        monitor.report(&self.validities(), |host| self.covers(host));
    }

    /// The validity of each certificate, with its file.
    pub fn validities(&self) -> Vec<CertificateValidity> {
        let pairs = self.files.iter().zip(&self.certificates);
        let read = pairs.filter_map(|(files, certificate)| {
            Some(CertificateValidity {
                cert_file: files.cert_file.clone(),
                validity: Validity::of(certificate.cert.first()?)?,
            })
        });
        read.collect()
    }

    /// Whether a certificate is valid for this host name or IP address (without brackets). A host
    /// that begins with `*` stands for each with one label in its place.
    pub fn covers(&self, host: &str) -> bool {
        let host = match host.strip_prefix('*') {
            // No certificate names it, so only a wildcard is valid for it.
            Some(domain) => Cow::from(format!("doorward-any-label{domain}")),
            None => Cow::from(host),
        };
        let Ok(name) = ServerName::try_from(&*host) else {
            return false;
        };
        self.certificates
            .iter()
            .any(|certificate| is_valid_for(certificate, &name))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = &self.certificates;
        let sni = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let schemes = hello.signature_schemes();
        let matching: Vec<_> = certificates
            .iter()
            .filter(|certificate| {
                sni.as_ref()
                    .is_some_and(|name| is_valid_for(certificate, name))
            })
            .collect();
        let is_usable =
            |certificate: &CertifiedKey| certificate.key.choose_scheme(schemes).is_some();
        let best = if matching.is_empty() {
            let usable = certificates
                .iter()
                .find(|certificate| is_usable(certificate));
            usable.or(certificates.first())
        } else {
            let usable = matching
                .iter()
                .filter(|certificate| is_usable(certificate))
                .min_by_key(|certificate| certificate.key.algorithm() == SignatureAlgorithm::RSA);
            usable.or(matching.first()).copied()
        };
        best.cloned()
    }
}

fn is_valid_for(certificate: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let leaf = certificate
        .end_entity_cert()
        .and_then(ParsedCertificate::try_from);
    leaf.is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
}

fn load_all(files: &[CertificateFiles]) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    files
        .iter()
        .map(|files| load(&files.cert_file, &files.key_file).map(Arc::new))
        .collect()
}

fn load(cert_file: &Path, key_file: &Path) -> Result<CertifiedKey, TlsError> {
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
    fn read_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let cert = folder.path().join("cert.pem");
        let key = folder.path().join("key.pem");
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
