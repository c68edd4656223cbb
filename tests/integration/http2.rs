//! HTTP/2 downstream: requests reach the rules and the app in the same form as over HTTP/1.1.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

use crate::support::assertions::{alice, metric_reaches};
use crate::support::doorward::{Doorward, Setup};
use crate::support::wire::Framing;

const STORE: &str = "http://store.localhost:8080";

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

type Client = SendRequest<Bytes>;

/// HTTP/2 with prior knowledge (RFC 9113 section 3.3).
async fn connect(doorward: &Doorward) -> Client {
    let (client, connection) = h2::client::handshake(
        TcpStream::connect(doorward.address())
            .await
            .expect("a port"),
    )
    .await
    .expect("HTTP/2");
    tokio::spawn(connection);
    client
}

/// A body as DATA frames, and whether its length is declared.
type Parts<'a> = (&'a [&'a str], bool);

async fn send(
    client: &Client,
    mut request: Request<()>,
    body: Option<Parts<'_>>,
) -> Result<Answer, h2::Error> {
    if let Some((parts, true)) = body {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        request
            .headers_mut()
            .insert("content-length", length.into());
    }
    let mut client = client.clone().ready().await?;
    let (response, mut stream) = client.send_request(request, body.is_none())?;
    if let Some((parts, _)) = body {
        for part in parts {
            stream.send_data(Bytes::copy_from_slice(part.as_bytes()), false)?;
        }
        stream.send_data(Bytes::new(), true)?;
    }
    let (head, mut body) = response.await?.into_parts();
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        all.extend_from_slice(&part);
    }
    let body = String::from_utf8_lossy(&all).into_owned();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

fn request(method: &str, url: &str, fields: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

#[tokio::test]
async fn cookie_crumbs_are_joined_for_the_app() {
    let doorward = Setup::plain().start();
    let browser = alice(&doorward).await;
    let client = connect(&doorward).await;
    let mut fields = vec![("cookie", "theme=dark".to_owned())];
    for kind in ["jwt", "refresh", "activity"] {
        let value = doorward.cookie(&browser, kind).expect("a cookie");
        fields.push(("cookie", format!("{}={value}", doorward.cookie_name(kind))));
    }
    fields.extend([
        ("cookie", "cart=7".to_owned()),
        ("x-forwarded-user", "mallory".to_owned()),
    ]);
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let response = send(
        &client,
        request("GET", &format!("{STORE}/shopping-cart?a=b"), &fields),
        None,
    )
    .await
    .unwrap();
    assert_eq!(response.status, 200, "{}", response.body);
    let seen = doorward.store.last();
    assert_eq!(seen.head.all("cookie"), ["theme=dark; cart=7"]);
    assert_eq!(seen.head.all("x-forwarded-user").len(), 1);
    assert_ne!(seen.header("x-forwarded-user"), Some("mallory"));
    assert_eq!(
        (seen.head.start.as_str(), seen.head.all("host")),
        (
            "GET /shopping-cart?a=b HTTP/1.1",
            vec!["store.localhost:8080"]
        )
    );
}

#[tokio::test]
async fn anonymous_responses_equal_http_1() {
    let doorward = Setup::plain().start();
    let client = connect(&doorward).await;
    let page = send(
        &client,
        request(
            "GET",
            &format!("{STORE}/shopping-cart"),
            &[
                ("accept", "text/html"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ],
        ),
        None,
    )
    .await
    .unwrap();
    assert_eq!(page.status, 302);
    assert!(
        page.headers["location"]
            .to_str()
            .unwrap()
            .starts_with(doorward.provider.issuer())
    );
    let script = send(
        &client,
        request(
            "GET",
            &format!("{STORE}/shopping-cart"),
            &[("sec-fetch-mode", "cors")],
        ),
        None,
    )
    .await
    .unwrap();
    assert_eq!(
        (script.status, script.headers["content-type"].as_bytes()),
        (401, &b"application/problem+json"[..])
    );
    let head = send(
        &client,
        request("HEAD", &format!("{STORE}/shopping-cart"), &[]),
        None,
    )
    .await
    .unwrap();
    assert_eq!((head.status, head.body.as_str()), (401, ""));
    let stranger = send(
        &client,
        request("GET", "http://stranger.example/", &[]),
        None,
    )
    .await
    .unwrap();
    assert_eq!(stranger.status, 421);
    assert_eq!(doorward.store.count(), 0);
}

#[tokio::test]
async fn requests_without_http_1_form_are_refused() {
    let doorward = Setup::plain().start();
    let client = connect(&doorward).await;
    let page = &format!("{STORE}/public/x");
    for (name, request, statuses) in [
        (
            "another host beside",
            request("GET", page, &[("host", "forum.localhost:8080")]),
            &[400][..],
        ),
        (
            "two hosts",
            request(
                "GET",
                page,
                &[
                    ("host", "store.localhost:8080"),
                    ("host", "store.localhost:8080"),
                ],
            ),
            &[400],
        ),
        (
            "userinfo",
            request("GET", "http://admin@store.localhost:8080/public/x", &[]),
            &[400],
        ),
        (
            "another scheme",
            request("GET", "ftp://store.localhost:8080/public/x", &[]),
            &[400],
        ),
        (
            "dot segments",
            request("GET", &format!("{STORE}/public/../admin"), &[]),
            &[400],
        ),
        ("lower-case method", request("get", page, &[]), &[501]),
        ("TRACE", request("TRACE", page, &[]), &[501]),
        (
            "lengths in a list",
            request("POST", page, &[("content-length", "0, 0")]),
            &[400],
        ),
        (
            "an expectation",
            request("POST", page, &[("expect", "200-ok")]),
            &[417],
        ),
    ] {
        match send(&client, request, None).await {
            Ok(response) => assert!(
                statuses.contains(&response.status),
                "{name}: {} {}",
                response.status,
                response.body
            ),
            Err(error) => assert!(error.is_reset(), "{name}: {error}"),
        }
    }
    assert_eq!(doorward.store.count(), 0);
    assert_eq!(
        send(&client, request("GET", page, &[]), None)
            .await
            .unwrap()
            .status,
        200
    );
}

/// Proxies that convert requests from HTTP/1.1 leave `Host` as it is (RFC 9113 section 8.3.1).
#[tokio::test]
async fn host_without_authority_selects_the_app() {
    let doorward = Setup::plain().start();
    let client = connect(&doorward).await;
    let host = [("host", "store.localhost:8080")];
    let response = send(&client, request("GET", "/public/x", &host), None).await;
    assert_eq!(response.unwrap().status, 200);
    assert_eq!(
        doorward.store.last().head.all("host"),
        ["store.localhost:8080"]
    );
    let stranger = [("host", "stranger.example")];
    let response = send(&client, request("GET", "/public/x", &stranger), None).await;
    assert_eq!(response.unwrap().status, 421);
}

/// Every method with every kind of body: the app receives exactly one framing, and the next request
/// on the connection is intact.
#[tokio::test]
async fn bodies_are_reframed_for_every_method() {
    let doorward = Setup::plain().start();
    let client = connect(&doorward).await;
    let bodies: [(&str, Option<Parts<'_>>, &str); 5] = [
        ("none", None, ""),
        ("empty", Some((&[], false)), ""),
        ("sized", Some((&["hel", "lo"], true)), "hello"),
        ("unsized", Some((&["hel", "lo"], false)), "hello"),
        ("sized empty", Some((&[], true)), ""),
    ];
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        for (kind, parts, body) in bodies {
            let response = send(
                &client,
                request(method, &format!("{STORE}/public/x"), &[]),
                parts,
            )
            .await
            .unwrap();
            let seen = doorward.store.last();
            assert_eq!(
                (response.status, seen.method.as_str()),
                (200, method),
                "{kind}"
            );
            assert_eq!(String::from_utf8_lossy(&seen.body), body, "{method} {kind}");
            let framings =
                seen.head.all("content-length").len() + seen.head.all("transfer-encoding").len();
            assert!(
                framings <= 1 && (framings == 1 || body.is_empty()),
                "{method} {kind}: {:?}",
                seen.head.headers
            );
            if kind == "sized" {
                assert_eq!(seen.head.request_framing(), Framing::Length(5), "{method}");
            }
        }
    }
    assert_eq!(doorward.store.count(), 8 * 5);
}

/// A `Content-Length` that does not match the body affects only this stream.
#[tokio::test]
async fn content_length_mismatch_is_refused() {
    let doorward = Setup::plain().start();
    let client = connect(&doorward).await;
    for (length, parts) in [("2", &["hello"][..]), ("9", &["hello"]), ("5", &[])] {
        let asked = request(
            "POST",
            &format!("{STORE}/public/x"),
            &[("content-length", length)],
        );
        let response = send(&client, asked, Some((parts, false))).await;
        assert!(
            response
                .as_ref()
                .map_or(true, |response| response.status >= 400),
            "{length}: {}",
            response.unwrap().status
        );
    }
    let response = send(
        &client,
        request("POST", &format!("{STORE}/public/y"), &[]),
        Some((&["whole"], false)),
    )
    .await;
    assert_eq!(response.unwrap().status, 200);
    assert_eq!(doorward.store.last().body, b"whole");
}

#[tokio::test]
async fn alpn_negotiates_http_2() {
    let doorward = Setup::over_tls().start();
    let mut tls = (*doorward.authority().client()).clone();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let name = rustls_pki_types::ServerName::try_from("store.example.test").unwrap();
    let stream = TcpStream::connect(doorward.address()).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let response = send(
        &client,
        request("GET", "https://store.example.test/public/x", &[]),
        None,
    )
    .await
    .unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(
        doorward.store.last().header("x-forwarded-proto"),
        Some("https")
    );
    // A proxy in front may have taken plain HTTP.
    let response = send(
        &client,
        request("GET", "http://store.example.test/public/x", &[]),
        None,
    )
    .await
    .unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(
        doorward.store.last().header("x-forwarded-proto"),
        Some("https")
    );
    metric_reaches(&doorward, "doorward_http2_streams", 0.0).await;
}
