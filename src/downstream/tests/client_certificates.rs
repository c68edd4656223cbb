//! Who has no certificate of a known authority does not get past the handshake; which ones are known may change.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::client::TlsStream;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that shows a certificate of `authority`, and its files.
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

/// A client that trusts `trusted`, and shows a certificate of `of`, if any.
fn client(trusted: &Authority, of: Option<&Authority>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match of {
        None => builder.with_no_client_auth(),
        Some(of) => {
            let key = KeyPair::generate().unwrap();
            let signed = CertificateParams::new(["client".to_owned()])
                .unwrap()
                .signed_by(&key, of)
                .unwrap();
            let chain: Vec<CertificateDer<'static>> = vec![signed.der().clone()];
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

async fn ask(
    server: &Running,
    client: &Arc<rustls::ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(client));
    let mut stream = connector.connect(name, server.connect().await).await?;
    ask_again(&mut stream).await.map(|()| stream)
}

/// In TLS 1.3 a client learns only here that it was refused.
async fn ask_again(stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    stream
        .write_all(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    // The end of what the handler says.
    while !answer.ends_with(b"]") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

#[tokio::test]
async fn only_certificates_of_known_authorities_open_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let (own, first, second) = (authority(), authority(), authority());
    let ca_file = folder.path().join("clients.pem");
    std::fs::write(&ca_file, first.pem()).unwrap();
    let certificates = Certificates::read_with(
        vec![server_files(folder.path(), &own)],
        Some(ca_file.clone()),
    )
    .unwrap();
    let server = start(
        ListenerSettings::default(),
        Some(certificates.server_config().unwrap()),
    );
    let (nobody, known, stranger) = (
        client(&own, None),
        client(&own, Some(&first)),
        client(&own, Some(&second)),
    );
    let mut kept = ask(&server, &known).await.unwrap();
    for (count, refused) in [(1, &nobody), (2, &stranger)] {
        assert!(ask(&server, refused).await.is_err());
        assert_eq!(server.refused("client_certificate"), count);
    }
    assert_eq!(
        server.echo.seen.lock().unwrap().len(),
        1,
        "a request got in"
    );

    let looking =
        certificates.keep_fresh_every(Duration::from_millis(10), Arc::clone(&server.metrics));
    let looking = tokio::spawn(looking);
    // Whenever the first look was, one of these is another file than it saw.
    let changes = async {
        while ask(&server, &stranger).await.is_err() {
            std::fs::write(
                &ca_file,
                [
                    second.pem(),
                    "\n".repeat(server.refused("client_certificate") as usize),
                ]
                .concat(),
            )
            .unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), changes).await.unwrap();
    assert!(
        ask(&server, &known).await.is_err(),
        "a session of before was resumed, or its authority is still trusted"
    );
    ask_again(&mut kept).await.expect("a connection was lost");
    looking.abort();
}

#[test]
fn a_file_without_authorities_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = server_files(folder.path(), &authority());
    let empty = folder.path().join("clients.pem");
    std::fs::write(&empty, "").unwrap();
    for file in [empty, folder.path().join("absent.pem")] {
        let error = Certificates::read_with(vec![files.clone()], Some(file))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("authorities of clients' certificates"),
            "{error}"
        );
    }
}
