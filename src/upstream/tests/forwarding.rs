//! Forwarding over HTTP/1.1: request head, framing, TLS and Unix domain sockets.

use std::sync::Arc;

use super::super::{UpstreamHost, UpstreamSettings, UpstreamUrl};
use super::support::{Backend, proxy_to, start_proxy};

#[tokio::test]
async fn request_is_forwarded_as_authorized() {
    let proxy = start_proxy(|_| {}).await;
    let head = "GET /a%20b//c;d?x=%zz&y HTTP/1.1\r\nHost: STORE.test\r\nCookie: a=b; __Host-doorward_jwt=s3cret\r\n\
                Authorization: Basic YXBw\r\nx_forwarded_user: mallory\r\nX-Forwarded.User: mallory\r\n\
                Connection: close, X-Forwarded-User\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    assert!(proxy.send(head).await.starts_with("HTTP/1.1 200 OK"));
    let request = &proxy.backend.received()[0];
    assert!(
        request
            .head
            .starts_with("GET /a%20b//c;d?x=%zz&y HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert!(
        !request.head.contains("mallory") && !request.head.contains("s3cret"),
        "{}",
        request.head
    );
    assert_eq!(request.field("x-forwarded-user"), ["alice"]);
    assert_eq!(request.field("authorization"), ["Basic YXBw"]);
    assert_eq!(request.field("x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(
        (request.field("host"), request.field("cookie")),
        (vec!["store.test"], vec!["a=b"])
    );
    assert!(request.field("connection").is_empty());
}

#[tokio::test]
async fn host_of_the_upstream_is_sent_if_configured() {
    let proxy = start_proxy(|settings| settings.host = UpstreamHost::Upstream).await;
    proxy.get("/").await;
    assert!(proxy.backend.received()[0].field("host")[0].starts_with("app.localhost:"));
}

/// hyper's own client drops the body of a GET without a length.
#[tokio::test]
async fn request_body_has_one_framing_for_every_method() {
    let proxy = start_proxy(|_| {}).await;
    for method in [
        "GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH", "PROPFIND", "get",
    ] {
        for (framing, body) in [
            ("Content-Length: 5\r\n", "hello"),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            (
                "Transfer-Encoding: chunked\r\n",
                "5;ext=1\r\nhello\r\n0\r\nX-Forwarded-User: trailer\r\n\r\n",
            ),
            ("Content-Length: 0\r\n", ""),
            ("", ""),
        ] {
            let bytes = format!(
                "{method} /m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{framing}\r\n{body}"
            );
            let response = proxy.send(&bytes).await;
            assert!(
                response.starts_with("HTTP/1.1 200 OK"),
                "{method} {framing}: {response}"
            );
            let request = proxy.backend.received().pop().unwrap();
            let lengths = request.field("content-length");
            let codings = request.field("transfer-encoding");
            match framing {
                "" if ["POST", "PUT", "PATCH"].contains(&method) => {
                    assert_eq!((lengths, codings), (vec!["0"], vec![]))
                }
                "" => assert!(
                    lengths.is_empty() && codings.is_empty(),
                    "{method}: {}",
                    request.head
                ),
                "Content-Length: 0\r\n" => assert_eq!((lengths, codings), (vec!["0"], vec![])),
                "Transfer-Encoding: chunked\r\n" => {
                    assert_eq!((lengths, codings), (vec![], vec!["chunked"]), "{method}");
                    assert_eq!(request.body, "5\r\nhello\r\n0\r\n\r\n", "{method}");
                }
                _ => {
                    assert_eq!(
                        (lengths, codings),
                        (vec!["5"], vec![]),
                        "{method} {framing}"
                    );
                    assert_eq!(request.body, "hello", "{method}");
                }
            }
        }
    }
}

#[tokio::test]
async fn trace_connect_and_non_path_targets_are_rejected() {
    let proxy = start_proxy(|_| {}).await;
    for line in [
        "TRACE / HTTP/1.1",
        "CONNECT app.test:80 HTTP/1.1",
        "GET * HTTP/1.1",
    ] {
        let response = proxy.send(&format!("{line}\r\nHost: x\r\n\r\n")).await;
        assert!(
            response.contains("not_forwardable sent=false"),
            "{line}: {response}"
        );
    }
    assert!(
        proxy
            .send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .contains("200 OK")
    );
    assert!(
        proxy.backend.received()[0]
            .head
            .starts_with("OPTIONS * HTTP/1.1\r\n")
    );
}

#[tokio::test]
async fn tls_and_unix_backends_work_and_untrusted_ca_fails() {
    let issued = rcgen::generate_simple_self_signed(["app.localhost".to_owned()]).unwrap();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let backend = Arc::new(Backend::default());
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: UpstreamUrl = format!(
        "https://app.localhost:{}",
        socket.local_addr().unwrap().port()
    )
    .parse()
    .unwrap();
    let backend_clone = Arc::clone(&backend);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(Arc::clone(&backend_clone).serve(stream));
            }
        }
    });
    let mut settings = UpstreamSettings::at(url.clone());
    settings.ca_certificates = Some(issued.cert.pem().into_bytes());
    let proxy = proxy_to(Arc::clone(&backend), settings).await;
    assert!(proxy.get("/secure").await.contains("200 OK"));
    let untrusted = rcgen::generate_simple_self_signed(["app.localhost".to_owned()]).unwrap();
    for ca in [None, Some(untrusted.cert.pem().into_bytes())] {
        let mut settings = UpstreamSettings::at(url.clone());
        settings.ca_certificates = ca;
        let proxy = proxy_to(Arc::default(), settings).await;
        assert!(
            proxy
                .get("/secure")
                .await
                .contains("upstream_tls sent=false")
        );
    }
    assert_eq!(backend.received().len(), 1);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let socket = tokio::net::UnixListener::bind(&path).unwrap();
    let backend = Arc::new(Backend::default());
    let backend_clone = Arc::clone(&backend);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(Arc::clone(&backend_clone).serve(stream));
        }
    });
    let url = format!("unix:{}", path.display()).parse().unwrap();
    let proxy = proxy_to(backend, UpstreamSettings::at(url)).await;
    assert!(proxy.get("/unix").await.contains("200 OK"));
    assert_eq!(proxy.backend.received()[0].field("host"), ["store.test"]);
}
