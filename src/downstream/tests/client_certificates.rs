//! Mutual TLS: the handshake fails without a client certificate of a trusted authority, and the
//! authorities can change.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::super::{CertificateFiles, Certificates, ListenerSettings};
use super::support::{TestServer, start};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server certificate issued by `authority`.
fn server_files(folder: &Path, authority: &Authority) -> CertificateFiles {
    let files = CertificateFiles {
        cert_file: folder.join("cert.pem"),
        key_file: folder.join("key.pem"),
    };
    let key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(["a.test".to_owned()])
        .unwrap()
        .signed_by(&key, authority)
        .unwrap();
    std::fs::write(&files.cert_file, signed.pem()).unwrap();
    std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
    files
}

/// A client that trusts `trusted` and presents a certificate of `issuer`, if any.
fn client(trusted: &Authority, issuer: Option<&Authority>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match issuer {
        None => builder.with_no_client_auth(),
        Some(issuer) => {
            let key = KeyPair::generate().unwrap();
            let signed = CertificateParams::new(["client".to_owned()])
                .unwrap()
                .signed_by(&key, issuer)
                .unwrap();
            let chain: Vec<CertificateDer<'static>> = vec![signed.der().clone()];
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

async fn connect_and_send(
    server: &TestServer,
    client: &Arc<rustls::ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(client));
    let mut stream = connector.connect(name, server.connect().await).await?;
    send_request(&mut stream).await.map(|()| stream)
}

/// In TLS 1.3 a client learns only after its handshake that its certificate was rejected.
async fn send_request(stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    stream
        .write_all(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
        .await?;
    let mut response = Vec::new();
    // The handler's body ends with it.
    while !response.ends_with(b"]") {
        if stream.read_buf(&mut response).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    assert!(
        response.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&response)
    );
    Ok(())
}

#[tokio::test]
async fn client_certificate_of_trusted_authority_required() {
    let folder = tempfile::tempdir().unwrap();
    let own = authority();
    let first = authority();
    let second = authority();
    let ca_file = folder.path().join("clients.pem");
    std::fs::write(&ca_file, first.pem()).unwrap();
    let files = vec![server_files(folder.path(), &own)];
    let certificates = Certificates::read_with(files.clone(), Some(ca_file.clone())).unwrap();
    let server = start(
        ListenerSettings::default(),
        Some(certificates.server_config().unwrap()),
    );
    let without_certificate = client(&own, None);
    let trusted = client(&own, Some(&first));
    let untrusted = client(&own, Some(&second));
    let mut open_connection = connect_and_send(&server, &trusted).await.unwrap();
    for (count, rejected) in [(1, &without_certificate), (2, &untrusted)] {
        assert!(connect_and_send(&server, rejected).await.is_err());
        assert_eq!(server.error_count("client_certificate"), count);
    }
    assert_eq!(server.seen().len(), 1, "a rejected client sent a request");

    std::fs::write(&ca_file, second.pem()).unwrap();
    let certificates = Certificates::read_with(files, Some(ca_file)).unwrap();
    server.use_tls(certificates.server_config().unwrap());
    assert!(connect_and_send(&server, &untrusted).await.is_ok());
    assert!(
        connect_and_send(&server, &trusted).await.is_err(),
        "a session was resumed, or the removed authority is still trusted"
    );
    send_request(&mut open_connection)
        .await
        .expect("a connection was lost");
}

#[test]
fn ca_file_without_certificates_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let files = server_files(folder.path(), &authority());
    let empty = folder.path().join("clients.pem");
    std::fs::write(&empty, "").unwrap();
    for file in [empty, folder.path().join("absent.pem")] {
        let error = Certificates::read_with(vec![files.clone()], Some(file))
            .unwrap_err()
            .to_string();
        assert!(error.contains("client certificate authorities"), "{error}");
    }
}
