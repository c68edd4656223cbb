//! TLS against a listener: handshakes in time, a certificate for each name, and new ones while connections stay.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use tokio_rustls::client::TlsStream;

use super::*;

/// Writes a new self-signed certificate for `name` and its key.
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

/// Connects under `name`, trusting `roots` only.
pub(super) async fn connect(
    server: &Running,
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

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream
        .write_all(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    heard(stream).await.0
}

#[tokio::test]
async fn tls_serves_and_gives_up_on_a_handshake_that_never_ends() {
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
    assert!(ask(&mut stream).await.contains("secure=true"));

    let mut silent = server.connect().await;
    let mut rest = Vec::new();
    timeout(Duration::from_secs(2), silent.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(server.refused("tls_timeout"), 1);
    server.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(server.refused("tls_handshake"), 1);
}

#[tokio::test]
async fn each_name_has_its_certificate_and_a_strange_one_the_first() {
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
            shown(&connect(&server, name, &both).await.unwrap()),
            *certificate,
            "{name}"
        );
    }
    for strange in ["other.test", "forum.test", "a.b.forum.test", "127.0.0.1"] {
        let error = connect(&server, strange, &both)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("not valid for name"), "{strange}: {error}");
    }
}

#[tokio::test]
async fn new_files_are_shown_and_bad_ones_not_and_connections_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (files, first) = issue(folder.path(), "one", "a.test");
    let certificates = Certificates::read(vec![files.clone()]).unwrap();
    let server = start(
        ListenerSettings::default(),
        Some(certificates.server_config().unwrap()),
    );
    let looking =
        certificates.keep_fresh_every(Duration::from_millis(10), Arc::clone(&server.metrics));
    let looking = tokio::spawn(looking);
    let reloads = |outcome: &'static str| {
        server
            .metrics
            .certificate_reloads
            .with_label_values(&[outcome])
            .get()
    };
    let counted = async |outcome: &'static str| {
        timeout(Duration::from_secs(5), async {
            while reloads(outcome) == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
    };
    let mut old = connect(&server, "a.test", &[&first]).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        (reloads("loaded"), reloads("refused")),
        (0, 0),
        "nothing changed yet"
    );

    std::fs::write(&files.cert_file, "no certificate").unwrap();
    counted("refused").await;
    assert!(
        connect(&server, "a.test", &[&first]).await.is_ok(),
        "the old one is shown on"
    );

    let (_, second) = issue(folder.path(), "one", "a.test");
    counted("loaded").await;
    // It was written in two steps, so it may have been read in between.
    timeout(Duration::from_secs(5), async {
        while connect(&server, "a.test", &[&second]).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert!(connect(&server, "a.test", &[&first]).await.is_err());
    assert!(
        ask(&mut old).await.contains("secure=true"),
        "a connection was lost"
    );
    looking.abort();
}
