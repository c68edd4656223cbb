//! TLS: the handshake timeout, certificate selection by SNI, and new certificates with open
//! connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::super::{CertificateFiles, CertificateMonitor, Certificates, ListenerSettings};
use super::support::{TestServer, read_until_idle, start};
use crate::types::time::SystemClock;

/// Writes a new self-signed certificate for `name`, and its key.
pub(super) fn issue(
    folder: &Path,
    file: &str,
    name: &str,
) -> (CertificateFiles, CertificateDer<'static>) {
    let at = |ending: &str| -> PathBuf { folder.join(format!("{file}.{ending}")) };
    let files = CertificateFiles {
        cert_file: at("crt"),
        key_file: at("key"),
    };
    let issued = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    std::fs::write(&files.cert_file, issued.cert.pem()).unwrap();
    std::fs::write(&files.key_file, issued.signing_key.serialize_pem()).unwrap();
    (files, issued.cert.der().clone())
}

/// Connects with `name` as SNI, trusting only `roots`.
pub(super) async fn connect(
    server: &TestServer,
    name: &str,
    roots: &[&CertificateDer<'static>],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut trusted = rustls::RootCertStore::empty();
    for root in roots {
        trusted.add((*root).clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = builder
        .with_root_certificates(trusted)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, server.connect().await)
        .await
}

fn peer_certificate(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

async fn send_request(stream: &mut TlsStream<TcpStream>) -> String {
    stream
        .write_all(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_until_idle(stream).await.0
}

#[tokio::test]
async fn tls_serves_and_times_out_silent_handshakes() {
    let folder = tempfile::tempdir().unwrap();
    let (files, certificate) = issue(folder.path(), "one", "localhost");
    let settings = ListenerSettings {
        handshake_timeout: Duration::from_millis(300),
        ..ListenerSettings::default()
    };
    let server = start(
        settings,
        Some(
            Certificates::read(vec![files])
                .unwrap()
                .server_config()
                .unwrap(),
        ),
    );
    let mut stream = connect(&server, "localhost", &[&certificate])
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(send_request(&mut stream).await.contains(" body=]"));

    let mut silent = server.connect().await;
    let mut rest = Vec::new();
    timeout(Duration::from_secs(2), silent.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(server.error_count("tls_timeout"), 1);
    server.send("\x16\x03\x01\0\x05hello").await;
    assert_eq!(server.error_count("tls_handshake"), 1);
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_redirected_or_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = issue(folder.path(), "one", "a.test");
    let server = start(
        ListenerSettings::default(),
        Some(
            Certificates::read(vec![files])
                .unwrap()
                .server_config()
                .unwrap(),
        ),
    );
    let (response, closed) = server
        .send("GET /b?c HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await;
    assert!(
        closed
            && response.starts_with("HTTP/1.1 308 ")
            && response.contains("\r\nLocation: https://a.test:8443/b?c\r\n"),
        "{response}"
    );
    for request in [
        "GET /b HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        "POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let (response, _) = server.send(request).await;
        assert!(
            response.starts_with("HTTP/1.1 400 ") && response.contains("https://"),
            "{request:?}: {response}"
        );
    }
    assert_eq!(server.error_count("plain_http"), 4);
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn sni_selects_the_certificate_and_falls_back_to_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let (store_files, store) = issue(folder.path(), "store", "store.test");
    let (forum_files, forum) = issue(folder.path(), "forum", "*.forum.test");
    let certificates = Certificates::read(vec![store_files, forum_files]).unwrap();
    let server = start(
        ListenerSettings::default(),
        Some(certificates.server_config().unwrap()),
    );
    let both = [&store, &forum];
    for (name, certificate) in [
        ("store.test", &store),
        ("STORE.test", &store),
        ("a.forum.test", &forum),
        ("B.Forum.Test", &forum),
    ] {
        assert_eq!(
            peer_certificate(&connect(&server, name, &both).await.unwrap()),
            *certificate,
            "{name}"
        );
    }
    for unknown in ["other.test", "forum.test", "a.b.forum.test", "127.0.0.1"] {
        let error = connect(&server, unknown, &both)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("not valid for name"), "{unknown}: {error}");
    }
}

/// Issues a certificate for `name` with a key of this type.
fn issue_with(
    folder: &Path,
    file: &str,
    name: &str,
    key: &rcgen::KeyPair,
) -> (CertificateFiles, CertificateDer<'static>) {
    let at = |ending: &str| -> PathBuf { folder.join(format!("{file}.{ending}")) };
    let files = CertificateFiles {
        cert_file: at("crt"),
        key_file: at("key"),
    };
    let parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    let issued = parameters.self_signed(key).unwrap();
    std::fs::write(&files.cert_file, issued.pem()).unwrap();
    std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
    (files, issued.der().clone())
}

#[tokio::test]
async fn client_without_ecdsa_gets_the_rsa_certificate_of_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let rsa_key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let (rsa_files, rsa) = issue_with(folder.path(), "rsa", "a.test", &rsa_key);
    let (ecdsa_files, ecdsa) = issue(folder.path(), "ecdsa", "a.test");
    let (other_files, _) = issue(folder.path(), "other", "b.test");
    let certificates = Certificates::read(vec![other_files, rsa_files, ecdsa_files]).unwrap();
    let server = start(
        ListenerSettings::default(),
        Some(certificates.server_config().unwrap()),
    );
    let both = [&rsa, &ecdsa];
    let modern = connect(&server, "a.test", &both).await.unwrap();
    assert_eq!(
        peer_certificate(&modern),
        ecdsa,
        "whatever the order of the configuration"
    );
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites =
        vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rsa.clone()).unwrap();
    let old = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let old = tokio_rustls::TlsConnector::from(Arc::new(old))
        .connect(name, server.connect().await)
        .await
        .unwrap();
    assert_eq!(peer_certificate(&old), rsa);
}

#[tokio::test]
async fn new_certificates_are_used_for_new_connections_only() {
    let folder = tempfile::tempdir().unwrap();
    let (files, first) = issue(folder.path(), "one", "a.test");
    let certificates = Certificates::read(vec![files.clone()]).unwrap();
    let server = start(
        ListenerSettings::default(),
        Some(certificates.server_config().unwrap()),
    );
    let mut old = connect(&server, "a.test", &[&first]).await.unwrap();

    let (_, second) = issue(folder.path(), "one", "a.test");
    assert!(connect(&server, "a.test", &[&first]).await.is_ok());
    let certificates = Certificates::read(vec![files.clone()]).unwrap();
    server.use_tls(certificates.server_config().unwrap());
    assert!(connect(&server, "a.test", &[&second]).await.is_ok());
    assert!(connect(&server, "a.test", &[&first]).await.is_err());
    assert!(
        send_request(&mut old).await.contains(" body=]"),
        "a connection was lost"
    );

    certificates.report_to(&CertificateMonitor::new(
        Arc::clone(&server.metrics),
        Arc::new(SystemClock),
        vec!["a.test".to_owned(), "b.test".to_owned()],
    ));
    let metrics = server.metrics.text().unwrap();
    let file = files.cert_file.display();
    // rcgen's certificates expire in the year 4096.
    for line in [
        format!(
            "doorward_certificate_expiry_timestamp_seconds{{cert_file=\"{file}\"}} 67090118400"
        ),
        "doorward_hosts_without_certificate 1".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in:\n{metrics}");
    }
}
