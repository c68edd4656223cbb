//! TLS to upstreams: server name, client certificate, and ALPN.

use std::path::Path;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tempfile::TempDir;
use tonic::{Code, Request, Status};

use crate::support::backend::Backend;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::grpc::{Raw, Service, client};
use crate::support::tls::{Authority, Certificate};
use crate::support::websocket::WebSocket;

const ORIGIN: &str = "http://vault.localhost:8080";

/// A public app at `upstream`, with a certificate of `authority`.
fn before(upstream: &str, folder: &TempDir, authority: &Authority, lines: &str) -> Doorward {
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let app = format!(
        "[apps.vault]\nprovider = \"login\"\npublic_url = \"{ORIGIN}\"\nclient_id = \"vault\"\nupstream = \"{upstream}\"\n\
         upstream_ca_file = {ca:?}\n{lines}\n[[apps.vault.rules]]\npaths = [\"/**\"]\nallow = \"public\"\n"
    );
    Setup::plain().more(&app).start()
}

fn write(folder: &Path, shown: &Certificate) {
    std::fs::write(folder.join("key.pem"), &shown.key_pem).unwrap();
    std::fs::write(folder.join("cert.pem"), &shown.chain_pem).unwrap();
}

/// The lines that configure the client certificate.
fn showing(folder: &TempDir) -> String {
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    format!("upstream_cert_file = {cert:?}\nupstream_key_file = {key:?}")
}

async fn status(doorward: &Doorward) -> u16 {
    doorward
        .browser()
        .visit(&format!("{ORIGIN}/x"))
        .await
        .status()
}

async fn say(doorward: &Doorward) -> Result<Bytes, Status> {
    let mut client = client(doorward.address(), ORIGIN, &[]).await;
    client.ready().await.expect("a connection");
    let request = Request::new(Bytes::from_static(b"hello"));
    let path = PathAndQuery::from_static("/echo.Echo/Say");
    client
        .unary(request, path, Raw)
        .await
        .map(tonic::Response::into_inner)
}

async fn socket(doorward: &Doorward) -> Result<WebSocket, u16> {
    let spec = RequestSpec::new(Kind::Fetch, &format!("{ORIGIN}/chat")).header("Origin", ORIGIN);
    WebSocket::open(&mut doorward.browser(), spec)
        .await
        .map_err(|head| head.status())
}

#[tokio::test]
async fn client_certificate_is_presented_to_https_backend() {
    let (folder, authority, clients) = (
        tempfile::tempdir().unwrap(),
        Authority::fresh(),
        Authority::fresh(),
    );
    let server = authority
        .certificate_for(&["127.0.0.1"])
        .server_for_clients_of(&clients, &["http/1.1"]);
    let backend = Backend::start_over(server);
    let doorward = before(&backend.url(), &folder, &authority, "");
    assert_eq!((status(&doorward).await, backend.count()), (502, 0));

    write(folder.path(), &clients.certificate_for(&["doorward"]));
    let doorward = before(&backend.url(), &folder, &authority, &showing(&folder));
    assert_eq!((status(&doorward).await, backend.count()), (200, 1));
    assert!(socket(&doorward).await.is_ok());
}

/// Over HTTP/2 too. An HTTP/2-only upstream cannot take WebSockets.
#[tokio::test]
async fn client_certificate_is_presented_to_grpc_service() {
    let (folder, authority, clients) = (
        tempfile::tempdir().unwrap(),
        Authority::fresh(),
        Authority::fresh(),
    );
    let server = authority
        .certificate_for(&["127.0.0.1"])
        .server_for_clients_of(&clients, &["h2"]);
    let service = Service::start_over(server);
    write(folder.path(), &clients.certificate_for(&["doorward"]));
    let lines = format!("upstream_protocol = \"http2\"\n{}", showing(&folder));
    let doorward = before(&service.url(), &folder, &authority, &lines);
    assert_eq!(say(&doorward).await.unwrap(), "nobody: hello");
    assert_eq!(socket(&doorward).await.err(), Some(502));
    let doorward = before(
        &service.url(),
        &folder,
        &authority,
        "upstream_protocol = \"http2\"",
    );
    assert_eq!(say(&doorward).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn renewed_client_certificate_is_used_on_new_connections() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::fresh());
    let (old, new) = (Authority::fresh(), Authority::fresh());
    let server = authority
        .certificate_for(&["127.0.0.1"])
        .server_for_clients_of(&new, &["http/1.1"]);
    let backend = Backend::start_over(server);
    write(folder.path(), &old.certificate_for(&["doorward"]));
    let doorward = before(&backend.url(), &folder, &authority, &showing(&folder));
    assert_eq!(status(&doorward).await, 502);
    write(folder.path(), &new.certificate_for(&["doorward"]));
    doorward.reload_changes().await;
    assert_eq!(status(&doorward).await, 200);
}

#[tokio::test]
async fn upstream_server_name_is_verified() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::fresh());
    let backend = Backend::start_tls(&authority.certificate_for(&["vault.internal"]));
    let doorward = before(&backend.url(), &folder, &authority, "");
    assert_eq!(status(&doorward).await, 502);
    let _ = doorward.log.line("/x", "upstream_tls").await;
    let doorward = before(
        &backend.url(),
        &folder,
        &authority,
        "upstream_server_name = \"vault.internal\"",
    );
    assert_eq!(status(&doorward).await, 200);
    let doorward = before(
        &backend.url_as("localhost"),
        &folder,
        &authority,
        "upstream_server_name = \"other.internal\"",
    );
    assert_eq!((status(&doorward).await, backend.count()), (502, 1));
}

#[tokio::test]
async fn alpn_fallback_to_http_1() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::fresh());
    let backend = Backend::start_tls(&authority.certificate_for(&["127.0.0.1"]));
    let doorward = before(
        &backend.url(),
        &folder,
        &authority,
        "upstream_protocol = \"http2\"",
    );
    for _ in 0..20 {
        assert_eq!(status(&doorward).await, 200);
    }
    // One probe and one persistent connection for each of the two workers.
    assert!(
        (2..=4).contains(&backend.connections()),
        "{}",
        backend.connections()
    );
    assert!(socket(&doorward).await.is_ok());
}
