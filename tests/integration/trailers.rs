//! Trailers and interim responses of an app that speaks HTTP/1.1.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::doorward::{Doorward, Setup};
use crate::support::listening::Listening;
use crate::support::wire::Wire;

const RESPONSE: &str = "HTTP/1.1 103 Early Hints\r\nLink: </early.css>; rel=preload\r\n\r\n\
     HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Checksum, Set-Cookie, X-Forwarded-User\r\n\r\n\
     2\r\nok\r\n0\r\nChecksum: abc\r\nUndeclared: def\r\nSet-Cookie: a=b\r\nX-Forwarded-User: eve\r\n\
     Content-Length: 9\r\nX_Forwarded_User: eve\r\n\r\n";

/// Doorward in front of an app with this response.
fn start() -> (Doorward, Listening) {
    let app = Listening::start(0, |stream| async move {
        let mut wire = Wire::new(stream);
        while let Ok(Some(_)) = wire.read_head().await {
            let _ = wire.write(RESPONSE.as_bytes()).await;
        }
    });
    let route = format!(
        "[[apps.store.routes]]\npath = \"/public/checked\"\nupstream = \"http://127.0.0.1:{}\"\n",
        app.port()
    );
    (Setup::plain().more(&route).start(), app)
}

/// All bytes of a response over HTTP/1.1.
async fn http1(doorward: &Doorward, fields: &str) -> String {
    let mut stream = TcpStream::connect(doorward.address())
        .await
        .expect("a port");
    let request =
        format!("GET /public/checked HTTP/1.1\r\nHost: store.localhost:8080\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("a response");
    String::from_utf8(response)
        .expect("text")
        .to_ascii_lowercase()
}

#[tokio::test]
async fn http2_client_gets_filtered_trailers_of_http1_app() {
    let (doorward, _app) = start();
    let stream = TcpStream::connect(doorward.address())
        .await
        .expect("a port");
    let (mut client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    let request = Request::get("http://store.localhost:8080/public/checked");
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let response = client.send_request(request).await.expect("a response");
    let (head, body) = response.into_parts();
    assert_eq!(
        (head.status.as_u16(), head.headers.get("link")),
        (200, None)
    );
    assert_eq!(head.headers["trailer"], "checksum");
    let body = body.collect().await.expect("a body");
    let trailers = body.trailers().expect("trailers").clone();
    assert_eq!(body.to_bytes(), "ok");
    assert_eq!(trailers.len(), 2, "{trailers:?}");
    assert_eq!(
        (&trailers["checksum"], &trailers["undeclared"]),
        (&"abc".parse().unwrap(), &"def".parse().unwrap())
    );
}

#[tokio::test]
async fn http1_client_gets_declared_trailers_if_it_accepts_some() {
    let (doorward, _app) = start();
    let response = http1(&doorward, "Connection: TE, close\r\nTE: trailers\r\n").await;
    assert!(response.contains("\r\ntrailer: checksum\r\n"), "{response}");
    assert!(
        response.ends_with("2\r\nok\r\n0\r\nchecksum: abc\r\n\r\n"),
        "{response}"
    );
    for fields in [
        "Connection: close\r\n",
        "Connection: TE, close\r\nTE: gzip\r\n",
    ] {
        let response = http1(&doorward, fields).await;
        assert!(response.ends_with("2\r\nok\r\n0\r\n\r\n"), "{response}");
        assert!(!response.contains("trailer:"), "{response}");
    }
}

/// The HTTP library cannot send an interim response.
#[tokio::test]
async fn early_hints_are_dropped_and_do_not_change_the_response() {
    let (doorward, _app) = start();
    let response = http1(&doorward, "Connection: close\r\n").await;
    assert!(response.starts_with("http/1.1 200 ok\r\n"), "{response}");
    assert!(
        !response.contains("link:") && response.matches("http/1.1").count() == 1,
        "{response}"
    );
}
