//! A certificate authority for one test: server certificates for invented names, and a client that
//! trusts only this authority.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    PublicKeyData as _, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A server's certificate, signed by an [`Authority`].
pub struct Certificate {
    /// The certificate and its authority's, PEM.
    pub chain_pem: String,
    /// The private key, PEM (PKCS #8).
    pub key_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Authority {
    /// A new authority with a new key.
    pub fn fresh() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "Doorward test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("an authority");
        Self { issuer }
    }

    /// The authority's own certificate, PEM, as for a `ca_file`.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these host names or addresses.
    pub fn certificate_for(&self, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.certify(CertificateParams::new(names).expect("host names"))
    }

    /// The same, but valid in January 2020 only.
    pub fn expired_certificate_for(&self, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("host names");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
        self.certify(params)
    }

    fn certify(&self, params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certificate {
            chain_pem: format!("{}{}", signed.pem(), self.issuer.pem()),
            key_pem: key.serialize_pem(),
            chain: vec![signed.der().clone(), self.issuer.der().clone()],
            key,
        }
    }

    /// A client configuration that trusts only this authority and sends a client certificate on
    /// request.
    pub fn client(&self) -> Arc<ClientConfig> {
        let own = self.certificate_for(&["client.test"]);
        let mut roots = RootCertStore::empty();
        roots
            .add(self.issuer.der().clone())
            .expect("an authority's certificate");
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(own.chain.clone(), own.private_key())
            .expect("a certificate and its key");
        Arc::new(client)
    }
}

impl Certificate {
    /// A TLS server configuration with this certificate, for HTTP/1.1.
    pub fn server(&self) -> Arc<ServerConfig> {
        let mut server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.private_key())
            .expect("a certificate and its key");
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(server)
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// Like `server`, for clients with a certificate of this authority only; `protocols` are for
    /// ALPN.
    pub fn server_for_clients_of(
        &self,
        authority: &Authority,
        protocols: &[&str],
    ) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(authority.issuer.der().clone())
            .expect("an authority's certificate");
        let provider = Arc::new(default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(self.chain.clone(), key)
            .expect("a certificate and its key");
        server.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        Arc::new(server)
    }

    /// Base64 of the SHA-256 of the public key, for Chromium's
    /// `--ignore-certificate-errors-spki-list`.
    pub fn spki_sha256(&self) -> String {
        spki_sha256(&self.key)
    }
}

/// The same for the certificate of a private key, PEM.
pub fn spki_sha256_of(key_pem: &str) -> String {
    spki_sha256(&KeyPair::from_pem(key_pem).expect("a key"))
}

fn spki_sha256(key: &KeyPair) -> String {
    let public_key = key.subject_public_key_info();
    STANDARD.encode(digest::digest(&digest::SHA256, &public_key))
}
